package daemon

import (
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/wire"
)

// Deposits that are not used go back before the expiry, if the peer signs (channel/giveback.go).

// giveback is an attempt at a return. It lives in memory only, as its nonces must.
type giveback struct {
	id      [16]byte
	session ledger.CloseSession
	output  channel.Outpoint
	fee     channel.Sat
	rate    ledger.FeeRate
	tried   map[channel.Outpoint]givenAt // what was last asked for
	asking  bool                         // an address for it is being made
}

// givenAt is when a peer was asked: once in a connection and block is enough.
type givenAt struct {
	session uint64
	height  uint32
}

func isReturn(m wire.Message) bool {
	switch m.(type) {
	case *channel.ReturnOffer, *channel.ReturnSign:
		return true
	}
	return false
}

func (n *Node) toReturns(s *session, id channel.ID, m channel.Message) error {
	if !s.returns {
		return errNotAgreed
	}
	return n.toChannel(s, id, m)
}

// askReturn makes an address and then asks the peer to sign an output back.
func (d *driver) askReturn(o channel.Output) {
	s := d.n.session(d.peer)
	if s == nil || !s.returns || !d.w.connected || d.giveback.asking || d.n.passed(d.w.st.Tip) {
		return
	}
	at := givenAt{s.num, d.w.st.Tip}
	if d.giveback.tried[o.Outpoint] == at {
		return
	}
	if d.giveback.tried == nil {
		d.giveback.tried = map[channel.Outpoint]givenAt{}
	}
	d.giveback.tried[o.Outpoint], d.giveback.asking = at, true
	d.n.spawn(func() {
		script, err := d.n.payout(d.n.ctx, "")
		if err != nil {
			d.n.log.Error("no address for a deposit that returns; trying again with the next block", "channel", d.id, "err", err)
		}
		d.post(returnAddress{o, script})
	})
}

// returnAddress is a script for a return, nil if there is none now.
type returnAddress struct {
	output channel.Output
	script []byte
}

func (r returnAddress) apply(d *driver, box *outbox) {
	d.giveback.asking = false
	if r.script == nil || !d.w.connected {
		return
	}
	if err := d.offerReturn(box, r.output, r.script); err != nil {
		d.n.log.Info("a deposit is not returned early now", "channel", d.id, "sat", r.output.Value, "err", err)
	}
}

func (d *driver) offerReturn(box *outbox, o channel.Output, script []byte) error {
	vbytes := d.n.deps.Scheme.CloseVSize(1)
	exit := policy.Exit{VBytes: vbytes, Stake: o.Value, Estimate: uint64(d.n.rate(0)), Left: policy.NoDeadline}
	if o.Return != nil { // a replacement pays more
		exit.Last = policy.Standing{Rate: o.Return.Rate, Fee: o.Return.Fee, Age: policy.Patience, Whole: true}
	}
	verdict, perK := exit.Fee()
	rate := ledger.FeeRate(perK)
	fee := rate.Fee(vbytes)
	if verdict == policy.FeeWait || verdict == policy.FeeKeep || o.Value < fee+channel.DustSat {
		return fmt.Errorf("the fee of %d sat would eat too much of it", fee)
	}
	lane := ledger.CloseLane{Lane: ledger.Lane{Terms: d.w.st.Terms.Out, Funding: o.Outpoint}, Keys: ledger.LaneKeys{Lane: d.w.st.Terms.OutKey, Payer: true}}
	session, err := d.n.deps.Signer.NewReturn(lane, o.Value, ledger.Output{Script: script, Value: o.Value - fee})
	if err != nil {
		return err
	}
	g := &d.giveback
	g.session, g.output, g.fee, g.rate = session, o.Outpoint, fee, rate
	d.n.deps.Rand(g.id[:])
	box.sends = append(box.sends, &channel.ReturnOffer{Channel: d.id, Attempt: g.id, Output: o.Outpoint, Value: o.Value, Fee: fee, Payout: script, Nonce: session.Nonces()[0]})
	return nil
}

// signAway makes our half of the signature. It leaves when the record is durable that says so.
func (d *driver) signAway(box *outbox, m *channel.ReturnOffer) {
	lane := ledger.CloseLane{Lane: ledger.Lane{Terms: d.w.st.Terms.In, Funding: m.Output}, Keys: ledger.LaneKeys{Lane: d.w.st.Terms.InKey}}
	session, err := d.n.deps.Signer.NewReturn(lane, m.Value, ledger.Output{Script: m.Payout, Value: m.Value - m.Fee})
	var partials [][32]byte
	if err == nil {
		partials, err = session.Sign([][66]byte{m.Nonce})
	}
	if err != nil {
		d.n.log.Warn("a deposit can't be signed back to the peer", "channel", d.id, "err", err)
		return
	}
	d.n.log.Info("a deposit that is not used is signed back to the peer", "channel", d.id, "sat", m.Value, "txid", channel.TxIDString(m.Output.TxID))
	box.sends = append(box.sends, &channel.ReturnSign{Channel: d.id, Attempt: m.Attempt, Nonce: session.Nonces()[0], Partial: partials[0]})
}

// combineReturn joins both halves.
func (d *driver) combineReturn(box *outbox, m *channel.ReturnSign) {
	g := &d.giveback
	session := g.session
	if session == nil || m.Attempt != g.id {
		return // to an attempt before our restart, or one that was given up
	}
	g.session = nil
	_, err := session.Sign([][66]byte{m.Nonce})
	var tx ledger.Tx
	if err == nil {
		tx, err = session.Combine([][32]byte{m.Partial})
	}
	if err != nil {
		d.n.log.Warn("the peer's signature for a deposit that returns is wrong", "channel", d.id, "peer", d.peer, "err", err)
		return
	}
	tx.Fee = g.fee
	d.turn(box, channel.ReturnBuilt{Output: g.output, Tx: d.n.ownTx(tx, g.rate)})
}

// returnNote is what an owner should know of money beside the deposit.
func (d *driver) returnNote() string {
	if sat := d.w.st.Waiting(); sat > 0 && !d.w.st.Phase.Final() {
		return fmt.Sprintf("has %d sat at its address that are not used: they return when the peer signs, or after block %d", sat, d.w.st.Terms.Out.Expiry)
	}
	return ""
}
