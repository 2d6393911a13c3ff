package policy

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

func limits(t *testing.T, change func(*Limits)) Limits {
	t.Helper()
	l, err := Defaults("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&l)
	}
	return l
}

func TestDefaultsAreValid(t *testing.T) {
	for _, n := range Networks() {
		l, err := Defaults(n)
		if err == nil {
			err = l.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if _, err := Defaults("main"); err == nil || !strings.Contains(err.Error(), "mainnet") {
		t.Errorf("an unknown network gives %v", err)
	}
}

func TestValidateNamesTheSetting(t *testing.T) {
	for setting, change := range map[string]func(*Limits){
		SettingBudget:            func(l *Limits) { l.Budget = NoLimit + 1 },
		SettingMaxPayment:        func(l *Limits) { l.MaxPayment = math.MaxUint64 },
		SettingApproveAbove:      func(l *Limits) { l.ApproveAbove = NoLimit + 1 },
		SettingTiny:              func(l *Limits) { l.Tiny = l.NewPeerAbove + 1 },
		SettingPeerBudget:        func(l *Limits) { l.PeerBudget = NoLimit + 1 },
		SettingMinuteBudget:      func(l *Limits) { l.MinuteBudget = NoLimit + 1 },
		SettingNewPeerAbove:      func(l *Limits) { l.NewPeerAbove = NoLimit + 1 },
		SettingNewPeerBlocks:     func(l *Limits) { l.NewPeerBlocks = -1 },
		SettingOpensAbove:        func(l *Limits) { l.OpensAbove = channel.MaxMoney + 1 },
		SettingSendsAbove:        func(l *Limits) { l.SendsAbove = channel.MaxMoney + 1 },
		SettingPeerRisk:          func(l *Limits) { l.PeerRisk = channel.MaxMoney + 1 },
		SettingWindowRisk:        func(l *Limits) { l.WindowRisk = channel.MaxMoney + 1 },
		SettingMinIncoming:       func(l *Limits) { l.MinIncoming = NoLimit + 1 },
		SettingBlindCap:          func(l *Limits) { l.BlindCap = NoLimit + 1 },
		SettingAcceptPeerDeposit: func(l *Limits) { l.AcceptPeerDeposit = channel.MinDeposit - 1 },
		SettingMinDeposit:        func(l *Limits) { l.MinDeposit = 0 },
		SettingMaxChannels:       func(l *Limits) { l.MaxChannels = 0 },
		SettingMaxPending:        func(l *Limits) { l.MaxPending = -1 },
		SettingMaxPendingTotal:   func(l *Limits) { l.MaxPendingTotal = 1 },
		SettingMinFreeDisk:       func(l *Limits) { l.MinFreeDisk = 1 << 20 },
		SettingConfirmations:     func(l *Limits) { l.Tiers = l.Tiers[:2] },
	} {
		err := limits(t, change).Validate()
		if err == nil || !strings.HasPrefix(err.Error(), setting+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// The largest and smallest that can be meant, and one beyond.
func TestValidateAtTheLimits(t *testing.T) {
	type change = func(*Limits)
	for name, pair := range map[string][2]change{
		"accept, most":  {func(l *Limits) { l.AcceptPeerDeposit = channel.MaxMoney }, func(l *Limits) { l.AcceptPeerDeposit = channel.MaxMoney + 1 }},
		"accept, least": {func(l *Limits) { l.AcceptPeerDeposit = channel.MinDeposit }, func(l *Limits) { l.AcceptPeerDeposit = 1 }},
		"deposit, most": {func(l *Limits) { l.MinDeposit = channel.MaxMoney }, func(l *Limits) { l.MinDeposit = channel.MaxMoney + 1 }},
		"channels":      {func(l *Limits) { l.MaxChannels = 1 }, func(l *Limits) { l.MaxChannels = 0 }},
		"pending":       {func(l *Limits) { l.MaxPending, l.MaxPendingTotal = 1, 1 }, func(l *Limits) { l.MaxPending, l.MaxPendingTotal = 2, 1 }},
		"free disk":     {func(l *Limits) { l.MinFreeDisk = 64 << 20 }, func(l *Limits) { l.MinFreeDisk = 64<<20 - 1 }},
		"confirmations": {func(l *Limits) { l.Tiers = []Tier{{channel.MaxMoney, MaxConfirmations}} },
			func(l *Limits) { l.Tiers = []Tier{{channel.MaxMoney, MaxConfirmations + 1}} }},
		"equal tiers": {func(l *Limits) { l.Tiers = []Tier{{100, 3}, {channel.MaxMoney, 3}} },
			func(l *Limits) { l.Tiers = []Tier{{100, 3}, {channel.MaxMoney, 2}} }},
	} {
		if err := limits(t, pair[0]).Validate(); err != nil {
			t.Errorf("%s, at the limit: %v", name, err)
		}
		if err := limits(t, pair[1]).Validate(); err == nil {
			t.Errorf("%s, beyond the limit: accepted", name)
		}
	}
}

func TestTiers(t *testing.T) {
	for name, tiers := range map[string][]Tier{
		"none":       nil,
		"zero":       {{channel.MaxMoney, 0}},
		"too many":   {{channel.MaxMoney, MaxConfirmations + 1}},
		"unordered":  {{100, 1}, {100, 3}, {channel.MaxMoney, 6}},
		"descending": {{100, 3}, {channel.MaxMoney, 1}},
	} {
		if err := limits(t, func(l *Limits) { l.Tiers = tiers }).Validate(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	real, play := limits(t, nil), Limits{}
	for deposit, want := range map[channel.Sat]uint32{20_000: 1, 100_000: 1, 100_001: 3, 10_000_000: 3, 10_000_001: 6, channel.MaxMoney: 6, channel.MaxMoney + 1: MaxConfirmations} {
		if got := real.Confirmations(deposit); got != want {
			t.Errorf("%d sat: %d confirmations, want %d", deposit, got, want)
		}
	}
	if got := play.Confirmations(1); got == 0 {
		t.Error("limits without tiers ask for no confirmation")
	}
}

func TestPayOut(t *testing.T) {
	l := limits(t, func(l *Limits) { l.Budget, l.MaxPayment, l.ApproveAbove, l.Tiny = 1000, 600, 500, 0 })
	for _, test := range []struct {
		payment Payment
		verdict Verdict
		rule    string
		setting string
		limit   uint64
	}{
		{Payment{Amount: 0}, Refuse, RuleInvalid, "", 0},
		{Payment{Amount: 1}, Allow, "", "", 0},
		{Payment{Amount: 500, Used: 500}, Allow, "", "", 0},
		{Payment{Amount: 500, Used: 501}, Refuse, RuleBudget, SettingBudget, 1000},
		{Payment{Amount: 1, Used: 1000}, Refuse, RuleBudget, SettingBudget, 1000},
		{Payment{Amount: 1, Used: math.MaxUint64}, Refuse, RuleBudget, SettingBudget, 1000},
		{Payment{Amount: 501}, Approve, RuleApproval, SettingApproveAbove, 500},
		{Payment{Amount: 501, Used: 500}, Refuse, RuleBudget, SettingBudget, 1000},
		{Payment{Amount: 501, Approved: true}, Allow, "", "", 0},
		{Payment{Amount: 601, Approved: true}, Refuse, RuleMaxPayment, SettingMaxPayment, 600},
		{Payment{Amount: math.MaxUint64}, Refuse, RuleMaxPayment, SettingMaxPayment, 600},
	} {
		d := l.PayOut(test.payment)
		if d.Verdict != test.verdict || d.Rule != test.rule || d.Setting != test.setting || d.Limit != test.limit {
			t.Errorf("%+v: %+v", test.payment, d)
		}
		checkExplained(t, d)
	}
}

// checkExplained: a refusal has words, the figure and the setting; an allowance has no error.
func checkExplained(t *testing.T, d Decision) {
	t.Helper()
	err := d.Err()
	if d.Verdict == Allow {
		if err != nil || d.Text != "" {
			t.Errorf("allowed with %v, %q", err, d.Text)
		}
		return
	}
	var f *channel.Fault
	if !errors.As(err, &f) || f.Text == "" || d.Setting != "" && !strings.Contains(f.Hint, d.Setting) {
		t.Errorf("%s: %#v", d.Rule, err)
	}
}

func TestUnlimitedBudgetHasNoOverflow(t *testing.T) {
	l := limits(t, func(l *Limits) { *l = freeSpending(*l) })
	if d := l.PayOut(Payment{Amount: NoLimit}); d.Verdict != Allow {
		t.Errorf("%+v", d)
	}
	if d := l.PayOut(Payment{Amount: NoLimit, Used: 1}); d.Rule != RuleBudget {
		t.Errorf("%+v", d)
	}
}

func TestAcceptOpen(t *testing.T) {
	l := limits(t, func(l *Limits) { l.AcceptPeerDeposit = 50_000 })
	ok := Opening{Deposit: channel.MinDeposit}
	for _, test := range []struct {
		change func(*Opening)
		rule   string
		add    channel.Sat
	}{
		{func(*Opening) {}, "", 0},
		{func(o *Opening) { o.Deposit-- }, RuleMinDeposit, 0},
		{func(o *Opening) { o.PeerDeposit = 50_000 }, "", 50_000},
		{func(o *Opening) { o.PeerDeposit = 50_001 }, "", 0},
		{func(o *Opening) { o.Channels = l.MaxChannels - 1 }, "", 0},
		{func(o *Opening) { o.Channels = l.MaxChannels; o.PeerDeposit = 50_000 }, RuleMaxChannels, 0},
		{func(o *Opening) { o.Pending = l.MaxPending }, RuleMaxPending, 0},
		{func(o *Opening) { o.PendingTotal = l.MaxPendingTotal }, RuleMaxPendingTotal, 0},
		{func(o *Opening) { o.AtRisk = l.PeerRisk - o.Deposit }, "", 0},
		{func(o *Opening) { o.AtRisk = l.PeerRisk - o.Deposit + 1 }, RulePeerRisk, 0},
		{func(o *Opening) { o.AtRisk = math.MaxUint64 }, RulePeerRisk, 0},
		{func(o *Opening) { o.InWindow = l.WindowRisk - o.Deposit }, "", 0},
		{func(o *Opening) { o.InWindow = l.WindowRisk - o.Deposit + 1 }, RuleWindowRisk, 0},
	} {
		o := ok
		test.change(&o)
		d, add := l.AcceptOpen(o)
		if d.Rule != test.rule || add != test.add || (d.Verdict == Allow) != (test.rule == "") {
			t.Errorf("%+v: %+v, add %d", o, d, add)
		}
		checkExplained(t, d)
		if len(d.Text) > channel.MaxTextBytes {
			t.Errorf("text is too long for a peer: %q", d.Text)
		}
	}
}

func TestAcceptPayment(t *testing.T) {
	l := limits(t, func(l *Limits) { l.BlindCap, l.MinFreeDisk, l.MinIncoming = 1000, 64<<20, 3 })
	for _, test := range []struct {
		in   Incoming
		want channel.RefuseReason
	}{
		{Incoming{Amount: 5000, FreeDisk: 64 << 20}, channel.Accepted},
		{Incoming{Amount: 3, FreeDisk: -1}, channel.Accepted},
		{Incoming{Amount: 2, FreeDisk: -1}, channel.RefusedPolicy},
		{Incoming{Amount: 5000, FreeDisk: -1}, channel.Accepted},
		{Incoming{Amount: 1, FreeDisk: 64<<20 - 1}, channel.RefusedDisk},
		{Incoming{Amount: 1, FreeDisk: 0, Blind: true, TakenBlind: 1000}, channel.RefusedDisk},
		{Incoming{Amount: 400, FreeDisk: -1, Blind: true, TakenBlind: 600}, channel.Accepted},
		{Incoming{Amount: 401, FreeDisk: -1, Blind: true, TakenBlind: 600}, channel.RefusedBlind},
		{Incoming{Amount: math.MaxUint64, FreeDisk: -1, Blind: true, TakenBlind: 600}, channel.RefusedBlind},
		{Incoming{Amount: 3, FreeDisk: -1, Blind: true, TakenBlind: math.MaxUint64}, channel.RefusedBlind},
		{Incoming{Amount: 401, FreeDisk: -1, TakenBlind: 600}, channel.Accepted},
	} {
		d, got := l.AcceptPayment(test.in)
		if got != test.want || (d.Verdict == Allow) != (got == channel.Accepted) {
			t.Errorf("%+v: %+v, %s", test.in, d, got)
		}
		checkExplained(t, d)
	}
}

func TestBlindHeight(t *testing.T) {
	for _, test := range []struct {
		unseen time.Duration
		want   uint32
	}{
		{0, 100}, {-time.Hour, 100}, {1, 101}, {5 * time.Minute, 101}, {5*time.Minute + 1, 102}, {time.Hour, 112},
		{24 * time.Hour, 388}, {math.MaxInt64, 100 + 30_744_574},
	} {
		if got := BlindHeight(100, test.unseen); got != test.want {
			t.Errorf("%s: %d, want %d", test.unseen, got, test.want)
		}
	}
	if got := BlindHeight(math.MaxUint32, time.Hour); got != math.MaxUint32 {
		t.Errorf("heights wrap around to %d", got)
	}
}
