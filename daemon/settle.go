package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
)

// Settling at the owner's word: what lanes earned goes to the wallet, many lanes in one transaction.

// settling is a lane that was considered.
type settling struct {
	d    *driver
	lane channel.SettledLane
}

// Settle takes alone what the lanes of channels earned. Their channels end by it.
func (n *Node) Settle(ctx context.Context, req channel.SettleRequest) (channel.SettleResult, error) {
	if _, err := n.needChain(); err != nil {
		return channel.SettleResult{}, err
	}
	rate := n.rate(req.FeeRate)
	if req.BelowFee > 0 && uint64(rate) > req.BelowFee {
		return channel.SettleResult{}, channel.Faultf(channel.CodeLimit, "the fee is %s sat/vB now, above the %s sat/vB that were named; nothing was settled",
			perByte(uint64(rate)), perByte(req.BelowFee))
	}
	considered, err := n.consider(req, rate)
	if err != nil {
		return channel.SettleResult{}, err
	}
	if !req.DryRun {
		ctx, cancel := context.WithTimeout(ctx, closeWait)
		defer cancel()
		if err := n.settleAll(ctx, considered, rate, req.FeeRate); err != nil {
			return channel.SettleResult{}, err
		}
	}
	return sumUp(considered, rate), nil
}

// consider sorts the lanes that were named, or all that earned something.
func (n *Node) consider(req channel.SettleRequest, rate ledger.FeeRate) (list []*settling, err error) {
	ds := n.live()
	if !req.All {
		ds = nil
		for _, id := range req.Channels {
			d, err := n.resolveChannel(id)
			if err != nil {
				return nil, err
			}
			ds = append(ds, d)
		}
	}
	for _, d := range ds {
		var st channel.State
		n.read(d, func(d *driver) { st = d.w.st })
		if !req.All && !st.CanSettle() {
			return nil, channel.Faultf(channel.CodeNotOpen, "channel %s has nothing to settle", d.id.String()[:8]).
				WithHint("see: runnel channel %s", d.id.String()[:8])
		}
		if st.CanSettle() {
			list = append(list, &settling{d, n.considerLane(&st, req.All, rate)})
		}
	}
	sortBy(list, func(a, b *settling) bool {
		return a.lane.Value > b.lane.Value || a.lane.Value == b.lane.Value && a.d.id.String() < b.d.id.String()
	})
	n.shareFees(list, rate)
	return list, nil
}

// considerLane says what is to become of a lane.
func (n *Node) considerLane(st *channel.State, all bool, rate ledger.FeeRate) channel.SettledLane {
	l := channel.SettledLane{Channel: st.Terms.ID, PeerID: st.Terms.Peer, Value: st.In.Total.SatCeil(), Status: channel.SettleNow}
	if o, ok := st.OutFunding.Claim(); ok && st.OutFunding.Spend == nil {
		l.Deposit, l.RefundHeight = o.Value, st.Terms.Out.Expiry
	}
	least := rate.Fee(n.deps.Scheme.SettleVSize(2) - n.deps.Scheme.SettleVSize(1))
	switch exit := st.InFunding.Exit; {
	case st.Phase == channel.PhaseSettling && exit != nil:
		l.Status, l.TxID, l.Fee = channel.SettleUnderway, channel.TxIDString(exit.TxID), exit.Fee
		l.Reason = "its settlement waits for a block"
	case st.Closing.Tx != nil:
		l.Status, l.TxID = channel.SettleLeft, channel.TxIDString(st.Closing.Tx.TxID)
		l.Reason = "its close together is on its way"
	case st.Tip >= st.Terms.StopHeight(st.Terms.In):
		l.Status, l.Reason = channel.SettleUnderway, "its time is over: it is settled alone"
	case !policy.Worth(l.Value, least, all):
		l.Status, l.Fee = channel.SettleUneconomic, least
		l.Reason = "the fee is too much of it"
	}
	return l
}

// shareFees estimates what each lane that is settled now pays.
func (n *Node) shareFees(list []*settling, rate ledger.FeeRate) {
	for _, group := range groups(list) {
		fee := rate.Fee(n.deps.Scheme.SettleVSize(len(group)))
		for _, s := range group {
			s.lane.Fee = fee / channel.Sat(len(group))
		}
		group[0].lane.Fee += fee % channel.Sat(len(group))
	}
}

// groups are the lanes to be settled now, as many as fit together.
func groups(list []*settling) (all [][]*settling) {
	var now []*settling
	for _, s := range list {
		if s.lane.Status == channel.SettleNow {
			now = append(now, s)
		}
	}
	for len(now) > 0 {
		k := min(len(now), maxBatch)
		all, now = append(all, now[:k]), now[k:]
	}
	return all
}

func (n *Node) settleAll(ctx context.Context, list []*settling, rate ledger.FeeRate, asked uint64) error {
	for _, group := range groups(list) {
		_, script, err := n.deps.Wallet.NewAddress(ctx)
		if err != nil {
			return n.fault(err)
		}
		ds := make([]*driver, len(group))
		for i, s := range group {
			ds[i] = s.d
		}
		b := n.batches.reserve(ds)
		b.rec.Script, b.rec.Asked = script, asked
		err = b.begin(ctx)
		n.batches.done(b)
		if err != nil {
			n.log.Warn("a settlement of several lanes goes on by itself", "lanes", len(group), "err", err)
		}
		n.outcome(ctx, b, group)
	}
	return nil
}

// begin ends the channels, durably, and then builds and publishes the settlement.
func (b *batch) begin(ctx context.Context) error {
	results := make([]chan error, len(b.members))
	for i, d := range b.members {
		done := make(chan error, 1)
		results[i] = done
		d.post(applied{event: channel.CloseAlone{}, done: func(err error) { done <- err }})
	}
	var failed []*driver
	for i, done := range results {
		select {
		case err := <-done:
			if err != nil {
				failed = append(failed, b.members[i])
			}
		case <-ctx.Done():
			return ctx.Err() // the next block's turn takes those that ended
		}
	}
	b.leave(failed, "its end could not be stored")
	return b.turn()
}

// outcome reads what became of the lanes of a batch.
func (n *Node) outcome(ctx context.Context, b *batch, group []*settling) {
	for _, s := range group {
		waits := func(d *driver) bool { return d.w.st.InFunding.Exit == nil && d.w.st.Phase == channel.PhaseSettling }
		_ = s.d.until(ctx, func(d *driver) bool { return !waits(d) || ctx.Err() != nil })
		n.read(s.d, func(d *driver) {
			exit := d.w.st.InFunding.Exit
			switch {
			case exit != nil:
				s.lane.TxID, s.lane.Fee = channel.TxIDString(exit.TxID), exit.Fee
			case d.w.st.Phase == channel.PhaseSettling:
				s.lane.Status, s.lane.Reason = channel.SettleUnderway, "its settlement is not built yet; it is tried again with each block"
			default:
				s.lane.Status, s.lane.Reason = channel.SettleLeft, "the channel is "+d.w.st.Phase.String()
			}
		})
	}
}

func sumUp(list []*settling, rate ledger.FeeRate) channel.SettleResult {
	r := channel.SettleResult{FeeRate: uint64(rate)}
	for _, s := range list {
		r.Lanes = append(r.Lanes, s.lane)
		if s.lane.Status == channel.SettleNow {
			r.Value += s.lane.Value
			r.Fee += s.lane.Fee
		}
	}
	return r
}

// perByte writes a rate as people do, in sat/vB.
func perByte(rate uint64) string {
	text := fmt.Sprintf("%d.%03d", rate/1000, rate%1000)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
