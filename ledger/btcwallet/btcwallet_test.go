package btcwallet_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"go.uber.org/goleak"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/ledger/simnet"
	"github.com/runnel/runnel/ledger/simnet/simnettest"
)

// network moves a simnet for the suite.
type network struct{ *simnet.Node }

func (n network) Pay(ctx context.Context, script []byte, value channel.Sat) ([32]byte, error) {
	id, err := n.FundScript(ctx, script, uint64(value))
	if err != nil {
		return [32]byte{}, err
	}
	h, err := chainhash.NewHashFromStr(id)
	return *h, err
}

func seed(name string) []byte {
	a, b := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(name+"'"))
	return append(a[:], b[:]...)
}

func btcd(n *simnet.Node) btcwallet.Backend {
	return btcwallet.Backend{Kind: "btcd", Btcd: btcwallet.Btcd{
		Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass(), CertFile: n.CertFile(),
	}}
}

// logger writes to the test's log.
func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func config(t *testing.T, b btcwallet.Backend) btcwallet.Config {
	return btcwallet.Config{
		Network: "simnet", Dir: t.TempDir(), Seed: seed("alice"), Backend: b, Log: logger(t),
		Birthday: btcwallet.Birthday{Time: time.Now()}, NewSeed: true,
	}
}

func open(t *testing.T, c btcwallet.Config) *btcwallet.Node {
	t.Helper()
	n, err := btcwallet.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func onBtcd(t *testing.T) ledgertest.Env {
	n := simnettest.Start(t)
	node := open(t, config(t, btcd(n)))
	return ledgertest.Env{Net: network{n}, Chain: node.Chain, Wallet: node.Wallet}
}

func TestBtcdChain(t *testing.T) {
	t.Parallel()
	ledgertest.TestChain(t, onBtcd)
}

func TestBtcdWallet(t *testing.T) {
	t.Parallel()
	ledgertest.TestWallet(t, onBtcd)
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func synced(t *testing.T, n *btcwallet.Node) {
	t.Helper()
	until(t, "wallet synced", func() bool { _, ok := n.Wallet.Synced(t.Context()); return ok })
}

func confirmed(t *testing.T, n *btcwallet.Node, want channel.Sat) {
	t.Helper()
	until(t, "confirmed balance", func() bool {
		b, err := n.Wallet.Balance(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b.Confirmed == want
	})
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

func TestBackendAwayAtStartAndLater(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir, path := t.TempDir(), simnettest.Btcd(t)
	start := func() *simnet.Node {
		n, err := simnet.Start(ctx, simnet.Options{Dir: dir, BtcdPath: path})
		ok(t, err)
		t.Cleanup(func() { n.Stop() })
		return n
	}
	sim := start()
	backend := btcd(sim)
	ok(t, sim.Stop())

	log := &lines{}
	c := config(t, backend)
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	node := open(t, c)
	_, err := node.Chain.Tip(ctx)
	if !errors.Is(err, ledger.ErrUnreachable) {
		t.Fatalf("Tip without btcd: %v", err)
	}
	addr, _, err := node.Wallet.NewAddress(ctx)
	ok(t, err)
	if _, err := node.Wallet.Fund(ctx, []ledger.Output{{Script: make([]byte, 22), Value: 1000}}, 2000, nil); !errors.Is(err, ledger.ErrUnreachable) {
		t.Fatalf("Fund without btcd: %v", err)
	}
	if _, _, err := node.Chain.EstimateFee(ctx, 6); !errors.Is(err, ledger.ErrUnreachable) {
		t.Fatalf("EstimateFee without btcd: %v", err)
	}

	sim = start()
	synced(t, node)
	// Money that comes while the connection stands, to an address made without it.
	_, err = sim.Fund(ctx, addr, 70_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, node, 70_000)

	// Away again: the wallet keeps what it knows, and hears afterwards what it missed.
	ok(t, sim.Stop())
	until(t, "noticed", func() bool { _, err := node.Chain.Tip(ctx); return errors.Is(err, ledger.ErrUnreachable) })
	if _, up := node.Wallet.Synced(ctx); up {
		t.Error("synced without a backend")
	}
	confirmed(t, node, 70_000)
	sim = start()
	_, err = sim.Fund(ctx, addr, 30_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, node, 100_000)
	synced(t, node)
	if up, down := log.count("backend reached"), log.count("not reachable"); up != 2 || down < 2 || down > 6 {
		t.Errorf("the log says %d times reached and %d times not", up, down)
	}
	if log.count(backend.Btcd.Pass) > 0 {
		t.Error("the password is in the log")
	}
}

func TestReopenWithoutBackend(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sim := simnettest.Start(t)
	c := config(t, btcd(sim))
	node := open(t, c)
	addr, _, err := node.Wallet.NewAddress(ctx)
	ok(t, err)
	_, err = sim.Fund(ctx, addr, 90_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, node, 90_000)
	tx, err := node.Wallet.Fund(ctx, []ledger.Output{{Script: append([]byte{0, 20}, make([]byte, 20)...), Value: 20_000}}, 2000, nil)
	ok(t, err)
	ok(t, node.Close())
	ok(t, node.Close())
	ok(t, sim.Stop())

	began := time.Now()
	node = open(t, c)
	t.Logf("reopened in %v", time.Since(began))
	b, err := node.Wallet.Balance(ctx)
	ok(t, err)
	if b != (ledger.Balance{Locked: 90_000}) {
		t.Errorf("balance after the restart: %+v", b)
	}
	ok(t, node.Wallet.Release(ctx, tx))
	confirmed(t, node, 90_000)
	if err := node.Wallet.Record(ctx, tx, "channel"); err != nil {
		t.Errorf("Record without backend: %v", err)
	}
	confirmed(t, node, 0)
}

func TestReorganisedWhileAway(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sim := simnettest.Start(t)
	c := config(t, btcd(sim))
	node := open(t, c)
	addr, _, err := node.Wallet.NewAddress(ctx)
	ok(t, err)
	ok(t, sim.Mine(ctx, 3))
	_, err = sim.Fund(ctx, addr, 50_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 2))
	confirmed(t, node, 50_000)
	ok(t, node.Close())
	ok(t, sim.Reorg(ctx, 2))

	node = open(t, c)
	synced(t, node)
	var b ledger.Balance
	t.Cleanup(func() { t.Logf("balance at last: %+v", b) })
	until(t, "payment unconfirmed again", func() bool {
		var err error
		b, err = node.Wallet.Balance(ctx)
		ok(t, err)
		return b == ledger.Balance{Pending: 50_000}
	})
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, node, 50_000)
}

func TestRebuiltFromSeed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sim := simnettest.Start(t)
	first := open(t, config(t, btcd(sim)))
	var last string
	for range 30 { // more than the first address must be found
		addr, _, err := first.Wallet.NewAddress(ctx)
		ok(t, err)
		last = addr
	}
	_, err := sim.Fund(ctx, last, 200_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, first, 200_000)
	// The change, too, must be found.
	tx, err := first.Wallet.Send(ctx, append([]byte{0, 20}, make([]byte, 20)...), 50_000, 2000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 2))
	want := 150_000 - tx.Fee
	confirmed(t, first, want)

	for name, birthday := range map[string]btcwallet.Birthday{
		"unknown": {}, "height": {Time: time.Now(), Height: 302},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, btcd(sim))
			c.Birthday, c.NewSeed = birthday, false
			node := open(t, c)
			synced(t, node)
			confirmed(t, node, want)
			if _, err := os.Stat(filepath.Join(c.Dir, "recovery-pending")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("recovery is not finished: %v", err)
			}
		})
	}
}

// Not parallel: it counts the goroutines of the whole process.
func TestCloseLeavesNothingBehind(t *testing.T) {
	sim := simnettest.Start(t)
	before := goleak.IgnoreCurrent()
	node := open(t, config(t, btcd(sim)))
	synced(t, node)
	ok(t, node.Close())
	c := config(t, btcd(sim))
	c.Backend.Btcd.Host = "127.0.0.1:1" // nobody there
	node = open(t, c)
	ok(t, node.Close())
	if _, err := node.Chain.Tip(t.Context()); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("Tip after Close: %v", err)
	}
	goleak.VerifyNone(t, before)
}

func TestOtherSeedAndSecondOpen(t *testing.T) {
	c := config(t, btcwallet.Backend{Kind: "btcd", Btcd: btcwallet.Btcd{Host: "127.0.0.1:1", User: "u", Pass: "p", CertFile: "none"}})
	node := open(t, c)
	if _, err := btcwallet.Open(t.Context(), c); err == nil {
		t.Error("the same database was opened twice")
	}
	ok(t, node.Close())
	c.Seed = seed("bob")
	if _, err := btcwallet.Open(t.Context(), c); !errors.Is(err, btcwallet.ErrOtherSeed) {
		t.Errorf("with another seed: %v", err)
	}
	c.Seed = seed("alice")
	open(t, c)
}

func TestValidate(t *testing.T) {
	good := config(t, btcwallet.Backend{Kind: "btcd", Btcd: btcwallet.Btcd{Host: "127.0.0.1:1", User: "u", Pass: "p", CertFile: "c"}})
	ok(t, good.Validate())
	for name, spoil := range map[string]func(*btcwallet.Config){
		"network":  func(c *btcwallet.Config) { c.Network = "testnet" },
		"dir":      func(c *btcwallet.Config) { c.Dir = "" },
		"seed":     func(c *btcwallet.Config) { c.Seed = c.Seed[:32] },
		"kind":     func(c *btcwallet.Config) { c.Backend.Kind = "electrum" },
		"host":     func(c *btcwallet.Config) { c.Backend.Btcd.Host = "localhost" },
		"user":     func(c *btcwallet.Config) { c.Backend.Btcd.User = "" },
		"cert":     func(c *btcwallet.Config) { c.Backend.Btcd.CertFile = "" },
		"remote":   func(c *btcwallet.Config) { c.Backend.Btcd.Host, c.Backend.Btcd.NoTLS = "10.0.0.1:1", true },
		"bitcoind": func(c *btcwallet.Config) { c.Backend = btcwallet.Backend{Kind: "bitcoind"} },
		"peer": func(c *btcwallet.Config) {
			c.Backend = btcwallet.Backend{Kind: "neutrino", Neutrino: btcwallet.Neutrino{Peers: []string{"x"}}}
		},
		"half a zmq": func(c *btcwallet.Config) {
			c.Backend = btcwallet.Backend{Kind: "bitcoind", Bitcoind: btcwallet.Bitcoind{Host: "127.0.0.1:1", CookieFile: "c", ZMQTx: "tcp://127.0.0.1:2"}}
		},
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, btcwallet.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
