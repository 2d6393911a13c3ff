package daemon_test

import (
	"context"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// A payee that lies about what it was paid gets nothing that was not signed, and learns nothing new.
func TestPayeeThatLies(t *testing.T) {
	t.Parallel()
	lies := map[string]struct {
		lie  func(d *deal)
		want channel.FreezeReason
	}{
		"an answer to what was not sent":  {func(d *deal) { d.take(func(a *channel.Ack) { a.NextSeq += 7 }) }, channel.NotFrozen},
		"another hash":                    {func(d *deal) { d.take(func(a *channel.Ack) { a.Hash[0] ^= 1 }) }, channel.FrozenHash},
		"spent less than taken":           {func(d *deal) { d.take(func(a *channel.Ack) { a.Spent-- }) }, channel.FrozenHash},
		"another total":                   {func(d *deal) { d.take(func(a *channel.Ack) { a.Total++ }) }, channel.FrozenHash},
		"a resync that forgets":           {func(d *deal) { d.report(func(r *channel.Resync) { r.In = channel.LaneReport{NextSeq: 1} }) }, channel.FrozenRegress},
		"a resync above all, no proof":    {func(d *deal) { d.report(func(r *channel.Resync) { r.In.Total += 1_000_000; r.In.NextSeq += 5 }) }, channel.NotFrozen},
		"a resync with more of the same":  {func(d *deal) { d.report(func(r *channel.Resync) { r.In.NextSeq += 5 }) }, channel.NotFrozen},
		"a stop that claims the deposit":  {func(d *deal) { d.stop(func(s *channel.Stop) { s.In.Total, s.In.Spent = 900_000_000, 900_000_000 }) }, channel.NotFrozen},
		"a stop that spends beyond total": {func(d *deal) { d.stop(func(s *channel.Stop) { s.In.Spent = s.In.Total + 1 }) }, channel.NotFrozen},
		"a stop without a script":         {func(d *deal) { d.stop(func(s *channel.Stop) { s.Payout = nil }) }, channel.NotFrozen},
	}
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice := w.start("alice", nil)
			alice.fund(2_000_000)
			m := w.rogue("mallory")
			d := m.paid(alice, 1_000_000)
			first := alice.burst(d.id, 1, 1, 5_000)
			d.take(nil)
			w.eventually("paid", func() bool { a, _ := first.told(); return a == 1 })
			alice.burst(d.id, 2, 1, 7_000)
			w.eventually("signed", func() bool { return alice.State(d.id).Out.NextSeq == 3 })
			l.lie(d)
			time.Sleep(50 * time.Millisecond)
			st := alice.State(d.id)
			if st.Out.Frozen != l.want || st.Out.Total != 12_000 || st.Out.Spent != 5_000 || st.Phase != channel.PhaseOpen || len(st.Unacked) != 1 {
				t.Errorf("frozen %q, total %d, spent %d, %s, %d unanswered", st.Out.Frozen, st.Out.Total, st.Out.Spent, st.Phase, len(st.Unacked))
			}
			if got := alice.BudgetUsed(); got != 12_000 {
				t.Errorf("the budget counts %d msat", got)
			}
			if l.want != channel.NotFrozen {
				if _, err := alice.Pay(w.ctx(), channel.PayRequest{Target: d.id.String(), Amount: 1}); codeOf(err) != channel.CodeNotOpen {
					t.Errorf("a payment on a frozen lane: %v", err)
				}
			}
			w.conserved(alice)
		})
	}
}

// stop sends the payee's stop, as it should be or changed.
func (d *deal) stop(change func(*channel.Stop)) {
	d.r.w.t.Helper()
	s := &channel.Stop{Channel: d.id, Payout: append([]byte{0x51, 0x20}, d.terms.Payee[1:]...),
		In: channel.LaneReport{NextSeq: d.newest.NextSeq(), Total: d.newest.Total, Spent: d.newest.Total, Signature: d.newest.Signature}}
	if change != nil {
		change(s)
	}
	must(d.r.w.t, d.r.send(s))
}

// The budget holds what was signed, over restarts, and gives back only what was refused or never signed.
func TestBudgetHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", func(c *daemon.Config) { c.Limits.Budget = 100_000 })
	bob := w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	b := alice.burst(id, 1, 64, 10_000) // ten fit
	w.eventually("each has a fate", func() bool { a, f := b.told(); return a+f == 64 })
	if a, _ := b.told(); a != 10 || alice.BudgetUsed() != 100_000 {
		t.Errorf("%d of ten payments were made, the budget counts %d", a, alice.BudgetUsed())
	}
	alice.powerLoss()
	w.synced(alice)
	if _, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); codeOf(err) != channel.CodeLimit {
		t.Errorf("a payment beyond the budget after a restart: %v", err)
	}
	if got := bob.info(id).Received; got != 100_000 {
		t.Errorf("bob has %d", got)
	}
}

func TestBudgetComesBackWhenNothingWasSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	w.net.Cut(w.id("alice"), w.id("bob"))
	w.eventually("apart", func() bool { return !alice.info(id).Connected })
	for range 20 {
		ctx, cancel := context.WithTimeout(w.ctx(), 20*time.Millisecond)
		_, err := alice.Pay(ctx, channel.PayRequest{Target: id.String(), Amount: 1_000})
		cancel()
		if err == nil {
			t.Error("paid nobody")
		}
	}
	w.eventually("all of it is back", func() bool { return alice.BudgetUsed() == 0 && alice.Waiting() == 0 })
	if alice.State(id).Out.Total != 0 {
		t.Error("something was signed")
	}
	w.net.Heal(w.id("alice"), w.id("bob"))
	w.eventually("together", func() bool { return alice.State(id).Synced })
	bob.limit(0)
	bob.chain.SetAway(true)
	w.eventually("blind", func() bool { s, _ := bob.Status(w.ctx()); return len(s.Attention) > 0 })
	if r := alice.pay(id.String(), 1_000); r.Status != channel.PayRefused {
		t.Errorf("%+v", r)
	}
	w.eventually("what was refused is back", func() bool { return alice.BudgetUsed() == 0 })
	bob.chain.SetAway(false)
}

// Callers that give up while their payment is being signed: what they are told is what happened.
func TestGivingUpInTheSameMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	paid, nothing := 0, 0
	for i := range 300 {
		ctx, cancel := context.WithTimeout(w.ctx(), time.Duration(i%30)*50*time.Microsecond)
		req := channel.PayRequest{Target: id.String(), Amount: 1_000, HasID: true, ID: channel.PaymentID{3, byte(i >> 8), byte(i)}}
		r, err := alice.Pay(ctx, req)
		cancel()
		switch {
		case err == nil && r.Status == channel.PayAcknowledged:
			paid++
		case codeOf(err) == channel.CodePending: // ask again
			if r, err := alice.Pay(w.ctx(), req); err != nil || r.Status != channel.PayAcknowledged {
				t.Errorf("a pending payment became %+v, %v", r, err)
			}
			paid++
		default:
			nothing++
		}
	}
	t.Logf("%d paid, %d given up", paid, nothing)
	w.eventually("nothing waits", func() bool { return alice.Waiting() == 0 })
	w.books(alice, bob, id, channel.Msat(1_000*paid))
	if got := alice.BudgetUsed(); got != channel.Msat(1_000*paid) {
		t.Errorf("the budget counts %d msat for %d payments of 1,000", got, paid)
	}
}
