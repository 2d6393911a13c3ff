package daemon_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// 64 at once spend more than the budget allows, over two channels; then more than a channel holds: what is
// signed never exceeds either (bitsacco#305).
func TestParallelSpend(t *testing.T) {
	t.Parallel()
	const budget = 30_000_000
	w := newWorld(t)
	alice := w.start("alice", func(c *daemon.Config) { c.Limits.Budget = budget })
	bob, carol := w.start("bob", nil), w.start("carol", nil)
	alice.fund(2_000_000)
	rich, poor := w.open(alice, bob, 1_000_000, 0), w.open(alice, carol, 21_000, 0) // 20,000 sat can be paid
	var refused atomic.Int64
	spend := func(amounts channel.Msat, ids ...channel.ID) (paid channel.Msat) {
		var mu sync.Mutex
		var all sync.WaitGroup
		for g := range 64 {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 3))
				for range 40 {
					r, err := alice.Pay(w.ctx(), channel.PayRequest{Target: ids[rng.IntN(len(ids))].String(), Amount: 1 + channel.Msat(rng.Uint64N(uint64(amounts)))})
					if err != nil {
						refused.Add(1)
						continue
					}
					mu.Lock()
					paid += r.Amount
					mu.Unlock()
				}
			})
		}
		all.Wait()
		return paid
	}
	bounded := func(when string, paid channel.Msat) {
		t.Helper()
		a, b := alice.State(rich), alice.State(poor)
		if sum := a.Out.Total + b.Out.Total; sum > budget || sum != paid || alice.BudgetUsed() != paid {
			t.Errorf("%s: signed %d, paid %d, counted %d, the budget is %d", when, sum, paid, alice.BudgetUsed(), budget)
		}
		if b.Out.Total > b.Terms.Out.Capacity() {
			t.Errorf("%s: %d of %d on the small channel", when, b.Out.Total, b.Terms.Out.Capacity())
		}
		if got := bob.State(rich).In.Spent + carol.State(poor).In.Spent; got != paid {
			t.Errorf("%s: %d arrived, %d were paid", when, got, paid)
		}
	}
	first := spend(16_000, poor) // 2,560 payments of 20 million together, as much as the channel holds
	first += spend(1_000_000, poor)
	bounded("one channel", first)
	if alice.State(poor).Out.Total < 19_000_000 {
		t.Errorf("only %d were spent", alice.State(poor).Out.Total)
	}
	bounded("both", first+spend(100_000, rich, poor))
	if refused.Load() == 0 {
		t.Error("nothing was refused")
	}
}
