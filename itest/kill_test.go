package itest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

// TestKilledInFlight kills each side, or both, in the middle of payments, again and again: nothing is lost,
// nothing is there twice, and the two agree.
func TestKilledInFlight(t *testing.T) {
	t.Parallel()
	cycles := fromEnv(t, "RUNNEL_KILLS", soaked(5, 200))
	w := pair(t)
	id := w.open("alice", "bob", 2_000_000, 0)
	l := &load{world: w, id: id}
	orders := [][]string{{"bob"}, {"alice"}, {"bob", "alice"}, {"alice", "bob"}, {"bob"}}
	for round := range cycles {
		names := orders[round%len(orders)]
		l.round(fmt.Sprintf("round %d, %v killed", round, names), names, func() { l.kill(names) })
		if l.payments > l.compared+most/2 {
			l.compare()
		}
	}
	l.compare()
	if l.flying < 32*cycles {
		t.Errorf("only %d payments were in flight in %d rounds", l.flying, cycles)
	}
	l.times("restart after SIGKILL")
}

// load pays from alice to bob on a channel while something bad happens to them.
type load struct {
	*world
	id       string
	total    channel.Msat
	payments int
	compared int // payments at the last comparison
	flying   int // payments without an answer when the daemons ended
	restarts []time.Duration
}

// kill ends daemons with SIGKILL, in this order.
func (l *load) kill(names []string) {
	for _, name := range names {
		l.Node(name).Kill()
	}
}

// restart starts a daemon and notes how long it took until it was ready.
func (l *load) restart(name string) {
	l.t.Helper()
	start := time.Now()
	l.check(l.Node(name).Restart(l.ctx))
	l.restarts = append(l.restarts, time.Since(start))
}

// round pays, ends daemons while payments have no answer, starts them again and asks for the fate of each
// payment.
func (l *load) round(ref string, names []string, end func()) {
	l.t.Helper()
	api, f := l.Node("alice").API, newFlood()
	stream := api.Stream(l.ctx)
	go f.feed(stream, l.id, ref)
	l.until("payments are under way", func() bool {
		sent, back, _ := f.count(0)
		return back > 300 && sent-back >= 64
	})
	end()
	_, _, flying := f.count(math.MaxInt)
	close(f.quit)
	for _, name := range names {
		l.restart(name)
	}
	<-f.fed
	_ = stream.Close() // with alice the stream dies too: then every payment is asked for again
	l.reconnected(l.id)
	l.settle(f)
	l.flying += flying
	l.t.Logf("%s: %d of %d payments were in flight, ready again after %s", ref, flying, len(f.payments),
		l.restarts[len(l.restarts)-1].Round(time.Millisecond))
}

// settle asks for the fate of every payment without a good answer: each must come to be paid.
func (l *load) settle(f *flood) {
	l.t.Helper()
	for _, p := range f.payments {
		l.total += p.req.Amount
		l.payments++
		if p.known {
			continue
		}
		if r, err := l.Node("alice").API.Pay(l.ctx, p.req); err != nil || r.Status != channel.PayAcknowledged {
			l.t.Fatalf("payment %s asked for again: %v, %v\nalice: %v\nbob: %v", p.req.ID, r.Status, err,
				l.one("alice", "channel", l.id), l.one("bob", "channel", l.id))
		}
	}
}

// most is how many payments the API lists at once.
const most = 100_000

// compare holds that both books have every payment once and that their sums are what was paid. It sees the
// newest payments, so it must be called at least once for each of their number.
func (l *load) compare() {
	l.t.Helper()
	l.compared = l.payments
	limit := fmt.Sprint(most)
	out, in := history(l.ask("alice", "payments", "--limit", limit)), history(l.ask("bob", "payments", "--limit", limit))
	if len(out) != len(in) {
		l.t.Errorf("alice made %d payments, bob has %d", len(out), len(in))
	}
	if want := min(l.payments, most); len(out) != want {
		l.t.Errorf("alice's book has %d payments, %d were made", len(out), want)
	}
	for id, amount := range out {
		if in[id] != amount {
			l.t.Errorf("payment %s: alice has %s, bob %s", id, amount, in[id])
		}
	}
	for name, key := range map[string]string{"alice": "sent_msat", "bob": "received_msat"} {
		if got := l.one(name, "channel", l.id).number(key); got != int64(l.total) {
			l.t.Errorf("%s's %s is %d, the test paid %d", name, key, got, l.total)
		}
	}
	l.t.Logf("%d payments of together %d msat are in both books, each once", l.payments, l.total)
}

// times prints how long the restarts took.
func (l *load) times(what string) {
	slices.Sort(l.restarts)
	n := len(l.restarts)
	l.t.Logf("%s: %d times, median %s, longest %s", what, n, l.restarts[n/2].Round(time.Millisecond), l.restarts[n-1].Round(time.Millisecond))
}
