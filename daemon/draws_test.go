package daemon_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// drawers are a payer and a payee with an open channel.
func drawers(t *testing.T, change func(*daemon.Config)) (w *world, alice, bob *member, id channel.ID) {
	t.Helper()
	w = newWorld(t)
	alice, bob = w.start("alice", change), w.start("bob", nil)
	alice.fund(2_000_000)
	return w, alice, bob, w.open(alice, bob, 1_000_000, 0)
}

func (m *member) authorise(id channel.ID, max channel.Msat) channel.AuthoriseResult {
	m.w.t.Helper()
	r, err := m.Authorise(m.w.ctx(), channel.AuthoriseRequest{Channel: id.String(), Max: max, Ref: "GET /", Binding: channel.Binding{Method: "GET", Target: "/"}})
	must(m.w.t, err)
	return r
}

func (m *member) charge(a channel.Authorisation, amount channel.Msat) channel.Charge {
	m.w.t.Helper()
	c, err := m.Charge(m.w.ctx(), channel.ChargeRequest{Authorisation: a, Amount: amount, Ref: "served"})
	must(m.w.t, err)
	return c
}

func (m *member) endDraw(id channel.ID, n uint64, used channel.Msat) channel.Charge {
	m.w.t.Helper()
	c, err := m.EndDraw(m.w.ctx(), id, n, used)
	must(m.w.t, err)
	return c
}

func wantFault(t testing.TB, what string, err error, code channel.Code) {
	t.Helper()
	var f *channel.Fault
	if !errors.As(err, &f) || f.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// told waits until the payer has accepted all draws.
func (w *world) told(alice, bob *member, id channel.ID) {
	w.t.Helper()
	w.eventually("both books agree", func() bool {
		a, b := alice.State(id), bob.State(id)
		return a.OutDraws != nil && b.InDraws != nil && a.OutDraws.Count == b.InDraws.Count && a.OutDraws.Hash == b.InDraws.Hash &&
			b.InDraws.Told == b.InDraws.Count && len(b.InDraws.Running) == 0 && len(a.OutDraws.Open) == 0 && a.Out.Frozen == channel.NotFrozen
	})
}

// One request: authorised, charged, ended for less; both histories and the budget know it, and a close pays it.
func TestDraw(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	alice.pay(id.String(), 5_000_000)
	used := alice.BudgetUsed()
	a := alice.authorise(id, 3_000)
	if a.Binding.N != 1 || a.Binding.Max != 3_000 || a.Total != 5_003_000 || a.Lane.Total != 5_003_000 || alice.BudgetUsed() != used+3_000 {
		t.Errorf("authorised %+v, budget %d after %d", a, alice.BudgetUsed(), used)
	}
	c := bob.charge(a.Authorisation, 2_000)
	if c.Status != channel.DrawHeld || c.Held != 2_000 || c.Repeated || c.Lane.Spent != 5_002_000 || c.Lane.Credit() != 1_000 || c.Lane.Closing {
		t.Errorf("charged %+v", c)
	}
	if again := bob.charge(a.Authorisation, 2_000); !again.Repeated || again.Status != channel.DrawHeld || again.Lane.Spent != 5_002_000 {
		t.Errorf("charged again %+v", again)
	}
	c = bob.endDraw(id, 1, 1_500)
	if c.Status != channel.DrawEnded || c.Used != 1_500 || c.Lane.Spent != 5_001_500 {
		t.Errorf("ended %+v", c)
	}
	if again := bob.charge(a.Authorisation, 2_000); !again.Repeated || again.Status != channel.DrawEnded || again.Used != 1_500 {
		t.Errorf("charged again %+v", again)
	}
	w.told(alice, bob, id)
	if got := alice.BudgetUsed(); got != used+1_500 {
		t.Errorf("the budget counts %d after %d", got, used)
	}
	for _, m := range []*member{alice, bob} {
		list, err := m.Payments(w.ctx(), channel.PaymentFilter{Channel: id.String()})
		must(t, err)
		if len(list) != 2 || list[0].Amount != 1_500 || list[0].Status != channel.PayAcknowledged || list[0].Ref == "" || (list[0].Dir == channel.Sending) != (m == alice) {
			t.Errorf("%s's history: %+v", m.name, list)
		}
		drew := 0
		ctx, cancel := context.WithCancel(w.ctx())
		err = m.Watch(ctx, 0, func(e channel.Event) error {
			if e.Kind == channel.EventPayment && e.Payment.Amount == 1_500 {
				drew++
				cancel()
			}
			return nil
		})
		if drew != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("%s's log: %d, %v", m.name, drew, err)
		}
	}
	if i := alice.info(id); i.Sent != 5_001_500 || bob.info(id).Received != 5_001_500 {
		t.Errorf("sent %d, received %d", i.Sent, bob.info(id).Received)
	}
	r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	if r.Kind != "coop" || r.Remote != 5_002 {
		t.Errorf("closed %+v", r)
	}
	_, err = bob.Charge(w.ctx(), channel.ChargeRequest{Authorisation: alice.forge(a.Authorisation, func(b *channel.Authorisation) { b.Binding.N = 9 }), Amount: 1})
	wantFault(t, "a charge on a closing channel", err, channel.CodeNotOpen)
}

// What a charge can lack is told apart, and changes nothing.
func TestChargeRefused(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	other := w.open(alice, bob, 500_000, 0)
	a := alice.authorise(id, 3_000).Authorisation
	b := alice.authorise(other, 9_000).Authorisation
	capacity := alice.State(id).Terms.Out.Capacity()
	// A refused charge that brings a good voucher leaves it, and then an old voucher's signature is not looked at.
	for _, c := range []struct {
		name   string
		code   channel.Code
		amount channel.Msat
		change func(*channel.Authorisation)
	}{
		{"a wrong code", channel.CodeBadProof, 1, func(a *channel.Authorisation) { a.MAC[3] ^= 1 }},
		{"another target", channel.CodeBadProof, 1, func(a *channel.Authorisation) { a.Binding.Target = "/other" }},
		{"a higher max", channel.CodeBadProof, 1, func(a *channel.Authorisation) { a.Binding.Max = 1 << 40 }},
		{"another total", channel.CodeBadProof, 1, func(a *channel.Authorisation) { a.Total++ }},
		{"another channel", channel.CodeBadProof, 1, func(a *channel.Authorisation) { a.Channel = other }},
		{"another channel's", channel.CodeBadProof, 1, func(a *channel.Authorisation) { *a = b; a.Channel = id }},
		{"no channel", channel.CodeNotFound, 1, func(a *channel.Authorisation) { a.Channel[0] ^= 1 }},
		{"a wrong signature", channel.CodeBadSignature, 1, func(a *channel.Authorisation) { a.Signature[5] ^= 1 }},
		{"a total beyond it", channel.CodeBadSignature, 1, func(a *channel.Authorisation) { a.Total += 500; *a = alice.forge(*a, nil) }},
		{"more than the lane can", channel.CodeInsufficient, 1, func(a *channel.Authorisation) { a.Total = capacity + 1; *a = alice.forge(*a, nil) }},
		{"more than authorised", channel.CodeNoCredit, 3_001, nil},
		{"more than the credit", channel.CodeNoCredit, 3_001, func(a *channel.Authorisation) { a.Binding.Max = 1 << 40; *a = alice.forge(*a, nil) }},
		{"number 0", channel.CodeBadRequest, 1, func(a *channel.Authorisation) { a.Binding.N = 0; *a = alice.forge(*a, nil) }},
		{"a reference too long", channel.CodeBadRequest, 1, nil},
	} {
		x := a
		if c.change != nil {
			c.change(&x)
		}
		req := channel.ChargeRequest{Authorisation: x, Amount: c.amount}
		if c.name == "a reference too long" {
			req.Ref = string(make([]byte, 65))
		}
		_, err := bob.Charge(w.ctx(), req)
		wantFault(t, c.name, err, c.code)
	}
	for name, err := range map[string]error{
		"more than the channel has":  call(alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: id.String(), Max: capacity})),
		"to raise what does not run": call(alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: id.String(), Raise: 99, RaiseBy: 5})),
		"an end of nothing":          call(bob.EndDraw(w.ctx(), id, 77, 0)),
	} {
		if err == nil {
			t.Errorf("%s was done", name)
		}
	}
	if c := bob.charge(a, 3_000); c.Held != 3_000 {
		t.Errorf("charged %+v", c)
	}
	_, err := bob.EndDraw(w.ctx(), id, a.Binding.N, 3_001)
	wantFault(t, "used more than held", err, channel.CodeBadRequest)
	bob.endDraw(id, a.Binding.N, 3_000)
	bob.charge(b, 1)
	bob.endDraw(other, b.Binding.N, 0)
	w.told(alice, bob, id)
	w.told(alice, bob, other)
}

func call[T any](_ T, err error) error { return err }

// A hundred uses of one authorisation at once charge it once.
func TestOneAuthorisationChargesOnce(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	a := alice.authorise(id, 1_000).Authorisation
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range 100 {
		wg.Go(func() {
			c, err := bob.Charge(w.ctx(), channel.ChargeRequest{Authorisation: a, Amount: 700})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || c.Held != 700 || c.Lane.Spent != 700 {
				t.Errorf("%+v, %v", c, err)
			}
			if !c.Repeated {
				fresh++
			}
		})
	}
	wg.Wait()
	if fresh != 1 {
		t.Errorf("charged %d times", fresh)
	}
	bob.endDraw(id, 1, 700)
	w.told(alice, bob, id)
}

// A hundred requests with payments beside them, charged in any order: all succeed, and the books agree.
func TestChargesInAnyOrder(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	const n = 100
	var wg sync.WaitGroup
	list := make([]channel.Authorisation, n)
	for i := range n {
		wg.Go(func() { list[i] = alice.authorise(id, 1_000).Authorisation })
		if i%4 == 0 {
			wg.Go(func() { alice.pay(id.String(), 10) })
		}
	}
	wg.Wait()
	rand.Shuffle(n, func(i, j int) { list[i], list[j] = list[j], list[i] })
	for i, a := range list {
		wg.Go(func() {
			c := bob.charge(a, 900)
			if c.Repeated || c.Status != channel.DrawHeld {
				t.Errorf("%+v", c)
			}
			bob.endDraw(id, a.Binding.N, 800)
		})
		if i%4 == 0 {
			wg.Go(func() { alice.pay(id.String(), 10) })
		}
	}
	wg.Wait()
	w.told(alice, bob, id)
	if got := bob.info(id).Received; got != n*800+50*10 {
		t.Errorf("received %d", got)
	}
	if i := alice.info(id); i.Sent != n*800+50*10 {
		t.Errorf("sent %d", i.Sent)
	}
}

// A payee that is killed between charge and end keeps what was delivered, charges nothing else, and remembers what
// was used.
func TestKilledBetweenChargeAndEnd(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	fixed, stream, later := alice.authorise(id, 1_000).Authorisation, alice.authorise(id, 9_000).Authorisation, alice.authorise(id, 50).Authorisation
	bob.charge(fixed, 1_000)
	bob.charge(stream, 4_000)
	c, err := bob.HoldMore(w.ctx(), id, stream.Binding.N, 1_000, 3_000)
	if must(t, err); c.Held != 5_000 {
		t.Errorf("held %+v", c)
	}
	bob.restart()
	w.synced(bob)
	w.told2(alice, bob, id, 2)
	for n, used := range map[uint64]channel.Msat{fixed.Binding.N: 0, stream.Binding.N: 3_000} {
		if c := bob.endDraw(id, n, 900); c.Used != used || c.Status != channel.DrawEnded {
			t.Errorf("draw %d: %+v", n, c)
		}
	}
	if c := bob.charge(fixed, 1_000); !c.Repeated || c.Used != 0 {
		t.Errorf("the window was forgotten: %+v", c)
	}
	alice.restart() // as a client's node may at any time
	w.synced(alice)
	bob.charge(later, 50)
	bob.endDraw(id, later.Binding.N, 50)
	w.told(alice, bob, id)
	if got := alice.info(id).Sent; got != 3_050 {
		t.Errorf("sent %d", got)
	}
}

// told2 waits until the payer has accepted n draws.
func (w *world) told2(alice, bob *member, id channel.ID, n uint64) {
	w.t.Helper()
	w.eventually("the payer has heard", func() bool {
		a, b := alice.State(id), bob.State(id)
		return a.OutDraws.Count == n && b.InDraws.Told == n
	})
}

// A top-up lets a running draw take more, and only that one.
func TestTopUp(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	a := alice.authorise(id, 1_000).Authorisation
	bob.charge(a, 1_000)
	_, err := bob.HoldMore(w.ctx(), id, 1, 1, 0)
	wantFault(t, "more than authorised", err, channel.CodeNoCredit)
	up, err := alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: id.String(), Raise: 1, RaiseBy: 500})
	must(t, err)
	if up.Binding.Raise != 1 || up.Binding.Max != 1_500 || up.Binding.N != 2 || up.Total != 1_500 {
		t.Errorf("the top-up is %+v", up)
	}
	if c := bob.charge(up.Authorisation, 0); c.Status != channel.DrawEnded || c.Lane.Total != 1_500 {
		t.Errorf("the top-up came to %+v", c)
	}
	c, err := bob.HoldMore(w.ctx(), id, 1, 500, 1_000)
	if must(t, err); c.Held != 1_500 {
		t.Errorf("held %+v", c)
	}
	bob.endDraw(id, 1, 1_200)
	w.told(alice, bob, id)
	if used := alice.BudgetUsed(); used != 1_200 {
		t.Errorf("the budget counts %d", used)
	}
}

// The same id means the same authorisation, also at once and over a restart; anything else under it is a conflict.
func TestAuthoriseTwice(t *testing.T) {
	t.Parallel()
	w, alice, _, id := drawers(t, func(c *daemon.Config) { c.Limits.MaxPayment = 50_000 })
	req := channel.AuthoriseRequest{Channel: id.String(), ID: channel.PaymentID{7}, Max: 2_000, Ref: "r", Binding: channel.Binding{Method: "GET", Target: "/x"}}
	first, err := alice.Authorise(w.ctx(), req)
	must(t, err)
	same := func() {
		t.Helper()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				again, err := alice.Authorise(w.ctx(), req)
				if err != nil || again.Authorisation != first.Authorisation {
					t.Errorf("%+v, %v", again, err)
				}
			})
		}
		wg.Wait()
	}
	same()
	alice.restart()
	w.synced(alice)
	same()
	if used := alice.BudgetUsed(); used != 2_000 {
		t.Errorf("the budget counts %d", used)
	}
	for name, change := range map[string]func(*channel.AuthoriseRequest){
		"max": func(r *channel.AuthoriseRequest) { r.Max++ }, "target": func(r *channel.AuthoriseRequest) { r.Binding.Target = "/y" },
		"ref": func(r *channel.AuthoriseRequest) { r.Ref = "s" },
	} {
		r := req
		change(&r)
		_, err := alice.Authorise(w.ctx(), r)
		wantFault(t, "another "+name, err, channel.CodeIDConflict)
	}
	_, err = alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 2_000, ID: req.ID, HasID: true})
	wantFault(t, "a payment with the id", err, channel.CodeIDConflict)
	paid := alice.pay(id.String(), 100)
	_, err = alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: id.String(), ID: paid.ID, Max: 100})
	wantFault(t, "a payment's id", err, channel.CodeIDConflict)
	_, err = alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: id.String(), Max: 50_001})
	wantFault(t, "more than one payment may be", err, channel.CodeLimit)
}

// forge is an authorisation with a right code over what a liar put in.
func (m *member) forge(a channel.Authorisation, change func(*channel.Authorisation)) channel.Authorisation {
	m.w.t.Helper()
	if change != nil {
		change(&a)
	}
	a, err := m.Rebind(a)
	must(m.w.t, err)
	return a
}

// A draw of which the program that serves it says nothing ends with what was kept; a word of it keeps it running.
func TestDrawOfADeadProgram(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	hours := make(chan func(), 8)
	bob.wrap = func(deps *daemon.Deps) {
		deps.After = func(d time.Duration, f func()) {
			if d == time.Hour {
				hours <- f
			} else {
				time.AfterFunc(d, f)
			}
		}
	}
	bob.restart()
	w.synced(bob)
	dead, alive := alice.authorise(id, 1_000).Authorisation, alice.authorise(id, 2_000).Authorisation
	bob.charge(dead, 800)
	must(t, call(bob.HoldMore(w.ctx(), id, dead.Binding.N, 100, 300)))
	bob.charge(alive, 2_000)
	(<-hours)()
	must(t, call(bob.HoldMore(w.ctx(), id, alive.Binding.N, 0, 0))) // comes after the tick
	if in := bob.State(id).InDraws; len(in.Running) != 2 {
		t.Fatalf("ended too early: %+v", in.Running)
	}
	(<-hours)()
	w.told2(alice, bob, id, 1)
	if c := bob.endDraw(id, dead.Binding.N, 900); c.Used != 300 || c.Status != channel.DrawEnded {
		t.Errorf("the dead program's draw: %+v", c)
	}
	if c := bob.endDraw(id, alive.Binding.N, 1_500); c.Used != 1_500 {
		t.Errorf("the other one: %+v", c)
	}
	w.told(alice, bob, id)
	list, err := bob.Payments(w.ctx(), channel.PaymentFilter{Channel: id.String()})
	if must(t, err); len(list) != 2 || list[1].Amount != 300 {
		t.Errorf("%+v", list)
	}
	ctx, cancel := context.WithCancel(w.ctx())
	err = bob.Watch(ctx, 0, func(e channel.Event) error {
		if e.Kind == channel.EventAlert && strings.Contains(e.Text, "said nothing for an hour: 1") {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("nobody was told: %v", err)
	}
}
