package daemon_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/mempool"

	"github.com/runnel/runnel/channel"
)

func vsize(tx *btcutil.Tx) int { return int(mempool.GetTxVirtualSize(tx)) }

// waits reports whether a transaction is in the mempool.
func (w *world) waits(txid string) bool {
	return slices.ContainsFunc(w.chain.Mempool(), func(id [32]byte) bool { return channel.TxIDString(id) == txid })
}

// spentWaiting reports whether a transaction in the mempool spends an output.
func (w *world) spentWaiting(o channel.Outpoint) bool {
	return slices.ContainsFunc(w.chain.Mempool(), func(id [32]byte) bool { return slices.Contains(w.inputs(id), o) })
}

// Everything that a node publishes is published again when nodes forget it, after a restart too, and when a
// reorganisation takes it out of the chain: funding, payments and bumps of the wallet, closes, settlements,
// refunds and sweeps.
func TestEverythingIsPublishedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(5_000_000)
	forgotten := func(m *member, what, txid string, spends ...channel.Outpoint) {
		t.Helper()
		published := func() bool { return len(spends) == 0 && w.waits(txid) || len(spends) > 0 && w.spentWaiting(spends[0]) }
		w.eventually(what+" is published", published)
		for _, id := range w.chain.Mempool() {
			w.chain.Evict(id)
		}
		m.restart()
		w.synced(alice, bob)
		m.ResendNow()
		w.chain.MineEmpty(1)
		w.synced(alice, bob)
		w.eventually(what+" is published again", published)
		w.chain.Mine(3)
		w.synced(alice, bob)
		must(t, w.chain.Reorg(4))
		for _, id := range w.chain.Mempool() {
			w.chain.Evict(id)
		}
		w.synced(alice, bob)
		m.ResendNow()
		w.chain.MineEmpty(1)
		w.synced(alice, bob)
		w.eventually(what+" is published after a reorganisation", published)
		w.chain.Mine(1)
		w.synced(alice, bob)
	}
	_, err := alice.Connect(w.ctx(), "/mem/p2p/"+string(w.id("bob")))
	must(t, err)
	r, err := alice.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 1_000_000})
	must(t, err)
	forgotten(alice, "the funding", r.FundingTxID)
	address, err := alice.NewAddress(w.ctx())
	must(t, err)
	sent, err := alice.Send(w.ctx(), address, 50_000, false, 1_500)
	must(t, err)
	forgotten(alice, "a payment of the wallet", sent.TxID)
	w.mineUntil("open", func() bool { return alice.info(r.Channel).Spendable > 0 }, alice, bob)
	alice.pay(r.Channel.String(), 100_000_000)
	settled, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: r.Channel.String(), Force: true})
	must(t, err)
	forgotten(bob, "the settlement", settled.TxID, bob.State(r.Channel).InFunding.Claimed)
	w.eventually("swept", func() bool { return alice.State(r.Channel).OutFunding.Exit != nil })
}

// A close whose owner hurries gets a child that pays for both, and both are mined.
func TestBumpOfAClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id, bobs := w.used()
	r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.eventually("published", func() bool { return w.waits(r.TxID) })
	sent, err := alice.Bump(w.ctx(), r.TxID, 20_000)
	must(t, err)
	if sent.TxID == r.TxID || !w.waits(r.TxID) || !w.waits(sent.TxID) {
		t.Fatalf("bumped by %s", sent.TxID)
	}
	close, child := w.tx(w.chain.Mempool()[0]), w.tx(w.chain.Mempool()[1])
	if fees := int64(r.Fee + sent.Fee); fees*1000 < 19_000*int64(vsize(close)+vsize(child)) {
		t.Errorf("%d sat for %d vB", fees, vsize(close)+vsize(child))
	}
	for _, tx := range w.chain.Mempool() { // and it is not forgotten
		w.chain.Evict(tx)
	}
	alice.restart()
	w.synced(alice, bob)
	w.eventually("both are published again", func() bool {
		alice.ResendNow()
		return w.waits(r.TxID) && w.waits(sent.TxID)
	})
	w.finish(alice, bob, id, bobs)
}

// The status says what runs out, while it does.
func TestStatusBeforeExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 100_000_000)
	expiry := bob.info(id).Expiry
	says := func(blocks uint32, words string) {
		t.Helper()
		for w.chain.Height() < expiry-blocks {
			w.chain.MineEmpty(1)
			w.synced(alice, bob)
		}
		w.eventually(words, func() bool {
			s, err := bob.Status(w.ctx())
			return err == nil && strings.Contains(strings.Join(s.Attention, "\n"), words)
		})
	}
	says(72, "open its successor")
	says(36, "can't be closed together")
	says(12, "the fee rises with every block")
	says(0, "the payer can take")
}
