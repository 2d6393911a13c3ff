package btcwallet_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"

	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/ledger/simnet"
	"github.com/runnel/runnel/ledger/simnet/simnettest"
)

var (
	agreeSeed = flag.Uint64("agree.seed", 1, "first seed of the random transactions of TestMemoryAgreesWithBtcd")
	agreeRuns = flag.Uint64("agree.runs", 1, "how many seeds")
)

// twins are a real btcd and the chain in memory, with the same coins at the same heights.
type twins struct {
	t      *testing.T
	ctx    context.Context
	sim    *simnet.Node
	real   *btcwallet.Chain
	memory *ledgertest.Memory
	twin   *ledgertest.MemoryChain
	made   *txMaker
	count  map[string]int // verdicts, to see that each kind came
}

// TestMemoryAgreesWithBtcd offers the same random transactions, valid, wrong and on the border, to the
// mempool of a real btcd with standardness on and to the chain in memory. Each gets the same verdict, and
// both mempools hold the same, over blocks and reorganisations too.
//
//	go test ./ledger/btcwallet -run MemoryAgrees -agree.seed 5 -agree.runs 20
func TestMemoryAgreesWithBtcd(t *testing.T) {
	t.Parallel()
	for i := range *agreeRuns {
		seed := *agreeSeed + i
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) { agree(t, seed) })
	}
}

const agreeTxs = 1000

func agree(t *testing.T, seed uint64) {
	w := newTwins(t, seed)
	for i := range agreeTxs {
		offer := w.made.next(w.memory.Height())
		w.offer(fmt.Sprintf("transaction %d, %s", i, offer.what), offer)
		switch {
		case i%150 == 149:
			w.mine(1)
			w.reorg(1 + w.made.rnd.IntN(3))
		case i%40 == 39:
			w.mine(1)
		}
	}
	w.evictions()
	w.mine(1)
	for _, verdict := range slices.Sorted(maps.Keys(w.count)) {
		t.Logf("%5d %s", w.count[verdict], verdict)
	}
	for _, verdict := range []string{"taken", "conflict", "rejected"} {
		if w.count[verdict] < agreeTxs/20 {
			t.Errorf("only %d of %d transactions are %s: the test tests little", w.count[verdict], agreeTxs, verdict)
		}
	}
}

func newTwins(t *testing.T, seed uint64) *twins {
	ctx := t.Context()
	sim := simnettest.Start(t)
	node := open(t, config(t, btcd(sim)))
	w := &twins{t: t, ctx: ctx, sim: sim, real: node.Chain, memory: ledgertest.NewMemory(), count: map[string]int{},
		made: newTxMaker(seed)}
	w.twin = w.memory.NewChain()
	ok(t, sim.Mine(ctx, 20)) // blocks that may leave again
	seedID, err := sim.FundScript(ctx, w.made.script(taprootKey), 40_000_000_000)
	ok(t, err)
	ok(t, sim.Mine(ctx, 1))
	money, err := sim.RawTransaction(ctx, seedID)
	ok(t, err)
	fan := w.made.fan(decodeTx(t, money.Raw), w.height()+1)
	_, err = sim.Send(ctx, fan)
	ok(t, err)
	w.memory.MineEmpty(int(w.height()) - int(w.memory.Height()))
	ok(t, sim.Mine(ctx, 1))
	ok(t, w.memory.Plant(fan))
	w.level()
	return w
}

func (w *twins) height() uint32 {
	w.t.Helper()
	h, err := w.sim.Height(w.ctx)
	ok(w.t, err)
	return h
}

// verdict sorts an error.
func verdict(err error) string {
	switch {
	case err == nil:
		return "taken"
	case errors.Is(err, ledger.ErrConflict):
		return "conflict"
	case errors.Is(err, ledger.ErrRejected):
		return "rejected"
	}
	return "failed: " + err.Error()
}

func (w *twins) offer(what string, o offer) {
	w.t.Helper()
	tx := ledger.Tx{ID: o.tx.TxHash(), Raw: encodeTx(w.t, o.tx)}
	for _, step := range []struct {
		name       string
		real, twin func(context.Context, ledger.Tx) error
	}{{"test", w.real.TestAccept, w.twin.TestAccept}, {"publish", w.real.Publish, w.twin.Publish}} {
		a, b := step.real(w.ctx, tx), step.twin(w.ctx, tx)
		if verdict(a) != verdict(b) {
			w.t.Fatalf("%s, %s:\nbtcd   %s: %v\nmemory %s: %v\n%x", what, step.name, verdict(a), a, verdict(b), b, tx.Raw)
		}
		if step.name == "publish" {
			w.count[verdict(a)]++
			w.count[o.what+": "+verdict(a)]++
			w.made.told(o, a == nil)
		}
	}
}

// level holds that both are equally high and that the same waits.
func (w *twins) level() {
	w.t.Helper()
	ids, err := w.sim.Mempool(w.ctx)
	ok(w.t, err)
	var twin []string
	for _, id := range w.memory.Mempool() {
		twin = append(twin, chainhash.Hash(id).String())
	}
	slices.Sort(ids)
	slices.Sort(twin)
	if !slices.Equal(ids, twin) {
		w.t.Fatalf("btcd's mempool has %d transactions, the one in memory %d, and not the same:\n%v\n%v", len(ids), len(twin), ids, twin)
	}
	if a, b := w.height(), w.memory.Height(); a != b {
		w.t.Fatalf("btcd is at block %d, memory at %d", a, b)
	}
}

func (w *twins) mine(n int) {
	w.t.Helper()
	w.level()
	ok(w.t, w.sim.Mine(w.ctx, n))
	w.memory.Mine(n)
	w.level()
}

func (w *twins) reorg(depth int) {
	w.t.Helper()
	ok(w.t, w.sim.Reorg(w.ctx, depth))
	ok(w.t, w.memory.Reorg(depth))
	w.level()
	w.mine(1)
}

// evictions holds the limit of a replacement: 100 transactions leave with the one that is replaced, one more
// can't.
func (w *twins) evictions() {
	for _, children := range []int{99, 100} {
		parent, spends := w.made.family(children)
		w.offer("parent", parent)
		for _, child := range spends {
			w.offer("child", child)
		}
		w.level()
		replacement := w.made.plainRival(parent, 300_000)
		before := len(w.memory.Mempool())
		w.offer(fmt.Sprintf("replacement of %d transactions", children+1), replacement)
		if left := before - len(w.memory.Mempool()); (left > 0) != (children < 100) {
			w.t.Errorf("a replacement of %d transactions changed the mempool by %d", children+1, left)
		}
		w.mine(1)
	}
}
