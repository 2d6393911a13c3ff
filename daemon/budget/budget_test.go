package budget

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
)

var now = time.Date(2026, 1, 2, 3, 30, 0, 0, time.UTC)

func testLimits(t *testing.T, budget channel.Msat) policy.Limits {
	t.Helper()
	l, err := policy.Defaults("simnet")
	if err != nil {
		t.Fatal(err)
	}
	l.Budget = budget
	return l
}

func pay(amount channel.Msat) policy.Payment { return policy.Payment{Amount: amount} }

func reserve(t *testing.T, l *Ledger, amount channel.Msat, at time.Time) Token {
	t.Helper()
	token, err := l.Reserve(pay(amount), at)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantLimit(t *testing.T, l *Ledger, amount channel.Msat, at time.Time) {
	t.Helper()
	token, err := l.Reserve(pay(amount), at)
	var f *channel.Fault
	if !errors.As(err, &f) || f.Code != channel.CodeLimit || token != (Token{}) {
		t.Errorf("Reserve(%d) = %v, %v, want the budget's refusal", amount, token, err)
	}
}

// reload is what a restart does.
func reload(t *testing.T, l *Ledger) *Ledger {
	t.Helper()
	_, record := l.Record()
	again, err := Load(l.limits, record)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestReserveAndRelease(t *testing.T) {
	l := New(testLimits(t, 100))
	a := reserve(t, l, 60, now)
	wantLimit(t, l, 41, now)
	b := reserve(t, l, 40, now.Add(time.Hour))
	wantLimit(t, l, 1, now.Add(time.Hour))
	l.Release(b)
	if left := l.Left(now.Add(time.Hour)); left != 40 {
		t.Errorf("%d left, want 40", left)
	}
	l.Release(Token{})
	l.Release(b) // nothing else counts under its hour
	if used := l.Used(now.Add(time.Hour)); used != 60 {
		t.Errorf("%d used, want 60", used)
	}
	if _, err := l.Reserve(pay(0), now); err == nil {
		t.Error("0 was reserved")
	}
	later := now.Add(25 * time.Hour)
	reserve(t, l, 100, later)
	l.Release(a) // long forgotten
	wantLimit(t, l, 1, later)
}

func TestRestartForgetsNothing(t *testing.T) {
	l := New(testLimits(t, 100))
	reserve(t, l, 60, now)
	reserve(t, l, 30, now.Add(2*time.Hour))
	l = reload(t, l)
	wantLimit(t, l, 11, now.Add(3*time.Hour))
	wantLimit(t, l, 11, now.Add(-time.Hour)) // nor does a clock that is back
	l.Release(TokenAt(now.Add(2*time.Hour), 30))
	l = reload(t, l)
	reserve(t, l, 40, now.Add(3*time.Hour))
	wantLimit(t, l, 1, now.Add(3*time.Hour))
	l = reload(t, l)
	reserve(t, l, 60, now.Add(25*time.Hour))
}

func TestLoadRefusesDamage(t *testing.T) {
	for _, record := range [][]byte{nil, {}, {1, 2}, []byte("no record of ours")} {
		if _, err := Load(testLimits(t, 1), record); !errors.Is(err, policy.ErrWindow) {
			t.Errorf("%q: %v", record, err)
		}
	}
}

func TestSetLimitsKeepsWhatIsUsed(t *testing.T) {
	l := New(testLimits(t, 100))
	reserve(t, l, 80, now)
	l.SetLimits(testLimits(t, 50))
	wantLimit(t, l, 1, now)
	if left := l.Left(now); left != 0 {
		t.Errorf("%d left", left)
	}
	l.SetLimits(testLimits(t, 90))
	reserve(t, l, 10, now)
	wantLimit(t, l, 1, now)
}

func TestRaise(t *testing.T) {
	l := New(testLimits(t, 100))
	l.Raise(150, now)
	wantLimit(t, l, 1, now)
	l.Raise(policy.NoLimit, now)
	if used := l.Used(now); used != policy.NoLimit {
		t.Errorf("%d used", used)
	}
}

// TestSpendingInParallel: 64 spenders, refusals and restarts never bring what is outstanding above the
// budget, and in the end exactly the budget was given out.
func TestSpendingInParallel(t *testing.T) {
	const budget = 1_000_003
	l := New(testLimits(t, budget))
	var outstanding atomic.Int64
	var wg sync.WaitGroup
	for w := range 64 {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		wg.Go(func() {
			for {
				amount := channel.Msat(1 + random.IntN(500))
				token, err := l.Reserve(pay(amount), now)
				if err != nil {
					if amount == 1 {
						return
					}
					if token, err = l.Reserve(pay(1), now); err != nil {
						return
					}
				}
				if sum := outstanding.Add(int64(token.Amount)); sum > budget {
					t.Errorf("%d of %d were given out", sum, budget)
					return
				}
				if random.IntN(3) == 0 {
					outstanding.Add(-int64(token.Amount))
					l.Release(token)
				}
				l.Record()
			}
		})
	}
	wg.Wait()
	for outstanding.Load() < budget { // what late releases gave back
		reserve(t, l, 1, now)
		outstanding.Add(1)
	}
	wantLimit(t, l, 1, now)
	wantLimit(t, reload(t, l), 1, now)
}

// TestAgainstAList: whatever happens in which order, what was reserved in the last 24 hours and not
// released is never above the budget.
func TestAgainstAList(t *testing.T) {
	type spent struct {
		token Token
		at    time.Time
	}
	rapid.Check(t, func(rt *rapid.T) {
		budget := channel.Msat(rapid.IntRange(1, 1000).Draw(rt, "budget"))
		l := New(testLimits(t, budget))
		clock := now
		var list []spent
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"pay", "pay", "pay", "release", "wait", "restart"}).Draw(rt, "do") {
			case "pay":
				amount := channel.Msat(rapid.IntRange(1, 400).Draw(rt, "amount"))
				if token, err := l.Reserve(pay(amount), clock); err == nil {
					list = append(list, spent{token, clock})
				}
			case "release":
				if len(list) > 0 {
					i := rapid.IntRange(0, len(list)-1).Draw(rt, "which")
					l.Release(list[i].token)
					list = append(list[:i], list[i+1:]...)
				}
			case "wait":
				clock = clock.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "minutes")) * time.Minute)
			case "restart":
				l = reload(t, l)
			}
			var sum channel.Msat
			for _, s := range list {
				if clock.Sub(s.at) <= 24*time.Hour {
					sum += s.token.Amount
				}
			}
			if sum > budget {
				rt.Fatalf("%d reserved in 24 hours, the budget is %d", sum, budget)
			}
			if used := l.Used(clock); used < sum {
				rt.Fatalf("%d counted, %d were reserved", used, sum)
			}
		}
	})
}

func BenchmarkReserveAndRecord(b *testing.B) {
	limits, err := policy.Defaults("simnet")
	if err != nil {
		b.Fatal(err)
	}
	l := New(limits)
	for b.Loop() {
		if _, err := l.Reserve(pay(1000), now); err != nil {
			b.Fatal(err)
		}
		l.Record()
	}
}
