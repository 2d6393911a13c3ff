package policy

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

// tiers are small figures that are all different.
func tiers(t *testing.T) Limits {
	return limits(t, func(l *Limits) {
		l.Tiny, l.NewPeerAbove, l.ApproveAbove, l.MaxPayment = 10, 20, 40, 80
		l.MinuteBudget, l.PeerBudget, l.Budget = 100, 200, 300
		l.OpensAbove, l.SendsAbove = 1000, 500
	})
}

// Every threshold at its edge: equal, one above, and the largest number there is.
func TestTiersAtTheirEdges(t *testing.T) {
	const most = channel.Msat(math.MaxUint64)
	l := tiers(t)
	for _, test := range []struct {
		payment Payment
		verdict Verdict
		rule    string
		limit   uint64
	}{
		{Payment{Amount: 10, NewPeer: true}, Allow, "", 0},
		{Payment{Amount: 20, NewPeer: true}, Allow, "", 0},
		{Payment{Amount: 21, NewPeer: true}, Approve, RuleNewPeer, 20},
		{Payment{Amount: 21, NewPeer: true, Approved: true}, Allow, "", 0},
		{Payment{Amount: 21}, Allow, "", 0},
		{Payment{Amount: 40}, Allow, "", 0},
		{Payment{Amount: 41}, Approve, RuleApproval, 40},
		{Payment{Amount: 41, NewPeer: true}, Approve, RuleApproval, 40},
		{Payment{Amount: 80, Approved: true}, Allow, "", 0},
		{Payment{Amount: 81, Approved: true}, Refuse, RuleMaxPayment, 80},
		{Payment{Amount: 10, Minute: 90}, Allow, "", 0},
		{Payment{Amount: 10, Minute: 91}, Refuse, RuleMinuteBudget, 100},
		{Payment{Amount: 10, Minute: most}, Refuse, RuleMinuteBudget, 100},
		{Payment{Amount: 10, ToPeer: 190}, Allow, "", 0},
		{Payment{Amount: 10, ToPeer: 191}, Refuse, RulePeerBudget, 200},
		{Payment{Amount: 10, ToPeer: most}, Refuse, RulePeerBudget, 200},
		{Payment{Amount: 10, Used: 290}, Allow, "", 0},
		{Payment{Amount: 10, Used: 291, Approved: true}, Refuse, RuleBudget, 300},
		{Payment{Amount: 50, ToPeer: 160}, Refuse, RulePeerBudget, 200},
	} {
		d := l.PayOut(test.payment)
		if d.Verdict != test.verdict || d.Rule != test.rule || d.Limit != test.limit {
			t.Errorf("%+v: %+v", test.payment, d)
		}
		checkExplained(t, d)
	}
}

func TestOnChainAtTheEdges(t *testing.T) {
	const most = channel.Sat(math.MaxUint64)
	l := tiers(t)
	for _, test := range []struct {
		o           OnChain
		opens, send Verdict
	}{
		{OnChain{Amount: 500}, Allow, Allow},
		{OnChain{Amount: 501}, Allow, Approve},
		{OnChain{Amount: 1, Used: 500}, Allow, Approve},
		{OnChain{Amount: 1000}, Allow, Approve},
		{OnChain{Amount: 1001}, Approve, Approve},
		{OnChain{Amount: 1, Used: 1000}, Approve, Approve},
		{OnChain{Amount: most, Used: most}, Approve, Approve},
		{OnChain{Amount: 1, Used: most, Approved: true}, Allow, Allow},
	} {
		opens, send := l.OpenOut(test.o), l.SendOut(test.o)
		if opens.Verdict != test.opens || send.Verdict != test.send {
			t.Errorf("%+v: %+v, %+v", test.o, opens, send)
		}
		checkExplained(t, opens)
		checkExplained(t, send)
	}
}

func TestSizes(t *testing.T) {
	l := tiers(t)
	for amount, want := range map[channel.Msat]Size{1: Tiny, 10: Tiny, 11: Medium, 40: Medium, 41: Large, 80: Large, 81: Never, math.MaxUint64: Never} {
		if got := l.Size(amount); got != want {
			t.Errorf("%d is %s, want %s", amount, got, want)
		}
	}
}

// Whatever the limits and the circumstances are: nothing tiny is asked about, no yes lifts a refusal, and
// what is allowed stays within every budget.
func TestTiersHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) channel.Msat { return channel.Msat(rapid.IntRange(0, 50).Draw(rt, name)) }
		l := limits(t, func(l *Limits) {
			l.Tiny = draw("tiny")
			l.ApproveAbove, l.NewPeerAbove = l.Tiny+draw("approve"), l.Tiny+draw("new peer")
			l.MaxPayment, l.Budget, l.PeerBudget, l.MinuteBudget = draw("max"), draw("budget"), draw("peer"), draw("minute")
		})
		if err := l.Validate(); err != nil {
			rt.Fatal(err)
		}
		p := Payment{Amount: draw("amount"), Used: draw("used"), Minute: draw("in the minute"), ToPeer: draw("to the peer"), NewPeer: rapid.Bool().Draw(rt, "new")}
		first := l.PayOut(p)
		p.Approved = true
		second := l.PayOut(p)
		switch {
		case p.Amount <= l.Tiny && first.Verdict == Approve:
			rt.Fatalf("a tiny payment is asked about: %+v", first)
		case first.Verdict == Refuse && second.Verdict != Refuse, second.Verdict == Approve:
			rt.Fatalf("%+v became %+v by a yes", first, second)
		case second.Verdict == Allow && (p.Amount > l.MaxPayment || p.Used+p.Amount > l.Budget || p.ToPeer+p.Amount > l.PeerBudget || p.Minute+p.Amount > l.MinuteBudget):
			rt.Fatalf("%+v was allowed", p)
		}
	})
}

func TestPresets(t *testing.T) {
	for _, network := range Networks() {
		d, err := Defaults(network)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range Presets() {
			l, err := Preset(name, network, d)
			if err != nil {
				t.Errorf("%s on %s: %v", name, network, err)
			}
			if l.MinFreeDisk != d.MinFreeDisk || l.Confirmations(1) != d.Confirmations(1) || l.PeerRisk != d.PeerRisk {
				t.Errorf("%s on %s changed what is taken from peers", name, network)
			}
			if again, _ := Preset("default", network, l); again.Budget != d.Budget || again.SendsAbove != d.SendsAbove {
				t.Errorf("default does not undo %s on %s", name, network)
			}
		}
	}
	real := limits(t, nil)
	tight, _ := Preset("strict", "mainnet", real)
	loose, _ := Preset("lax", "mainnet", real)
	for _, s := range Settings() {
		if s.Name == SettingNewPeerBlocks || s.Name == SettingAcceptPeerDeposit {
			continue
		}
		if a, b, c := s.Get(&tight), s.Get(&real), s.Get(&loose); a > b || b > c {
			t.Errorf("%s: strict %d, default %d, lax %d", s.Name, a, b, c)
		}
	}
	if _, err := Preset("none", "mainnet", real); err == nil || !strings.Contains(err.Error(), "strict default lax") {
		t.Errorf("an unknown preset gives %v", err)
	}
}

func TestSettings(t *testing.T) {
	base := limits(t, nil)
	seen := map[string]bool{}
	for _, s := range Settings() {
		if seen[s.Name] || s.Help == "" {
			t.Errorf("%s: named twice, or without help", s.Name)
		}
		seen[s.Name] = true
		v := s.Get(&base)
		l, err := s.With(base, v+uint64(1)<<20)
		if s.Name == SettingTiny || s.Name == SettingAcceptPeerDeposit || s.Name == SettingMaxPending {
			continue // bound to others, or with a gap
		}
		if err != nil || s.Get(&l) != v+1<<20 || s.Get(&base) != v {
			t.Errorf("%s: %d became %d, %v", s.Name, v, s.Get(&l), err)
		}
		if _, err := s.With(base, math.MaxUint64); err == nil && s.Most() != 0 {
			t.Errorf("%s took more than there is", s.Name)
		}
	}
	if _, err := SettingNamed("budget"); !errors.Is(err, ErrSetting) {
		t.Errorf("budget: %v", err)
	}
	for name, want := range map[string]string{SettingBudget: "1_000_000sat", SettingMinIncoming: "1msat", SettingMinFreeDisk: "256MB",
		SettingNewPeerBlocks: "144", SettingSendsAbove: "100_000sat", "else": "5"} {
		v := uint64(5)
		if s, err := SettingNamed(name); err == nil {
			v = s.Get(&base)
		}
		if got := Show(name, v); got != want {
			t.Errorf("%s is shown as %s, want %s", name, got, want)
		}
	}
	if got := Show(SettingBudget, uint64(NoLimit)); got != "none" {
		t.Errorf("no limit is shown as %s", got)
	}
}

// A clock that moves back, by however much, gives nothing back.
func TestMinuteRefillsOnlyWithTime(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var m Minute
	m.Advance(start)
	_, ok := m.Add(70)
	if !ok {
		t.Fatal("not counted")
	}
	for _, at := range []time.Duration{0, 60 * time.Second, 30 * time.Second, -time.Second, -time.Hour, -10000 * time.Hour} {
		m.Advance(start.Add(at))
		if m.Used() != 70 {
			t.Fatalf("%v later: %d", at, m.Used())
		}
	}
	m.Advance(start.Add(-10000*time.Hour + 63*time.Second))
	if m.Used() != 0 {
		t.Errorf("a minute after the clock was set: %d", m.Used())
	}
	m = Minute{}
	m.Advance(start)
	slot, _ := m.Add(70)
	m.Advance(start.Add(63 * time.Second))
	if m.Release(slot, 70); m.Used() != 0 {
		t.Errorf("%d", m.Used())
	}
	if _, ok := m.Add(NoLimit + 1); ok {
		t.Error("more than all money was counted")
	}
}
