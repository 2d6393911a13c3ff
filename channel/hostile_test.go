package channel_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// checked is Step that complains of a state that was changed in place, of an error that did something,
// and of an event that has two outcomes.
func checked(fail func(...any)) func(channel.State, channel.Input) (channel.State, []channel.Effect, error) {
	n := 0
	return func(s channel.State, in channel.Input) (channel.State, []channel.Effect, error) {
		if n++; n%4 != 1 { // looking closely takes longer than the step
			return channel.Step(s, in)
		}
		before := channel.Snapshot(s)
		next, effects, err := channel.Step(s, in)
		if channel.Snapshot(s) != before {
			fail(fmt.Sprintf("%s changed the state that it was given", channeltest.TellInput(in)))
		}
		if err != nil && (len(effects) > 0 || channel.Snapshot(next) != before) {
			fail(fmt.Sprintf("%s failed and did something: %s", channeltest.TellInput(in), names(effects)))
		}
		after := channel.Snapshot(next)
		again, more, _ := channel.Step(s, in)
		if channel.Snapshot(again) != after || names(more) != names(effects) {
			fail(fmt.Sprintf("%s has two outcomes", channeltest.TellInput(in)))
		}
		if channel.Snapshot(next) != after {
			fail(fmt.Sprintf("%s changed the state that it gave before", channeltest.TellInput(in)))
		}
		return next, effects, err
	}
}

// liar is the victim's peer, and the network between both. It can sign any total on its own lane; of the
// victim's lane it can only show signatures that it got.
type liar struct {
	r      *rand.Rand
	victim *channeltest.Side
	seen   []channel.Message

	copy     *channeltest.Disk // of the victim's records, from which it starts again some time
	copied   int
	restored bool
}

func (l *liar) bend(s *channeltest.Side) {
	mail := s.Mail()
	if n := len(*mail); n > 0 {
		i := l.r.IntN(n)
		m := (*mail)[i]
		kinds := 3
		if s == l.victim {
			kinds, l.seen = 5, append(l.seen, m)
		}
		switch l.r.IntN(kinds) {
		case 0: // repeat
			*mail = append(*mail, m)
		case 1: // reorder
			j := l.r.IntN(n)
			(*mail)[i], (*mail)[j] = (*mail)[j], m
		case 2: // swallow
			*mail = append(append([]channel.Message(nil), (*mail)[:i]...), (*mail)[i+1:]...)
		default:
			(*mail)[i] = l.twist(m, s)
		}
		return
	}
	if s != l.victim {
		return
	}
	if len(l.seen) > 0 && l.r.IntN(2) == 0 { // an old one
		*mail = append(*mail, l.seen[l.r.IntN(len(l.seen))])
		return
	}
	*mail = append(*mail, l.invent(s))
}

// number is one that hurts: small, near the old one, or at the end of the range.
func (l *liar) number(near uint64) uint64 {
	switch l.r.IntN(6) {
	case 0:
		return 0
	case 1:
		return ^uint64(0) - uint64(l.r.IntN(3))
	case 2:
		return l.r.Uint64()
	}
	return near + uint64(l.r.IntN(7)) - 3
}

func (l *liar) change(n *uint64) {
	if l.r.IntN(3) == 0 {
		*n = l.number(*n)
	}
}

func (l *liar) msat(m *channel.Msat) {
	n := uint64(*m)
	l.change(&n)
	*m = channel.Msat(n)
}

func (l *liar) report(r *channel.LaneReport) {
	l.change(&r.NextSeq)
	l.msat(&r.Total)
	l.msat(&r.Spent)
	r.Hash[0] += byte(l.r.IntN(2))
	r.Signature[0] += byte(l.r.IntN(2))
	l.change(&r.Draws)
	l.msat(&r.Drawn)
	r.DrawHash[0] += byte(l.r.IntN(2))
}

// twist changes some fields of a copy.
func (l *liar) twist(m channel.Message, to *channeltest.Side) channel.Message {
	switch m := m.(type) {
	case *channel.Frame:
		f := *m
		f.Payments = append([]channel.Payment(nil), m.Payments...)
		l.change(&f.FirstSeq)
		l.msat(&f.Total)
		if len(f.Payments) > 0 && l.r.IntN(4) == 0 {
			l.msat(&f.Payments[l.r.IntN(len(f.Payments))].Amount)
		}
		if len(f.Payments) > 0 && l.r.IntN(4) == 0 {
			f.Payments = append(f.Payments, f.Payments[0])
		}
		if l.r.IntN(8) == 0 {
			f.Payments = nil
		}
		if l.r.IntN(3) > 0 {
			f.Signature = channeltest.Sign(f.Lane, f.Total)
		}
		return &f
	case *channel.Ack:
		a := *m
		l.change(&a.NextSeq)
		l.msat(&a.Total)
		l.msat(&a.Spent)
		if l.r.IntN(3) == 0 {
			a.Refused = append(a.Refused, channel.Refusal{Seq: l.number(a.NextSeq), Reason: channel.RefusedPolicy})
		}
		return &a
	case *channel.Resync:
		r := *m
		l.report(&r.In)
		l.change(&r.Acked)
		l.change(&r.Draws)
		r.Ready = l.r.IntN(2) == 0
		r.Phase = channel.Phase(l.r.IntN(10))
		if l.r.IntN(3) == 0 {
			r.Funding.Index++
		}
		return &r
	case *channel.Stop:
		s := *m
		l.report(&s.In)
		return &s
	case *channel.Newest:
		n := *m
		l.report(&n.Out)
		if l.r.IntN(2) == 0 {
			n.Out.Signature = channeltest.Sign(n.Lane, n.Out.Total)
		}
		return &n
	case *channel.Draws:
		d := *m
		d.Draws = append([]channel.Draw(nil), m.Draws...)
		l.change(&d.FirstSeq)
		if len(d.Draws) > 0 {
			e := &d.Draws[l.r.IntN(len(d.Draws))]
			l.change(&e.N)
			l.msat(&e.Amount)
		}
		return &d
	case *channel.DrawsAck:
		a := *m
		l.change(&a.Count)
		return &a
	case *channel.DrawsVoid:
		v := *m
		v.N = append([]uint64{l.number(1)}, m.N...)
		return &v
	}
	return l.invent(to)
}

// invent makes a message from nothing.
func (l *liar) invent(to *channeltest.Side) channel.Message {
	t := &to.State.Terms
	report := channel.LaneReport{NextSeq: to.State.Out.NextSeq, Total: to.State.Out.Total, Spent: to.State.Out.Spent, Signature: to.State.Out.Voucher}
	var m channel.Message
	switch l.r.IntN(14) {
	case 0:
		return &channel.Ready{Lane: t.Out.ID()}
	case 1:
		return &channel.Funded{Lane: t.In.ID(), Funding: channel.Outpoint{Index: uint32(l.r.IntN(3))}}
	case 2:
		return &channel.Refuse{Channel: t.ID, Code: []string{channel.DenyUnknownChannel, channel.DenyFee}[l.r.IntN(2)]}
	case 3:
		return &channel.CloseOffer{Channel: t.ID, Fee: channel.Sat(l.number(200))}
	case 4:
		return &channel.CloseSign{Channel: t.ID}
	case 5:
		return &channel.CloseDone{Channel: t.ID, Tx: []byte("{}")}
	case 6:
		m = &channel.Stop{Channel: t.ID, In: report, Payout: make([]byte, 1+l.r.IntN(42))}
	case 7:
		m = &channel.Resync{Channel: t.ID, Phase: channel.PhaseOpen, In: report, Acked: to.State.In.NextSeq}
	case 8:
		m = &channel.Ack{Lane: t.Out.ID(), NextSeq: to.State.Out.NextSeq, Total: to.State.Out.Total, Spent: to.State.Out.Total}
	case 9:
		m = &channel.Newest{Lane: t.In.ID(), Out: l.newest(to)}
	case 10:
		m = l.draws(to)
	case 11:
		m = &channel.DrawsAck{Lane: t.In.ID(), Count: l.number(1)}
	case 12:
		m = &channel.DrawsVoid{Lane: t.In.ID(), N: []uint64{l.number(5), l.number(7), l.number(7)}}
	default:
		total := to.State.In.Total + 5
		m = &channel.Frame{Lane: t.In.ID(), FirstSeq: to.State.In.NextSeq, Payments: []channel.Payment{{Amount: 5}}, Total: total,
			Signature: channeltest.Sign(t.In.ID(), total)}
	}
	if l.r.IntN(2) == 0 {
		return m
	}
	return l.twist(m, to)
}

// newest is more than the victim has, signed.
func (l *liar) newest(to *channeltest.Side) channel.LaneReport {
	s := &to.State
	r := channel.LaneReport{NextSeq: s.In.NextSeq + 1, Total: s.In.Total + 9, Spent: s.In.Spent + 5, Drawn: 4}
	if s.InDraws != nil {
		r.Draws, r.Drawn = s.InDraws.Count+1, s.InDraws.Drawn+4
	}
	r.Signature = channeltest.Sign(s.Terms.In.ID(), r.Total)
	return r
}

// draws reports what the victim authorised, all of it or more.
func (l *liar) draws(to *channeltest.Side) *channel.Draws {
	m := &channel.Draws{Lane: to.State.Terms.Out.ID(), FirstSeq: 1}
	d := to.State.OutDraws
	if d == nil {
		d = &channel.OutDraws{}
	}
	m.FirstSeq, m.Hash = d.Count+1, d.Hash
	list := append([]channel.OpenDraw{{N: d.Next, Max: 1}}, d.Open...)
	for i, o := range list[l.r.IntN(2):] {
		e := channel.Draw{N: o.N, Amount: o.Max + channel.Msat(l.r.IntN(2))}
		m.Draws = append(m.Draws, e)
		m.Hash = channel.DrawHash(m.Hash, m.Lane, m.FirstSeq+uint64(i), e)
	}
	return m
}

// Whatever a peer or the network says: nothing panics, no total falls, no voucher counts that was not
// signed, and what a close or settlement would pay never gets less than what was signed away.
func TestLiarsGainNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.Bent = true
		w.Step = checked(t.Fatal)
		if rapid.IntRange(0, 7).Draw(t, "early") > 0 {
			must(t, w.Open())
		}
		l := &liar{r: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "liar"), 1)), victim: w.Sides[rapid.IntRange(0, 1).Draw(t, "victim")]}
		kinds := append([]string{"lie", "lie", "lie", "lie", "lie", "lie", "go", "go", "close", "force", "restore"}, life...)
		for i, o := range drawOps(t, 60, kinds...) {
			switch {
			case o.Kind == "lie":
				l.bend(w.Sides[o.A])
			case o.Kind != "restore":
				play(w, o)
			case l.copy == nil || l.copied+20 > i:
				d := l.victim.Backup()
				l.copy, l.copied = &d, i
			default:
				l.victim.Restore(*l.copy)
				l.restored = true
			}
			must(t, w.Check())
			must(t, l.notRobbed())
		}
	})
}

// notRobbed checks that the victim owes at most what it signed, gets at least what it took, however the
// channel ends, and can start again.
func (l *liar) notRobbed() error {
	s := l.victim
	if err := s.Loads(); err != nil {
		return err
	}
	var signed channel.Msat
	for _, f := range s.Disk().Sent {
		for _, p := range f.Payments {
			signed += p.Amount
		}
	}
	signed += s.Asked()
	var disk channel.Lane
	if err := disk.UnmarshalBinary(s.Disk().Out); err != nil {
		return err
	}
	if disk.Total > signed && !l.restored || disk.Spent > disk.Total {
		return fmt.Errorf("%s: vouchered %d msat and spent %d for payments of %d", s.Name, disk.Total, disk.Spent, signed)
	}
	self, _, err := s.State.Payouts()
	if err != nil {
		return nil
	}
	var least channel.Sat
	if o, ok := s.State.OutFunding.Claim(); ok {
		least += o.Value - s.State.Out.Total.SatCeil()
	}
	if _, ok := s.State.InFunding.Claim(); ok {
		least += (s.State.Closing.Mine.In.Spent + s.State.Closing.Mine.In.Drawn).SatCeil()
	}
	if self < least {
		return fmt.Errorf("%s: a close would pay %d sat instead of %d", s.Name, self, least)
	}
	return nil
}
