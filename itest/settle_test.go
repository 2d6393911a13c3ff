package itest

import (
	"fmt"
	"testing"

	"github.com/runnel/runnel/cmd/sandbox"
)

// openFor is open with a life in blocks.
func (w *world) openFor(from, to string, deposit, life int) string {
	w.t.Helper()
	addr, err := w.Node(to).Address(w.ctx)
	w.check(err)
	opened := w.one(from, "open", addr, "-y", "--deposit", fmt.Sprintf("%dsat", deposit), "--expiry", fmt.Sprint(life))
	id := opened.text("channel_id")
	w.until("the channel is open", func() bool {
		w.check(w.Mine(w.ctx, 1))
		return w.usable(from, id, false) && w.usable(to, id, false)
	})
	return id
}

// rate of a transaction in sat per 1000 bytes of its whole length, for comparison of transactions of one kind.
func (w *world) rate(tx sandbox.Tx) int64 {
	w.t.Helper()
	fee, err := w.Fee(w.ctx, tx)
	w.check(err)
	return int64(fee) * 1000 / int64(tx.SerializeSize())
}

// TestSettleAll: three lanes are settled in one transaction, which the network forgets. While the payee is away
// one of them expires and its payer takes it back; when the payee is there again the other two are settled
// without it, at a fee that is no lower.
func TestSettleAll(t *testing.T) {
	t.Parallel()
	w := pair(t)
	short := w.openFor("alice", "bob", 300_000, 50)
	ids := []string{w.openFor("alice", "bob", 300_000, 150), w.openFor("alice", "bob", 300_000, 150)}
	for i, id := range append(ids, short) {
		w.must("alice", "pay", id, fmt.Sprintf("%dsat", 30_000+10_000*i))
	}
	plan := w.ask("bob", "settle", "--all", "--dry-run")
	if len(plan) != 3 || plan[0].number("value_sat") != 50_000 || plan[0].text("txid") != "" {
		t.Fatalf("%v", plan)
	}
	if o := w.runnel("--node", "bob", "settle", "--all", "-y", "--below-fee", "0.5"); o.code != 4 {
		t.Errorf("settled at more than 0.5 sat/vB: exit %d, %s%s", o.code, o.out, o.err)
	}
	settled := w.ask("bob", "settle", "--all", "-y")
	first, err := w.Tx(w.ctx, settled[0].text("txid"))
	w.check(err)
	before := w.rate(first)
	if len(first.TxIn) != 3 || len(first.TxOut) != 4 {
		t.Fatalf("%d inputs, %d outputs", len(first.TxIn), len(first.TxOut))
	}
	deposit, at := w.funding(w.one("alice", "channel", short).text("funding_txid"), 300_000)
	expiry := w.one("bob", "channel", short).number("expiry_height")

	w.Node("bob").Kill()
	w.check(w.Chain.Stop())
	w.check(w.RestartChain(w.ctx)) // without what its mempool held
	tip, err := w.Chain.Height(w.ctx)
	w.check(err)
	w.check(w.Mine(w.ctx, int(expiry)-int(tip)))
	refund := w.spender(deposit, at)
	w.check(w.Mine(w.ctx, 1))
	if len(refund.TxOut) != 1 {
		t.Errorf("the expired lane did not return: %v", refund.TxOut)
	}

	w.check(w.Node("bob").Restart(w.ctx))
	funding, at := w.funding(w.one("alice", "channel", ids[0]).text("funding_txid"), 300_000)
	again := w.spender(funding, at)
	if len(again.TxIn) != 2 || w.rate(again) < before*9/10 { // a lane less changes what a byte of it is
		t.Errorf("%d inputs; %d sat for 1,000 bytes after %d", len(again.TxIn), w.rate(again), before)
	}
	w.until("all are closed", func() bool {
		w.check(w.Mine(w.ctx, 1))
		for _, id := range append(ids, short) {
			if w.one("bob", "channel", id).text("phase") != "closed" {
				return false
			}
		}
		return true
	})
}
