package daemon_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// Thousands of payments to a peer that is away cost one attempt to connect, and each is told.
func TestPaymentsToAPeerThatIsAway(t *testing.T) {
	w := newWorld(t)
	alice, bob, id := w.pair()
	bob.halt()
	w.eventually("away", func() bool { return !alice.info(id).Connected })
	before := runtime.NumGoroutine()
	b := alice.burst(id, 1, 5_000, 1_000)
	if n := runtime.NumGoroutine() - before; n > 50 {
		t.Errorf("%d goroutines for payments that wait", n)
	}
	w.eventually("each is told", func() bool { _, failed := b.told(); return failed == 5_000 })
	if alice.BudgetUsed() != 0 || alice.Waiting() != 0 || alice.State(id).Out.Total != 0 {
		t.Errorf("budget %d, %d wait, %d signed", alice.BudgetUsed(), alice.Waiting(), alice.State(id).Out.Total)
	}
	bob.boot()
	w.synced(bob)
	w.eventually("back", func() bool { return alice.State(id).Synced })
	alice.burst(id, 1, 100, 1_000).insist() // the same ids
	w.books(alice, bob, id, 100_000)
}

// A payee whose disk fills up refuses, then takes nothing at all, and goes on when there is room.
func TestDiskFillsUp(t *testing.T) {
	w := newWorld(t)
	var free atomic.Int64
	free.Store(10 << 30)
	alice := w.start("alice", nil)
	bob := w.start("bob", func(c *daemon.Config) { c.FreeDisk = free.Load })
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	alice.pay(id.String(), 1_000)
	see := func(n int64) {
		free.Store(n)
		w.chain.Mine(1) // it looks again
		w.synced(alice, bob)
		w.eventually("bob has looked", func() bool { return bob.FreeDisk() == n })
	}
	see(200 << 20)
	if r := alice.pay(id.String(), 1_000); r.Status != channel.PayRefused || r.Reason != channel.RefusedDisk {
		t.Errorf("%+v", r)
	}
	see(100 << 20)
	size := bob.disk.Size()
	b := alice.burst(id, 2, 10, 1_000)
	time.Sleep(100 * time.Millisecond)
	if a, f := b.told(); a+f > 0 || bob.disk.Size() > size+1_000 {
		t.Errorf("%d payments were answered, the store grew by %d", a+f, bob.disk.Size()-size)
	}
	see(10 << 30)
	w.eventually("what came meanwhile is asked for and taken", func() bool { a, _ := b.told(); return a == 10 })
	w.eventually("the books agree", func() bool { return alice.State(id).Out.Hash == bob.State(id).In.Hash })
}
