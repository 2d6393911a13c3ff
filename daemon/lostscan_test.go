package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// A database that was made again from the journal has no list of scanned blocks. What happened on the chain
// meanwhile is seen all the same (found by the simulation, seed 105).
func TestBlocksMissedWithoutAListOfThem(t *testing.T) {
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 50_000_000)
	alice.halt()
	_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
	must(t, err)
	w.mineUntil("bob's settlement is in a block", func() bool { return bob.State(id).InFunding.Spend != nil }, bob)
	w.chain.Mine(3)
	_, err = alice.disk.Apply([]*store.Batch{new(store.Batch).Delete([]byte("h"))})
	must(t, err)
	alice.boot()
	w.synced(alice)
	w.eventually("alice knows what bob took", func() bool {
		sp := alice.State(id).OutFunding.Spend
		return sp != nil && sp.Kind == channel.SpentSettled && sp.Total == 50_000_000
	})
	w.mineUntil("alice has the rest back", func() bool { return alice.info(id).Phase == channel.PhaseClosed }, alice, bob)
	w.conserved(alice, bob)
}
