package sim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// book is what the simulation itself counts of a lane: from what the payer signed and sent and what the
// payee answered, not from what either of them thinks.
type book struct {
	terms    channel.LaneTerms
	id       channel.ID
	payer    *peer
	payee    *peer // nil: not one of the simulation's nodes
	signed   channel.Msat
	ready    bool                         // was stored once
	readyNow bool                         // is stored
	copied   bool                         // one of its peers goes on from a copy
	unasked  bool                         // its payee settled without the payer's word
	fair     int                          // blocks since the stop in which the payee could act
	payments []channel.Payment            // that left the payer, by sequence number from 1
	spent    []channel.Msat               // accepted up to a sequence number, from 0, as durable at the payee
	taken    map[channel.PaymentID]uint64 // accepted ids and their sequence numbers
	ack      channel.Ack                  // the furthest that left
}

// paid is a transaction that a peer published.
type paid struct {
	tx   ledger.Tx
	peer *peer
}

// learn makes books for a channel's lanes as soon as its terms are durable somewhere.
func (w *World) learn(p *peer, st *channel.State) {
	for _, l := range []struct {
		terms        channel.LaneTerms
		payer, payee channel.PeerID
	}{{st.Terms.Out, st.Terms.Self, st.Terms.Peer}, {st.Terms.In, st.Terms.Peer, st.Terms.Self}} {
		if !l.terms.Exists() || w.lanes[l.terms.ID()] != nil {
			continue
		}
		b := &book{terms: l.terms, id: st.Terms.ID, payer: w.peers[l.payer], payee: w.peers[l.payee], spent: []channel.Msat{0},
			taken: map[channel.PaymentID]uint64{}}
		w.lanes[l.terms.ID()] = b
		w.laneOrder = append(w.laneOrder, b)
		for i, k := range []channel.Key{l.terms.Payer, l.terms.Refund, l.terms.Payee} {
			owner := []*peer{b.payer, b.payer, b.payee}[i]
			if other, used := w.keys[k]; used && !owner.hostile { // who is hostile shows one offer to two peers
				w.broken("P6", "lanes %s and %s share a key", other.String()[:8], l.terms.ID().String()[:8])
			}
			w.keys[k] = l.terms.ID()
		}
	}
}

// signed is called before a voucher is signed.
func (w *World) signed(l *life, lane ledger.Lane, total channel.Msat) {
	p := l.p
	b := w.lanes[lane.Terms.ID()]
	switch {
	case b == nil:
		w.broken("P1", "%s signs on a lane whose terms are not stored", p.name)
		return
	case total > lane.Terms.Capacity():
		w.broken("P2", "%s signs %d msat on a lane of %d", p.name, total, lane.Terms.Capacity())
	}
	if b.copied && p.copied {
		w.broken("P6", "%s goes on from a copy and signs", p.name)
	}
	if st := b.state(p); st != nil && st.Phase > channel.PhaseOpen {
		w.broken("P1", "%s signs in phase %s", p.name, st.Phase)
	}
	if l.unheard(b) {
		w.broken("P1", "%s signs before its peer told what it has", p.name)
	}
	b.signed = max(b.signed, total)
}

// sent is called when a message leaves a node, before it is on its way.
func (w *World) sent(from, to *peer, msg []byte) {
	m, err := wire.Decode(msg)
	if err != nil {
		return
	}
	switch m := m.(type) {
	case *channel.Frame:
		w.sentFrame(from, m)
	case *channel.Ack:
		w.sentAck(from, m)
	case *channel.Resync:
		if st := w.durable(from, m.Channel, m); st != nil && (m.In.NextSeq > st.In.NextSeq || m.In.Total > st.In.Total ||
			m.In.Spent > st.In.Spent || m.Phase > st.Phase && st.Phase != channel.PhaseRecovering) {
			w.promised(from, m, st)
		}
	case *channel.Stop:
		if st := w.durable(from, m.Channel, m); st != nil && (st.Closing.Mine == nil || st.Phase < channel.PhaseClosing || m.In.Spent != st.In.Spent) {
			w.promised(from, m, st)
		}
	case *channel.CloseOffer:
		w.closes(from, m.Channel, m)
	case *channel.CloseSign:
		w.closes(from, m.Channel, m)
	case *channel.CloseDone:
		if st := w.durable(from, m.Channel, m); st != nil && st.Closing.Tx == nil {
			w.promised(from, m, st)
		}
	case *channel.Accept:
		w.durable(from, m.Channel, m)
	case *channel.Funded:
		if b := w.lanes[m.Lane]; b != nil {
			if st := from.states[b.id]; st != nil && st.OutFunding.Claimed != m.Funding {
				w.promised(from, m, st)
			}
		}
	case *channel.Ready:
		if b := w.lanes[m.Lane]; b == nil || !b.ready {
			w.broken("P1", "%s sends that a lane is ready, and it was never stored", from.name)
		}
	}
}

// durable is the channel that a message speaks of, as the sender's disk has it.
func (w *World) durable(from *peer, id channel.ID, m channel.Message) *channel.State {
	st := from.states[id]
	if st == nil {
		w.broken("P1", "%s sends %T of a channel that is not stored", from.name, m)
	}
	return st
}

func (w *World) promised(from *peer, m channel.Message, st *channel.State) {
	w.broken("P1", "%s sends %T %+v, and stored is: %s, out %+v, in %+v", from.name, m, m, st.Phase, st.Out, st.In)
}

func (w *World) closes(from *peer, id channel.ID, m channel.Message) {
	if st := w.durable(from, id, m); st != nil && (st.Phase < channel.PhaseClosing || st.Closing.Mine == nil || st.Closing.Peers == nil) {
		w.promised(from, m, st)
	}
}

// sentFrame: what a frame says is durable at its payer, fits the lane and is the same each time.
func (w *World) sentFrame(from *peer, f *channel.Frame) {
	b := w.lanes[f.Lane]
	if b == nil || b.payer != from {
		w.broken("P1", "%s sends a frame of a lane that it does not pay on", from.name)
		return
	}
	st := w.durable(from, b.id, f)
	if st == nil {
		return
	}
	if f.NextSeq() > st.Out.NextSeq || f.Total > st.Out.Total {
		w.promised(from, f, st)
	}
	if f.Total > b.terms.Capacity() {
		w.broken("P2", "%s sends a total of %d msat on a lane of %d", from.name, f.Total, b.terms.Capacity())
	}
	for i, p := range f.Payments {
		if seq := f.FirstSeq + uint64(i); seq > uint64(len(b.payments)) || b.payments[seq-1] != p {
			w.broken("P4", "%s sends what it did not store under sequence number %d", from.name, seq)
			return
		}
		w.leaves(from, p.ID)
	}
	w.covers(b, f)
}

// pays is called when an own frame of a payer is durable.
func (w *World) pays(p *peer, f *channel.Frame) {
	b := w.lanes[f.Lane]
	if b == nil || b.payer != p {
		return
	}
	for i, pay := range f.Payments {
		switch seq := f.FirstSeq + uint64(i); {
		case seq > uint64(len(b.payments))+1:
			w.broken("P4", "%s leaves out sequence number %d", p.name, len(b.payments)+1)
			return
		case seq == uint64(len(b.payments))+1:
			b.payments = append(b.payments, pay)
			p.budget += pay.Amount
			w.spends(p)
		case b.payments[seq-1] != pay:
			w.broken("P4", "%s stores another payment under sequence number %d", p.name, seq)
		}
	}
}

// spends: what a node paid out, in a run that is shorter than a day, is within its budget.
func (w *World) spends(p *peer) {
	if p.budget > p.cfg.Limits.Budget {
		w.broken("P2", "%s paid %d msat of a budget of %d", p.name, p.budget, p.cfg.Limits.Budget)
	}
}

// covers: a total is what all payments so far and what was refused before need, not more.
func (w *World) covers(b *book, f *channel.Frame) {
	var sum channel.Msat
	for i := range f.NextSeq() - 1 {
		sum += b.payments[i].Amount
	}
	if f.Total > sum {
		w.broken("P3", "%s vouches for %d msat, and all its payments are %d", b.payer.name, f.Total, sum)
	}
}

// sentAck: an answer is durable, accepts no id twice, and adds up.
func (w *World) sentAck(from *peer, a *channel.Ack) {
	b := w.lanes[a.Lane]
	if b == nil || b.payee != from {
		w.broken("P1", "%s answers on a lane that does not pay it", from.name)
		return
	}
	st := w.durable(from, b.id, a)
	if st == nil || from.copied {
		return
	}
	if a.NextSeq > st.In.NextSeq || a.Total > st.In.Total || a.Spent > st.In.Spent {
		w.promised(from, a, st)
	}
	if a.NextSeq < b.ack.NextSeq {
		return // an old answer again
	}
	if a.NextSeq > uint64(len(b.spent)) || a.Spent != b.spent[a.NextSeq-1] {
		w.broken("P3", "%s counts %d msat as spent, and accepted are %v", from.name, a.Spent, b.spent[len(b.spent)-1])
	}
	if a.Spent < b.ack.Spent || a.Total < b.ack.Total || a.Total > b.signed || a.Spent > a.Total {
		w.broken("P3", "%s answers %+v after %+v; signed are %d", from.name, a, b.ack, b.signed)
	}
	b.ack = *a
}

// answers is called when a payee's answer to a frame is durable.
func (w *World) answers(p *peer, f *channel.Frame, a *channel.Ack) {
	b := w.lanes[f.Lane]
	if b == nil || b.payee != p || b.copied && p.copied {
		return
	}
	if f.NextSeq() <= uint64(len(b.spent)) {
		return // known
	}
	if f.FirstSeq != uint64(len(b.spent)) {
		w.broken("P4", "%s takes sequence number %d after %d", p.name, f.FirstSeq, len(b.spent)-1)
		return
	}
	refused := map[uint64]bool{}
	for _, r := range a.Refused {
		refused[r.Seq] = true
	}
	for i, pay := range f.Payments {
		seq := f.FirstSeq + uint64(i)
		if b.payer != nil && !b.payer.hostile && (seq > uint64(len(b.payments)) || b.payments[seq-1] != pay) {
			w.broken("P4", "%s takes what %s did not send under sequence number %d", p.name, b.payer.name, seq)
			return
		}
		spent := b.spent[seq-1]
		if !refused[seq] {
			if !b.readyNow {
				w.broken("P2", "%s accepts a payment on a lane whose funding is not confirmed", p.name)
			}
			if before, twice := b.taken[pay.ID]; twice && !b.payer.hostile {
				w.broken("P4", "%s accepts payment %s under %d and %d", p.name, pay.ID, before, seq)
			}
			b.taken[pay.ID] = seq
			spent += pay.Amount
		} else if b.payer != nil {
			b.payer.budget -= pay.Amount
		}
		b.spent = append(b.spent, spent)
	}
}

// frame is called for each frame that is durable: an own one has no answer with it.
func (p *peer) frame(record []byte) {
	switch f, a := frameRecord(record); {
	case a != nil:
		p.w.answers(p, f, a)
	case f != nil:
		p.w.pays(p, f)
	}
}

// frameRecord reads a frame with its answer as the store keeps it.
func frameRecord(b []byte) (*channel.Frame, *channel.Ack) {
	_, n := binary.Uvarint(b)
	size, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 || size > uint64(len(b)-n-m) {
		return nil, nil
	}
	b = b[n+m:]
	msg, err := wire.Decode(b[size:])
	f, ok := msg.(*channel.Frame)
	if err != nil || !ok || size == 0 {
		return f, nil
	}
	msg, _ = wire.Decode(b[:size])
	a, _ := msg.(*channel.Ack)
	return f, a
}

// stored is called when a batch became durable.
func (p *peer) stored(batch *store.Batch) {
	changed := map[channel.ID]bool{}
	var ids []channel.ID
	for _, op := range batch.Ops {
		if len(op.Key) >= 33 && (op.Key[0] == 'c' || op.Key[0] == 'l') {
			id := channel.ID(op.Key[1:33])
			if !changed[id] {
				ids = append(ids, id)
			}
			changed[id] = changed[id] || op.Key[0] == 'c'
			if op.Delete && op.Key[0] == 'c' {
				delete(p.states, id)
			}
		}
	}
	slices.SortFunc(ids, func(a, b channel.ID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		p.read(id)
	}
	for _, op := range batch.Ops {
		p.keepOther(op.Key, op.Value)
	}
	for _, op := range batch.Ops {
		var st channel.State
		if len(op.Key) == 33 && op.Key[0] == 'c' && json.Unmarshal(op.Value, &st) == nil {
			p.keep(&st)
			defer p.takes(&st)() // a later batch of the same group may say otherwise
		}
	}
	for _, op := range batch.Ops {
		if len(op.Key) == 17 && op.Key[0] == 'f' && !op.Delete {
			p.frame(op.Value)
		}
	}
}

// takes notes whether the lane that pays the peer is ready. Until done is called it also counts as ready if
// it was before.
func (p *peer) takes(st *channel.State) (done func()) {
	b := p.w.lanes[st.Terms.In.ID()]
	if b == nil {
		return func() {}
	}
	b.ready, b.readyNow = b.ready || st.InFunding.Ready, b.readyNow || st.InFunding.Ready
	return func() { b.readyNow = st.InFunding.Ready }
}

// read looks at a channel as it is durable now and compares it with what was before.
func (p *peer) read(id channel.ID) {
	st, err := p.load(id)
	if err != nil {
		p.w.broken("P7", "%s: channel %s can't be read: %v", p.name, id, err)
		return
	}
	if st == nil {
		delete(p.states, id)
		return
	}
	if old := p.states[id]; old != nil {
		p.grew(old, st)
	}
	p.states[id] = st
	p.keep(st)
	p.w.learn(p, st)
}

// refresh reads everything anew, after the disk was set to something else.
func (p *peer) refresh() {
	p.states = map[channel.ID]*channel.State{}
	var done []func()
	defer func() {
		for _, f := range done {
			f()
		}
	}()
	_ = p.disk.mem.Scan([]byte{'c'}, nil, func(key, _ []byte) bool {
		p.read(channel.ID(key[1:33]))
		if st := p.states[channel.ID(key[1:33])]; st != nil {
			done = append(done, p.takes(st))
		}
		return true
	})
	for _, kind := range []byte{'x', 'w'} {
		_ = p.disk.mem.Scan([]byte{kind}, nil, func(key, value []byte) bool {
			p.keepOther(key, value)
			return true
		})
	}
	_ = p.disk.mem.Scan([]byte{'f'}, nil, func(_, value []byte) bool {
		p.frame(value)
		return true
	})
}

func (p *peer) load(id channel.ID) (*channel.State, error) {
	get := func(kind byte, side ...byte) []byte {
		b, err := p.disk.mem.Get(append(append([]byte{kind}, id[:]...), side...))
		if err != nil {
			return nil
		}
		return b
	}
	cold, out, in := get('c'), get('l', 'o'), get('l', 'i')
	if cold == nil && out == nil && in == nil {
		return nil, nil
	}
	if cold == nil || len(out) < 8 || in == nil {
		return nil, fmt.Errorf("records are missing")
	}
	st := &channel.State{}
	if err := json.Unmarshal(cold, st); err != nil {
		return nil, err
	}
	if err := st.Out.UnmarshalBinary(out[:len(out)-8]); err != nil {
		return nil, err
	}
	return st, st.In.UnmarshalBinary(in)
}

// grew: nothing that only grows went back, and what both sides have is what was paid in.
func (p *peer) grew(old, st *channel.State) {
	w := p.w
	for _, l := range []struct {
		name     string
		old, now channel.Lane
		terms    channel.LaneTerms
	}{{"own", old.Out, st.Out, st.Terms.Out}, {"peer's", old.In, st.In, st.Terms.In}} {
		if l.now.Total < l.old.Total || l.now.Spent < l.old.Spent || l.now.NextSeq < l.old.NextSeq || l.now.Acked < l.old.Acked {
			w.broken("P1", "%s: the %s lane went back from %+v to %+v", p.name, l.name, l.old, l.now)
		}
		if l.now.Frozen != channel.NotFrozen && !w.hostile(st) && !w.copied(st) {
			w.broken("P3", "%s: the %s lane is frozen between honest peers: %s", p.name, l.name, l.now.Frozen)
		}
		if l.terms.Exists() && l.now.Total > l.terms.Capacity() {
			w.broken("P2", "%s: a total of %d msat on a lane of %d", p.name, l.now.Total, l.terms.Capacity())
		}
	}
	if st.Phase < old.Phase && !(old.Phase == channel.PhaseRecovering) {
		w.broken("P6", "%s: a channel went back from %s to %s", p.name, old.Phase, st.Phase)
	}
	if old.Closing.Mine != nil && st.In.Spent != old.In.Spent && st.Phase == channel.PhaseClosing {
		w.broken("P3", "%s: something was taken after the stop", p.name)
	}
}

// hostile reports whether one of a channel's peers says what suits it.
func (w *World) hostile(st *channel.State) bool {
	for _, id := range []channel.PeerID{st.Terms.Self, st.Terms.Peer} {
		if p := w.peers[id]; p == nil || p.hostile {
			return true
		}
	}
	return false
}

// copied reports whether one of a channel's peers goes on from a copy.
func (w *World) copied(st *channel.State) bool {
	self, other := w.peers[st.Terms.Self], w.peers[st.Terms.Peer]
	return self != nil && self.copied || other != nil && other.copied
}

// check looks at what must hold between any two events.
func (w *World) check() {
	for _, b := range w.laneOrder {
		if b.copied {
			continue
		}
		var in, out channel.Lane
		open := true
		if st := b.state(b.payee); st != nil {
			in = st.In
		}
		if st := b.state(b.payer); st != nil {
			out, open = st.Out, st.Phase <= channel.PhaseOpen
		} else if b.payer != nil && !b.payer.hostile && in.Total > 0 {
			w.broken("P3", "%s knows nothing of a lane on which it paid", b.payer.name)
		}
		if b.payer != nil && in.Total > b.signed {
			w.broken("P3", "%s holds a voucher of %d msat, signed are %d", b.payee.name, in.Total, b.signed)
		}
		if b.state(b.payee) != nil && b.state(b.payer) != nil && !b.payer.hostile && !b.payee.hostile && (in.Total > out.Total || out.Spent > in.Spent || open && out.Acked > in.NextSeq) {
			w.broken("P3", "the books of %s and %s do not fit: %+v and %+v", b.payer.name, b.payee.name, out, in)
		}
		if b.payee != nil && !b.payee.hostile && (b.ack.NextSeq > in.NextSeq || b.ack.Total > in.Total || b.ack.Spent > in.Spent) {
			w.broken("P1", "%s acknowledged %+v and has %+v", b.payee.name, b.ack, in)
		}
	}
}

func (b *book) state(p *peer) *channel.State {
	if p == nil {
		return nil
	}
	if st := p.states[b.id]; st != nil || !p.copied {
		return st
	}
	return b.found(p)
}
