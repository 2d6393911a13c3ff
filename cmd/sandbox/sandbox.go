package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/ledger/simnet"
)

// Options of Start.
type Options struct {
	Bin string // directory with runneld, runnel and btcd; empty: see Find
	Tmp string // where the sandbox's directory is made; empty: the system's place for temporary files
}

// Sandbox is a running world.
type Sandbox struct {
	Dir    string // everything is in here; also a RUNNEL_HOME
	Runnel string // path of the command line program
	Chain  *simnet.Node

	runneld string
	btcd    string
	once    sync.Once

	mu         sync.Mutex
	nodes      []*Node
	registered []registration
}

type registration struct {
	home         home.Home
	name, socket string
}

// longestName is what a daemon's name and the fixed names may add to Dir in the path of a socket.
const longestName = len("/simnet/") + 32 + len("/") + len(home.SocketName)

// Start makes a world with these daemons, all of them ready. On an error everything is undone.
func Start(ctx context.Context, o Options, daemons ...Daemon) (s *Sandbox, err error) {
	s = new(Sandbox)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if s.runneld, err = Find(o.Bin, "runneld"); err != nil {
		return s, err
	}
	if s.Runnel, err = Find(o.Bin, "runnel"); err != nil {
		return s, err
	}
	btcd, err := Find(o.Bin, "btcd")
	if err != nil {
		return s, err
	}
	if err := s.makeDir(o.Tmp); err != nil {
		return s, err
	}
	if err := s.startChain(ctx, btcd); err != nil {
		return s, err
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, d := range daemons {
		all.Go(func() error { _, err := s.Start(ctx, d); return err })
	}
	return s, all.Wait()
}

// makeDir makes the directory with a short path, since a socket's path has a bound.
func (s *Sandbox) makeDir(tmp string) (err error) {
	if tmp == "" {
		tmp = os.TempDir()
		if len(tmp)+len("/runnel-0123456789")+longestName > home.MaxSocketPath {
			tmp = "/tmp"
		}
	}
	if s.Dir, err = os.MkdirTemp(tmp, "runnel-"); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	s.Dir, err = filepath.EvalSymlinks(s.Dir)
	return err
}

func (s *Sandbox) startChain(ctx context.Context, btcd string) (err error) {
	s.btcd = btcd
	if err := os.Mkdir(s.chainDir(), 0o700); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if err := s.RestartChain(ctx); err != nil {
		return err
	}
	return os.WriteFile(s.PassFile(), []byte(s.Chain.RPCPass()+"\n"), 0o600)
}

// RestartChain starts btcd again after Chain.Stop, with its chain, ports and credentials as they were.
// Chain is another value then.
func (s *Sandbox) RestartChain(ctx context.Context) error {
	chain, err := simnet.Start(ctx, simnet.Options{Dir: s.chainDir(), BtcdPath: s.btcd})
	if err == nil {
		s.Chain = chain
	}
	return err
}

func (s *Sandbox) chainDir() string { return filepath.Join(s.Dir, "btcd") }

// PassFile holds the password of btcd's RPC.
func (s *Sandbox) PassFile() string { return filepath.Join(s.chainDir(), "rpc.pass") }

func (s *Sandbox) add(n *Node) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.nodes {
		if other.Name == n.Name {
			return fmt.Errorf("sandbox: there is a %s already", n.Name)
		}
	}
	s.nodes = append(s.nodes, n)
	return nil
}

// Nodes lists the daemons, running or not.
func (s *Sandbox) Nodes() []*Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Node(nil), s.nodes...)
}

// Node returns a daemon by name, nil if there is none.
func (s *Sandbox) Node(name string) *Node {
	for _, n := range s.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Register makes the daemons known by name in a home until Close.
func (s *Sandbox) Register(h home.Home) error {
	for _, n := range s.Nodes() {
		if err := h.Register(n.Name, n.Socket()); err != nil {
			return err
		}
		s.registered = append(s.registered, registration{h, n.Name, n.Socket()})
	}
	return nil
}

// Close ends all processes in good order and removes the directory. It may be called more than once.
func (s *Sandbox) Close() (err error) {
	s.once.Do(func() { err = s.close() })
	return err
}

func (s *Sandbox) close() error {
	var errs []error
	for _, r := range s.registered {
		errs = append(errs, r.home.Unregister(r.name, r.socket))
	}
	var all errgroup.Group
	for _, n := range s.Nodes() {
		n.API.CloseConnections()
		all.Go(n.Stop)
	}
	errs = append(errs, all.Wait())
	if s.Chain != nil {
		errs = append(errs, s.Chain.Stop())
	}
	if s.Dir != "" {
		errs = append(errs, os.RemoveAll(s.Dir))
	}
	return errors.Join(errs...)
}
