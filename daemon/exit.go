package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
)

// Spends alone: the settlement of the lane that pays us, and what returns of the own lane.

// The two ways out of a channel.
const (
	exitSettle = iota
	exitRefund
)

// exits is what is known of spends alone, in memory only.
type exits struct {
	fundRate ledger.FeeRate
	fundErr  error
	rate     ledger.FeeRate // that the owner asked for
	own      []byte         // a script of the own wallet, the same for every attempt
	building [2]bool        // a settlement or refund is being built
	handed   [2]handed      // what was last handed out in this run
	waiting  [2]string      // why nothing is published: the fee would eat it
	failure  string         // why the last one could not be built
}

// handed says what became of a transaction when it was handed out.
type handed struct {
	txid    [32]byte
	height  uint32 // of the chain then: only blocks above it could have taken it
	refused bool   // nodes did not take it
}

// exitPlan is a spend alone as the state asks for it.
type exitPlan struct {
	side   int
	inputs []channel.Outpoint
	vbytes int
	stake  channel.Sat
	left   uint32 // blocks until the other side can take it
	last   *channel.OwnTx
	rivals []channel.OwnTx // of ours, which it would replace
	build  func(script []byte, rate ledger.FeeRate) (ledger.Tx, error)
}

// settle takes alone what the newest voucher gives us.
func (d *driver) settle() { d.exit(exitSettle, d.planSettle) }

// refund takes back what the own lane left us.
func (d *driver) refund() { d.exit(exitRefund, d.planRefund) }

func (d *driver) planSettle(st *channel.State) exitPlan {
	n := d.n
	lane := settleLane(st)
	in := d.newest(st.In)
	lane.Total, lane.Signature = in.Total, in.Voucher
	p := exitPlan{side: exitSettle, inputs: []channel.Outpoint{lane.Funding}, vbytes: n.deps.Scheme.SettleVSize(1), stake: st.In.Total.SatCeil(),
		left: blocksLeft(st), last: st.InFunding.Exit}
	if st.Closing.Tx != nil && st.OutFunding.Spend == nil {
		p.rivals = append(p.rivals, *st.Closing.Tx) // it spends both lanes
	}
	p.build = func(script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
		return n.deps.Signer.Settle([]ledger.SettleLane{lane}, script, rate)
	}
	return p
}

func settleLane(st *channel.State) ledger.SettleLane {
	return ledger.SettleLane{Lane: ledger.Lane{Terms: st.Terms.In, Funding: st.InFunding.Claimed}, Index: st.Terms.InKey,
		Total: st.In.Total, Signature: st.In.Voucher}
}

// blocksLeft is how long the lane that pays us is ours alone.
func blocksLeft(st *channel.State) uint32 {
	if st.Tip >= st.Terms.In.Expiry {
		return 0
	}
	return st.Terms.In.Expiry - st.Tip
}

func (d *driver) planRefund(st *channel.State) exitPlan {
	n := d.n
	sweep, outputs := st.Refunds()
	p := exitPlan{side: exitRefund, vbytes: n.deps.Scheme.RefundVSize(len(outputs)), left: policy.NoDeadline, last: st.OutFunding.Exit}
	var inputs []ledger.RefundInput
	for _, o := range outputs {
		p.inputs = append(p.inputs, o.Outpoint)
		p.stake += o.Value
		if o.Return != nil {
			p.rivals = append(p.rivals, *o.Return)
		}
		inputs = append(inputs, ledger.RefundInput{Terms: st.Terms.Out, Index: st.Terms.OutKey, Outpoint: o.Outpoint, Value: o.Value, Settled: sweep})
	}
	p.build = func(script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
		return n.deps.Signer.Refund(inputs, script, rate)
	}
	return p
}

// exit builds a settlement or refund, or publishes the last one again, or replaces it at a higher fee.
func (d *driver) exit(side int, plan func(*channel.State) exitPlan) {
	d.post(inspect{func(d *driver) {
		if d.exits.building[side] || d.held || side == exitSettle && d.n.batches.takes(d) || d.n.passed(d.w.st.Tip) {
			return
		}
		d.exits.building[side] = true
		st, ex := d.w.st, d.exits
		d.n.spawn(func() {
			err := d.carryOut(plan(&st), &st, ex)
			d.post(inspect{func(d *driver) {
				d.exits.building[side] = false
				if err != nil {
					d.exits.failure = err.Error()
					d.wake()
				}
			}})
		})
	}})
}

// passed reports whether a height is one of many that are only being caught up with: they say nothing about
// how long a transaction has waited.
func (n *Node) passed(height uint32) bool {
	tip, _ := n.chain.tip()
	return n.chain.behind.Load() || height < tip.Height
}

func (d *driver) carryOut(p exitPlan, st *channel.State, ex exits) error {
	if len(p.inputs) == 0 {
		return nil // done meanwhile
	}
	standing := d.n.standing(p, st.Tip, ex.handed[p.side])
	if planted("fee lowered") && standing.Age >= policy.Patience {
		standing = policy.Standing{}
	}
	estimate, _ := d.n.chain.feeRate()
	verdict, rate := policy.Exit{VBytes: p.vbytes, Stake: p.stake, Estimate: uint64(estimate), Asked: uint64(ex.rate), Left: p.left,
		Window: st.Terms.Heights.Escalate, Last: standing}.Fee()
	d.noteWaiting(p, verdict)
	switch verdict {
	case policy.FeeWait:
		return fmt.Errorf("the fee would eat the %d sat that it brings", p.stake)
	case policy.FeeKeep:
		d.post(republish{*p.last})
		return nil
	}
	script, err := d.exitScript(st, ex)
	if err != nil {
		d.n.log.Error("no address to settle to; trying again with the next block", "channel", d.id, "err", err)
		return err
	}
	tx, err := p.build(script, ledger.FeeRate(rate))
	if err != nil {
		d.n.log.Warn("a settlement or refund could not be built; trying again with the next block", "channel", d.id, "err", err)
		if standing.Whole {
			d.post(republish{*p.last})
		}
		return err
	}
	d.post(channel.ExitBuilt{Out: p.side == exitRefund, Tx: d.n.ownTx(tx, ledger.FeeRate(rate))})
	return nil
}

// noteWaiting keeps why nothing is published, for the owner to see.
func (d *driver) noteWaiting(p exitPlan, v policy.FeeVerdict) {
	text := ""
	if v == policy.FeeWait {
		text = fmt.Sprintf("%d sat are too little for the fee that takes them home", p.stake)
	}
	d.post(inspect{func(d *driver) { d.exits.waiting[p.side] = text }})
}

// standing is what of ours spends the same already: the last exit, and a close that was signed. A refund of
// the funding is void once the peer has settled, and too small once more has arrived.
func (n *Node) standing(p exitPlan, tip uint32, out handed) (s policy.Standing) {
	for _, r := range p.rivals {
		if n.sharesInput(r.Raw, p.inputs) {
			s.Rate, s.Fee = max(s.Rate, r.Rate), max(s.Fee, r.Fee)
		}
	}
	if p.last == nil {
		return s
	}
	s.Age, s.Refused = out.since(*p.last, tip)
	if p.last.Shared > 0 { // a batch that goes on without this lane
		s.Rate = max(s.Rate, p.last.Rate)
		return s
	}
	whole, held := n.covers(p.last.Raw, p.inputs)
	if !whole && !held && !n.sharesInput(p.last.Raw, p.inputs) {
		return s
	}
	s.Rate, s.Whole = max(s.Rate, p.last.Rate), whole
	if whole || held {
		s.Fee = max(s.Fee, p.last.Fee)
	}
	return s
}

// covers reports whether a transaction spends just the wanted outputs, and whether it can still be on its
// way because it spends no other ones.
func (n *Node) covers(raw []byte, wanted []channel.Outpoint) (whole, held bool) {
	ins, _, err := n.deps.Scheme.Parts(raw)
	if err != nil || len(ins) == 0 {
		return false, false
	}
	for _, in := range ins {
		if !slices.Contains(wanted, in) {
			return false, false
		}
	}
	return len(ins) == len(wanted), true
}

func (n *Node) sharesInput(raw []byte, wanted []channel.Outpoint) bool {
	ins, _, err := n.deps.Scheme.Parts(raw)
	return err == nil && slices.ContainsFunc(ins, func(in channel.Outpoint) bool { return slices.Contains(wanted, in) })
}

// exitScript is where an exit pays to. A fresh address for each block in which an exit is tried would lead
// the wallet beyond what it looks through when it is restored from its seed.
func (d *driver) exitScript(st *channel.State, ex exits) ([]byte, error) {
	if to := st.Closing.PayTo(); to != nil {
		return to, nil
	}
	if ex.own != nil {
		return ex.own, nil
	}
	script, err := d.n.payout(d.n.ctx, "")
	if err == nil {
		d.post(inspect{func(d *driver) { d.exits.own = script }})
	}
	return script, err
}

// since is for how many blocks a transaction has waited, and whether nodes refused it. One that was not
// handed out in this run has not waited at all: it is published before it is raised.
func (h handed) since(tx channel.OwnTx, tip uint32) (age uint32, refused bool) {
	if h.txid != tx.TxID {
		return 0, false
	}
	return tip - min(tip, max(h.height, tx.Height)), h.refused
}

// handOver hands an exit out and notes what became of it: one that nodes refuse is raised with the next block.
func (n *Node) handOver(id channel.ID, tx channel.OwnTx) (handed, error) {
	err := n.handOut(id, tx)
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	tip, away := n.deps.Chain.Tip(ctx)
	if away != nil {
		return handed{}, cmp.Or(err, away)
	}
	return handed{txid: tx.TxID, height: tip.Height, refused: errors.Is(err, ledger.ErrRejected)}, err
}

func (d *driver) publishExit(side int, tx channel.OwnTx) {
	h, _ := d.n.handOver(d.id, tx) // logged, and published again with the next block
	d.post(inspect{func(d *driver) {
		if h.txid == d.exits.handed[side].txid { // since its first time
			h.height = d.exits.handed[side].height
		}
		d.exits.handed[side] = h
	}})
}

// publish sends a transaction of ours out. One that is not taken now comes again with the next block. Only
// the channel's own goroutine calls it.
func (n *Node) publish(d *driver, tx channel.OwnTx) {
	side := exitSide(&d.w.st, tx.TxID)
	n.spawn(func() {
		if side >= 0 {
			d.publishExit(side, tx)
			return
		}
		_ = n.handOut(d.id, tx) // logged, and published again with the next block
	})
}

// exitSide says which way out a transaction is, or -1.
func exitSide(st *channel.State, txid [32]byte) int {
	for side, f := range []*channel.Funding{exitSettle: &st.InFunding, exitRefund: &st.OutFunding} {
		if f.Exit != nil && f.Exit.TxID == txid {
			return side
		}
	}
	return -1
}

func (n *Node) handOut(id channel.ID, tx channel.OwnTx) error {
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	out := ledger.Tx{ID: tx.TxID, Raw: tx.Raw, Fee: tx.Fee}
	// The wallet hears of it first: what it spends must not be spent again even if the chain can't be reached.
	if err := n.deps.Wallet.Record(ctx, out, "channel "+id.String()[:8]); err != nil {
		n.log.Debug("the wallet did not take note of a transaction", "txid", channel.TxIDString(tx.TxID), "err", err)
	}
	err := n.deps.Chain.Publish(ctx, out)
	if err != nil {
		n.log.Warn("a transaction was not taken; it is published again with the next block", "channel", id,
			"txid", channel.TxIDString(tx.TxID), "err", err)
	}
	return err
}
