package policy

import (
	"fmt"
)

// Presets are the names that Preset knows.
func Presets() []string { return []string{"strict", "default", "lax"} }

// Spending are the settings that a preset sets.
func Spending() []string {
	return []string{SettingTiny, SettingApproveAbove, SettingNewPeerAbove, SettingNewPeerBlocks, SettingMaxPayment, SettingMinuteBudget,
		SettingBudget, SettingPeerBudget, SettingOpensAbove, SettingSendsAbove, SettingAcceptPeerDeposit}
}

// Preset returns limits with all that the owner's programs may spend set at once; what is taken from peers
// stays. The preset default is that of the network; strict and lax have the same figures everywhere.
func Preset(name, network string, l Limits) (Limits, error) {
	var from Limits
	switch name {
	case "default":
		d, err := Defaults(network)
		if err != nil {
			return l, err
		}
		from = d
	case "strict":
		from = strict()
	case "lax":
		from = lax()
	default:
		return l, fmt.Errorf("unknown preset %q: choose one of %v", name, Presets())
	}
	l.Budget, l.MaxPayment, l.MinuteBudget, l.PeerBudget = from.Budget, from.MaxPayment, from.MinuteBudget, from.PeerBudget
	l.Tiny, l.ApproveAbove, l.NewPeerAbove, l.NewPeerBlocks = from.Tiny, from.ApproveAbove, from.NewPeerAbove, from.NewPeerBlocks
	l.OpensAbove, l.SendsAbove, l.AcceptPeerDeposit = from.OpensAbove, from.SendsAbove, from.AcceptPeerDeposit
	return l, l.Validate()
}

// strict asks about everything that is more than a tip, and about every coin that leaves on the chain.
func strict() Limits {
	return Limits{
		Budget: 100_000_000, MaxPayment: 20_000_000, MinuteBudget: 10_000_000, PeerBudget: 50_000_000,
		Tiny: 100_000, ApproveAbove: 2_000_000, NewPeerAbove: 100_000, NewPeerBlocks: 1008,
		OpensAbove: 100_000, SendsAbove: 0,
	}
}

// lax is for an owner who watches the node, or whose programs move much.
func lax() Limits {
	return Limits{
		Budget: 10_000_000_000, MaxPayment: 1_000_000_000, MinuteBudget: NoLimit, PeerBudget: NoLimit,
		Tiny: 10_000_000, ApproveAbove: 200_000_000, NewPeerAbove: 100_000_000, NewPeerBlocks: 144,
		OpensAbove: 100_000_000, SendsAbove: 1_000_000,
	}
}
