package sim

import (
	"context"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// heal ends all trouble.
func (w *World) heal() {
	w.calm = true
	clear(w.cut)
	w.chain.SetEstimate(1_000)
	w.chain.SetMinFee(1_000)
	w.censored = 0
	for _, p := range w.order {
		p.away, p.free = false, plenty
		if p.copied {
			p.wallet.Rebroadcast() // as wallets do when they start; of a node that has its records it would hide what the node does not
		}
		if p.disk.fault == full {
			p.disk.fault = healthy
		}
		p.disk.nth = 0
		if p.life != nil && p.disk.fault != healthy { // its owner sees that nothing is written any more
			p.kill("its disk failed")
			w.forget(p)
			w.settle()
		}
	}
	w.relaunch()
	for _, p := range w.order { // what was lost on the way comes again with the next connection
		for _, q := range w.order {
			if p.id < q.id {
				w.separate(p, q, false)
			}
		}
	}
	w.mine(1)
	for _, a := range w.apps {
		a.asking = false
		a.asked++
	}
}

// rest is the time after the trouble: every fate becomes known, the books agree, and so do nodes and chain.
func (w *World) rest() {
	w.heal()
	turn := 0
	w.until("the books agree", func() bool {
		if turn++; turn%2000 == 0 {
			for _, a := range w.apps {
				w.ask(a)
			}
			w.mine(1)
		}
		return turn > 4000 && w.agreed()
	})
	w.audit()
	if w.rng.IntN(3) == 0 {
		w.undo()
	}
}

// undo takes the newest blocks away with all that they held, and looks whether everybody notices.
func (w *World) undo() {
	w.reorganise(1 + w.rng.IntN(6))
	if w.rng.IntN(2) == 0 {
		for _, id := range w.chain.Mempool() {
			w.chain.Evict(id)
		}
	}
	w.audit()
	w.mine(1)
	w.audit()
	w.mine(2)
	w.audit()
}

// agreed reports whether both sides of each lane have the same books.
func (w *World) agreed() bool {
	for _, b := range w.laneOrder {
		a, c := b.state(b.payer), b.state(b.payee)
		if b.copied {
			continue
		}
		if a == nil || c == nil {
			return a == nil && c == nil
		}
		if b.payer.hostile || b.payee.hostile || a.Phase > channel.PhaseOpen || c.Phase > channel.PhaseOpen {
			continue
		}
		if a.Out.NextSeq != c.In.NextSeq || a.Out.Spent != c.In.Spent || a.Out.Total != c.In.Total || a.Out.Hash != c.In.Hash {
			return false
		}
	}
	return true
}

// finish closes every channel in one of the ways that there are, and counts the money.
func (w *World) finish() {
	var ids []channel.ID
	for _, b := range w.laneOrder {
		if len(ids) == 0 || ids[len(ids)-1] != b.id {
			ids = append(ids, b.id)
		}
	}
	w.closing = true
	w.calm = w.rng.IntN(3) == 0
	for _, p := range w.order {
		if w.rng.IntN(4) == 0 {
			w.settleAll(p)
		}
	}
	for _, id := range ids {
		if w.rng.IntN(4) > 0 { // some run out by themselves
			w.close(id)
		}
	}
	if !w.calm {
		w.trouble(w.plan.Turns / 2)
	}
	w.heal()
	turn := 0
	w.until("every channel is over", func() bool {
		if turn++; turn%400 == 0 {
			w.mine(1)
		}
		w.weather()
		return w.over()
	})
	w.turns(300)
	w.forgetful()
	w.quiet()
	w.count()
}

// forgetful takes the newest blocks away when every channel is over, and what they held: none of that may have
// been what a channel ended with, for nobody looks after it any more.
func (w *World) forgetful() {
	if w.rng.IntN(2) == 0 {
		return
	}
	w.reorganise(1 + w.rng.IntN(5))
	for _, id := range w.chain.Mempool() {
		w.chain.Evict(id)
	}
	w.mine(1)
	for _, b := range w.laneOrder {
		st := b.state(b.payee)
		if st == nil || st.InFunding.Claimed == (channel.Outpoint{}) || st.InFunding.Spend == nil {
			continue
		}
		if _, _, err := w.look.Unspent(context.Background(), st.InFunding.Claimed); err == nil {
			w.broken("P3", "%s's lane of %s is over for both, and its funding is unspent", b.terms.ID().String()[:8], b.payer.name)
		}
	}
	w.turns(300)
}

// quiet mines what wallets and nodes published last.
func (w *World) quiet() {
	for _, p := range w.order {
		p.wallet.Rebroadcast()
	}
	turn := 0
	w.until("nothing waits for a block", func() bool {
		if turn++; turn%300 == 0 {
			w.mine(1)
		}
		return turn > 600 && len(w.chain.Mempool()) == 0
	})
}

// weather is what happens on the chain while channels end.
func (w *World) weather() {
	switch w.rng.IntN(30_000) {
	case 0:
		w.reorganise(1 + w.rng.IntN(5))
	case 1, 2:
		w.chain.SetEstimate(50_000)
		w.trace.note("a fee of 50000")
	case 3, 4, 5:
		w.chain.SetEstimate(1_000)
		w.trace.note("a fee of 1000")
	case 6, 7, 8:
		w.censored = 1 + w.rng.IntN(5)
		w.trace.note("miners take nothing for %d blocks", w.censored)
	}
}

// close asks one side to end a channel.
func (w *World) close(id channel.ID) {
	var able []*peer
	for _, p := range w.order {
		if p.states[id] != nil && p.life != nil {
			able = append(able, p)
		}
	}
	if len(able) == 0 {
		return
	}
	p := able[w.rng.IntN(len(able))]
	force := w.rng.IntN(3) == 0
	w.trace.note("%s closes %s, alone: %v", p.name, id.String()[:8], force)
	w.call(p, "close", func(ctx context.Context, n *daemon.Node) {
		_, err := n.Close(ctx, channel.CloseRequest{Channel: id.String(), Force: force})
		w.trace.note("%s closes: %v", p.name, err)
	})
}

func (w *World) over() bool {
	for _, p := range w.order {
		for _, st := range p.states {
			if !st.Phase.Final() {
				return false
			}
		}
	}
	return true
}

// count: what the wallets hold and what the miners got is what came in; nobody has less than it is due.
func (w *World) count() {
	ctx := context.Background()
	var have, given channel.Sat
	for _, p := range w.order {
		b, err := p.wallet.Balance(ctx)
		w.must(err)
		have += b.Confirmed + b.Locked
		w.trace.note("%s has %+v", p.name, b)
		given += p.given
	}
	given += w.returned()
	fees := w.burnt()
	if have+fees != given {
		w.broken("P3", "wallets hold %d sat, fees were %d, and %d came in", have, fees, given)
	}
	for _, p := range w.order {
		b, _ := p.wallet.Balance(ctx)
		got := int64(b.Confirmed+b.Locked) - int64(p.given)
		due := int64(0)
		for _, l := range w.laneOrder {
			// What is less than a settlement leaves, fee and smallest output, is lost when nobody closes together.
			if sat := int64(l.spent[len(l.spent)-1] / 1000); l.payee == p && sat >= int64(channel.MinReturn) && !l.lost() && !l.eaten() {
				due += sat
			}
			if l.payer == p {
				due -= int64(l.signed.SatCeil())
			}
		}
		if got+int64(fees) < due && !p.hostile {
			w.broken("P3", "%s gained %d sat and is due %d; fees were %d", p.name, got, due, fees)
		}
	}
	w.trace.note("counted: %d sat, fees %d, at %v", have, fees, time.Since(w.trace.start))
}

// eaten reports whether the highest fee of the simulation would have taken what a lane earned, so that its
// payer had it back.
func (b *book) eaten() bool {
	st := b.state(b.payee)
	return st != nil && st.In.Total < 10_000_000 && st.InFunding.Spend != nil && st.InFunding.Spend.Kind == channel.SpentRefunded
}

// returned is what came to lanes from outside and went to its payer.
func (w *World) returned() (sum channel.Sat) {
	for range w.gifts {
		if _, depth, err := w.chain.Transaction(w.gift.TxID); err != nil || depth == 0 {
			continue
		}
		if _, _, err := w.look.Unspent(context.Background(), w.gift); err != nil {
			sum += 5_000
		}
	}
	return sum
}

// burnt is what the transactions of all wallets left to miners.
func (w *World) burnt() (fees channel.Sat) {
	seen := map[[32]byte]bool{}
	for _, p := range w.order {
		list, err := p.wallet.Transactions(context.Background())
		w.must(err)
		for _, t := range list {
			if t.Confirmations > 0 && !seen[t.ID] {
				seen[t.ID] = true
				fees += w.feeOf(p, t.ID)
			}
		}
	}
	return fees
}

// feeOf is the fee of a transaction all of whose inputs are of this world; that of the faucet's is not
// counted, for its money came from outside.
func (w *World) feeOf(p *peer, id [32]byte) channel.Sat {
	raw, _, err := w.chain.Transaction(id)
	w.must(err)
	ins, outs, err := p.scheme.Parts(raw)
	w.must(err)
	var in, out channel.Sat
	for _, i := range ins {
		raw, _, err := w.chain.Transaction(i.TxID)
		w.must(err)
		_, parts, err := p.scheme.Parts(raw)
		w.must(err)
		in += parts[i.Index].Value
	}
	for _, o := range outs {
		out += o.Value
	}
	if in > 100_000_000_000-1 { // the faucet's
		return 0
	}
	return in - out
}
