package sim

import (
	"bytes"
	"context"

	"github.com/runnel/runnel/channel"
)

// scanned is the newest block that a peer has durably seen.
func (p *peer) scanned() (hash [32]byte) {
	b, err := p.disk.mem.Get([]byte("h"))
	if err == nil && len(b) >= 44 {
		copy(hash[:], b[len(b)-40:])
	}
	return hash
}

// sees reports whether a peer has seen the newest block.
func (p *peer) sees() bool {
	tip, err := p.w.look.Tip(context.Background())
	return err == nil && p.scanned() == tip.Hash
}

// audit waits until every node has seen the chain, and compares what they think of it with what is there.
func (w *World) audit() {
	w.until("every node has seen the chain", func() bool {
		for _, p := range w.order {
			if p.life != nil && !p.away && !p.sees() {
				return false
			}
		}
		return true
	})
	w.turns(300)
	for _, b := range w.laneOrder {
		for _, p := range []*peer{b.payer, b.payee} {
			if st := b.state(p); st != nil && p.life != nil && !p.away && p.sees() && !st.Phase.Final() {
				w.compare(p, st, b)
			}
		}
	}
}

// compare is one node's view of one lane against the chain.
func (w *World) compare(p *peer, st *channel.State, b *book) {
	f := &st.InFunding
	if b.payer == p {
		f = &st.OutFunding
	}
	if b.payee == p && f.Ready && !w.funded(p, b, f.Claimed) {
		w.broken("P3", "%s takes payments on a lane whose funding is not in the chain as agreed", p.name)
	}
	if f.Spend != nil {
		if _, depth, err := w.chain.Transaction(f.Spend.TxID); err != nil || depth == 0 {
			w.broken("P3", "%s thinks that a lane is spent, and it is not", p.name)
		}
	}
}

// funded reports whether an output stands in the chain that is what the lane's terms say.
func (w *World) funded(p *peer, b *book, o channel.Outpoint) bool {
	raw, depth, err := w.chain.Transaction(o.TxID)
	if err != nil || depth == 0 {
		return false
	}
	_, outs, err := p.scheme.Parts(raw)
	script, _ := p.scheme.FundingScript(b.terms)
	return err == nil && int(o.Index) < len(outs) && outs[o.Index].Value == b.terms.Deposit && bytes.Equal(outs[o.Index].Script, script)
}

// late looks at what should be settled by now. A block counts as fair when the payee's program could see
// the one before, reach the chain and write.
func (w *World) late() {
	height := w.chain.Height()
	for _, b := range w.laneOrder {
		st := b.state(b.payee)
		if st == nil || b.copied || st.In.Total < worthIt || height < st.Terms.StopHeight(b.terms) {
			continue
		}
		if p := b.payee; w.censored == 0 && p.life != nil && !p.away && p.disk.fault == healthy && p.sees() {
			b.fair++
		}
		if height == b.terms.Expiry-6 && b.fair >= enough && st.InFunding.Spend == nil && w.funded(b.payee, b, st.InFunding.Claimed) {
			if _, _, err := w.look.Unspent(context.Background(), st.InFunding.Claimed); err == nil {
				w.broken("P5", "%s has not settled %d msat at block %d of a lane that expires at %d", b.payee.name, st.In.Total, height, b.terms.Expiry)
			}
		}
	}
}

const (
	worthIt = 25_000_000 // msat; what costs as much to settle at the highest fee is nobody's loss
	enough  = 9          // fair blocks of the 18 from the stop on
)
