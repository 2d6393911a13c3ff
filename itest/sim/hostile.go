package sim

import (
	"bytes"
	"slices"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// A hostile peer is a node whose messages are changed on their way out. Its keys are its own, so that all
// it could really sign it signs.

// twist is what a hostile peer sends in place of a message.
func (c *conn) twist(msg []byte) []byte {
	w := c.h.l.p.w
	w.heard = append(w.heard, msg)
	if w.cheating {
		return w.misname(msg)
	}
	if len(w.heard) > 200 {
		w.heard = w.heard[100:]
	}
	if w.calm || w.rng.IntN(8) > 0 {
		return msg
	}
	switch w.rng.IntN(4) {
	case 0:
		msg = bytes.Clone(msg)
		msg[w.rng.IntN(len(msg))] ^= 1 << w.rng.IntN(8)
		return msg
	case 1:
		return w.heard[w.rng.IntN(len(w.heard))]
	}
	m, err := wire.Decode(msg)
	if err != nil {
		return msg
	}
	w.lie(m)
	b, err := wire.Encode(m)
	if err != nil || len(b) > wire.MaxMessage {
		return msg
	}
	return b
}

// lie changes one thing that a message says.
func (w *World) lie(m wire.Message) {
	n := w.rng.Uint64N(3)
	switch m := m.(type) {
	case *channel.Frame:
		m.Payments = slices.Clone(m.Payments)
		switch n {
		case 0:
			m.Total -= min(m.Total-1, m.Payments[0].Amount/2+1)
		case 1:
			m.FirstSeq -= min(m.FirstSeq-1, w.rng.Uint64N(3))
		case 2:
			m.Payments[0].Amount *= 2
		}
	case *channel.Ack:
		switch n {
		case 0:
			m.Spent += 1000
			m.Total += 1000
		case 1:
			m.NextSeq++
		case 2:
			m.Hash[0]++
		}
	case *channel.Resync:
		switch n {
		case 0:
			m.In.NextSeq -= min(m.In.NextSeq, 2)
			m.In.Spent /= 2
		case 1:
			m.Acked += 5
		case 2:
			m.Ready, m.Phase = true, channel.PhaseOpen
		}
	case *channel.Stop:
		m.In.Spent -= min(m.In.Spent, 1000*channel.Msat(n))
		m.In.Total += 1000 * channel.Msat(n)
	case *channel.Funded:
		m.Funding = w.gift
	case *channel.CloseOffer:
		m.Fee += channel.Sat(1000 * n)
	case *channel.CloseDone:
		m.Tx = bytes.Clone(m.Tx)
		m.Tx[len(m.Tx)/2]++
	case *channel.Open:
		m.PeerDeposit *= 2
	}
}

// misname claims an output of less than was agreed for a lane.
func (w *World) misname(msg []byte) []byte {
	m, err := wire.Decode(msg)
	f, ok := m.(*channel.Funded)
	if b := w.lanes[laneOf(f, ok)]; err == nil && b != nil {
		if w.gift == (channel.Outpoint{}) {
			w.underpay(b)
		}
		f.Funding = w.gift
		msg, err = wire.Encode(f)
		w.must(err)
	}
	return msg
}

func laneOf(f *channel.Funded, ok bool) (id channel.LaneID) {
	if ok {
		id = f.Lane
	}
	return id
}

// underpay pays a lane's address less than was agreed, as a hostile payer does who then names that output.
func (w *World) underpay(b *book) {
	script, err := w.order[0].scheme.FundingScript(b.terms)
	w.must(err)
	w.gift, err = w.chain.Faucet(script, 5_000)
	w.must(err)
	w.gifts = append(w.gifts, b)
}
