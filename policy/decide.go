package policy

import (
	"fmt"

	"github.com/runnel/runnel/channel"
)

// Verdict is what a decision comes to.
type Verdict uint8

const (
	Allow   Verdict = iota
	Approve         // a person has to say yes first; where nobody can be asked it is a refusal
	Refuse
)

var verdictNames = [...]string{"allow", "approve", "refuse"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict_%d", uint8(v))
}

// Rules by which a request is refused.
const (
	RuleInvalid         = "invalid"
	RuleMaxPayment      = "max_payment"
	RuleBudget          = "budget"
	RuleMinuteBudget    = "minute_budget"
	RulePeerBudget      = "peer_budget"
	RuleApproval        = "approval"
	RuleNewPeer         = "new_peer"
	RuleOpens           = "opens"
	RuleSends           = "sends"
	RuleMinDeposit      = "min_deposit"
	RuleMaxChannels     = "max_channels"
	RuleMaxPending      = "max_pending"
	RuleMaxPendingTotal = "max_pending_total"
	RulePeerRisk        = "peer_risk"
	RuleWindowRisk      = "window_risk"
	RuleMinIncoming     = "min_payment"
	RuleBlind           = "blind"
	RuleDisk            = "disk"
)

// Decision is a verdict with its reason. The zero value allows.
type Decision struct {
	Verdict Verdict
	Rule    string // one of the Rule constants; empty when allowed
	Limit   uint64 // the figure that was reached, in the unit of the setting: msat, sat, a number, bytes
	Setting string // what the owner changes to allow it; empty when nothing does
	Text    string // for people, without the setting: a peer may read it
}

// Err is nil when allowed, and the fault that the owner sees otherwise.
func (d Decision) Err() error {
	if d.Verdict == Allow {
		return nil
	}
	f := channel.Faultf(channel.CodeLimit, "%s", d.Text)
	switch {
	case d.Rule == RuleInvalid:
		f.Code = channel.CodeBadRequest
	case d.Verdict == Approve:
		f.Code = channel.CodeApproval
	}
	if d.Setting != "" {
		f.Hint = fmt.Sprintf("the limit %s is %s; change it with: %s", d.Setting, Show(d.Setting, d.Limit), d.Command())
	}
	return f
}

// Command is what the owner types to lift the limit; empty when nothing does.
func (d Decision) Command() string {
	s, err := SettingNamed(d.Setting)
	if err != nil {
		return ""
	}
	value := "NUMBER"
	switch s.Unit {
	case UnitMsat, UnitSat:
		value = "AMOUNT"
	case UnitBytes:
		value = "SIZE"
	}
	return "runnel limits set " + d.Setting + " " + value
}

func refuse(rule, setting string, limit uint64, format string, args ...any) Decision {
	return Decision{Verdict: Refuse, Rule: rule, Setting: setting, Limit: limit, Text: fmt.Sprintf(format, args...)}
}

// Payment is one that the owner's programs want to make.
type Payment struct {
	Amount   channel.Msat
	Used     channel.Msat // paid or reserved in the last 24 hours
	Minute   channel.Msat // of that, in the last 60 seconds
	ToPeer   channel.Msat // of Used, to the same peer
	NewPeer  bool         // the first channel with the peer is younger than NewPeerBlocks
	Approved bool         // a person said yes
}

// PayOut decides a payment out. Refusals go before the question to a person, and nobody's yes lifts one.
func (l Limits) PayOut(p Payment) Decision {
	switch {
	case p.Amount == 0:
		return refuse(RuleInvalid, "", 0, "a payment of 0 msat pays nothing")
	case p.Amount > l.MaxPayment:
		return refuse(RuleMaxPayment, SettingMaxPayment, uint64(l.MaxPayment),
			"a payment of %s is above the limit of %s for one payment", msat(p.Amount), msat(l.MaxPayment))
	case exceeds(p.Used, p.Amount, l.Budget):
		return refuse(RuleBudget, SettingBudget, uint64(l.Budget),
			"a payment of %s exceeds the budget: %s of %s are spent in the last 24 hours", msat(p.Amount), msat(p.Used), msat(l.Budget))
	case exceeds(p.ToPeer, p.Amount, l.PeerBudget):
		return refuse(RulePeerBudget, SettingPeerBudget, uint64(l.PeerBudget),
			"a payment of %s exceeds the budget for one peer: %s of %s went to this one in the last 24 hours", msat(p.Amount), msat(p.ToPeer), msat(l.PeerBudget))
	case exceeds(p.Minute, p.Amount, l.MinuteBudget):
		return refuse(RuleMinuteBudget, SettingMinuteBudget, uint64(l.MinuteBudget),
			"a payment of %s is too fast: %s of %s are spent in the last minute", msat(p.Amount), msat(p.Minute), msat(l.MinuteBudget))
	case p.Approved || p.Amount <= l.Tiny:
		return Decision{}
	case p.Amount > l.ApproveAbove:
		return ask(RuleApproval, SettingApproveAbove, uint64(l.ApproveAbove),
			"a payment of %s is above %s and needs a person's approval", msat(p.Amount), msat(l.ApproveAbove))
	case p.NewPeer && p.Amount > l.NewPeerAbove:
		return ask(RuleNewPeer, SettingNewPeerAbove, uint64(l.NewPeerAbove),
			"a payment of %s to a new peer is above %s and needs a person's approval", msat(p.Amount), msat(l.NewPeerAbove))
	}
	return Decision{}
}

// exceeds reports whether used and amount together are above a limit, whatever they are.
func exceeds[M ~uint64](used, amount, limit M) bool { return used > limit || amount > limit-used }

// ask is a refusal that a person can lift.
func ask(rule, setting string, limit uint64, format string, args ...any) Decision {
	d := refuse(rule, setting, limit, format, args...)
	d.Verdict = Approve
	return d
}

// Size is what a payment is by its amount alone.
type Size uint8

const (
	Tiny   Size = iota // made or refused without a question
	Medium             // made within the budgets
	Large              // waits for a person
	Never              // refused, whoever asks
)

var sizeNames = [...]string{"tiny", "medium", "large", "never"}

func (s Size) String() string {
	if int(s) < len(sizeNames) {
		return sizeNames[s]
	}
	return fmt.Sprintf("size_%d", uint8(s))
}

// Size tells a payment's size.
func (l Limits) Size(amount channel.Msat) Size {
	switch {
	case amount > l.MaxPayment || amount > l.Budget || amount > l.PeerBudget || amount > l.MinuteBudget:
		return Never
	case amount <= l.Tiny:
		return Tiny
	case amount > l.ApproveAbove:
		return Large
	}
	return Medium
}

// OnChain is money that the owner's programs want to lock in a channel or send on the chain.
type OnChain struct {
	Amount   channel.Sat
	Used     channel.Sat // of the same kind in the last 24 hours
	Approved bool
}

// OpenOut decides whether a deposit is made without a person's word.
func (l Limits) OpenOut(o OnChain) Decision {
	if o.Approved || !exceeds(o.Used, o.Amount, l.OpensAbove) {
		return Decision{}
	}
	return ask(RuleOpens, SettingOpensAbove, uint64(l.OpensAbove),
		"a deposit of %d sat needs a person's approval: with %d sat of the last 24 hours it is above %d sat", o.Amount, o.Used, l.OpensAbove)
}

// SendOut does the same for an amount that leaves on the chain.
func (l Limits) SendOut(o OnChain) Decision {
	if o.Approved || !exceeds(o.Used, o.Amount, l.SendsAbove) {
		return Decision{}
	}
	return ask(RuleSends, SettingSendsAbove, uint64(l.SendsAbove),
		"sending %d sat needs a person's approval: with %d sat of the last 24 hours it is above %d sat", o.Amount, o.Used, l.SendsAbove)
}

// Opening is a peer's request for a channel.
type Opening struct {
	Deposit      channel.Sat // the peer's
	PeerDeposit  channel.Sat // what it asks this node to add
	Channels     int         // channels with this peer that are not over
	Pending      int         // of these, channels that wait for funding
	PendingTotal int         // the same over all peers
	AtRisk       channel.Sat // the peer's deposits in channels that are not over
	InWindow     channel.Sat // all peers' deposits that expire within RiskWindow of this one
}

// AcceptOpen decides on a peer's request, and what this node adds to it: what was asked when the owner
// allows that much, else nothing.
func (l Limits) AcceptOpen(o Opening) (d Decision, add channel.Sat) {
	switch {
	case o.Deposit < l.MinDeposit:
		return refuse(RuleMinDeposit, SettingMinDeposit, uint64(l.MinDeposit),
			"a deposit of %d sat is below the minimum of %d sat", o.Deposit, l.MinDeposit), 0
	case o.Channels >= l.MaxChannels:
		return refuse(RuleMaxChannels, SettingMaxChannels, uint64(l.MaxChannels),
			"the limit of channels between the two is reached (%d of %d); close one first", o.Channels, l.MaxChannels), 0
	case o.Pending >= l.MaxPending:
		return refuse(RuleMaxPending, SettingMaxPending, uint64(l.MaxPending),
			"%d channels wait for funding, at most %d may; fund them or let them lapse first", o.Pending, l.MaxPending), 0
	case o.PendingTotal >= l.MaxPendingTotal:
		return refuse(RuleMaxPendingTotal, SettingMaxPendingTotal, uint64(l.MaxPendingTotal),
			"too many channels wait for funding; try again later"), 0
	case exceeds(o.AtRisk, o.Deposit, l.PeerRisk):
		return refuse(RulePeerRisk, SettingPeerRisk, uint64(l.PeerRisk),
			"%d sat of deposits from you are open, at most %d sat may be with this one; close a channel first", o.AtRisk, l.PeerRisk), 0
	case exceeds(o.InWindow, o.Deposit, l.WindowRisk):
		return refuse(RuleWindowRisk, SettingWindowRisk, uint64(l.WindowRisk),
			"too much expires in these blocks already; choose an expiry at least %d blocks away, or a smaller deposit", RiskWindow), 0
	}
	if o.PeerDeposit <= l.AcceptPeerDeposit {
		add = o.PeerDeposit
	}
	return Decision{}, add
}

// Incoming is a payment that a peer makes.
type Incoming struct {
	Amount     channel.Msat
	Blind      bool         // the chain can't be seen
	TakenBlind channel.Msat // taken on this channel since it was last seen
	FreeDisk   int64        // bytes; negative when unknown
}

// AcceptPayment decides on a payment in, and names the reason that the peer is told.
func (l Limits) AcceptPayment(p Incoming) (Decision, channel.RefuseReason) {
	switch {
	case p.FreeDisk >= 0 && p.FreeDisk < l.MinFreeDisk:
		return refuse(RuleDisk, SettingMinFreeDisk, uint64(l.MinFreeDisk),
			"%d MiB of disk are free, payments are taken from %d MiB", p.FreeDisk>>20, l.MinFreeDisk>>20), channel.RefusedDisk
	case p.Amount < l.MinIncoming:
		return refuse(RuleMinIncoming, SettingMinIncoming, uint64(l.MinIncoming),
			"a payment of %s is below the smallest of %s that is taken", msat(p.Amount), msat(l.MinIncoming)), channel.RefusedPolicy
	case p.Blind && exceeds(p.TakenBlind, p.Amount, l.BlindCap):
		return refuse(RuleBlind, SettingBlindCap, uint64(l.BlindCap),
			"%s were taken since the chain was last seen, at most %s are", msat(p.TakenBlind), msat(l.BlindCap)), channel.RefusedBlind
	}
	return Decision{}, channel.Accepted
}

// Confirmations is how deep a deposit must be before its vouchers count. Never zero.
func (l Limits) Confirmations(deposit channel.Sat) uint32 {
	for _, t := range l.Tiers {
		if deposit <= t.UpTo {
			return t.Confirmations
		}
	}
	return MaxConfirmations
}

// msat writes whole satoshis as such.
func msat(m channel.Msat) string {
	if m%1000 == 0 {
		return fmt.Sprintf("%d sat", m/1000)
	}
	return fmt.Sprintf("%d msat", m)
}
