package policy

import (
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
)

// NoLimit is all the money that there is.
const NoLimit = channel.Msat(channel.MaxMoney) * 1000

// Names of the settings, as flags and in the configuration file.
const (
	SettingBudget            = "budget-per-day"
	SettingMaxPayment        = "max-payment"
	SettingApproveAbove      = "approve-above"
	SettingTiny              = "tiny-payment"
	SettingPeerBudget        = "peer-budget-per-day"
	SettingMinuteBudget      = "budget-per-minute"
	SettingNewPeerAbove      = "approve-new-peer-above"
	SettingNewPeerBlocks     = "new-peer-blocks"
	SettingOpensAbove        = "approve-opens-above"
	SettingSendsAbove        = "approve-sends-above"
	SettingAcceptPeerDeposit = "accept-peer-deposit"
	SettingMinDeposit        = "min-peer-deposit"
	SettingMaxChannels       = "max-channels-per-peer"
	SettingMaxPending        = "max-pending-opens-per-peer"
	SettingMaxPendingTotal   = "max-pending-opens"
	SettingConfirmations     = "confirmations"
	SettingBlindCap          = "blind-cap"
	SettingMinIncoming       = "min-payment"
	SettingPeerRisk          = "max-at-risk-per-peer"
	SettingWindowRisk        = "max-at-risk-per-window"
	SettingMinFreeDisk       = "min-free-disk"
)

// Limits are everything that an owner decides in advance.
type Limits struct {
	Budget       channel.Msat // all payments out in any 24 hours
	MaxPayment   channel.Msat // one payment out
	MinuteBudget channel.Msat // all payments out in any 60 seconds
	PeerBudget   channel.Msat // all payments out to one peer in any 24 hours
	Tiny         channel.Msat // payments up to this are never asked about: they are made or refused
	ApproveAbove channel.Msat // payments above need a person's yes
	NewPeerAbove channel.Msat // the same for a peer with whom the first channel is younger than NewPeerBlocks

	NewPeerBlocks int
	OpensAbove    channel.Sat // opening needs a yes when the deposits of any 24 hours come to more
	SendsAbove    channel.Sat // sending on the chain needs one when the amounts of any 24 hours do

	AcceptPeerDeposit channel.Sat // the most that this node adds when a peer asks
	MinDeposit        channel.Sat // the least that a peer must put into a channel to this node
	MaxChannels       int         // channels with one peer that are not over
	MaxPending        int         // of these, channels that wait for funding
	MaxPendingTotal   int         // channels that wait for funding, all peers together

	Tiers []Tier // confirmations by deposit, ascending

	PeerRisk    channel.Sat  // deposits of one peer in channels that are not over: what it can come to owe
	WindowRisk  channel.Sat  // deposits of all peers that expire within RiskWindow of one another
	MinIncoming channel.Msat // the smallest payment taken
	BlindCap    channel.Msat // taken on one channel since the chain was last seen
	MinFreeDisk int64        // bytes below which no payment is taken
}

// Tier asks for confirmations of deposits up to UpTo.
type Tier struct {
	UpTo          channel.Sat
	Confirmations uint32
}

// RiskWindow is how near to one another two expiries are when both must be settled through the same
// blocks: a day.
const RiskWindow = 144

// MaxConfirmations bounds a tier: more than a day of blocks protects nobody and looks like a hang.
const MaxConfirmations = 144

// Networks for which there are defaults.
func Networks() []string {
	return []string{"simnet", "regtest", "signet", "testnet3", "testnet4", "mainnet"}
}

// Defaults are the limits of a node whose owner decided nothing.
func Defaults(network string) (Limits, error) {
	switch network {
	case "simnet", "regtest":
		return playMoney(), nil
	case "signet", "testnet3", "testnet4":
		return freeSpending(realMoney()), nil // coins without a price
	case "mainnet":
		return realMoney(), nil
	}
	return Limits{}, fmt.Errorf("unknown network %q: choose one of %v", network, Networks())
}

func realMoney() Limits {
	return Limits{
		Budget:       1_000_000_000, // 1,000,000 sat: what a runaway program can spend before a person looks
		MaxPayment:   100_000_000,   // 100,000 sat: micropayments; a larger one is more likely a wrong unit
		MinuteBudget: 100_000_000,   // a tenth of the day's: time to look before the day's money is gone
		PeerBudget:   500_000_000,   // half of it: one payee that cheats can't take all
		Tiny:         1_000_000,     // 1,000 sat: nobody wants a question for less
		ApproveAbove: 20_000_000,    // 20,000 sat: what one notices in a wallet
		NewPeerAbove: 5_000_000,     // 5,000 sat: trust grows with time

		NewPeerBlocks: 144,       // a day
		OpensAbove:    1_000_000, // a deposit comes back; a thief of the socket can still lock it up
		SendsAbove:    100_000,   // what is sent on the chain is gone

		AcceptPeerDeposit: 0, // nobody locks this node's coins without its owner's word
		MinDeposit:        channel.MinDeposit,
		MaxChannels:       10, // one in use, successors, some that are closing
		MaxPending:        2,  // opening costs a peer nothing before it funds
		MaxPendingTotal:   200,

		Tiers: []Tier{
			{100_000, 1},          // less than mining one false block costs
			{10_000_000, 3},       //
			{channel.MaxMoney, 6}, // deeper reorganisations were bugs of consensus, not of chance
		},

		PeerRisk:    100_000_000,   // 1 BTC: more than micropayments to one payee come to
		WindowRisk:  1_000_000_000, // 10 BTC that must reach the chain on the same day
		MinIncoming: 1,
		BlindCap:    10_000_000, // 10,000 sat: an hour of a busy channel, not a deposit
		MinFreeDisk: 256 << 20,  // the database dies of a full disk: stop long before
	}
}

// freeSpending takes away every bound on what goes out.
func freeSpending(l Limits) Limits {
	l.Budget, l.MaxPayment, l.MinuteBudget, l.PeerBudget = NoLimit, NoLimit, NoLimit, NoLimit
	l.ApproveAbove, l.NewPeerAbove = NoLimit, NoLimit
	l.OpensAbove, l.SendsAbove = channel.MaxMoney, channel.MaxMoney
	return l
}

func playMoney() Limits {
	l := freeSpending(realMoney())
	l.PeerRisk, l.WindowRisk = channel.MaxMoney, channel.MaxMoney
	l.MaxPending = 10 // scripts open many at once
	l.BlindCap = 1_000_000_000
	l.Tiers = []Tier{{channel.MaxMoney, 1}} // blocks are mined by hand
	return l
}

// Validate reports every setting that can't be meant, by name.
func (l Limits) Validate() error {
	return errors.Join(
		atMost(SettingBudget, l.Budget),
		atMost(SettingMaxPayment, l.MaxPayment),
		atMost(SettingApproveAbove, l.ApproveAbove),
		atMost(SettingMinuteBudget, l.MinuteBudget),
		atMost(SettingPeerBudget, l.PeerBudget),
		atMost(SettingNewPeerAbove, l.NewPeerAbove),
		tinyBelow(l),
		satAtMost(SettingOpensAbove, l.OpensAbove),
		satAtMost(SettingSendsAbove, l.SendsAbove),
		satAtMost(SettingPeerRisk, l.PeerRisk),
		satAtMost(SettingWindowRisk, l.WindowRisk),
		atLeast(SettingNewPeerBlocks, l.NewPeerBlocks, 0),
		atMost(SettingMinIncoming, l.MinIncoming),
		atMost(SettingBlindCap, l.BlindCap),
		checkDeposits(l),
		atLeast(SettingMaxChannels, l.MaxChannels, 1),
		atLeast(SettingMaxPending, l.MaxPending, 1),
		atLeast(SettingMaxPendingTotal, l.MaxPendingTotal, l.MaxPending),
		atLeast(SettingMinFreeDisk, int(min(l.MinFreeDisk, 1<<30)), 64<<20),
		checkTiers(l.Tiers),
	)
}

func atMost(setting string, v channel.Msat) error {
	if v > NoLimit {
		return fmt.Errorf("%s: %d msat is more than there is", setting, v)
	}
	return nil
}

func satAtMost(setting string, v channel.Sat) error {
	if v > channel.MaxMoney {
		return fmt.Errorf("%s: %d sat is more than there is", setting, v)
	}
	return nil
}

// tinyBelow holds what tiny promises: no payment that is tiny is asked about.
func tinyBelow(l Limits) error {
	for _, asks := range []struct {
		setting string
		above   channel.Msat
	}{{SettingApproveAbove, l.ApproveAbove}, {SettingNewPeerAbove, l.NewPeerAbove}} {
		if l.Tiny > asks.above {
			return fmt.Errorf("%s: %s is above %s, which is %s: tiny payments are never asked about",
				SettingTiny, msat(l.Tiny), asks.setting, msat(asks.above))
		}
	}
	return nil
}

func atLeast(setting string, v, least int) error {
	if v < least {
		return fmt.Errorf("%s: %d, must be at least %d", setting, v, least)
	}
	return nil
}

func checkDeposits(l Limits) error {
	own := l.AcceptPeerDeposit
	if own != 0 && own < channel.MinDeposit || own > channel.MaxMoney {
		return fmt.Errorf("%s: %d sat, must be 0 (add nothing) or at least %d", SettingAcceptPeerDeposit, own, channel.MinDeposit)
	}
	if l.MinDeposit < channel.MinDeposit || l.MinDeposit > channel.MaxMoney {
		return fmt.Errorf("%s: %d sat, must be at least %d", SettingMinDeposit, l.MinDeposit, channel.MinDeposit)
	}
	return nil
}

func checkTiers(tiers []Tier) error {
	if len(tiers) == 0 || tiers[len(tiers)-1].UpTo < channel.MaxMoney {
		return fmt.Errorf("%s: the last tier must reach %d sat", SettingConfirmations, channel.MaxMoney)
	}
	for i, t := range tiers {
		if t.Confirmations < 1 || t.Confirmations > MaxConfirmations {
			return fmt.Errorf("%s: %d confirmations, must be 1 to %d", SettingConfirmations, t.Confirmations, MaxConfirmations)
		}
		if i > 0 && (t.UpTo <= tiers[i-1].UpTo || t.Confirmations < tiers[i-1].Confirmations) {
			return fmt.Errorf("%s: tiers must ascend", SettingConfirmations)
		}
	}
	return nil
}
