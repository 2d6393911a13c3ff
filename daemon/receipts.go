package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/receipt"
	"github.com/runnel/runnel/store"
)

const (
	// defaultReceiptTimeout bounds a Receipt whose caller set no deadline.
	defaultReceiptTimeout = 15 * time.Second

	// receiptAskAgain is how often a peer is asked for a root while somebody waits: the question or its answer
	// may have been lost with a connection.
	receiptAskAgain = 2 * time.Second
)

// found is a payment with where it is.
type found struct {
	d   *driver
	out bool
	channel.PaymentInfo
}

// Receipt proves a payment that was made or received, or its refusal. If no root that both sides signed is over
// it yet it has one made, which takes the peer.
func (n *Node) Receipt(ctx context.Context, req channel.ReceiptRequest) (channel.Receipt, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultReceiptTimeout)
		defer cancel()
	}
	p, err := n.locate(req)
	if err != nil {
		return channel.Receipt{}, err
	}
	if p.Status == channel.PayPending {
		return channel.Receipt{}, channel.Faultf(channel.CodePending, "the payee has not answered the payment %s yet: there is nothing to prove", req.ID).
			WithHint("ask for the receipt again when `runnel payments` shows the payment as acknowledged or refused")
	}
	c, err := n.covering(ctx, p)
	if err != nil {
		return channel.Receipt{}, err
	}
	r, err := n.prove(p, c)
	if errors.Is(err, receipt.ErrPruned) {
		return channel.Receipt{}, pruned(req.ID)
	}
	return r, err
}

func pruned(id channel.PaymentID) error {
	return channel.Faultf(channel.CodeNotFound, "the entry of payment %s was pruned from the log: it can't be proven any more", id).
		WithHint("the other side can still prove it, if it has kept its log; make receipts before pruning")
}

// locate finds a payment by its id: an own one first, for own ids are unique, then among those received.
func (n *Node) locate(req channel.ReceiptRequest) (*found, error) {
	var only *driver
	if req.Channel != "" {
		var err error
		if only, err = n.resolveChannel(req.Channel); err != nil {
			return nil, err
		}
	}
	own, ok, err := n.findPayment(req.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, pruned(req.ID)
	case err != nil:
		return nil, err
	case ok && (only == nil || only.id == own.Channel):
		n.mu.Lock()
		defer n.mu.Unlock()
		return &found{n.drivers[own.Channel], true, own}, nil
	}
	return n.locateReceived(req)
}

func (n *Node) locateReceived(req channel.ReceiptRequest) (*found, error) {
	f := channel.PaymentFilter{Channel: req.Channel, ID: req.ID, HasID: true, Limit: 2}
	keys, err := n.lanesOf(f)
	if err != nil {
		return nil, err
	}
	var hits []*found
	for _, k := range keys {
		n.mu.Lock()
		ref := n.lanes[k]
		n.mu.Unlock()
		if ref.out {
			continue
		}
		list, err := n.paymentsOn(k, f)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			hits = append(hits, &found{ref.d, false, p})
		}
	}
	switch len(hits) {
	case 0:
		return nil, channel.Faultf(channel.CodeNotFound, "no payment %s was made or received here", req.ID).
			WithHint("`runnel payments --json` shows the ids; what was pruned is not found any more")
	case 1:
		return hits[0], nil
	}
	a, b := hits[0], hits[1]
	if a.Channel == b.Channel {
		return nil, channel.Faultf(channel.CodeAmbiguous, "peer %s used the payment id %s more than once on one channel", shortPeer(a.PeerID), req.ID).
			WithHint("only the peer can tell which one it means")
	}
	return nil, channel.Faultf(channel.CodeAmbiguous, "payments with the id %s came on the channels %s and %s", req.ID, a.Channel, b.Channel).
		WithHint("say which one with --channel")
}

// covering returns a checkpoint over the payment. It asks for one and waits if there is none yet.
func (n *Node) covering(ctx context.Context, p *found) (*checkpoint, error) {
	for {
		var c *checkpoint
		var frozen channel.FreezeReason
		changed := make(chan struct{})
		n.read(p.d, func(d *driver) {
			if c = d.checkpoint(p.out); p.out {
				frozen = d.w.st.Out.Frozen
			}
			d.watchers = append(d.watchers, changed)
		})
		if c != nil && c.Size >= p.Seq {
			return c, nil
		}
		if frozen != channel.NotFrozen {
			return nil, channel.Faultf(channel.CodeNotFound, "there is no receipt for payment %s: the lane is frozen (%s), so that both sides can't sign the same", p.ID, frozen)
		}
		if err := n.askRoot(ctx, p); err != nil {
			return nil, err
		}
		if err := n.awaitRoot(ctx, p, changed); err != nil {
			return nil, err
		}
	}
}

// askRoot has the payee sign all that there is.
func (n *Node) askRoot(ctx context.Context, p *found) error {
	s, err := n.connect(ctx, string(p.PeerID))
	if err != nil {
		text := "payment %s is on no root that both sides signed, and the peer can't be asked: %v"
		return channel.Faultf(channel.CodePeerUnreachable, text, p.ID, err)
	}
	if !s.roots {
		return channel.Faultf(channel.CodeUnsupported, "the peer's program (%s) signs no roots, so there are no receipts", s.agent).
			WithHint("ask its owner to update it; the payments so far are covered as soon as it connects again")
	}
	p.d.post(rootWanted{p.out})
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// awaitRoot returns when there may be a new checkpoint, or it is time to ask again.
func (n *Node) awaitRoot(ctx context.Context, p *found, changed <-chan struct{}) error {
	again := make(chan struct{})
	n.deps.After(receiptAskAgain, func() { close(again) })
	for {
		select {
		case <-changed:
		case <-again:
		case <-n.ctx.Done():
		case <-ctx.Done():
		}
		n.woke()
		switch { // several may have come at once
		case n.ctx.Err() != nil:
			return channel.Faultf(channel.CodeStopping, "the daemon is stopping")
		case ctx.Err() != nil:
			return channel.Faultf(channel.CodePending, "the peer has not signed for payment %s in time", p.ID).
				WithHint("the payment itself is done; ask for the receipt again when the peer is there: runnel peers")
		case isClosed(again):
			return nil
		}
		next, done := make(chan struct{}), false
		n.read(p.d, func(d *driver) {
			c := d.checkpoint(p.out)
			done = c != nil && c.Size >= p.Seq || p.out && d.w.st.Out.Frozen != channel.NotFrozen
			d.watchers = append(d.watchers, next)
		})
		if done {
			return nil
		}
		changed = next
	}
}

// prove builds the receipt from the log.
func (n *Node) prove(p *found, c *checkpoint) (channel.Receipt, error) {
	terms := p.d.terms(n, p.out)
	key := keyOf(terms.ID())
	base, err := loadCheckpoint(n.deps.Store, baseKey(key))
	if err != nil {
		return channel.Receipt{}, err
	}
	b, err := bookAt(terms.ID(), base)
	if err != nil {
		return channel.Receipt{}, err
	}
	prover, err := receipt.NewProver(b.tree, p.Seq, c.Size)
	if err != nil {
		return channel.Receipt{}, err
	}
	r := channel.Receipt{Network: n.deps.Scheme.Network(), Terms: terms, Seq: p.Seq, Checkpoint: c.Checkpoint}
	err = logFrames(n.deps.Store, key, prover.Next(), c.Size, func(f *frameRecord, refused []channel.Refusal) error {
		return eachEntry(f.Frame, refused, func(seq uint64, pay channel.Payment, reason channel.RefuseReason) error {
			if seq == p.Seq {
				r.Payment, r.Result = pay, reason
			}
			return prover.Append(receipt.Leaf(f.Frame.Lane, seq, pay, reason))
		})
	})
	if err == nil {
		r.Path, _, err = prover.Path()
	}
	if err == nil {
		err = receipt.Verify(n.deps.Scheme, r)
	}
	if err != nil {
		return channel.Receipt{}, fmt.Errorf("the log does not prove the payment, although it is stored: %w", err)
	}
	return r, nil
}

// terms are those of the own lane or of the peer's.
func (d *driver) terms(n *Node, out bool) (t channel.LaneTerms) {
	n.read(d, func(d *driver) {
		if t = d.w.st.Terms.In; out {
			t = d.w.st.Terms.Out
		}
	})
	return t
}

// eachEntry calls fn for each payment of a frame with its result.
func eachEntry(f *channel.Frame, refused []channel.Refusal, fn func(uint64, channel.Payment, channel.RefuseReason) error) error {
	for i, p := range f.Payments {
		seq, reason := f.FirstSeq+uint64(i), channel.Accepted
		if len(refused) > 0 && refused[0].Seq == seq {
			reason, refused = refused[0].Reason, refused[1:]
		}
		if err := fn(seq, p, reason); err != nil {
			return err
		}
	}
	return nil
}
