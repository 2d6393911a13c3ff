package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
)

// A close together that no block takes gives way at the stop height: the settlements of both sides pay more
// than it does, or the mempools would keep it.
func TestSettlementReplacesAClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id, bobs := w.used()
	r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.eventually("published", func() bool { return w.waits(r.TxID) })
	lane, stop := bob.State(id).InFunding.Claimed, bob.info(id).Expiry-24
	for w.chain.Height() < stop {
		if !w.waits(r.TxID) {
			t.Fatalf("the close is gone at block %d of %d", w.chain.Height(), stop)
		}
		w.chain.MineEmpty(1)
		w.synced(alice, bob)
	}
	w.eventually("settled in its place", func() bool { return w.spentWaiting(lane) && !w.waits(r.TxID) })
	if x := bob.State(id).InFunding.Exit; x == nil || x.Fee <= r.Fee {
		t.Errorf("%+v takes the place of a close that pays %d sat", x, r.Fee)
	}
	w.finish(alice, bob, id, bobs)
}

// A node that was away until shortly before the expiry chooses its fee once, by the present height: the blocks
// that it missed could not have taken what it had not published.
func TestCatchingUpRaisesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 100_000_000)
	alice.halt()
	bob.halt()
	for w.chain.Height() < bob.expiryOf(id)-5 {
		w.chain.MineEmpty(1)
	}
	bob.boot()
	w.synced(bob)
	w.eventually("published", func() bool { return len(w.chain.Mempool()) == 1 })
	if x := bob.State(id).InFunding.Exit; x.Rate != 1250*3/2 {
		t.Errorf("the first settlement pays %d sat/kvB", x.Rate)
	}
	w.chain.Mine(1)
	w.synced(bob)
	w.eventually("settled", func() bool { return bob.State(id).InFunding.Spend != nil })
}

// expiryOf reads the store of a node that is down.
func (m *member) expiryOf(id channel.ID) uint32 {
	m.w.t.Helper()
	return m.durable(id).Terms.In.Expiry
}
