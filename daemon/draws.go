package daemon

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// Metered use below HTTP (protocol.md 14): what a gateway and a paying client ask of their nodes.

// drawPurpose is what the secret of a lane is for that binds authorisations to requests.
const drawPurpose = "draw"

// laneSecrets keeps the secrets of a channel's lanes: making one costs as much as a signature.
type laneSecrets struct{ out, in atomic.Pointer[[32]byte] }

// secret is the key of the binding codes of a lane.
func (d *driver) secret(out bool) (*[32]byte, error) {
	kept, terms, keys := &d.secrets.in, d.agreed.In, ledger.LaneKeys{Lane: d.agreed.InKey}
	if out {
		kept, terms, keys = &d.secrets.out, d.agreed.Out, ledger.LaneKeys{Lane: d.agreed.OutKey, Payer: true}
	}
	if k := kept.Load(); k != nil {
		return k, nil
	}
	k, err := d.n.deps.Signer.LaneSecret(terms, keys, drawPurpose)
	if err != nil {
		return nil, err
	}
	kept.Store(&k)
	return &k, nil
}

func bindingCode(key *[32]byte, b *channel.Binding, lane channel.LaneID, total channel.Msat) [32]byte {
	m := hmac.New(sha256.New, key[:])
	m.Write(b.Bytes(lane, total))
	return [32]byte(m.Sum(nil))
}

// laneThatPays finds the channel of a charge. It need not be connected.
func (n *Node) laneThatPays(id channel.ID) (*driver, error) {
	if n.closed.Load() {
		return nil, channel.Faultf(channel.CodeStopping, "the daemon is stopping")
	}
	if !n.chain.scanned.Load() {
		return nil, channel.Faultf(channel.CodeNotReady, "this node has not seen the whole chain since its start; nothing is charged")
	}
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	if d == nil || !d.agreed.In.Exists() {
		return nil, channel.Faultf(channel.CodeNotFound, "no channel %s on which this node is paid", id)
	}
	return d, nil
}

// Charge checks an authorisation, accepts its voucher and holds an amount of the credit. It is durable before it
// returns.
func (n *Node) Charge(ctx context.Context, req channel.ChargeRequest) (channel.Charge, error) {
	d, err := n.laneThatPays(req.Channel)
	if err != nil {
		return channel.Charge{}, err
	}
	if err := wire.CheckRef(req.Ref); err != nil {
		return channel.Charge{}, channel.Faultf(channel.CodeBadRequest, "%v", err)
	}
	key, err := d.secret(false)
	if err != nil {
		return channel.Charge{}, n.fault(err)
	}
	want := bindingCode(key, &req.Binding, d.agreed.In.ID(), req.Total)
	if !hmac.Equal(want[:], req.MAC[:]) {
		return channel.Charge{}, channel.Faultf(channel.CodeBadProof, "the binding's code is wrong: the authorisation was made for another request, channel or amount")
	}
	op := channel.DrawOp{Kind: channel.ChargeDraw, N: req.Binding.N, Total: req.Total, Signature: req.Signature,
		Max: req.Binding.Max, Raise: req.Binding.Raise, Amount: req.Amount}
	return n.draw(ctx, d, op, req.Ref)
}

// HoldMore raises what a running draw holds, by what the credit allows or not at all; keep of it was delivered and
// stays charged whatever happens.
func (n *Node) HoldMore(ctx context.Context, id channel.ID, number uint64, more, keep channel.Msat) (channel.Charge, error) {
	d, err := n.laneThatPays(id)
	if err != nil {
		return channel.Charge{}, err
	}
	return n.draw(ctx, d, channel.DrawOp{Kind: channel.HoldDraw, N: number, Amount: more, Keep: keep}, "")
}

// EndDraw ends a draw with what was used of it; the rest is the payer's credit again. One that has ended stays as
// it is.
func (n *Node) EndDraw(ctx context.Context, id channel.ID, number uint64, used channel.Msat) (channel.Charge, error) {
	d, err := n.laneThatPays(id)
	if err != nil {
		return channel.Charge{}, err
	}
	return n.draw(ctx, d, channel.DrawOp{Kind: channel.EndDraw, N: number, Amount: used}, "")
}

// draw hands an op to the channel and waits until what came of it is durable.
func (n *Node) draw(ctx context.Context, d *driver, op channel.DrawOp, ref string) (channel.Charge, error) {
	j := newDrawJob(op, ref)
	d.post(j)
	select {
	case r := <-j.done:
		n.woke()
		return r.Charge, n.fault(r.Err)
	case <-ctx.Done():
		n.woke()
		return channel.Charge{}, channel.Faultf(channel.CodePending, "draw %d is not durable yet: %v", op.N, ctx.Err()).
			WithHint("ask again for the same draw: it is not charged twice")
	}
}

// LaneStand is the newest state of the lane that pays us.
func (n *Node) LaneStand(_ context.Context, id channel.ID) (l channel.LaneStand, err error) {
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	if d == nil || !d.agreed.In.Exists() {
		return l, channel.Faultf(channel.CodeNotFound, "no channel %s on which this node is paid", id)
	}
	n.read(d, func(d *driver) { l = d.w.st.Stand(false) })
	return l, nil
}

// Authorise signs, counts the highest amount in the budget and makes both durable before it returns.
func (n *Node) Authorise(ctx context.Context, req channel.AuthoriseRequest) (channel.AuthoriseResult, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultPayTimeout)
		defer cancel()
	}
	d, err := n.laneToDrawOn(ctx, req)
	if err != nil {
		return channel.AuthoriseResult{}, err
	}
	j := &askJob{wish: channel.Wish{Max: req.Max, Raise: req.Raise, RaiseBy: req.RaiseBy}, id: req.ID, ref: req.Ref,
		named: req.ID != (channel.PaymentID{}), request: requestHash(d.id, &req), done: make(chan struct{})}
	if !j.named {
		n.deps.Rand(j.id[:])
	}
	if j, err = n.askOnce(d, j); err != nil {
		return channel.AuthoriseResult{}, err
	}
	select {
	case <-j.done:
		n.woke()
	case <-ctx.Done():
		n.woke()
		if j.named || !j.cancel() {
			return channel.AuthoriseResult{ID: j.id}, channel.Faultf(channel.CodePending, "the authorisation %s is not given yet: %v", j.id, ctx.Err()).
				WithHint("ask again with the same id, or later: too much may wait for the payee's reports")
		}
		d.post(inspect{func(*driver) {}})
		return channel.AuthoriseResult{}, channel.Faultf(channel.CodePeerUnreachable, "the authorisation was not given in time; nothing was signed")
	}
	if j.err != nil {
		return channel.AuthoriseResult{}, j.err
	}
	if err := n.stopped(d.peer, d.id); err != nil { // it stays counted, and nobody can use it
		return channel.AuthoriseResult{}, err
	}
	return d.issue(&req, j.id, j.grant)
}

// issue makes the authorisation of a grant.
func (d *driver) issue(req *channel.AuthoriseRequest, id channel.PaymentID, g granted) (channel.AuthoriseResult, error) {
	key, err := d.secret(true)
	if err != nil {
		return channel.AuthoriseResult{}, d.n.fault(err)
	}
	a := channel.Authorisation{Channel: d.id, Total: g.Total, Signature: g.Signature, Binding: req.Binding}
	a.Binding.N, a.Binding.Max, a.Binding.Raise = g.N, g.Max, g.Raise
	a.MAC = bindingCode(key, &a.Binding, d.agreed.Out.ID(), a.Total)
	return channel.AuthoriseResult{Authorisation: a, Lane: g.Lane, ID: id}, nil
}

// laneToDrawOn checks a request and picks its channel.
func (n *Node) laneToDrawOn(ctx context.Context, req channel.AuthoriseRequest) (*driver, error) {
	if n.closed.Load() {
		return nil, channel.Faultf(channel.CodeStopping, "the daemon is stopping")
	}
	if !n.chain.scanned.Load() {
		return nil, channel.Faultf(channel.CodeNotReady, "this node has not seen the whole chain since its start; nothing was signed")
	}
	if err := wire.CheckRef(req.Ref); err != nil {
		return nil, channel.Faultf(channel.CodeBadRequest, "%v", err)
	}
	if err := n.diskLow(); err != nil {
		return nil, err
	}
	if req.Channel == "" {
		if req.Raise != 0 {
			return nil, channel.Faultf(channel.CodeBadRequest, "a running draw is raised on its own channel: name the channel")
		}
		peer, err := n.resolvePeer(req.Peer)
		if err != nil {
			return nil, err
		}
		return n.carrier(peer, req.Max)
	}
	d, err := n.resolveChannel(req.Channel)
	if err != nil {
		return nil, err
	}
	if req.Peer != "" {
		if peer, err := n.resolvePeer(req.Peer); err != nil || peer != d.peer {
			return nil, channel.Faultf(channel.CodeBadRequest, "channel %s is not with peer %s", d.id, req.Peer)
		}
	}
	if !d.agreed.Out.Exists() {
		return nil, channel.Faultf(channel.CodeNotOpen, "channel %s has no lane in this direction", d.id)
	}
	if n.session(d.peer) == nil { // the first one since the start has to be, or nothing is proven
		_, _ = n.connectSoon(ctx, d.peer)
	}
	return d, nil
}

func (n *Node) connectSoon(ctx context.Context, peer channel.PeerID) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return n.connect(ctx, string(peer))
}

// askOnce registers an authorisation, or finds the one that has its id, and queues it once.
func (n *Node) askOnce(d *driver, j *askJob) (*askJob, error) {
	if other := n.jobs.claimAsk(j); other != nil {
		if other.request != j.request {
			return nil, askConflict(j.id)
		}
		return other, nil
	}
	if j.named {
		given, err := n.recallAsk(d, j)
		if err != nil || given {
			n.jobs.forgetAsk(j)
			if err != nil {
				j.finish(granted{}, err)
			}
			return j, err
		}
	}
	if more := j.wish.Max + j.wish.RaiseBy; more > 0 || more < j.wish.Max {
		var err error
		if j.token, err = n.permitDraw(d, j.id, max(more, j.wish.Max)); err != nil {
			n.giveBack(j, err)
			return j, j.err
		}
	}
	d.post(askMail{j, n.session(d.peer)})
	return j, nil
}

// recallAsk finds the stored authorisation with the id of a request.
func (n *Node) recallAsk(d *driver, j *askJob) (given bool, err error) {
	b, err := n.deps.Store.Get(idKey(j.id))
	if errors.Is(err, store.ErrNotFound) {
		if n.jobs.paying(j.id) {
			return false, askConflict(j.id)
		}
		return false, nil
	}
	if err != nil {
		return false, n.fault(err)
	}
	lane, number, ok := decodeDrawID(b)
	if !ok || lane != keyOf(d.agreed.Out.ID()) {
		return false, askConflict(j.id)
	}
	a, err := loadAuthorised(n.deps.Store, lane, number)
	if err != nil {
		return false, n.fault(err)
	}
	if a.Request != j.request {
		return false, askConflict(j.id)
	}
	g := granted{Grant: channel.Grant{N: number, Max: a.Max, Raise: a.Raise}, Total: a.Total, Signature: a.Signature}
	if a.Raise != 0 {
		g.Max = a.RaisedTo
	}
	n.read(d, func(d *driver) { g.Lane = d.w.st.Stand(true) })
	j.finish(g, nil)
	return true, nil
}

func askConflict(id channel.PaymentID) error {
	return channel.Faultf(channel.CodeIDConflict, "id %s was used for another payment or authorisation", id).
		WithHint("use the same id only to repeat the same request; nothing was authorised now")
}

// giveBack ends a job before anything was signed for it.
func (n *Node) giveBack(j *askJob, err error) {
	n.budget.Release(j.token)
	n.jobs.forgetAsk(j)
	j.finish(granted{}, n.jobs.doubted(j.id, n.fault(err)))
}

// requestHash is what has to be the same for the same id.
func requestHash(id channel.ID, req *channel.AuthoriseRequest) [32]byte {
	b := req.Binding
	b.N, b.Max, b.Raise = 0, 0, 0
	buf := b.Bytes(channel.LaneID(id), req.Max)
	buf = binary.BigEndian.AppendUint64(buf, req.Raise)
	buf = binary.BigEndian.AppendUint64(buf, uint64(req.RaiseBy))
	return sha256.Sum256(append(buf, req.Ref...))
}
