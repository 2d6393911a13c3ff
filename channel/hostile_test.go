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
	}
	return l.invent(to)
}

// invent makes a message from nothing.
func (l *liar) invent(to *channeltest.Side) channel.Message {
	t := &to.State.Terms
	report := channel.LaneReport{NextSeq: to.State.Out.NextSeq, Total: to.State.Out.Total, Spent: to.State.Out.Spent, Signature: to.State.Out.Voucher}
	var m channel.Message
	switch l.r.IntN(10) {
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
		kinds := append([]string{"lie", "lie", "lie", "lie", "lie", "lie", "go", "go", "close", "force"}, life...)
		for _, o := range drawOps(t, 60, kinds...) {
			if o.Kind == "lie" {
				l.bend(w.Sides[o.A])
			} else {
				play(w, o)
			}
			must(t, w.Check())
			must(t, notRobbed(l.victim))
		}
	})
}

// notRobbed checks that a side owes at most what it signed, and gets at least what it took, however the
// channel ends.
func notRobbed(s *channeltest.Side) error {
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
	if disk.Total > signed || disk.Spent > disk.Total {
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
		least += s.State.Closing.Mine.In.Spent.SatCeil()
	}
	if self < least {
		return fmt.Errorf("%s: a close would pay %d sat instead of %d", s.Name, self, least)
	}
	return nil
}
