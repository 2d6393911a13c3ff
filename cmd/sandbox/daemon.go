package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/home"
)

const (
	network      = "simnet"
	readyTimeout = 60 * time.Second
	pollPause    = 20 * time.Millisecond
	portAttempts = 4
	tailLines    = 20
)

// Daemon says how a daemon is started.
type Daemon struct {
	Name  string
	Light bool     // a light client that knows one address of btcd, and none of its credentials
	Flags []string // after those that the sandbox sets, so they win
	Env   []string // NAME=VALUE
}

// Node is a daemon of the sandbox.
type Node struct {
	Name string
	Dir  string         // data directory
	API  *client.Client // finds the daemon again after a restart
	Log  string         // file with all that it said

	set  Daemon
	box  *Sandbox
	port int // for peers; kept over restarts, so that they find it again
	proc *process
}

// Start adds a daemon and waits until it is ready.
func (s *Sandbox) Start(ctx context.Context, d Daemon) (*Node, error) {
	if !home.ValidName(d.Name) {
		return nil, fmt.Errorf("sandbox: %q can't name a daemon", d.Name)
	}
	dir := filepath.Join(home.Home(s.Dir).DataDir(network), d.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	api, err := client.Dial(home.Socket(dir))
	if err != nil {
		return nil, err
	}
	n := &Node{Name: d.Name, Dir: dir, API: api, Log: filepath.Join(s.Dir, d.Name+".log"), set: d, box: s}
	if err := s.add(n); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		if n.port, err = freePort(); err != nil {
			return nil, err
		}
		err := n.Restart(ctx)
		// Somebody else may take a port between choice and use.
		if err == nil || attempt == portAttempts || !strings.Contains(err.Error(), "address already in use") {
			return n, err
		}
	}
}

// freePort asks the system for a port on loopback.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("sandbox: no free port on loopback: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Restart starts a daemon that has ended, with its data as it left them, and waits until it is ready.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Launch(); err != nil {
		return err
	}
	if err := n.Ready(ctx); err != nil {
		n.proc.kill()
		return err
	}
	return nil
}

// Launch is Restart without the wait.
func (n *Node) Launch() error {
	if n.Running() {
		return fmt.Errorf("sandbox: %s runs already", n.Name)
	}
	cmd := exec.Command(n.box.runneld, append(n.flags(), n.set.Flags...)...)
	cmd.Dir = n.box.Dir
	cmd.Env = append(append(cleanEnv(), "RUNNEL_HOME="+n.box.Dir), n.set.Env...)
	proc, err := startProcess(cmd, n.Log)
	if err == nil {
		n.proc = proc
	}
	return err
}

func (n *Node) flags() []string {
	return append(n.chainFlags(),
		"--network", network, "--data-dir", n.Dir,
		"--listen", fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", n.port), "--no-nat",
		"--accept-peer-deposit", "1_000_000sat",
	)
}

func (n *Node) chainFlags() []string {
	chain := n.box.Chain
	if n.set.Light {
		return []string{"--chain", "neutrino", "--neutrino.peer", chain.P2PAddr()}
	}
	return []string{
		"--chain", "btcd", "--btcd.rpc-host", chain.RPCHost(), "--btcd.rpc-user", chain.RPCUser(),
		"--btcd.rpc-pass-file", n.box.PassFile(), "--btcd.rpc-cert", chain.CertFile(),
	}
}

// Ready waits until the daemon answers and has seen the whole chain.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err := Until(ctx, n.Name+" is ready", func() (bool, error) {
		if !n.Running() {
			return false, fmt.Errorf("sandbox: %s ended by itself", n.Name)
		}
		status, err := n.API.Status(ctx)
		if err != nil && !errors.Is(err, client.ErrUnreachable) {
			return false, err
		}
		return err == nil && status.Synced, nil
	})
	return n.Explain(err)
}

// Explain adds the last lines of the daemon's log to an error.
func (n *Node) Explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nlast lines of %s:\n%s", err, n.Name, lastLines(n.Log, tailLines))
}

// Running reports whether the daemon's process lives.
func (n *Node) Running() bool { return n.proc != nil && n.proc.running() }

// Exited is closed when the process of the last start has ended.
func (n *Node) Exited() <-chan struct{} { return n.proc.done }

// PID of the daemon's process.
func (n *Node) PID() int { return n.proc.cmd.Process.Pid }

// Kill ends the daemon with SIGKILL and returns when it is gone.
func (n *Node) Kill() {
	if n.proc != nil {
		n.proc.kill()
	}
}

// Stop ends the daemon in good order.
func (n *Node) Stop() error {
	if n.proc == nil {
		return nil
	}
	return n.Explain(n.proc.stop())
}

// Socket of the daemon's API.
func (n *Node) Socket() string { return home.Socket(n.Dir) }

// Address is what others need to reach the daemon: one multiaddr.
func (n *Node) Address(ctx context.Context) (string, error) {
	status, err := n.API.Status(ctx)
	if err == nil && status.Addr == "" {
		err = fmt.Errorf("sandbox: %s has no address", n.Name)
	}
	return status.Addr, err
}

// Until asks done again and again until it says yes, fails, or ctx ends.
func Until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("sandbox: waited in vain until %s: %w", what, ctx.Err())
		case err != nil || ok:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollPause):
		}
	}
}

// Fund gives a daemon's wallet coins, confirmed.
func (s *Sandbox) Fund(ctx context.Context, name string, coins ...channel.Sat) error {
	n := s.Node(name)
	if n == nil {
		return fmt.Errorf("sandbox: there is no %s", name)
	}
	before, err := n.API.Balance(ctx)
	if err != nil {
		return err
	}
	sum := before.Onchain
	for _, sat := range coins {
		addr, err := n.API.NewAddress(ctx)
		if err != nil {
			return err
		}
		if _, err := s.Chain.Fund(ctx, addr, uint64(sat)); err != nil {
			return err
		}
		sum += sat
	}
	if err := s.Mine(ctx, 1); err != nil {
		return err
	}
	return n.Explain(Until(ctx, name+" has its money", func() (bool, error) {
		b, err := n.API.Balance(ctx)
		return b.Onchain >= sum, err
	}))
}

// Mine adds blocks and waits until every daemon that runs has seen them.
func (s *Sandbox) Mine(ctx context.Context, blocks int) error {
	if err := s.Chain.Mine(ctx, blocks); err != nil {
		return err
	}
	return s.Synced(ctx)
}

// Synced waits until every daemon that runs has seen the chain's tip.
func (s *Sandbox) Synced(ctx context.Context) error {
	tip, err := s.Chain.Height(ctx)
	if err != nil {
		return err
	}
	running := slices.DeleteFunc(s.Nodes(), func(n *Node) bool { return !n.Running() })
	for _, n := range running {
		err := Until(ctx, fmt.Sprintf("%s has seen block %d", n.Name, tip), func() (bool, error) {
			status, err := n.API.Status(ctx)
			return status.Height >= tip && status.Synced, err
		})
		if err != nil {
			return n.Explain(err)
		}
	}
	return nil
}
