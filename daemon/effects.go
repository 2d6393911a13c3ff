package daemon

import (
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
)

// perform carries out effects. What must be durable first goes into the box; signing, verifying and
// looking up happen here and go back to the worker at once; everything slow goes its own way and comes
// back as mail.
func (d *driver) perform(box *outbox, effects []any) {
	for _, e := range effects {
		switch e := e.(type) {
		case channel.Save:
			box.lanes = true
			d.remember()
			box.cold = box.cold || e.Cold
		case channel.SaveFrame:
			d.saveFrame(box, e)
		case channel.Send:
			box.sends = append(box.sends, e.Msg)
		case channel.Publish:
			box.publish = append(box.publish, e.Tx)
		case channel.SaveDraws:
			box.outDraws, box.inDraws = box.outDraws || e.Out, box.inDraws || !e.Out
		case channel.CheckDraw:
			ok := d.n.deps.Scheme.VerifyVoucher(d.lane(false), e.Total, e.Signature) == nil
			d.turn(box, channel.DrawChecked{OK: ok})
		case channel.Sign:
			d.sign(box, e)
		case channel.Verify:
			d.verify(box, e)
		case channel.FindFrame:
			d.find(box, e)
		case channel.CheckProof:
			d.checkProof(box, e)
		case channel.CheckNewest:
			ok := d.n.deps.Scheme.VerifyVoucher(d.lane(false), e.Report.Total, e.Report.Signature) == nil
			d.turn(box, channel.NewestChecked{OK: ok, Report: e.Report})
		default:
			d.tell(box, e)
		}
	}
}

// tell carries out what concerns the owner: results, log entries and the chain.
func (d *driver) tell(box *outbox, e any) {
	switch e := e.(type) {
	case finished:
		e.job.finish(e.result, nil)
		box.forget = append(box.forget, e.job)
		if e.result.Status == channel.PayRefused {
			d.n.budget.Release(e.job.token)
			e.job.token = budget.Token{}
			box.budget = true
		}
	case failed:
		d.n.abandon(e.job, e.err)
	case channel.Answered:
		d.answered(box, e)
	case drawsDone:
		d.drawsDone(box, e)
	case authorised:
		d.authorised(box, e)
	case askFailed:
		d.n.giveBack(e.job, e.err)
	case channel.Drew:
		d.drew(box, e)
	case channel.DrawsOver:
		d.drawsOver(box, e)
	case channel.Took:
		box.entries = append(box.entries, d.payments(channel.Receiving, e.Frame))
		d.n.metrics.received(len(e.Frame.Payments), len(e.Refused))
	case channel.Moved:
		d.n.log.Info("channel "+e.To.String(), "channel", d.id, "peer", d.peer)
		if e.To != channel.PhaseAbandoned || !d.unwanted() {
			box.entries = append(box.entries, entry{Kind: channel.EventPhase, Channel: d.id, Phase: e.To, Text: e.To.String()})
		}
		d.endRoots(box, e.To)
		if e.To.Final() {
			box.afterSend = append(box.afterSend, func() { d.n.unwatch(d); d.discard() })
		}
	case channel.LaneChanged:
		box.entries = append(box.entries, entry{Kind: channel.EventLane, Channel: d.id, Text: laneText(e)})
	case channel.Alert:
		if !e.Peers || d.alerts.take(d.n.deps.Now()) {
			d.alert(box, e.Text)
		}
	case channel.Misbehaved:
		d.n.metrics.misbehaved()
		if d.alerts.take(d.n.deps.Now()) {
			d.alert(box, "the peer broke the protocol: "+e.Text)
		}
	case distrust:
		d.n.log.Warn("connection ended: the peer broke the protocol", "channel", d.id, "peer", d.peer, "what", e.text)
		box.afterSend = append(box.afterSend, func() { d.n.punish(d.peer, e.text) })
	case stale:
		d.n.log.Debug("event not taken", "channel", d.id, "err", e.err)
	default:
		d.money(box, e)
	}
}

// money starts what goes to the chain.
func (d *driver) money(box *outbox, e any) {
	switch e := e.(type) {
	case channel.Fund:
		box.afterSend = append(box.afterSend, d.fund)
	case channel.AskPayout:
		box.afterSend = append(box.afterSend, d.askPayout)
	case channel.AskReturn:
		box.afterSend = append(box.afterSend, func() { d.post(inspect{func(d *driver) { d.askReturn(e.Output) }}) })
	case channel.SignAway:
		d.signAway(box, e.Offer)
	case channel.CombineReturn:
		d.combineReturn(box, e.Msg)
	case channel.OfferClose:
		d.offerClose(box)
	case channel.AnswerClose:
		d.answerClose(box, e.Msg)
	case channel.Settle:
		box.afterSend = append(box.afterSend, d.settle)
	case channel.Refund:
		box.afterSend = append(box.afterSend, d.refund)
	default:
		d.n.log.Error("an effect that nobody carries out", "effect", fmt.Sprintf("%T", e))
	}
}

func laneText(e channel.LaneChanged) string {
	side, state := "the lane that pays us", "ready"
	if e.Out {
		side = "the lane that we pay on"
	}
	if !e.Ready {
		state = "stopped"
	}
	return side + " is " + state
}

func (d *driver) alert(box *outbox, text string) {
	d.n.log.Warn(text, "channel", d.id, "peer", d.peer)
	box.entries = append(box.entries, entry{Kind: channel.EventAlert, Channel: d.id, Text: text})
}

func (d *driver) payments(dir channel.Direction, f *channel.Frame) entry {
	return entry{Kind: channel.EventPayment, Channel: d.id, Dir: dir, Lane: keyOf(f.Lane), First: f.FirstSeq, Count: len(f.Payments)}
}

// lane is the own lane or the peer's with the output that its vouchers spend.
func (d *driver) lane(out bool) ledger.Lane {
	if out {
		return ledger.Lane{Terms: d.w.st.Terms.Out, Funding: d.w.st.OutFunding.Claimed}
	}
	return ledger.Lane{Terms: d.w.st.Terms.In, Funding: d.w.st.InFunding.Claimed}
}

func (d *driver) sign(box *outbox, e channel.Sign) {
	if err := d.n.stopped(d.peer, d.id); err != nil {
		d.turn(box, channel.Signed{Err: err})
		return
	}
	sig, err := d.n.deps.Signer.SignVoucher(d.lane(true), d.w.st.Terms.OutKey, e.Total)
	d.turn(box, channel.Signed{Signature: sig, Err: err})
}

// checkProof looks at a voucher of our own that the peer shows. What it proves above our record was paid
// without a reservation, and counts all the same.
func (d *driver) checkProof(box *outbox, e channel.CheckProof) {
	before := d.w.st.Out.Total
	ok := d.n.deps.Scheme.VerifyVoucher(d.lane(true), e.Report.Total, e.Report.Signature) == nil
	d.turn(box, channel.ProofChecked{OK: ok, Report: e.Report})
	if after := d.w.st.Out.Total; after > before {
		d.n.budget.Raise(after-before, d.n.deps.Now())
		box.budget = true
	}
}

func (d *driver) verify(box *outbox, e channel.Verify) {
	ok := e.Known || d.n.deps.Scheme.VerifyVoucher(d.lane(false), e.Total, e.Signature) == nil
	var refused []channel.Refusal
	if ok {
		refused = d.decide(e.Frames)
	}
	d.turn(box, channel.Verified{OK: ok, Refused: refused})
}

func (d *driver) find(box *outbox, e channel.FindFrame) {
	found := channel.FrameFound{Got: e.Frame}
	if r := d.recent[e.Frame.FirstSeq]; r != nil && !planted("commit under way forgotten") {
		found.Stored, found.Ack = r.Frame, r.Ack
	} else if r, _, err := loadFrame(d.n.deps.Store, keyOf(e.Frame.Lane), e.Frame.FirstSeq); err == nil {
		found.Stored, found.Ack = r.Frame, r.Ack
	} else if !errors.Is(err, store.ErrNotFound) {
		d.n.log.Error("a stored frame can't be read", "channel", d.id, "seq", e.Frame.FirstSeq, "err", err)
		box.afterSend = append(box.afterSend, func() { d.n.drop(d.peer, "local storage failed") })
		return
	}
	d.turn(box, found)
}

func (d *driver) saveFrame(box *outbox, e channel.SaveFrame) {
	r := &frameRecord{Time: d.n.deps.Now().UnixMilli(), Frame: e.Frame, Ack: e.Ack}
	b, err := r.encode()
	if err != nil { // nothing that the wire took or that we made can't be encoded
		box.broken = err
		return
	}
	lane := keyOf(e.Frame.Lane)
	box.size += len(b)
	box.batch.Put(seqKey(prefixFrame, lane, e.Frame.FirstSeq), b)
	if !e.Out {
		d.recent[e.Frame.FirstSeq] = r
		box.taken = append(box.taken, e.Frame.FirstSeq)
		d.rootsTaken(box, len(e.Frame.Payments))
		return
	}
	box.budget, box.frames = true, true
	for _, p := range e.Frame.Payments {
		if !planted("id not stored") {
			box.batch.Put(idKey(p.ID), encodeID(lane, e.Frame.FirstSeq))
		}
	}
	d.n.metrics.sent(len(e.Frame.Payments))
}

func (d *driver) answered(box *outbox, e channel.Answered) {
	if len(e.Refused) > 0 && !planted("refusal not stored") {
		box.batch.Put(seqKey(prefixRefusal, keyOf(e.Frame.Lane), e.Frame.FirstSeq), encodeRefusals(e.Refused))
	}
	box.entries = append(box.entries, d.payments(channel.Sending, e.Frame))
	d.laterRoot(box)
}
