package daemon

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

// permit decides a payment out, and reserves its amount.
func (n *Node) permit(d *driver, p channel.Payment, target string) (budget.Token, error) {
	return n.permitOut(d, &approval{id: p.ID, Kind: kindPay, Amount: p.Amount, Peer: d.peer, Target: target, Ref: p.Ref})
}

// permitDraw decides what a payee may draw by itself, and reserves the most that it can come to.
func (n *Node) permitDraw(d *driver, id channel.PaymentID, most channel.Msat) (budget.Token, error) {
	return n.permitOut(d, &approval{id: id, Kind: kindDraw, Amount: most, Peer: d.peer, Target: d.id.String()})
}

func (n *Node) permitOut(d *driver, r *approval) (budget.Token, error) {
	if err := n.stopped(d.peer, d.id); err != nil {
		return budget.Token{}, err
	}
	yes, err := n.granted(r)
	if err != nil {
		return budget.Token{}, err
	}
	limits := n.limits.Load()
	ask := policy.Payment{Amount: r.Amount, Approved: yes, NewPeer: r.Amount > limits.NewPeerAbove && n.isNew(d.peer, limits)}
	token, decision, err := n.budget.ReserveTo(d.peer, ask, n.deps.Now())
	switch {
	case err != nil:
		return token, err
	case decision.Verdict == policy.Approve:
		return token, n.askOwner(r, decision)
	}
	return token, decision.Err()
}

// isNew reports whether the first channel with a peer is young, in blocks: no clock makes a peer old.
func (n *Node) isNew(peer channel.PeerID, l *policy.Limits) bool {
	tip, ok := n.chain.tip()
	if !ok {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.byPeer[peer] {
		if uint64(d.agreed.OpenedAt)+uint64(l.NewPeerBlocks) <= uint64(tip.Height) {
			return false
		}
	}
	return true
}

// onchain counts what was locked in channels and sent on the chain, in any 24 hours.
type onchain struct {
	write        turn       // one decision at a time, over its commit
	mu           sync.Mutex // guards both
	opens, sends policy.Window
}

var keyOnchain = []byte("o")

func (o *onchain) encode() []byte {
	opens := o.opens.Encode()
	return append(append(binary.AppendUvarint(nil, uint64(len(opens))), opens...), o.sends.Encode()...)
}

func (o *onchain) decode(b []byte) (err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return policy.ErrWindow
	}
	if o.opens, err = policy.DecodeWindow(b[n : n+int(size)]); err != nil {
		return err
	}
	o.sends, err = policy.DecodeWindow(b[n+int(size):])
	return err
}

// used is what counts at a time, in satoshi.
func (o *onchain) used(now time.Time) (opens, sends channel.Sat) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens.Advance(now)
	o.sends.Advance(now)
	return channel.Sat(o.opens.Used() / 1000), channel.Sat(o.sends.Used() / 1000)
}

// reserve decides and counts in one step, durably. undo takes it back when nothing came of it.
func (n *Node) reserve(w *policy.Window, judge func(policy.OnChain) policy.Decision, amount channel.Sat, approved bool) (undo func(), d policy.Decision, err error) {
	o := &n.onchain
	o.write.take(n)
	defer o.write.leave()
	var hour uint32
	var counted bool
	msat := channel.Msat(min(amount, channel.MaxMoney)) * 1000
	record := o.change(func() {
		w.Advance(n.deps.Now())
		d = judge(policy.OnChain{Amount: amount, Used: channel.Sat(w.Used() / 1000), Approved: approved})
		if d.Verdict == policy.Allow {
			hour, counted = w.Add(msat)
		}
	})
	if d.Verdict != policy.Allow {
		return nil, d, nil
	}
	if err := n.saveOnchain(record); err != nil {
		o.change(func() { w.Release(hour, msat) })
		return nil, d, err
	}
	return func() {
		o.write.take(n)
		defer o.write.leave()
		if !counted {
			return
		}
		if err := n.saveOnchain(o.change(func() { w.Release(hour, msat) })); err != nil {
			n.log.Warn("an amount that was not used stays counted for a day", "err", err)
		}
	}, d, nil
}

// change works on the windows and returns their record.
func (o *onchain) change(f func()) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	return o.encode()
}

func (n *Node) saveOnchain(record []byte) error {
	return n.deps.Committer.Commit(new(store.Batch).Put(keyOnchain, record))
}

// permitOpen decides an own deposit. One from another wallet is its owner's to decide.
func (n *Node) permitOpen(peer channel.PeerID, req channel.OpenRequest, approved bool) (undo func(), err error) {
	if err := n.stopped(peer, channel.ID{}); err != nil {
		return nil, err
	}
	if req.External || req.Deposit == 0 {
		return func() {}, nil
	}
	undo, d, err := n.reserve(&n.onchain.opens, n.limits.Load().OpenOut, req.Deposit, approved)
	if err != nil || d.Verdict == policy.Allow {
		return undo, n.fault(err)
	}
	r := &approval{Kind: kindOpen, Amount: channel.Msat(req.Deposit) * 1000, Target: req.Peer, Open: &req}
	n.deps.Rand(r.id[:])
	return nil, n.askOwner(r, d)
}

// permitSend decides what leaves on the chain.
func (n *Node) permitSend(address string, amount channel.Sat, all bool, rate uint64, approved bool) (undo func(), err error) {
	if err := n.stopped("", channel.ID{}); err != nil {
		return nil, err
	}
	if all {
		b, err := n.deps.Wallet.Balance(n.ctx)
		if err != nil {
			return nil, n.fault(err)
		}
		amount = b.Confirmed
	}
	undo, d, err := n.reserve(&n.onchain.sends, n.limits.Load().SendOut, amount, approved)
	if err != nil || d.Verdict == policy.Allow {
		return undo, n.fault(err)
	}
	r := &approval{Kind: kindSend, Amount: channel.Msat(min(amount, channel.MaxMoney)) * 1000, Target: address, All: all, Rate: rate}
	n.deps.Rand(r.id[:])
	return nil, n.askOwner(r, d)
}

// What the owner set beside the configuration, and what it comes to together.

var keyOwnLimits = []byte("y")

type ownLimits struct {
	write turn       // one change at a time, over its commit: who has it may read the fields below
	mu    sync.Mutex // guards them
	base  policy.Limits
	own   map[string]uint64
}

// put changes the fields. The caller has the turn.
func (o *ownLimits) put(base policy.Limits, own map[string]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.base, o.own = base, own
}

// overlay applies the owner's figures. Where the configuration changed under them so that tiny payments
// would be asked about, fewer are tiny.
func overlay(base policy.Limits, own map[string]uint64) (policy.Limits, error) {
	l := base
	for _, s := range policy.Settings() {
		if v, set := own[s.Name]; set {
			l = s.Put(l, v)
		}
	}
	l.Tiny = min(l.Tiny, l.ApproveAbove, l.NewPeerAbove)
	return l, l.Validate()
}

func (n *Node) loadPermits() error {
	n.own.base, n.own.own = n.cfg.Limits, map[string]uint64{}
	if err := n.loadRecord(keyOnchain, n.onchain.decode); err != nil {
		return err
	}
	if err := n.loadRecord(keyOwnLimits, func(b []byte) error { return json.Unmarshal(b, &n.own.own) }); err != nil {
		return err
	}
	if err := n.loadStops(); err != nil {
		return err
	}
	l, err := overlay(n.own.base, n.own.own)
	if err != nil {
		return fmt.Errorf("the limits that were set with runnel limits do not go with the configuration: %w", err)
	}
	n.adoptLimits(l)
	var bad error
	err = n.deps.Store.Scan(budget.Key, nil, func(key, value []byte) bool {
		if len(key) > len(budget.Key) {
			bad = n.budget.LoadPeer(channel.PeerID(key[len(budget.Key):]), value)
		}
		return bad == nil
	})
	return errors.Join(err, bad, n.loadApprovals())
}

func (n *Node) loadRecord(key []byte, decode func([]byte) error) error {
	b, err := n.deps.Store.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = decode(b)
	}
	if err != nil {
		return fmt.Errorf("daemon: the record %s can't be read: %w", key, err)
	}
	return nil
}

func (n *Node) adoptLimits(l policy.Limits) {
	n.limits.Store(&l)
	n.budget.SetLimits(l)
}

// SetLimits replaces the configuration's limits. What the owner set with runnel limits stays above them.
func (n *Node) SetLimits(base policy.Limits) error {
	if err := base.Validate(); err != nil {
		return err
	}
	n.own.write.take(n)
	defer n.own.write.leave()
	l, err := overlay(base, n.own.own)
	if err != nil {
		return err
	}
	n.own.put(base, n.own.own)
	n.adoptLimits(l)
	return nil
}

// Limits lists the figures with what is used of them.
func (n *Node) Limits(context.Context) ([]channel.LimitInfo, error) {
	now := n.deps.Now()
	l := n.limits.Load()
	minute, one := n.budget.Spent(now)
	opens, sends := n.onchain.used(now)
	used := map[string]uint64{policy.SettingBudget: uint64(n.budget.Used(now)), policy.SettingMinuteBudget: uint64(minute),
		policy.SettingPeerBudget: uint64(one), policy.SettingOpensAbove: uint64(opens), policy.SettingSendsAbove: uint64(sends)}
	n.own.mu.Lock()
	defer n.own.mu.Unlock()
	var list []channel.LimitInfo
	for _, s := range policy.Settings() {
		_, own := n.own.own[s.Name]
		u, counts := used[s.Name]
		v := s.Get(l)
		list = append(list, channel.LimitInfo{Name: s.Name, Unit: s.Unit.String(), Value: v, Text: s.Show(v), Own: own, Used: u, Uses: counts, Help: s.Help})
	}
	return list, nil
}

// SetLimit sets one figure, in its unit, durably.
func (n *Node) SetLimit(_ context.Context, name string, value uint64) error {
	return n.setOwn(func(own map[string]uint64) error {
		s, err := policy.SettingNamed(name)
		if err != nil {
			return unknownLimit(name)
		}
		own[name] = value
		l := n.own.base
		for _, o := range policy.Settings() {
			if v, set := own[o.Name]; set {
				l = o.Put(l, v)
			}
		}
		if _, err := s.With(l, value); err != nil {
			return channel.Faultf(channel.CodeBadRequest, "%v", err)
		}
		return nil
	})
}

// ResetLimit takes back what was set: one figure, or with "" all.
func (n *Node) ResetLimit(_ context.Context, name string) error {
	return n.setOwn(func(own map[string]uint64) error {
		if name == "" {
			clear(own)
			return nil
		}
		if _, err := policy.SettingNamed(name); err != nil {
			return unknownLimit(name)
		}
		delete(own, name)
		return nil
	})
}

func unknownLimit(name string) error {
	return channel.Faultf(channel.CodeNotFound, "there is no limit %q", name).WithHint("list them with: runnel limits")
}

// ApplyPreset sets all that concerns spending at once. The preset default gives it back to the configuration.
func (n *Node) ApplyPreset(_ context.Context, preset string) error {
	return n.setOwn(func(own map[string]uint64) error {
		l, err := policy.Preset(preset, n.cfg.Network, n.own.base)
		if err != nil {
			return channel.Faultf(channel.CodeBadRequest, "%v", err)
		}
		for _, name := range policy.Spending() {
			s, _ := policy.SettingNamed(name)
			if delete(own, name); preset != "default" {
				own[name] = s.Get(&l)
			}
		}
		return nil
	})
}

// setOwn changes the owner's figures: all of it holds, or nothing does.
func (n *Node) setOwn(change func(own map[string]uint64) error) error {
	n.own.write.take(n)
	defer n.own.write.leave()
	own := maps.Clone(n.own.own)
	if err := change(own); err != nil {
		return err
	}
	l, err := overlay(n.own.base, own)
	if err != nil {
		return channel.Faultf(channel.CodeBadRequest, "%v", err)
	}
	b, err := json.Marshal(own)
	if err == nil {
		err = n.deps.Committer.Commit(new(store.Batch).Put(keyOwnLimits, b))
	}
	if err != nil {
		return n.fault(err)
	}
	n.own.put(n.own.base, own)
	n.adoptLimits(l)
	return nil
}
