package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

// A funding that a reorganisation takes out of the chain stops its lane, and resumes it when it is back;
// also on nodes that were started a moment before and know no older blocks.
func TestReorganisedFunding(t *testing.T) {
	t.Parallel()
	for depth := 1; depth <= 6; depth++ {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.chain.Mine(10)
			alice, bob, id := w.pair()
			alice.pay(id.String(), 10_000)
			bob.pay(id.String(), 3_000)
			must(t, w.chain.Reorg(depth)) // what was in the blocks waits in the mempool
			w.synced(alice, bob)
			if depth >= 3 { // the opener's funding is in one of the last blocks only then for sure
				if i := alice.info(id); i.Spendable != 0 || bob.State(id).InFunding.Ready {
					t.Errorf("alice can spend %d msat of a funding that is not in the chain", i.Spendable)
				}
				if _, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); codeOf(err) != channel.CodeNotOpen {
					t.Errorf("paid on a lane without funding: %v", err)
				}
			}
			w.mineUntil("both lanes are back", func() bool {
				return alice.info(id).Spendable > 0 && bob.info(id).Spendable > 0
			}, alice, bob)
			alice.pay(id.String(), 10_000)
			bob.pay(id.String(), 3_000)
			w.books(alice, bob, id, 20_000)
			w.books(bob, alice, id, 6_000)
			w.conserved(alice, bob)
		})
	}
}

// The opener's first scanned block is the one that is reorganised away together with the funding.
func TestReorganisationBelowTheFirstScannedBlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.chain.Mine(10)
	early := w.chain.NewWallet(w.chain.NewChain(), "alice") // the same wallet, funded before the node starts
	_, script, err := early.NewAddress(w.ctx())
	must(t, err)
	_, err = w.chain.Faucet(script, 2_000_000)
	must(t, err)
	w.chain.Mine(1)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.given = 2_000_000
	_, _, err = alice.wallet.NewAddress(w.ctx())
	must(t, err)
	w.synced(alice, bob)
	id := w.open(alice, bob, 1_000_000, 0)
	for range 3 {
		w.chain.MineEmpty(1)
		w.synced(alice, bob)
	}
	faucet, _, err := w.chain.Transaction(w.tx(alice.State(id).OutFunding.Claimed.TxID).MsgTx().TxIn[0].PreviousOutPoint.Hash)
	must(t, err)
	must(t, w.chain.Reorg(6, faucet, alice.State(id).OutFunding.Tx.Raw)) // both are in a block that is the nodes' past
	w.synced(alice, bob)
	w.mineUntil("the lane is back", func() bool { return alice.info(id).Spendable > 0 }, alice, bob)
	alice.pay(id.String(), 10_000)
	w.conserved(alice, bob)
}

// Nothing is paid or taken before the scan; later a payee goes on without sight of the chain up to its
// cap, then refuses, and takes again when it sees.
func TestChainAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 1_000)
	bob.halt()
	bob.chain.SetAway(true)
	bob.boot()
	if _, err := bob.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); err == nil {
		t.Error("paid before the chain was scanned")
	}
	ctx, cancel := context.WithTimeout(w.ctx(), 300*time.Millisecond)
	defer cancel()
	if _, err := alice.Pay(ctx, channel.PayRequest{Target: id.String(), Amount: 1_000}); err == nil {
		t.Error("a payee took money before its scan")
	}
	bob.chain.SetAway(false)
	w.synced(alice, bob)
	w.eventually("paid", func() bool {
		_, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1_000})
		return err == nil
	})
	limit := 5_000
	bob.limit(channel.Msat(limit))
	bob.chain.SetAway(true)
	w.eventually("bob is blind", func() bool { // not only his wallet
		s, err := bob.Status(w.ctx())
		return err == nil && strings.Contains(strings.Join(s.Attention, "\n"), "chain backend")
	})
	taken, refused := 0, 0
	for range 10 {
		r := alice.pay(id.String(), 1_000)
		switch r.Status {
		case channel.PayAcknowledged:
			taken++
		case channel.PayRefused:
			refused++
			if r.Reason != channel.RefusedBlind {
				t.Errorf("refused for %s", r.Reason)
			}
		}
	}
	if taken != 5 || refused != 5 {
		t.Errorf("%d taken, %d refused", taken, refused)
	}
	bob.chain.SetAway(false)
	w.synced(bob)
	if r := alice.pay(id.String(), 1_000); r.Status != channel.PayAcknowledged {
		t.Errorf("after the chain is back: %s", r.Status)
	}
	w.eventually("the books agree", func() bool { return alice.State(id).Out.Hash == bob.State(id).In.Hash })
	if a, b := alice.State(id), bob.State(id); a.Out.Spent != b.In.Spent || a.Out.Total > a.Out.Spent+5_000 {
		t.Errorf("spent %d and %d, signed %d", a.Out.Spent, b.In.Spent, a.Out.Total)
	}
	w.conserved(alice, bob)
}

func (m *member) limit(blind channel.Msat) {
	m.w.t.Helper()
	limits := m.cfg.Limits
	limits.BlindCap = blind
	must(m.w.t, m.SetLimits(limits))
}

// A settlement that a reorganisation takes away is published again, whatever the miners do meanwhile.
func TestReorganisedSettlement(t *testing.T) {
	t.Parallel()
	for depth := 1; depth <= 5; depth++ {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice, bob, id := w.pair()
			alice.pay(id.String(), 123_456_789)
			alice.halt()
			_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
			must(t, err)
			w.mineUntil("settled", func() bool { return bob.State(id).InFunding.Spend != nil }, bob)
			w.chain.Mine(depth - 1)
			w.synced(bob)
			must(t, w.chain.Reorg(depth))
			for _, id := range w.chain.Mempool() {
				w.chain.Evict(id) // the miners forgot it
			}
			alice.boot()
			for w.chain.Height() < bob.info(id).Expiry+8 {
				w.chain.Mine(1)
				w.synced(alice, bob)
			}
			w.mineUntil("both closed", func() bool {
				return alice.info(id).Phase == channel.PhaseClosed && bob.info(id).Phase == channel.PhaseClosed
			}, alice, bob)
			w.conserved(alice, bob)
			if got := w.lockedNow(alice, bob); got != 0 {
				t.Errorf("%d sat are still locked", got)
			}
		})
	}
}
