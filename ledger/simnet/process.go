package simnet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// FindBtcd returns the btcd binary: the given path, else the one beside the own executable, else the
// one in PATH.
func FindBtcd(path string) (string, error) {
	if path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%w (%s: %w)", ErrNoBtcd, path, err)
		}
		return filepath.Abs(found)
	}
	name := "btcd"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if self, err := os.Executable(); err == nil {
		if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return found, nil
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", ErrNoBtcd
	}
	return filepath.Abs(found)
}

// process is a btcd that we started.
type process struct {
	cmd  *exec.Cmd
	pid  int
	home string        // directory that btcd makes in passing; removed at the end when empty
	done chan struct{} // closed when the process has ended
	out  *tail
	once sync.Once
}

// stopGrace is how long btcd may take to flush its chain before it is killed.
const stopGrace = 15 * time.Second

func startProcess(btcd, dir string) (*process, error) {
	out := &tail{}
	cmd := exec.Command(btcd, "--configfile="+configFile(dir))
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	dieWithParent(cmd)
	p := &process{cmd: cmd, home: strayHome(), done: make(chan struct{}), out: out}
	started := make(chan error, 1)
	go func() {
		// The death signal of the parent is bound to the thread that starts the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("simnet: %s does not start: %w", btcd, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// strayHome is the directory that btcd creates in the user's home whatever its settings; empty when it
// exists already and so is not ours to remove.
func strayHome() string {
	u, err := user.Current()
	if err != nil || u.HomeDir == "" {
		return ""
	}
	dir := filepath.Join(u.HomeDir, ".btcd")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return dir
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) stop() error {
	var err error
	p.once.Do(func() { err = p.end() })
	<-p.done
	return err
}

func (p *process) end() error {
	if runtime.GOOS == "windows" || p.cmd.Process.Signal(os.Interrupt) != nil {
		p.cmd.Process.Kill()
	}
	var err error
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		err = fmt.Errorf("simnet: btcd (pid %d) did not stop and was killed", p.pid)
		p.cmd.Process.Kill()
		<-p.done
	}
	if p.home != "" {
		os.Remove(p.home) // only succeeds when nobody put anything into it
	}
	return err
}

func (p *process) tail() string { return p.out.String() }

// tail keeps the end of what a process wrote.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 2048

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = bytes.Clone(t.buf[over:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
