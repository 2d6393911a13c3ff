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
	RuleApproval        = "approval"
	RuleMinDeposit      = "min_deposit"
	RuleMaxChannels     = "max_channels"
	RuleMaxPending      = "max_pending"
	RuleMaxPendingTotal = "max_pending_total"
	RuleBlind           = "blind"
	RuleDisk            = "disk"
)

// units of the settings that have one, as the configuration writes them.
var units = map[string]string{
	SettingBudget: "msat", SettingMaxPayment: "msat", SettingApproveAbove: "msat", SettingBlindCap: "msat",
	SettingMinDeposit: "sat", SettingAcceptPeerDeposit: "sat", SettingMinFreeDisk: " bytes",
}

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
	case d.Setting != "":
		f.Hint = fmt.Sprintf("the setting %s is %d%s", d.Setting, d.Limit, units[d.Setting])
	}
	return f
}

func refuse(rule, setting string, limit uint64, format string, args ...any) Decision {
	return Decision{Verdict: Refuse, Rule: rule, Setting: setting, Limit: limit, Text: fmt.Sprintf(format, args...)}
}

// Payment is one that the owner's programs want to make.
type Payment struct {
	Amount   channel.Msat
	Used     channel.Msat // paid or reserved in the last 24 hours
	Approved bool         // a person said yes
}

// PayOut decides a payment out. Refusals go before the question to a person.
func (l Limits) PayOut(p Payment) Decision {
	switch {
	case p.Amount == 0:
		return refuse(RuleInvalid, "", 0, "a payment of 0 msat pays nothing")
	case p.Amount > l.MaxPayment:
		return refuse(RuleMaxPayment, SettingMaxPayment, uint64(l.MaxPayment),
			"a payment of %s is above the limit of %s for one payment", msat(p.Amount), msat(l.MaxPayment))
	case p.Used > l.Budget || p.Amount > l.Budget-p.Used:
		return refuse(RuleBudget, SettingBudget, uint64(l.Budget),
			"a payment of %s exceeds the budget: %s of %s are spent in the last 24 hours", msat(p.Amount), msat(p.Used), msat(l.Budget))
	case p.Amount > l.ApproveAbove && !p.Approved:
		d := refuse(RuleApproval, SettingApproveAbove, uint64(l.ApproveAbove),
			"a payment of %s is above %s and needs a person's approval", msat(p.Amount), msat(l.ApproveAbove))
		d.Verdict = Approve
		return d
	}
	return Decision{}
}

// Opening is a peer's request for a channel.
type Opening struct {
	Deposit      channel.Sat // the peer's
	PeerDeposit  channel.Sat // what it asks this node to add
	Channels     int         // channels with this peer that are not over
	Pending      int         // of these, channels that wait for funding
	PendingTotal int         // the same over all peers
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
			"there are %d channels between the two, at most %d are possible; close one first", o.Channels, l.MaxChannels), 0
	case o.Pending >= l.MaxPending:
		return refuse(RuleMaxPending, SettingMaxPending, uint64(l.MaxPending),
			"%d channels wait for funding, at most %d may; fund them or let them lapse first", o.Pending, l.MaxPending), 0
	case o.PendingTotal >= l.MaxPendingTotal:
		return refuse(RuleMaxPendingTotal, SettingMaxPendingTotal, uint64(l.MaxPendingTotal),
			"too many channels wait for funding; try again later"), 0
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
	case p.Blind && (p.TakenBlind > l.BlindCap || p.Amount > l.BlindCap-p.TakenBlind):
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
