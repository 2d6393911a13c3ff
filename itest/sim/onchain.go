package sim

import (
	"bytes"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// publishes is called before a transaction of a node goes out.
func (w *World) publishes(p *peer, tx ledger.Tx) {
	ins, outs, err := p.scheme.Parts(tx.Raw)
	if err != nil {
		w.broken("P6", "%s publishes what is no transaction: %v", p.name, err)
		return
	}
	if !p.made[tx.ID] {
		w.broken("P1", "%s publishes %x, which is not stored", p.name, tx.ID[:4])
	}
	for _, in := range ins {
		w.cheaper(p, tx, in)
		for _, b := range w.laneOrder {
			if st := b.state(p); st != nil {
				w.spend(p, st, b, in, tx, ins, outs)
			}
		}
	}
}

// keep notes the transactions in a channel's durable record.
func (p *peer) keep(st *channel.State) {
	for _, own := range []*channel.OwnTx{st.OutFunding.Tx, st.OutFunding.Exit, st.InFunding.Exit, st.Closing.Tx} {
		if own != nil {
			p.made[own.TxID] = true
		}
	}
	for _, o := range st.OutFunding.Seen {
		if o.Return != nil {
			p.made[o.Return.TxID] = true
		}
	}
}

// keepOther notes the transactions that have records of their own: settlements of many lanes, and what the
// wallet paid.
func (p *peer) keepOther(key, value []byte) {
	if len(key) == 33 && (key[0] == 'x' || key[0] == 'w') && value != nil {
		id := [32]byte(key[1:])
		p.made[id] = true
		p.bumped[id] = key[0] == 'w'
	}
}

// cheaper: a transaction never takes the place of one of the same peer that paid a higher rate.
func (w *World) cheaper(p *peer, tx ledger.Tx, in channel.Outpoint) {
	old, ok := w.fees[in]
	switch {
	case p.bumped[tx.ID]: // the wallet's: all of a row of replacements are published again, and the dearest stays
	case !ok || old.peer != p || old.tx.ID == tx.ID:
		w.fees[in] = paid{tx, p}
	case tx.Fee == 0 || old.tx.Fee == 0:
	case tx.Fee < old.tx.Fee && len(tx.Raw) >= len(old.tx.Raw):
		w.broken("P5", "%s publishes %x with a fee of %d sat in place of %x with %d", p.name, tx.ID[:4], tx.Fee, old.tx.ID[:4], old.tx.Fee)
	default:
		w.fees[in] = paid{tx, p}
	}
}

// spend judges the spend of a lane by one of its two peers.
func (w *World) spend(p *peer, st *channel.State, b *book, in channel.Outpoint, tx ledger.Tx, ins []channel.Outpoint, outs []ledger.Output) {
	own := b.payer == p
	funding := st.InFunding.Claimed
	if own {
		funding = st.OutFunding.Claimed
	}
	if funding != in || in == (channel.Outpoint{}) {
		return
	}
	spend, err := p.scheme.ParseSpend(ledger.Lane{Terms: b.terms, Funding: in}, tx.Raw)
	if err != nil {
		w.broken("P6", "%s spends a lane in a way that is not known: %v", p.name, err)
		return
	}
	switch {
	case spend.Kind == ledger.SpendSettle && own:
		w.broken("P6", "%s settles a lane on which it pays", p.name)
	case spend.Kind == ledger.SpendSettle && b.copied && p.copied:
		w.asks(p, st, b, spend.Total)
	case spend.Kind == ledger.SpendSettle && (spend.Total != st.In.Total || spend.Total < b.ack.Total):
		w.broken("P6", "%s settles at %d msat, has a voucher of %d and acknowledged %d", p.name, spend.Total, st.In.Total, b.ack.Total)
	case spend.Kind == ledger.SpendRefund && (!own || st.Terms.Out.Expiry > w.chain.Height()):
		w.broken("P6", "%s takes a refund at block %d of a lane that expires at %d", p.name, w.chain.Height(), b.terms.Expiry)
	case spend.Kind == ledger.SpendUnknown:
		w.together(p, st, ins, outs)
	}
}

// together: a close pays each side what it has, and the fee comes from one of them.
func (w *World) together(p *peer, st *channel.State, ins []channel.Outpoint, outs []ledger.Output) {
	if st.Closing.Mine == nil || st.Closing.Peers == nil {
		w.broken("P6", "%s closes together without both stops", p.name)
		return
	}
	var self, other channel.Sat
	for _, in := range ins {
		switch in {
		case st.OutFunding.Claimed:
			paid := st.Closing.Peers.In.Spent.SatCeil()
			self, other = self+st.Terms.Out.Deposit-paid, other+paid
		case st.InFunding.Claimed:
			paid := st.Closing.Mine.In.Spent.SatCeil()
			self, other = self+paid, other+st.Terms.In.Deposit-paid
		}
	}
	var gotSelf, gotOther channel.Sat
	for _, o := range outs {
		switch {
		case bytes.Equal(o.Script, st.Closing.Mine.Payout):
			gotSelf += o.Value
		case bytes.Equal(o.Script, st.Closing.Peers.Payout):
			gotOther += o.Value
		default:
			w.broken("P3", "%s closes and pays somebody else", p.name)
		}
	}
	exact := func(has, got channel.Sat) bool { return got == has || got == 0 && has < channel.DustSat }
	if gotSelf > self || gotOther > other || !exact(self, gotSelf) && !exact(other, gotOther) {
		w.broken("P3", "%s closes with %d of %d and %d of %d sat", p.name, gotSelf, self, gotOther, other)
	}
}
