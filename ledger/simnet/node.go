package simnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/rpcclient"
)

// Options of Start.
type Options struct {
	// Dir holds everything that the node writes; it is made when it is missing. A directory that served a node before
	// is taken up again with its chain, ports and credentials.
	Dir string
	// BtcdPath is the btcd binary; empty looks beside the own executable, then in PATH.
	BtcdPath string
	// Log receives what happens to the node; nil is silent. Credentials are never logged.
	Log *slog.Logger
}

// Node is a running private btcd. Its methods are safe for concurrent use.
type Node struct {
	state  state
	log    *slog.Logger
	rpc    *rpcclient.Client
	faucet *btcec.PrivateKey
	proc   *process // nil when attached

	mu   sync.Mutex // one builder of blocks or of faucet spends at a time
	next int32      // first block whose coinbase the faucet has not used up
}

const (
	// The first blocks activate segwit and taproot, whose votes simnet counts in windows of 100.
	activeHeight = 302
	startTimeout = 30 * time.Second
	portAttempts = 5
)

var (
	// ErrNoBtcd says that there is no btcd binary to start.
	ErrNoBtcd = errors.New("simnet: btcd not found: build it with `go build -o bin/btcd github.com/btcsuite/btcd`, put it beside this program or into PATH, or name its path")
	// ErrExited says that btcd ended by itself.
	ErrExited = errors.New("simnet: btcd ended")
)

// Start runs a btcd in o.Dir, waits until its RPC answers, and mines the first blocks so that segwit and
// taproot are active and the faucet has mature coins. The node lives until Stop or the end of this
// process, not until the end of ctx.
func Start(ctx context.Context, o Options) (*Node, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	btcd, err := FindBtcd(o.BtcdPath)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("simnet: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("simnet: %w", err)
	}
	st, known, err := loadOrMakeState(dir)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		n, err := launch(ctx, btcd, dir, st, o.Log)
		if err == nil {
			return n, nil
		}
		if known || attempt == portAttempts || !errors.Is(err, ErrExited) {
			return nil, err
		}
		// Somebody else took a port between choice and use.
		if st, err = makeState(dir); err != nil {
			return nil, err
		}
	}
}

func launch(ctx context.Context, btcd, dir string, st state, log *slog.Logger) (*Node, error) {
	if err := writeConfig(dir, st); err != nil {
		return nil, err
	}
	proc, err := startProcess(btcd, dir)
	if err != nil {
		return nil, err
	}
	st.PID = proc.pid
	n, err := connect(ctx, st, log, proc.done)
	if err != nil {
		proc.stop()
		if proc.ended() {
			err = fmt.Errorf("%w; its last words: %s", err, proc.tail())
		}
		return nil, err
	}
	n.proc = proc
	if err := n.prepare(ctx); err != nil {
		n.Stop()
		return nil, err
	}
	log.Info("btcd started", "pid", st.PID, "rpc", st.RPCHost, "p2p", st.P2PAddr, "dir", dir)
	return n, nil
}

func (n *Node) prepare(ctx context.Context) error {
	if err := n.state.save(); err != nil {
		return err
	}
	height, err := n.Height(ctx)
	if err != nil || height >= activeHeight {
		return err
	}
	return n.Mine(ctx, activeHeight-int(height))
}

// Attach connects to a node that another process started, by its state file (StateFile of its Dir).
func Attach(ctx context.Context, file string) (*Node, error) {
	st, err := readState(file)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if c, err := net.DialTimeout("tcp", st.RPCHost, 2*time.Second); err != nil {
		return nil, fmt.Errorf("simnet: no btcd answers at %s; is the sandbox of %s running? (%w)", st.RPCHost, file, err)
	} else {
		c.Close()
	}
	return connect(ctx, st, slog.New(slog.DiscardHandler), nil)
}

// connect waits for the RPC to answer, until exited is closed.
func connect(ctx context.Context, st state, log *slog.Logger, exited <-chan struct{}) (*Node, error) {
	key, err := st.faucetKey()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		rpc, err := dial(st)
		if err == nil {
			return &Node{state: st, log: log, rpc: rpc, faucet: key, next: 1}, nil
		}
		select {
		case <-exited:
			return nil, fmt.Errorf("%w before its RPC answered", ErrExited)
		case <-ctx.Done():
			return nil, fmt.Errorf("simnet: btcd did not answer at %s: %w (%w)", st.RPCHost, err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func dial(st state) (*rpcclient.Client, error) {
	cert, err := os.ReadFile(st.CertFile)
	if err != nil {
		return nil, err
	}
	// The client's own attempts sleep for seconds; so make sure first that somebody listens.
	c, err := net.DialTimeout("tcp", st.RPCHost, time.Second)
	if err != nil {
		return nil, err
	}
	c.Close()
	rpc, err := rpcclient.New(&rpcclient.ConnConfig{
		Host: st.RPCHost, Endpoint: "ws", User: st.RPCUser, Pass: st.RPCPass, Certificates: cert,
		DisableAutoReconnect: true, DisableConnectOnNew: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	if err := rpc.Connect(1); err != nil {
		rpc.Shutdown()
		return nil, err
	}
	if _, err := rpc.GetBlockCount(); err != nil {
		rpc.Shutdown()
		return nil, err
	}
	return rpc, nil
}

// Stop ends a started node and waits for its end; an attached one is only disconnected. It may be
// called more than once.
func (n *Node) Stop() error {
	n.rpc.Shutdown()
	n.rpc.WaitForShutdown()
	if n.proc == nil {
		return nil
	}
	n.log.Info("btcd stops", "pid", n.state.PID)
	return n.proc.stop()
}

// Height of the best chain.
func (n *Node) Height(ctx context.Context) (uint32, error) {
	h, err := call(ctx, n.rpc.GetBlockCount)
	return uint32(h), err
}

// RPCHost is the host:port of the RPC server.
func (n *Node) RPCHost() string { return n.state.RPCHost }

// RPCUser is the name that the RPC server takes.
func (n *Node) RPCUser() string { return n.state.RPCUser }

// RPCPass is the password that the RPC server takes.
func (n *Node) RPCPass() string { return n.state.RPCPass }

// CertFile is the RPC server's certificate in PEM.
func (n *Node) CertFile() string { return n.state.CertFile }

// P2PAddr is where the node takes connections of other nodes and of light clients.
func (n *Node) P2PAddr() string { return n.state.P2PAddr }

// StateFile is what Attach takes.
func (n *Node) StateFile() string { return n.state.file }

// PID of the btcd process.
func (n *Node) PID() int { return n.state.PID }

// Exited is closed when the process of a started node has ended; nil for an attached one.
func (n *Node) Exited() <-chan struct{} {
	if n.proc == nil {
		return nil
	}
	return n.proc.done
}

// call makes a blocking RPC end with ctx. The answer of an abandoned call is dropped.
func call[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	c := make(chan result, 1)
	go func() {
		v, err := f()
		c <- result{v, err}
	}()
	select {
	case r := <-c:
		if r.err != nil {
			return r.v, fmt.Errorf("simnet: %w", r.err)
		}
		return r.v, nil
	case <-ctx.Done():
		var zero T
		return zero, fmt.Errorf("simnet: %w", ctx.Err())
	}
}
