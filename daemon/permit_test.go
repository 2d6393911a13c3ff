package daemon_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/policy"
)

// careful are limits with a question at 1,000 msat.
func careful(c *daemon.Config) {
	c.Limits.Tiny, c.Limits.ApproveAbove, c.Limits.NewPeerAbove = 100, 1_000, 1_000
}

// carefulPair is two nodes with a channel, of which alice has limits.
func carefulPair(t *testing.T, change func(*daemon.Config)) (w *world, alice, bob *member, id channel.ID) {
	w = newWorld(t)
	alice, bob = w.start("alice", change), w.start("bob", nil)
	alice.fund(5_000_000)
	return w, alice, bob, w.open(alice, bob, 1_000_000, 0)
}

func request(id channel.ID, amount channel.Msat, n byte) channel.PayRequest {
	return channel.PayRequest{Target: id.String(), Amount: amount, ID: channel.PaymentID{n}, HasID: true}
}

func idText(n byte) string { return (channel.PaymentID{n}).String() }

func wantRule(t *testing.T, what string, err error, want channel.Code) {
	t.Helper()
	if codeOf(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// A large payment waits with its id, over a restart; asked and approved as often as one likes it is paid once.
func TestApprovedPaymentIsPaidOnce(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := carefulPair(t, careful)
	_, err := alice.Pay(w.ctx(), request(id, 1_001, 1))
	wantRule(t, "a large payment", err, channel.CodeApproval)
	var f *channel.Fault
	if !errors.As(err, &f) || !strings.Contains(f.Hint, "runnel approve "+idText(1)) || !strings.Contains(f.Hint, "runnel limits set approve-above AMOUNT") {
		t.Errorf("the refusal does not say what to do: %#v", err)
	}
	_, err = alice.Pay(w.ctx(), request(id, 1_001, 1))
	wantRule(t, "asked again", err, channel.CodeApproval)
	_, err = alice.Pay(w.ctx(), request(id, 2_000, 1))
	wantRule(t, "another amount under the id", err, channel.CodeIDConflict)
	alice.restart()
	w.synced(alice)
	if list := must2(alice.Approvals(w.ctx())); len(list) != 1 || list[0].Status != "waiting" || list[0].Amount != 1_001 || list[0].Rule != policy.RuleApproval {
		t.Fatalf("after a restart there wait %+v", list)
	}
	if s := must2(alice.Status(w.ctx())); !strings.Contains(strings.Join(s.Attention, "\n"), "1 request waits") {
		t.Errorf("attention: %q", s.Attention)
	}
	w.eventually("connected", func() bool { return alice.info(id).Connected })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r, err := alice.Approve(w.ctx(), idText(1)[:8])
			if err != nil || r.Payment.Status != channel.PayAcknowledged || r.Approval.Status != "done" {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if r, err := alice.Pay(w.ctx(), request(id, 1_001, 1)); err != nil || r.Status != channel.PayAcknowledged {
		t.Errorf("asked again after all: %+v, %v", r, err)
	}
	_, err = alice.Deny(w.ctx(), idText(1))
	wantRule(t, "denied after it was paid", err, channel.CodeLimit)
	if got := bob.info(id).Received; got != 1_001 {
		t.Errorf("bob has %d", got)
	}
}

func TestDeniedAndExpired(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t)
	alice, bob := w.start("alice", careful), w.start("bob", nil)
	alice.wrap = func(d *daemon.Deps) { d.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } }
	alice.restart()
	alice.fund(5_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	for n := range byte(3) {
		_, err := alice.Pay(w.ctx(), request(id, 5_000, n+1))
		wantRule(t, "asked", err, channel.CodeApproval)
	}
	for range 2 {
		if a, err := alice.Deny(w.ctx(), idText(1)); err != nil || a.Status != "denied" {
			t.Errorf("%+v, %v", a, err)
		}
	}
	_, err := alice.Approve(w.ctx(), idText(1))
	wantRule(t, "approved after it was denied", err, channel.CodeLimit)
	alice.restart()
	w.synced(alice)
	_, err = alice.Pay(w.ctx(), request(id, 5_000, 1))
	wantRule(t, "asked after it was denied", err, channel.CodeLimit)
	ahead.Store(int64(-48 * time.Hour)) // a clock that is back lets nothing expire, and nothing be asked anew
	_, err = alice.Pay(w.ctx(), request(id, 5_000, 2))
	wantRule(t, "asked with a clock that is back", err, channel.CodeApproval)
	ahead.Store(int64(25 * time.Hour))
	_, err = alice.Approve(w.ctx(), idText(2))
	wantRule(t, "approved too late", err, channel.CodeLimit)
	_, err = alice.Pay(w.ctx(), request(id, 5_000, 3))
	wantRule(t, "asked too late", err, channel.CodeLimit)
	_, err = alice.Approve(w.ctx(), "ffff")
	wantRule(t, "approved what nobody asked", err, channel.CodeNotFound)
	if got := bob.info(id).Received; got != 0 {
		t.Errorf("bob has %d", got)
	}
}

// A yes lifts no budget, and what it could not do now it does when it can.
func TestYesLiftsNoBudget(t *testing.T) {
	t.Parallel()
	w, alice, _, id := carefulPair(t, func(c *daemon.Config) { careful(c); c.Limits.Budget = 10_000 })
	_, err := alice.Pay(w.ctx(), request(id, 8_000, 1))
	wantRule(t, "asked", err, channel.CodeApproval)
	for range 3 {
		alice.pay(id.String(), 1_000)
	}
	_, err = alice.Approve(w.ctx(), idText(1))
	wantRule(t, "approved beyond the budget", err, channel.CodeLimit)
	must(t, alice.SetLimit(w.ctx(), policy.SettingBudget, 11_000))
	if r, err := alice.Pay(w.ctx(), request(id, 8_000, 1)); err != nil || r.Status != channel.PayAcknowledged {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAccountOfAPeerHoldsOverRestarts(t *testing.T) {
	t.Parallel()
	w, alice, _, id := carefulPair(t, func(c *daemon.Config) { c.Limits.PeerBudget = 10_000 })
	alice.pay(id.String(), 6_000)
	alice.restart()
	w.synced(alice)
	w.eventually("connected", func() bool { return alice.info(id).Connected })
	_, err := alice.Pay(w.ctx(), request(id, 4_001, 1))
	wantRule(t, "beyond the peer's budget", err, channel.CodeLimit)
	alice.pay(id.String(), 4_000)
	for _, l := range must2(alice.Limits(w.ctx())) {
		if l.Name == policy.SettingPeerBudget && (l.Used != 10_000 || l.Value != 10_000) || l.Name == policy.SettingBudget && l.Used != 10_000 {
			t.Errorf("%+v", l)
		}
	}
}

func TestNewPeerIsAskedAbout(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := carefulPair(t, func(c *daemon.Config) { c.Limits.NewPeerAbove, c.Limits.Tiny, c.Limits.NewPeerBlocks = 1_000, 10, 20 })
	alice.pay(id.String(), 1_000)
	_, err := alice.Pay(w.ctx(), request(id, 1_001, 1))
	wantRule(t, "more to a new peer", err, channel.CodeApproval)
	w.chain.Mine(20)
	w.synced(alice, bob)
	alice.pay(id.String(), 1_001)
}

func TestOpeningAndSendingWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", func(c *daemon.Config) { c.Limits.OpensAbove, c.Limits.SendsAbove = 150_000, 50_000 })
	bob := w.start("bob", nil)
	alice.fund(5_000_000)
	w.open(alice, bob, 100_000, 0)
	open := channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 50_001}
	_, err := alice.Open(w.ctx(), open)
	wantRule(t, "opening more in a day", err, channel.CodeApproval)
	list := must2(alice.Approvals(w.ctx()))
	if len(list) != 1 || list[0].Kind != "open" || list[0].Amount != 50_001_000 {
		t.Fatalf("%+v", list)
	}
	r, err := alice.Approve(w.ctx(), list[0].ID.String())
	if err != nil || r.Channel.FundingTxID == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = alice.Approve(w.ctx(), list[0].ID.String())
	wantRule(t, "approved twice", err, channel.CodeLimit)
	if got := len(must2(alice.Channels(w.ctx()))); got != 2 {
		t.Errorf("%d channels", got)
	}
	address := must2(bob.NewAddress(w.ctx()))
	w.mineUntil("the change of the deposit can be spent", func() bool {
		b, err := alice.wallet.Balance(w.ctx())
		must(t, err)
		return b.Confirmed > 1_000_000
	}, alice)
	_, err = alice.Send(w.ctx(), address, 30_000, false, 0)
	must(t, err)
	w.chain.Mine(1)
	alice.restart()
	w.synced(alice)
	_, err = alice.Send(w.ctx(), address, 20_001, false, 0)
	wantRule(t, "sending more in a day, in two parts", err, channel.CodeApproval)
	_, err = alice.Send(w.ctx(), address, 0, true, 0)
	wantRule(t, "sending all", err, channel.CodeApproval)
	for _, a := range must2(alice.Approvals(w.ctx())) {
		if a.Kind == "send" && a.Amount == 20_001_000 {
			sent, err := alice.Approve(w.ctx(), a.ID.String())
			if err != nil || sent.Sent.Amount != 20_001 {
				t.Errorf("%+v, %v", sent, err)
			}
			_, err = alice.Approve(w.ctx(), a.ID.String())
			wantRule(t, "sent twice", err, channel.CodeLimit)
		}
	}
}

// An open that came to nothing counts nothing.
func TestFailedOpenCountsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", func(c *daemon.Config) { c.Limits.OpensAbove = 150_000 })
	bob := w.start("bob", func(c *daemon.Config) { c.Limits.MinDeposit = 120_000 })
	alice.fund(5_000_000)
	_, err := alice.Connect(w.ctx(), "/mem/p2p/"+string(w.id("bob")))
	must(t, err)
	for range 3 {
		_, err = alice.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 100_000})
		wantRule(t, "refused by the peer", err, channel.CodePeerRefused)
	}
	w.open(alice, bob, 150_000, 0)
}

// What is frozen signs nothing from the moment on at which Freeze was called, over a restart; the channel
// can still be closed.
func TestFreeze(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"channel", "peer", "all"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w, alice, bob, id := carefulPair(t, nil)
			target := map[string]string{"channel": id.String()[:8], "peer": string(w.id("bob")), "all": "all"}[kind]
			alice.pay(id.String(), 1_000)
			b := alice.burst(id, 7, 64, 100)
			if f, err := alice.Freeze(w.ctx(), target, "test"); err != nil || f.Kind != kind || f.By != "owner" {
				t.Fatalf("%+v, %v", f, err)
			}
			total := alice.State(id).Out.Total
			w.eventually("each has a fate", func() bool { a, f := b.told(); return a+f == 64 })
			_, err := alice.Pay(w.ctx(), request(id, 1, 99))
			wantRule(t, "paid while frozen", err, channel.CodeFrozen)
			alice.restart()
			w.synced(alice)
			w.eventually("connected", func() bool { return alice.info(id).Connected })
			_, err = alice.Pay(w.ctx(), request(id, 1, 99))
			wantRule(t, "paid while frozen, after a restart", err, channel.CodeFrozen)
			if got := alice.State(id).Out.Total; got != total {
				t.Errorf("the total rose from %d to %d", total, got)
			}
			if s := must2(alice.Status(w.ctx())); !strings.Contains(strings.Join(s.Attention, "\n"), "runnel unfreeze "+target) {
				t.Errorf("attention: %q", s.Attention)
			}
			if kind != "channel" {
				_, err = alice.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 100_000})
				wantRule(t, "opened while frozen", err, channel.CodeFrozen)
			}
			if kind == "all" {
				_, err = alice.Send(w.ctx(), must2(bob.NewAddress(w.ctx())), 10_000, false, 0)
				wantRule(t, "sent while frozen", err, channel.CodeFrozen)
			}
			must2(alice.Unfreeze(w.ctx(), target))
			_, err = alice.Unfreeze(w.ctx(), target)
			wantRule(t, "ended twice", err, channel.CodeNotFound)
			alice.pay(id.String(), 1)
			must2(alice.Freeze(w.ctx(), target, ""))
			if r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()}); err != nil || r.Kind != "coop" {
				t.Errorf("closing what is frozen: %+v, %v", r, err)
			}
		})
	}
}

func TestOwnLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	get := func(name string) (l channel.LimitInfo) {
		for _, l = range must2(alice.Limits(w.ctx())) {
			if l.Name == name {
				return l
			}
		}
		t.Fatalf("no limit %s", name)
		return l
	}
	must(t, alice.SetLimit(w.ctx(), policy.SettingBudget, 5_000))
	wantRule(t, "a limit that is none", alice.SetLimit(w.ctx(), "budget", 1), channel.CodeNotFound)
	wantRule(t, "a figure that can't be", alice.SetLimit(w.ctx(), policy.SettingMinDeposit, 1), channel.CodeBadRequest)
	wantRule(t, "a question about tiny payments", alice.SetLimit(w.ctx(), policy.SettingApproveAbove, 1), channel.CodeBadRequest)
	alice.restart()
	if l := get(policy.SettingBudget); l.Value != 5_000 || !l.Own || l.Text != "5sat" {
		t.Errorf("after a restart: %+v", l)
	}
	base, err := policy.Defaults("simnet")
	must(t, err)
	base.Budget, base.MaxPayment = 77_000, 33_000
	must(t, alice.SetLimits(base))
	if b, m := get(policy.SettingBudget), get(policy.SettingMaxPayment); b.Value != 5_000 || m.Value != 33_000 || m.Own {
		t.Errorf("after a reload: %+v, %+v", b, m)
	}
	must(t, alice.ApplyPreset(w.ctx(), "strict"))
	if b := get(policy.SettingBudget); b.Value != 100_000_000 || !b.Own {
		t.Errorf("strict: %+v", b)
	}
	must(t, alice.ApplyPreset(w.ctx(), "default"))
	if b := get(policy.SettingBudget); b.Value != 77_000 || b.Own {
		t.Errorf("default: %+v", b)
	}
	must(t, alice.SetLimit(w.ctx(), policy.SettingMaxChannels, 3))
	must(t, alice.ResetLimit(w.ctx(), ""))
	if l := get(policy.SettingMaxChannels); l.Own || l.Value == 3 {
		t.Errorf("reset: %+v", l)
	}
	wantRule(t, "a preset that is none", alice.ApplyPreset(w.ctx(), "none"), channel.CodeBadRequest)
}

// A program in a loop fills no disk with requests.
func TestWaitingRequestsAreBounded(t *testing.T) {
	t.Parallel()
	w, alice, _, id := carefulPair(t, careful)
	for n := range 100 {
		_, err := alice.Pay(w.ctx(), request(id, 1_001, byte(n+1)))
		wantRule(t, "asked", err, channel.CodeApproval)
	}
	_, err := alice.Pay(w.ctx(), request(id, 1_001, 200))
	wantRule(t, "the 101st", err, channel.CodeLimit)
	must2(alice.Deny(w.ctx(), idText(1)))
	_, err = alice.Pay(w.ctx(), request(id, 1_001, 200))
	wantRule(t, "after one was denied", err, channel.CodeApproval)
}

// What a payee may draw by itself has the same limits as a payment.
func TestLargeDrawWaits(t *testing.T) {
	t.Parallel()
	w, alice, _, id := carefulPair(t, careful)
	ask := channel.AuthoriseRequest{Channel: id.String(), ID: channel.PaymentID{9}}
	ask.Max = 2_000
	_, err := alice.Authorise(w.ctx(), ask)
	wantRule(t, "a large draw", err, channel.CodeApproval)
	if _, err := alice.Approve(w.ctx(), idText(9)); err != nil {
		t.Fatal(err)
	}
	if r, err := alice.Authorise(w.ctx(), ask); err != nil || r.Authorisation.Binding.Max != 2_000 {
		t.Errorf("%+v, %v", r, err)
	}
	must2(alice.Freeze(w.ctx(), id.String(), ""))
	_, err = alice.Authorise(w.ctx(), ask)
	wantRule(t, "asked again while frozen", err, channel.CodeFrozen)
	alice.restart()
	if list := must2(alice.Approvals(w.ctx())); len(list) != 1 || list[0].Status != "done" {
		t.Errorf("what was given waits again after a restart: %+v", list)
	}
}

// A no that comes while the payment is on its way does not claim to have stopped it.
func TestDeniedWhileItIsPaid(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := carefulPair(t, careful)
	_, err := alice.Pay(w.ctx(), request(id, 5_000, 1))
	wantRule(t, "asked", err, channel.CodeApproval)
	_, release := alice.Hold(id)
	paid := make(chan error, 1)
	go func() {
		_, err := alice.Approve(w.ctx(), idText(1))
		paid <- err
	}()
	w.eventually("the payment is on its way", func() bool { return alice.BudgetUsed() >= 5_000 })
	a, err := alice.Deny(w.ctx(), idText(1))
	if wantRule(t, "denied", err, channel.CodePending); a.Status != "denied" {
		t.Errorf("%+v", a)
	}
	release()
	must(t, <-paid)
	if got := bob.info(id).Received; got != 5_000 {
		t.Errorf("bob has %d", got)
	}
	if list := must2(alice.Approvals(w.ctx())); len(list) != 1 || list[0].Status != "done" {
		t.Errorf("%+v", list)
	}
}
