package itest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSeedAlone: all that is left is seed.json. The daemon finds its deposits on the chain, and has back to
// the satoshi what the peer did not settle.
func TestSeedAlone(t *testing.T) {
	t.Parallel()
	w := pair(t)
	quiet := w.open("alice", "bob", 600_000, 0)
	paid := w.second("alice", "bob", 400_000)
	w.must("alice", "pay", paid, "50_000_001msat")
	before := w.one("alice", "balance").number("onchain_sat")
	txid := w.one("alice", "channel", quiet).text("funding_txid")
	paidTxid := w.one("alice", "channel", paid).text("funding_txid")
	expiry := w.one("alice", "channel", quiet).number("expiry_height")

	alice := w.Node("alice")
	w.check(alice.Stop())
	entries, err := os.ReadDir(alice.Dir)
	w.check(err)
	for _, e := range entries {
		if e.Name() != "seed.json" {
			w.check(os.RemoveAll(filepath.Join(alice.Dir, e.Name())))
		}
	}
	// The peer settles what it was paid, in the meantime.
	w.must("bob", "close", paid, "--force")
	funding, at := w.funding(paidTxid, 400_000)
	settled := w.spender(funding, at)

	w.check(alice.Restart(w.ctx))
	w.until("both deposits are found", func() bool {
		n := 0
		for _, c := range w.ask("alice", "channels") {
			if c.text("phase") != "abandoned" {
				n++
			}
		}
		return n == 2
	})
	text := w.one("alice", "status")["attention"]
	if all, _ := text.([]any); len(all) == 0 || !strings.Contains(all[len(all)-1].(string), "found with the seed") && !strings.Contains(all[0].(string), "found with the seed") {
		t.Errorf("attention: %v", text)
	}
	swept := w.spender(settled, 0)
	sweepFee, err := w.Fee(w.ctx, swept)
	w.check(err)

	tip, err := w.Chain.Height(w.ctx)
	w.check(err)
	own, ownAt := w.funding(txid, 600_000)
	w.check(w.Mine(w.ctx, int(expiry)-int(tip)-2))
	if own, err = w.Tx(w.ctx, own.ID); err != nil {
		t.Fatal(err)
	}
	if _, early, err := w.Spender(w.ctx, own, ownAt); early || err != nil {
		t.Fatalf("refunded before block %d (%v)", expiry, err)
	}
	w.check(w.Mine(w.ctx, 2))
	refund := w.spender(own, ownAt)
	fee, err := w.Fee(w.ctx, refund)
	w.check(err)
	want := before + 600_000 - int64(fee) + 400_000 - 50_001 - int64(sweepFee)
	w.until("all is back", func() bool {
		w.check(w.Mine(w.ctx, 1))
		return w.one("alice", "balance").number("onchain_sat") == want
	})
	for _, c := range w.ask("alice", "channels") {
		w.until("the channel is over", func() bool {
			w.check(w.Mine(w.ctx, 1))
			p := w.one("alice", "channel", c.text("channel_id")).text("phase")
			return p == "closed" || p == "abandoned"
		})
	}
}

// second opens one more channel between two that know each other.
func (w *world) second(from, to string, deposit int64) string {
	w.t.Helper()
	addr, err := w.Node(to).Address(w.ctx)
	w.check(err)
	id := w.one(from, "open", addr, "-y", "--deposit", fmt.Sprintf("%dsat", deposit)).text("channel_id")
	w.until("the channel is open", func() bool {
		w.check(w.Mine(w.ctx, 1))
		return w.usable(from, id, false) && w.usable(to, id, false)
	})
	return id
}
