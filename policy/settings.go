package policy

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/runnel/runnel/channel"
)

// Unit is what a setting's figure counts.
type Unit uint8

const (
	UnitMsat Unit = iota
	UnitSat
	UnitCount
	UnitBlocks
	UnitBytes
)

var unitNames = [...]string{"msat", "sat", "count", "blocks", "bytes"}

func (u Unit) String() string {
	if int(u) < len(unitNames) {
		return unitNames[u]
	}
	return fmt.Sprintf("unit_%d", uint8(u))
}

// Setting is one figure of Limits by its name.
type Setting struct {
	Name string
	Unit Unit
	Help string
	get  func(*Limits) uint64
	set  func(*Limits, uint64)
}

// Settings lists the figures in the order in which people read them. The confirmations by deposit are no
// figure and not among them.
func Settings() []Setting {
	return []Setting{
		amount(SettingTiny, "payments up to this are made without a question", func(l *Limits) *channel.Msat { return &l.Tiny }),
		amount(SettingApproveAbove, "payments above this wait for your approval", func(l *Limits) *channel.Msat { return &l.ApproveAbove }),
		amount(SettingNewPeerAbove, "payments to a new peer above this wait for your approval", func(l *Limits) *channel.Msat { return &l.NewPeerAbove }),
		count(SettingNewPeerBlocks, UnitBlocks, "a peer is new until its first channel is this old", func(l *Limits) *int { return &l.NewPeerBlocks }),
		amount(SettingMaxPayment, "no payment is above this", func(l *Limits) *channel.Msat { return &l.MaxPayment }),
		amount(SettingMinuteBudget, "all payments out in any 60 seconds", func(l *Limits) *channel.Msat { return &l.MinuteBudget }),
		amount(SettingBudget, "all payments out in any 24 hours", func(l *Limits) *channel.Msat { return &l.Budget }),
		amount(SettingPeerBudget, "all payments out to one peer in any 24 hours", func(l *Limits) *channel.Msat { return &l.PeerBudget }),
		sats(SettingOpensAbove, "opening channels waits for your approval when the deposits of 24 hours come to more", func(l *Limits) *channel.Sat { return &l.OpensAbove }),
		sats(SettingSendsAbove, "sending on the chain waits for your approval when the amounts of 24 hours come to more", func(l *Limits) *channel.Sat { return &l.SendsAbove }),
		sats(SettingAcceptPeerDeposit, "the most that this node adds when a peer asks", func(l *Limits) *channel.Sat { return &l.AcceptPeerDeposit }),
		sats(SettingMinDeposit, "the least that a peer must put into a channel", func(l *Limits) *channel.Sat { return &l.MinDeposit }),
		amount(SettingMinIncoming, "the smallest payment that is taken", func(l *Limits) *channel.Msat { return &l.MinIncoming }),
		sats(SettingPeerRisk, "deposits of one peer in channels that are not over", func(l *Limits) *channel.Sat { return &l.PeerRisk }),
		sats(SettingWindowRisk, "deposits of all peers that expire within a day of one another", func(l *Limits) *channel.Sat { return &l.WindowRisk }),
		count(SettingMaxChannels, UnitCount, "channels with one peer", func(l *Limits) *int { return &l.MaxChannels }),
		count(SettingMaxPending, UnitCount, "channels with one peer that wait for funding", func(l *Limits) *int { return &l.MaxPending }),
		count(SettingMaxPendingTotal, UnitCount, "channels that wait for funding", func(l *Limits) *int { return &l.MaxPendingTotal }),
		amount(SettingBlindCap, "taken on one channel while the chain can't be seen", func(l *Limits) *channel.Msat { return &l.BlindCap }),
		{SettingMinFreeDisk, UnitBytes, "free disk below which nothing new is taken",
			func(l *Limits) uint64 { return uint64(l.MinFreeDisk) }, func(l *Limits, v uint64) { l.MinFreeDisk = int64(min(v, 1<<62)) }},
	}
}

func amount(name, help string, at func(*Limits) *channel.Msat) Setting {
	return Setting{name, UnitMsat, help, func(l *Limits) uint64 { return uint64(*at(l)) }, func(l *Limits, v uint64) { *at(l) = channel.Msat(v) }}
}

func sats(name, help string, at func(*Limits) *channel.Sat) Setting {
	return Setting{name, UnitSat, help, func(l *Limits) uint64 { return uint64(*at(l)) }, func(l *Limits, v uint64) { *at(l) = channel.Sat(v) }}
}

func count(name string, u Unit, help string, at func(*Limits) *int) Setting {
	return Setting{name, u, help, func(l *Limits) uint64 { return uint64(*at(l)) }, func(l *Limits, v uint64) { *at(l) = int(min(v, 1<<31)) }}
}

// ErrSetting is returned for a name that no setting has.
var ErrSetting = errors.New("policy: no such limit")

// SettingNamed finds a setting.
func SettingNamed(name string) (Setting, error) {
	for _, s := range Settings() {
		if s.Name == name {
			return s, nil
		}
	}
	return Setting{}, fmt.Errorf("%w: %q", ErrSetting, name)
}

// Get reads the figure, in the setting's unit.
func (s Setting) Get(l *Limits) uint64 { return s.get(l) }

// Put returns limits with another figure, unchecked.
func (s Setting) Put(l Limits, v uint64) Limits {
	s.set(&l, v)
	return l
}

// With returns limits with another figure, or why they can't be meant.
func (s Setting) With(l Limits, v uint64) (Limits, error) {
	s.set(&l, v)
	return l, l.Validate()
}

// Most is the figure that stands for no limit; 0 where there is none.
func (s Setting) Most() uint64 {
	switch s.Unit {
	case UnitMsat:
		return uint64(NoLimit)
	case UnitSat:
		return uint64(channel.MaxMoney)
	}
	return 0
}

// Show writes a figure as the owner does.
func (s Setting) Show(v uint64) string {
	switch {
	case s.Most() != 0 && v >= s.Most():
		return "none"
	case s.Unit == UnitMsat && v%1000 == 0:
		return digits(v/1000) + "sat"
	case s.Unit == UnitMsat:
		return digits(v) + "msat"
	case s.Unit == UnitSat:
		return digits(v) + "sat"
	case s.Unit == UnitBytes:
		return strconv.FormatUint(v>>20, 10) + "MB"
	}
	return strconv.FormatUint(v, 10)
}

// Show is Setting.Show for a name; figures of unknown ones stand as they are.
func Show(name string, v uint64) string {
	s, err := SettingNamed(name)
	if err != nil {
		return strconv.FormatUint(v, 10)
	}
	return s.Show(v)
}

// digits groups the thousands.
func digits(v uint64) string {
	s := strconv.FormatUint(v, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "_" + s[i:]
	}
	return s
}
