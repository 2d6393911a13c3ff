package daemon

import (
	"testing"
	"time"

	"github.com/runnel/runnel/policy"
)

func TestAllowance(t *testing.T) {
	a := allowance{burst: 3, every: time.Minute}
	now := time.Unix(1_000_000, 0)
	count := func(tries int) (n int) {
		for range tries {
			if a.take(now) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		later time.Duration
		want  int
	}{{0, 3}, {59 * time.Second, 0}, {time.Second, 1}, {30 * time.Second, 0}, {90 * time.Second, 2}, {time.Hour, 3}, {-time.Hour, 0}} {
		now = now.Add(step.later)
		if got := count(10); got != step.want {
			t.Errorf("after %v: %d, want %d", step.later, got, step.want)
		}
	}
}

func TestOpeningsOfManyPeers(t *testing.T) {
	o := newOpenings()
	now := time.Unix(1_000_000, 0)
	n := 0
	for i := range 100_000 {
		if o.take(time.Duration(i).String(), now, new(policy.Limits)) {
			n++
		}
	}
	if n != openBurst || len(o.each) > maxOpenPeers {
		t.Errorf("%d opens of strangers at once, %d peers are known", n, len(o.each))
	}
}

func TestOpeningsFollowTheLimits(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, l := range []policy.Limits{{}, {MaxPending: 10_000, MaxPendingTotal: 10_000}} {
		o, n := newOpenings(), 0
		for range 20_000 {
			if o.take("one peer", now, &l) {
				n++
			}
		}
		if want := max(peerOpenBurst, l.MaxPending); n != want {
			t.Errorf("one peer opened %d at once with limits %d and %d, want %d", n, l.MaxPending, l.MaxPendingTotal, want)
		}
	}
}
