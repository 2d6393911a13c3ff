package btcwallet_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"go.uber.org/goleak"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/ledger/simnet"
	"github.com/runnel/runnel/ledger/simnet/simnettest"
)

func onNeutrino(t *testing.T) ledgertest.Env {
	n := simnettest.Start(t)
	node := open(t, config(t, light(n)))
	return ledgertest.Env{Net: network{n}, Chain: node.Chain, Wallet: node.Wallet}
}

func TestNeutrinoChain(t *testing.T) {
	t.Parallel()
	ledgertest.TestChain(t, onNeutrino)
}

func TestNeutrinoWallet(t *testing.T) {
	t.Parallel()
	ledgertest.TestWallet(t, onNeutrino)
}

func light(n *simnet.Node) btcwallet.Backend {
	return btcwallet.Backend{Kind: "neutrino", Neutrino: btcwallet.Neutrino{Peers: []string{n.P2PAddr()}}}
}

// A light client asks the fee URL; while that has no answer it looks at what blocks were paid.
func TestNeutrinoFees(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var good atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !good.Load() {
			io.WriteString(w, `{"1": 1e9}`)
			return
		}
		io.WriteString(w, `{"fastestFee": 31, "halfHourFee": 20, "hourFee": 11}`)
	}))
	defer server.Close()
	sim := simnettest.Start(t)
	c := config(t, light(sim))
	node := open(t, c)
	synced(t, node)
	estimate := func(n *btcwallet.Node, blocks uint32) (ledger.FeeRate, string) {
		t.Helper()
		rate, source, err := n.Chain.EstimateFee(ctx, blocks)
		ok(t, err)
		return rate, source
	}
	until(t, "blocks without fees give the floor", func() bool {
		rate, source := estimate(node, 6)
		return rate == btcwallet.FeeFloor && source == "floor (recent blocks: less)"
	})
	// Six of the last eleven blocks are paid, three of them well.
	addr, _, err := node.Wallet.NewAddress(ctx)
	ok(t, err)
	for i := range 7 {
		_, err := sim.Fund(ctx, addr, 500_000)
		ok(t, err)
		ok(t, sim.Mine(ctx, 1))
		confirmed(t, node, 500_000)
		tx, err := node.Wallet.SendAll(ctx, append([]byte{0, 20}, make([]byte, 20)...), ledger.FeeRate(3000+20_000*(i/4)))
		ok(t, err)
		until(t, "the transaction waits", func() bool {
			ids, err := sim.Mempool(ctx)
			ok(t, err)
			return slices.Contains(ids, chainhash.Hash(tx.ID).String())
		})
		ok(t, sim.MineForFees(ctx))
		confirmed(t, node, 0)
	}
	until(t, "the median of what blocks were paid", func() bool {
		rate, source := estimate(node, 6)
		soon, _ := estimate(node, 1)
		return source == "recent blocks" && rate >= 3000 && rate < 3200 && soon >= 23_000 && soon < 23_500
	})
	ok(t, node.Close())

	log := &lines{}
	c.FeeURL, c.Log = server.URL, slog.New(slog.NewTextHandler(log, nil))
	node = open(t, c)
	synced(t, node)
	until(t, "blocks, since the server talks nonsense", func() bool { _, source := estimate(node, 6); return source == "recent blocks" })
	if log.count("no fee estimates from the fee URL") != 1 {
		t.Error("the log does not say that the server talks nonsense")
	}
	ok(t, node.Close())
	good.Store(true)
	node = open(t, c)
	synced(t, node)
	until(t, "the server's rate", func() bool { _, source := estimate(node, 6); return strings.HasPrefix(source, "fee-url 127.0.0.1:") })
	if rate, _ := estimate(node, 6); rate != 11_000 {
		t.Errorf("%d sat/kvB, the server says 11 sat/vB", rate)
	}
}

// A light client without a peer knows nothing new: it must say so, not show an old tip as the newest.
func TestNeutrinoAwayAtStartAndLater(t *testing.T) {
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
	backend := light(sim)
	ok(t, sim.Stop())

	node := open(t, config(t, backend))
	away := func(what string) {
		t.Helper()
		until(t, what, func() bool { _, err := node.Chain.Tip(ctx); return errors.Is(err, ledger.ErrUnreachable) })
		if _, synced := node.Wallet.Synced(ctx); synced {
			t.Errorf("%s: synced", what)
		}
		if _, err := node.Wallet.Fund(ctx, []ledger.Output{{Script: make([]byte, 22), Value: 1000}}, 2000, nil); !errors.Is(err, ledger.ErrUnreachable) {
			t.Errorf("%s: Fund says %v", what, err)
		}
		if err := node.Chain.Publish(ctx, ledger.Tx{Raw: anyTx(t)}); !errors.Is(err, ledger.ErrUnreachable) {
			t.Errorf("%s: Publish says %v", what, err)
		}
		if _, _, err := node.Chain.EstimateFee(ctx, 6); !errors.Is(err, ledger.ErrUnreachable) {
			t.Errorf("%s: EstimateFee says %v", what, err)
		}
	}
	away("away from the start")
	addr, _, err := node.Wallet.NewAddress(ctx)
	ok(t, err)

	sim = start()
	synced(t, node)
	_, err = sim.Fund(ctx, addr, 70_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, node, 70_000)

	ok(t, sim.Stop())
	away("away later")
	sim = start()
	_, err = sim.Fund(ctx, addr, 30_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	ok(t, sim.Reorg(ctx, 2))
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, node, 100_000)
	synced(t, node)
}

func anyTx(t *testing.T) []byte {
	t.Helper()
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: [32]byte{1}}, nil, nil))
	tx.AddTxOut(wire.NewTxOut(1000, append([]byte{0, 20}, make([]byte, 20)...)))
	var b bytes.Buffer
	ok(t, tx.Serialize(&b))
	return b.Bytes()
}

// A lost or damaged wallet is found again through filters alone, from the first block and from the birthday on.
func TestNeutrinoRebuilt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sim := simnettest.Start(t)
	first := open(t, config(t, light(sim)))
	var last string
	for range 30 {
		addr, _, err := first.Wallet.NewAddress(ctx)
		ok(t, err)
		last = addr
	}
	synced(t, first)
	_, err := sim.Fund(ctx, last, 200_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	confirmed(t, first, 200_000)
	tx, err := first.Wallet.Send(ctx, append([]byte{0, 20}, make([]byte, 20)...), 50_000, 2000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 2))
	want := 150_000 - tx.Fee
	confirmed(t, first, want)
	for name, birthday := range map[string]btcwallet.Birthday{
		"unknown": {}, "height": {Time: time.Now(), Height: 302},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, light(sim))
			c.Birthday, c.NewSeed = birthday, false
			node := open(t, c)
			synced(t, node)
			confirmed(t, node, want)
			ok(t, node.Close())
			if birthday.Height > 0 {
				damaged(t, c, want)
			}
		})
	}
}

// damaged holds that damage to what can be had again is repaired, with a word in the log.
func damaged(t *testing.T, c btcwallet.Config, want channel.Sat) {
	for _, damage := range []struct {
		file, says string
		spoil      func([]byte) []byte
	}{
		{"wallet.db", "database is damaged", func(b []byte) []byte { return b[:len(b)/3] }},
		{"wallet.db", "database is damaged", func(b []byte) []byte { return append(b[:8192:8192], bytes.Repeat([]byte{0xa5}, len(b)-8192)...) }},
		{"neutrino/neutrino.db", "headers are damaged", func(b []byte) []byte { return append(bytes.Repeat([]byte{0x5a}, 8192), b[8192:]...) }},
		{"neutrino/block_headers.bin", "headers are damaged", func(b []byte) []byte { return b[:len(b)/2] }},
	} {
		log := &lines{}
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		path := filepath.Join(c.Dir, damage.file)
		b, err := os.ReadFile(path)
		ok(t, err)
		ok(t, os.WriteFile(path, damage.spoil(b), 0o600))
		node := open(t, c)
		synced(t, node)
		confirmed(t, node, want)
		if log.count(damage.says) != 1 {
			t.Errorf("%s: the log says nothing of the damage", damage.file)
		}
		ok(t, node.Close())
	}
}

// Not parallel: it counts the goroutines of the whole process.
func TestNeutrinoLeavesNothingBehind(t *testing.T) {
	sim := simnettest.Start(t)
	before := goleak.IgnoreCurrent()
	node := open(t, config(t, light(sim)))
	synced(t, node)
	ok(t, node.Close())
	c := config(t, light(sim))
	c.Backend.Neutrino.Peers = []string{"127.0.0.1:1"} // nobody there
	node = open(t, c)
	ok(t, node.Close())
	goleak.VerifyNone(t, before)
}
