package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// defaultPayTimeout bounds a Pay whose caller set no deadline.
const defaultPayTimeout = 30 * time.Second

// Pay makes one payment and waits for its fate.
func (n *Node) Pay(ctx context.Context, req channel.PayRequest) (channel.PayResult, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultPayTimeout)
		defer cancel()
	}
	if strings.Contains(req.Target, "/") { // a multiaddr also says how to reach the peer
		if _, err := n.connect(ctx, req.Target); err != nil {
			return channel.PayResult{}, err
		}
	}
	j, err := n.pay(req)
	if err != nil {
		return channel.PayResult{}, err
	}
	type outcome struct {
		result channel.PayResult
		err    error
	}
	fate := make(chan outcome, 1)
	j.wait(func(r channel.PayResult, err error) { fate <- outcome{r, err} })
	select {
	case o := <-fate:
		n.woke()
		return o.result, o.err
	case <-ctx.Done():
		n.woke()
	}
	r := channel.PayResult{ID: j.payment.ID, Channel: j.channel, Amount: j.payment.Amount}
	if j.alone() && j.cancel() {
		n.nudge(j)
		return r, n.jobs.doubted(j.payment.ID, channel.Faultf(channel.CodePeerUnreachable, "the payment did not begin in time; nothing was signed"))
	}
	return r, channel.Faultf(channel.CodePending, "the payment %s is signed and has no answer yet", j.payment.ID).
		WithHint("ask again with --id %s: it is not paid twice", j.payment.ID)
}

// PayAsync queues a payment.
func (n *Node) PayAsync(req channel.PayRequest, done func(channel.PayResult, error)) {
	j, err := n.pay(req)
	if err != nil {
		done(channel.PayResult{ID: req.ID, Amount: req.Amount}, err)
		return
	}
	j.wait(done)
}

// nudge lets the worker notice that a job was given up.
func (n *Node) nudge(j *job) {
	n.mu.Lock()
	d := n.drivers[j.channel]
	n.mu.Unlock()
	if d != nil {
		d.post(inspect{func(*driver) {}})
	}
}

// pay registers a payment, or finds the one that has its id, and queues it once.
func (n *Node) pay(req channel.PayRequest) (*job, error) {
	p := channel.Payment{ID: req.ID, Amount: req.Amount, Ref: req.Ref}
	if err := n.checkPay(p); err != nil {
		return nil, err
	}
	d, err := n.choose(req)
	if err == nil {
		err = n.diskLow()
	}
	if err != nil && !req.HasID {
		return nil, err
	}
	if !req.HasID {
		n.deps.Rand(p.ID[:])
	}
	j := newJob(p, "", channel.ID{})
	if d != nil {
		j.peer, j.channel = d.peer, d.id
	}
	if other := n.jobs.claim(j); other != nil {
		return n.same(other, req)
	}
	if req.HasID {
		old, found, lookErr := n.recall(req)
		if lookErr == nil && n.jobs.asking(req.ID) {
			lookErr = askConflict(req.ID)
		}
		if lookErr != nil || found {
			n.jobs.forget(j)
			j.finish(old, lookErr)
			if lookErr != nil {
				return nil, lookErr
			}
			return j, nil
		}
	}
	if err == nil && !planted("budget not reserved") {
		j.token, err = n.permit(d, p, req.Target)
	}
	if err != nil {
		err = n.jobs.doubted(p.ID, n.fault(err))
		n.jobs.forget(j)
		j.finish(channel.PayResult{ID: p.ID, Amount: p.Amount}, err)
		return nil, err
	}
	n.enqueue(d, j)
	return j, nil
}

func (n *Node) checkPay(p channel.Payment) error {
	if n.closed.Load() {
		return channel.Faultf(channel.CodeStopping, "the daemon is stopping")
	}
	if err := channel.CheckPayment(p); err != nil {
		return n.fault(err)
	}
	if err := wire.CheckRef(p.Ref); err != nil {
		return channel.Faultf(channel.CodeBadRequest, "%v", err)
	}
	return nil
}

// held is a job that waits for a connection to its peer.
type held struct {
	d *driver
	j *job
}

// enqueue gives the job to its channel. If the peer is away it waits, with all others to this peer, for one
// attempt to connect.
func (n *Node) enqueue(d *driver, j *job) {
	if !n.chain.scanned.Load() {
		n.abandon(j, channel.Faultf(channel.CodeNotReady, "this node has not seen the whole chain since its start; nothing was signed"))
		return
	}
	if s := n.session(d.peer); s != nil {
		d.post(payEvent{j, s})
		return
	}
	n.mu.Lock()
	list, trying := n.held[d.peer]
	n.held[d.peer] = append(list, held{d, j})
	n.mu.Unlock()
	if trying {
		return
	}
	if !n.spawn(func() { n.deliver(d.peer) }) {
		for _, h := range n.unhold(d.peer) {
			n.abandon(h.j, channel.Faultf(channel.CodeStopping, "the daemon is stopping"))
		}
	}
}

// deliver connects to a peer and hands over what waits for that.
func (n *Node) deliver(peer channel.PeerID) {
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	s, err := n.connect(ctx, string(peer))
	for _, h := range n.unhold(peer) {
		if err == nil {
			h.d.post(payEvent{h.j, s})
			continue
		}
		h.j.take()
		n.abandon(h.j, channel.Faultf(channel.CodePeerUnreachable, "%v; nothing was signed", err))
	}
}

func (n *Node) unhold(peer channel.PeerID) []held {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.held[peer]
	delete(n.held, peer)
	return list
}

// abandon ends a job before anything was signed for it.
func (n *Node) abandon(j *job, err error) {
	n.budget.Release(j.token)
	j.token = budget.Token{}
	j.finish(channel.PayResult{ID: j.payment.ID, Channel: j.channel, Amount: j.payment.Amount}, n.jobs.doubted(j.payment.ID, n.fault(err)))
	n.jobs.forget(j)
}

// same checks that a repeated id asks for the same payment.
func (n *Node) same(other *job, req channel.PayRequest) (*job, error) {
	if other.payment.Amount != req.Amount {
		return nil, conflict(req.ID, "%d msat", other.payment.Amount)
	}
	if other.peer != "" && !n.matches(req.Target, other.channel, other.peer) {
		return nil, conflict(req.ID, "peer %s", other.peer)
	}
	return other, nil
}

func conflict(id channel.PaymentID, format string, arg any) error {
	return channel.Faultf(channel.CodeIDConflict, "payment id %s was used for a payment of "+format, id, arg).
		WithHint("use the same id only to repeat the same payment; nothing was paid now")
}

// matches reports whether a target names a channel or its peer.
func (n *Node) matches(target string, id channel.ID, peer channel.PeerID) bool {
	if found := n.channelsLike(target); len(found) == 1 {
		return found[0].id == id
	}
	p, err := n.resolvePeer(target)
	return err == nil && p == peer
}

// recall finds the stored payment with the request's id.
func (n *Node) recall(req channel.PayRequest) (channel.PayResult, bool, error) {
	if b, err := n.deps.Store.Get(idKey(req.ID)); err == nil {
		if _, _, authorised := decodeDrawID(b); authorised {
			return channel.PayResult{}, false, askConflict(req.ID)
		}
	}
	info, found, err := n.findPayment(req.ID)
	if err != nil || !found {
		return channel.PayResult{}, false, n.fault(err)
	}
	if info.Amount != req.Amount {
		return channel.PayResult{}, false, conflict(req.ID, "%d msat", info.Amount)
	}
	if !n.matches(req.Target, info.Channel, info.PeerID) {
		return channel.PayResult{}, false, conflict(req.ID, "peer %s", info.PeerID)
	}
	r := channel.PayResult{ID: info.ID, Channel: info.Channel, Amount: info.Amount, Total: info.Total, Status: info.Status, Reason: info.Reason}
	return r, true, nil
}

// choose picks the channel for a payment: the one that is named, or of those with the named peer the one
// that expires first and can carry it.
func (n *Node) choose(req channel.PayRequest) (*driver, error) {
	if b, err := hex.DecodeString(req.Target); err == nil && len(b) == 32 {
		n.mu.Lock()
		d := n.drivers[channel.ID(b)]
		n.mu.Unlock()
		if d == nil {
			return nil, channel.Faultf(channel.CodeNotFound, "no channel %s", req.Target).WithHint("list them with: runnel channels")
		}
		return d, nil
	}
	found := n.channelsLike(req.Target)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, ambiguous(req.Target, names(found))
	}
	peer, err := n.resolvePeer(req.Target)
	if err != nil {
		return nil, err
	}
	return n.carrier(peer, req.Amount)
}

func (n *Node) carrier(peer channel.PeerID, amount channel.Msat) (*driver, error) {
	n.mu.Lock()
	drivers := append([]*driver(nil), n.byPeer[peer]...)
	n.mu.Unlock()
	var best *driver
	var expiry uint32
	var why error
	for _, d := range drivers {
		n.read(d, func(d *driver) {
			st := &d.w.st
			if st.Phase.Final() || !st.Terms.Out.Exists() {
				return
			}
			err := st.CanPay()
			if err == nil && st.Spendable() < amount {
				err = channel.Faultf(channel.CodeInsufficient, "%d msat is more than the %d msat that channel %s can still pay", amount, st.Spendable(), d.id.String()[:8])
			}
			if err != nil {
				why = err
			} else if best == nil || st.Terms.Out.Expiry < expiry {
				best, expiry = d, st.Terms.Out.Expiry
			}
		})
	}
	switch {
	case best != nil:
		return best, nil
	case why != nil:
		return nil, n.fault(why)
	}
	return nil, channel.Faultf(channel.CodeNotFound, "there is no channel on which peer %s can be paid", shortPeer(peer)).
		WithHint("open one with: runnel open %s --deposit 100000sat", peer)
}

// decide is the payee's policy for the payments of frames.
func (d *driver) decide(frames []*channel.Frame) (refused []channel.Refusal) {
	n := d.n
	limits := n.limits.Load()
	_, away := n.chain.unreachable()
	if away == nil {
		d.blindTaken = 0
	}
	free := n.guard.free.Load()
	for _, f := range frames {
		for i, p := range f.Payments {
			in := policy.Incoming{Amount: p.Amount, Blind: away != nil, TakenBlind: d.blindTaken, FreeDisk: free}
			decision, reason := limits.AcceptPayment(in)
			if decision.Verdict != policy.Allow {
				refused = append(refused, channel.Refusal{Seq: f.FirstSeq + uint64(i), Reason: reason})
				continue
			}
			if away != nil {
				d.blindTaken += p.Amount
			}
		}
	}
	return refused
}

// tipSlack is by how many blocks two nodes may see the chain differently when they agree on a channel.
const tipSlack = 6

// judgeOpen is the policy for a peer's Open. It returns what we add.
func (n *Node) judgeOpen(peer channel.PeerID, o *channel.Open, tip uint32) (channel.Sat, error) {
	h := n.cfg.Heights
	for _, l := range []struct {
		expiry  uint32
		deposit channel.Sat
	}{{o.Expiry, o.Deposit}, {o.PeerExpiry, o.PeerDeposit}} {
		if l.deposit > 0 && (l.expiry < tip+h.MinLife || l.expiry > tip+h.MaxLife) {
			return 0, channel.Faultf(channel.CodeBadRequest, "an expiry at block %d is outside %d to %d", l.expiry, tip+h.MinLife, tip+h.MaxLife)
		}
	}
	// A peer that vanishes locks this node's money: not for longer than this node would lock it by itself.
	if own := tip + h.Life + h.LifeRandom + tipSlack; o.PeerDeposit > 0 && o.PeerExpiry > own {
		return 0, channel.Faultf(channel.CodeBadRequest, "this node adds money until block %d at most, and was asked to until %d", own, o.PeerExpiry)
	}
	if o.Tip > tip+tipSlack || o.Tip+tipSlack < tip {
		return 0, channel.Faultf(channel.CodeBadRequest, "our chains are at different heights: %d here, %d there", tip, o.Tip)
	}
	ask := policy.Opening{Deposit: o.Deposit, PeerDeposit: o.PeerDeposit}
	for _, d := range n.live() {
		waits := channel.Phase(d.phase.Load()) == channel.PhaseAgreed
		if waits {
			ask.PendingTotal++
		}
		if near(d.agreed.In.Expiry, o.Expiry) {
			ask.InWindow += d.agreed.In.Deposit
		}
		if d.peer == peer {
			ask.Channels++
			ask.AtRisk += d.agreed.In.Deposit
			if waits {
				ask.Pending++
			}
		}
	}
	decision, add := n.limits.Load().AcceptOpen(ask)
	if decision.Verdict != policy.Allow {
		return 0, errors.New(decision.Text)
	}
	if add < o.PeerDeposit {
		return 0, fmt.Errorf("this node adds at most %d sat and was asked for %d sat", n.limits.Load().AcceptPeerDeposit, o.PeerDeposit)
	}
	return add, n.canAdd(add)
}

// near reports whether two expiries fall into one window of risk.
func near(a, b uint32) bool { return max(a, b)-min(a, b) <= policy.RiskWindow }

// canAdd checks that the wallet can keep the promise of an own lane.
func (n *Node) canAdd(deposit channel.Sat) error {
	if deposit == 0 {
		return nil
	}
	b, err := n.deps.Wallet.Balance(n.ctx)
	if err != nil || b.Confirmed < deposit+n.rate(0).Fee(fundVSize) {
		return errors.New("this node can't add that much now")
	}
	return nil
}

func (n *Node) loadBudget() error {
	record, err := n.deps.Store.Get(budget.Key)
	if errors.Is(err, store.ErrNotFound) {
		n.budget = budget.New(n.cfg.Limits)
		return nil
	}
	if err != nil {
		return err
	}
	n.budget, err = budget.Load(n.cfg.Limits, record)
	return err
}
