package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// closeAttempt is an attempt at a close together. It lives in memory only, as its nonces must.
type closeAttempt struct {
	id      [16]byte
	session ledger.CloseSession
	fee     channel.Sat
	rate    ledger.FeeRate // that the owner asked for
	height  uint32         // tip at which the attempt began
	peerFee channel.Sat    // of the peer's newest offer that we signed
	failure string         // why the last attempt did not work
}

func (d *driver) askPayout() {
	d.n.spawn(func() {
		script, err := d.n.payout(d.n.ctx, "")
		if err != nil {
			d.n.log.Error("no address for the own share of a close", "channel", d.id, "err", err)
			return // asked again with the peer's next stop
		}
		d.post(channel.CloseTogether{Payout: script})
	})
}

// payout is the script of an address, or of a fresh one of the own wallet.
func (n *Node) payout(ctx context.Context, to string) ([]byte, error) {
	if to != "" {
		script, err := n.deps.Scheme.Script(to)
		if err != nil {
			return nil, n.notAddress(to, err)
		}
		if len(script) > channel.MaxPayoutScript {
			return nil, channel.Faultf(channel.CodeBadRequest, "%s can't be paid by a close", to)
		}
		return script, nil
	}
	_, script, err := n.deps.Wallet.NewAddress(ctx)
	return script, err
}

// closeParts are the lanes and outputs of the close in which payer pays the fee. The state has both stops.
func (d *driver) closeParts(fee channel.Sat, weFund bool) (lanes []ledger.CloseLane, outputs []ledger.Output, err error) {
	st := &d.w.st
	if _, ok := st.Funded(true); ok {
		lanes = append(lanes, ledger.CloseLane{Lane: d.lane(true), Keys: ledger.LaneKeys{Lane: st.Terms.OutKey, Payer: true}})
	}
	if _, ok := st.Funded(false); ok {
		lanes = append(lanes, ledger.CloseLane{Lane: d.lane(false), Keys: ledger.LaneKeys{Lane: st.Terms.InKey}})
	}
	if len(lanes) == 0 {
		return nil, nil, errors.New("no lane is funded")
	}
	self, peer, err := st.Payouts()
	if err != nil {
		return nil, nil, err
	}
	payer := &peer
	if weFund {
		payer = &self
	}
	if *payer < fee {
		return nil, nil, fmt.Errorf("the share of %d sat can't pay the fee of %d sat", *payer, fee)
	}
	*payer -= fee
	for _, o := range []ledger.Output{{Script: st.Closing.Mine.Payout, Value: self}, {Script: st.Closing.Peers.Payout, Value: peer}} {
		if o.Value >= channel.DustSat {
			outputs = append(outputs, o)
		}
	}
	if len(outputs) == 0 {
		return nil, nil, errors.New("nothing would be left after the fee")
	}
	return lanes, outputs, nil
}

func (d *driver) closeFee(rate ledger.FeeRate) channel.Sat {
	n := 0
	for _, out := range []bool{true, false} {
		if _, ok := d.w.st.Funded(out); ok {
			n++
		}
	}
	return rate.Fee(d.n.deps.Scheme.CloseVSize(n))
}

// offerClose starts an attempt, if it is ours to start: the side whose owner asked proposes, unless its
// share can't pay the fee and the other's can.
func (d *driver) offerClose(box *outbox) {
	st := &d.w.st
	if !d.w.connected || d.close.session != nil && d.close.height == st.Tip {
		return
	}
	fee := d.closeFee(d.n.rate(uint64(d.close.rate)))
	self, peer, err := st.Payouts()
	if err != nil {
		d.close.failure = err.Error()
		return
	}
	ours := st.Closing.Initiator && self >= fee || !st.Closing.Initiator && peer < fee && self >= fee
	if !ours {
		if st.Closing.Initiator {
			d.close.failure = fmt.Sprintf("the own share of %d sat can't pay the fee of %d sat", self, fee)
		}
		return
	}
	lanes, outputs, err := d.closeParts(fee, true)
	if err != nil {
		d.close.failure = err.Error()
		return
	}
	session, err := d.n.deps.Signer.NewClose(lanes, outputs)
	if err != nil {
		d.n.log.Error("a close could not be prepared", "channel", d.id, "err", err)
		return
	}
	d.close.session, d.close.fee, d.close.height = session, fee, st.Tip
	d.n.deps.Rand(d.close.id[:])
	box.sends = append(box.sends, &channel.CloseOffer{Channel: d.id, Attempt: d.close.id, Fee: fee, Nonces: session.Nonces()})
}

func (d *driver) answerClose(box *outbox, m channel.Message) {
	var err error
	switch m := m.(type) {
	case *channel.CloseOffer:
		err = d.cosign(box, m)
	case *channel.CloseSign:
		err = d.combine(box, m)
	case *channel.CloseDone:
		err = d.closeDone(box, m)
	}
	if err != nil {
		d.close.failure = err.Error()
		d.n.log.Warn("an attempt at a close did not work", "channel", d.id, "err", err)
	}
}

// cosign answers a peer's offer: it pays the fee, and we sign iff our share is exact.
func (d *driver) cosign(box *outbox, m *channel.CloseOffer) error {
	least := d.closeFee(d.n.rate(0))
	if m.Fee < least {
		box.sends = append(box.sends, &channel.Refuse{Channel: d.id, Code: channel.DenyFee, Text: fmt.Sprintf("a fee of %d sat is below our estimate of %d sat", m.Fee, least)})
		return fmt.Errorf("the peer offers a fee of %d sat, below our estimate of %d sat", m.Fee, least)
	}
	lanes, outputs, err := d.closeParts(m.Fee, false)
	if err != nil {
		return err
	}
	if len(m.Nonces) != len(lanes) {
		return fmt.Errorf("%d nonces for %d lanes", len(m.Nonces), len(lanes))
	}
	session, err := d.n.deps.Signer.NewClose(lanes, outputs)
	if err != nil {
		return err
	}
	partials, err := session.Sign(m.Nonces)
	if err != nil {
		return err
	}
	d.close.peerFee = m.Fee
	box.sends = append(box.sends, &channel.CloseSign{Channel: d.id, Attempt: m.Attempt, Nonces: session.Nonces(), Partials: partials})
	return nil
}

func (d *driver) combine(box *outbox, m *channel.CloseSign) error {
	session := d.close.session
	if session == nil || m.Attempt != d.close.id {
		return errors.New("an answer to no attempt of ours")
	}
	d.close.session = nil
	if _, err := session.Sign(m.Nonces); err != nil {
		return err
	}
	tx, err := session.Combine(m.Partials)
	if err != nil {
		return err
	}
	tx.Fee = d.close.fee
	d.turn(box, channel.CloseBuilt{Tx: d.n.ownTx(tx, d.n.rate(uint64(d.close.rate)))})
	box.sends = append(box.sends, &channel.CloseDone{Channel: d.id, Tx: tx.Raw})
	return nil
}

// closeDone takes the finished transaction from the peer, after checking that it is the one we signed.
func (d *driver) closeDone(box *outbox, m *channel.CloseDone) error {
	if d.close.peerFee == 0 {
		return nil // of an attempt before our restart: the chain will show it
	}
	parts, outputs, err := d.closeParts(d.close.peerFee, false)
	if err != nil {
		return err
	}
	lanes := make([]ledger.Lane, len(parts))
	for i, p := range parts {
		lanes[i] = p.Lane
	}
	if err := d.n.deps.Scheme.VerifyClose(m.Tx, lanes, outputs); err != nil {
		return err
	}
	id, err := d.n.deps.Scheme.TxID(m.Tx)
	if err != nil {
		return err
	}
	d.turn(box, channel.CloseBuilt{Tx: d.n.ownTx(ledger.Tx{ID: id, Raw: m.Tx, Fee: d.close.peerFee}, d.n.rate(0))})
	return nil
}

// closeWait is how long Close waits for the peer before it answers that the outcome is pending.
const closeWait = 20 * time.Second

// Close ends a channel, together or alone.
func (n *Node) Close(ctx context.Context, req channel.CloseRequest) (channel.CloseResult, error) {
	d, err := n.resolveChannel(req.Channel)
	if err != nil {
		return channel.CloseResult{}, err
	}
	var phase channel.Phase
	n.read(d, func(d *driver) { phase = d.w.st.Phase })
	if phase.Final() {
		return channel.CloseResult{}, channel.Faultf(channel.CodeNotOpen, "the channel is %s already", phase)
	}
	script, err := n.payout(ctx, req.To)
	if err != nil {
		return channel.CloseResult{}, n.fault(err)
	}
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	n.read(d, func(d *driver) { d.close.failure, d.exits.failure = "", "" })
	if req.Force {
		return n.closeAlone(ctx, d, script, req)
	}
	return n.closeTogether(ctx, d, script, req)
}

func (n *Node) closeTogether(ctx context.Context, d *driver, script []byte, req channel.CloseRequest) (channel.CloseResult, error) {
	var before *channel.Stop
	n.read(d, func(d *driver) { d.close.rate, before = ledger.FeeRate(req.FeeRate), d.w.st.Closing.Mine })
	if before != nil && req.To != "" && string(before.Payout) != string(script) {
		old, _ := n.deps.Scheme.Address(before.Payout)
		return channel.CloseResult{}, channel.Faultf(channel.CodeBadRequest, "the channel is closing already, and your share goes to %s: the peer was told, so that can't be changed", old).
			WithHint("leave --to away, or close alone with --force")
	}
	if n.session(d.peer) == nil {
		dial, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err := n.connect(dial, string(d.peer))
		cancel()
		if err != nil {
			return channel.CloseResult{}, channel.Faultf(channel.CodePeerUnreachable, "a close together needs the peer, and it can't be reached: %v", err).
				WithHint("close alone with: runnel close %s --force", d.id.String()[:8])
		}
	}
	if err := d.apply(ctx, channel.CloseTogether{Payout: script, Initiator: true}); err != nil {
		return channel.CloseResult{}, n.fault(err)
	}
	r := channel.CloseResult{Channel: d.id, Kind: "coop"}
	var phase channel.Phase
	var failure string
	err := d.until(ctx, func(d *driver) bool {
		st := &d.w.st
		phase, failure = st.Phase, d.close.failure
		if tx := st.Closing.Tx; tx != nil {
			r.TxID, r.Fee = channel.TxIDString(tx.TxID), tx.Fee
			r.Local, r.Remote = n.shares(d, tx.Raw)
		}
		if st.GivenUp() {
			r.Kind, r.RefundHeight = "refund_wait", st.Terms.Out.Expiry
		}
		return st.Closing.Tx != nil || phase == channel.PhaseAbandoned || phase == channel.PhaseSettling ||
			phase != channel.PhaseClosing || failure != ""
	})
	switch {
	case r.TxID != "" || r.RefundHeight > 0 || phase == channel.PhaseAbandoned:
		return r, nil
	case phase != channel.PhaseClosing && err == nil:
		return r, channel.Faultf(channel.CodeNotOpen, "the channel is %s and can't be closed together now", phase).
			WithHint("see: runnel channel %s", d.id.String()[:8])
	}
	why := "the peer has not answered yet"
	if failure != "" {
		why = failure
	}
	return r, channel.Faultf(channel.CodePending, "closing began and is not done: %s", why).
		WithHint("no more payments are made; the close goes on by itself, and after %d blocks a side that was paid settles alone", channel.CloseTimeout)
}

// shares reads from the transaction what each side really gets.
func (n *Node) shares(d *driver, raw []byte) (self, peer channel.Sat) {
	_, outs, err := n.deps.Scheme.Parts(raw)
	st := &d.w.st
	if err != nil || st.Closing.Mine == nil || st.Closing.Peers == nil {
		return 0, 0
	}
	for _, o := range outs {
		switch string(o.Script) {
		case string(st.Closing.Mine.Payout):
			self += o.Value
		case string(st.Closing.Peers.Payout):
			peer += o.Value
		}
	}
	return self, peer
}

func (n *Node) closeAlone(ctx context.Context, d *driver, script []byte, req channel.CloseRequest) (channel.CloseResult, error) {
	n.read(d, func(d *driver) { d.exits.rate = ledger.FeeRate(req.FeeRate) })
	var to []byte
	if req.To != "" {
		to = script
	}
	if err := d.apply(ctx, channel.CloseAlone{To: to}); err != nil {
		return channel.CloseResult{}, n.fault(err)
	}
	r := channel.CloseResult{Channel: d.id, Kind: "refund_wait"}
	var phase channel.Phase
	var failure string
	err := d.until(ctx, func(d *driver) bool {
		st := &d.w.st
		phase, failure = st.Phase, d.exits.failure
		if st.Terms.Out.Exists() && (st.OutFunding.Tx != nil || len(st.OutFunding.Seen) > 0 || st.GivenUp()) {
			r.RefundHeight = st.Terms.Out.Expiry
			if o, ok := st.OutFunding.Claim(); ok {
				r.Local = o.Value - min(o.Value, st.SpentOut().SatCeil())
			}
		}
		exit := st.InFunding.Exit
		if exit == nil {
			return phase != channel.PhaseSettling || !st.CanSettle() || failure != ""
		}
		r.Kind, r.TxID, r.Fee = "settle", channel.TxIDString(exit.TxID), exit.Fee
		r.Local = st.In.Total.SatCeil() - min(exit.Fee, st.In.Total.SatCeil())
		r.Remote = st.Terms.In.Deposit - st.In.Total.SatCeil()
		return true
	})
	if err != nil || r.TxID == "" && failure != "" {
		why := "the transaction is not built yet"
		if failure != "" {
			why = "it is tried again with each block: " + failure
		}
		return r, channel.Faultf(channel.CodePending, "settling began; %s", why).
			WithHint("it is built and published by itself; see: runnel channel %s", d.id.String()[:8])
	}
	if phase != channel.PhaseSettling && !phase.Final() {
		return r, channel.Faultf(channel.CodeNotOpen, "the channel is %s and can't be closed alone now", phase)
	}
	return r, nil
}
