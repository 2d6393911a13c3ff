package gateway

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnel/runnel/channel"
)

func TestBudgetEdges(t *testing.T) {
	b := NewBudget(100)
	take := func(amount channel.Msat, want bool) {
		t.Helper()
		if left, ok := b.reserve(amount); ok != want {
			t.Errorf("reserve %d with %d used: %v, %d left", amount, b.Used(), ok, left)
		}
	}
	take(101, false)
	take(math.MaxUint64, false)
	take(60, true)
	take(41, false)
	take(math.MaxUint64-59, false) // 60 more would be 0
	take(40, true)
	take(1, false)
	take(0, true)
	b.cancel(40)
	take(40, true)
	if b.Used() != 100 || b.Limit() != 100 {
		t.Errorf("%d of %d used", b.Used(), b.Limit())
	}
	if huge := NewBudget(math.MaxUint64); huge.Limit() != maxAmount {
		t.Errorf("a limit of %d", huge.Limit())
	}
	var none *Budget
	if _, ok := none.reserve(maxAmount); !ok {
		t.Error("no budget is no bound")
	}
	none.vouchered(1, channel.ID{1}, 1)
	none.settle(1, 1)
	none.cancel(1)
}

// What a receipt does not admit counts as soon as a voucher shows it.
func TestBudgetDoesNotBelieveReceipts(t *testing.T) {
	id, total := channel.ID{1}, channel.Msat(5000)
	b := NewBudget(100)
	paid := 0
	for ; paid < 50; paid++ {
		if _, ok := b.reserve(20); !ok {
			break
		}
		total += 20 // it was drawn, so the next voucher has to go further
		b.vouchered(20, id, total)
		b.settle(20, 1)
	}
	if paid != 5 {
		t.Errorf("a payee that draws 20 msat and admits 1 was paid %d times out of a budget of 100", paid)
	}
}

// An honest payee, whose unused credit is used again, is paid until the budget is nearly used: the credit that is
// still there, and what is authorised next, have to fit into it too.
func TestBudgetBelievesHonestReceipts(t *testing.T) {
	id, spent := channel.ID{1}, channel.Msat(5000)
	b := NewBudget(100)
	paid := 0
	for ; paid < 500; paid++ {
		if _, ok := b.reserve(20); !ok {
			break
		}
		b.vouchered(20, id, spent+20)
		spent++
		b.settle(20, 1)
	}
	if paid != 62 || b.Used() != 81 {
		t.Errorf("paid %d times, %d used", paid, b.Used())
	}
}

// Others who pay on the same channel don't use up the budget.
func TestBudgetOfOneAmongMany(t *testing.T) {
	b := NewBudget(100)
	for i := range channel.Msat(10) {
		if _, ok := b.reserve(10); !ok {
			t.Fatalf("refused after %d payments of 10", i)
		}
		b.vouchered(10, channel.ID{1}, 1_000_000*(i+1))
		b.settle(10, 10)
	}
	if _, ok := b.reserve(1); ok {
		t.Error("more than the limit")
	}
}

func TestBudgetInParallel(t *testing.T) {
	b := NewBudget(1000)
	var got atomic.Uint64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 100 {
				if _, ok := b.reserve(3); ok {
					got.Add(3)
					b.vouchered(3, channel.ID{1}, 3)
					b.settle(3, 3)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != 999 || b.Used() != 999 {
		t.Errorf("%d were given out, %d count", got.Load(), b.Used())
	}
}
