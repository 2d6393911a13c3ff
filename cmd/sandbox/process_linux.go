package sandbox

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel end the child when this process is killed. The child has its own group so
// that a Ctrl-C of the terminal reaches only this process, which then ends everything in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
