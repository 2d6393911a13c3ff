package simnet

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel end btcd when this process is killed. btcd has its own group so that a
// Ctrl-C of the terminal reaches only this process, which then stops it in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
