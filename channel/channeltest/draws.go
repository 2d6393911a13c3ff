package channeltest

import (
	"fmt"

	"github.com/runnel/runnel/channel"
)

// Letter is an authorisation on its way from a payer's program to a payee's: it can be late, lost, and come
// more than once.
type Letter struct {
	channel.Grant
	Total     channel.Msat
	Signature channel.Signature
}

// DrawTwin is the draws of one lane as a bookkeeper would keep them.
type DrawTwin struct {
	Max     map[uint64]channel.Msat // authorised by n
	Charged map[uint64]bool
	Ended   map[uint64]channel.Msat
	Told    map[uint64]bool // the payer has accepted it
}

// NewDrawTwin returns an empty one.
func NewDrawTwin() *DrawTwin {
	return &DrawTwin{Max: map[uint64]channel.Msat{}, Charged: map[uint64]bool{}, Ended: map[uint64]channel.Msat{}, Told: map[uint64]bool{}}
}

// Drawn is the sum of what ended.
func (t *DrawTwin) Drawn() (sum channel.Msat) {
	for _, a := range t.Ended {
		sum += a
	}
	return sum
}

func (t *DrawTwin) authorised(g channel.Grant) error {
	if _, ok := t.Max[g.N]; ok {
		return fmt.Errorf("draw %d was authorised twice", g.N)
	}
	if g.Raise == 0 {
		t.Max[g.N] = g.Max
		return nil
	}
	t.Max[g.N] = 0
	t.Max[g.Raise] = g.Max
	return nil
}

func (t *DrawTwin) charged(n uint64, c channel.Charge) error {
	if max, ok := t.Max[n]; !ok || c.Held > max {
		return fmt.Errorf("draw %d holds %d, authorised are %d (%v)", n, c.Held, max, ok)
	}
	if t.Charged[n] {
		return fmt.Errorf("draw %d was charged twice", n)
	}
	t.Charged[n] = true
	return nil
}

func (t *DrawTwin) ended(d channel.Draw) error {
	if _, ok := t.Ended[d.N]; ok {
		return fmt.Errorf("draw %d ended twice", d.N)
	}
	if max, ok := t.Max[d.N]; !ok || d.Amount > max {
		return fmt.Errorf("draw %d ended with %d, authorised are %d (%v)", d.N, d.Amount, max, ok)
	}
	t.Ended[d.N] = d.Amount
	return nil
}

func (t *DrawTwin) told(d channel.Draw) error {
	if a, ok := t.Ended[d.N]; !ok || a != d.Amount || t.Told[d.N] {
		return fmt.Errorf("the payer accepted draw %d of %d msat, it ended with %d (%v)", d.N, d.Amount, a, ok)
	}
	t.Told[d.N] = true
	return nil
}

// sortDraws notes for a turn what an effect says of draws; false if it is about something else.
func (s *Side) sortDraws(t *turn, e channel.Effect) bool {
	fact := func(f func() error) { t.facts = append(t.facts, f) }
	switch e := e.(type) {
	case channel.SaveDraws:
		if e.Out {
			t.outDraws, _ = s.State.OutDraws.MarshalBinary()
		} else {
			t.inDraws, _ = s.State.InDraws.MarshalBinary()
		}
	case channel.Authorised:
		for _, g := range e.Grants {
			t.letters = append(t.letters, Letter{g, e.Total, e.Signature})
			fact(func() error { return s.Draws.authorised(g) })
		}
	case channel.DrawsDone:
		ops := s.asked
		s.asked = nil
		for i, r := range e.Results {
			if i < len(ops) && ops[i].Kind == channel.ChargeDraw && r.Err == nil && !r.Charge.Repeated {
				fact(func() error { return s.peer.Draws.charged(r.Charge.N, r.Charge) })
			}
		}
	case channel.Drew:
		for _, d := range e.Draws {
			if e.Out {
				fact(func() error { return s.Draws.told(d) })
			} else {
				fact(func() error { return s.peer.Draws.ended(d) })
			}
		}
	case channel.DrawsOver:
	default:
		return false
	}
	return true
}

// Draw hands ops to the lane that pays this side.
func (s *Side) Draw(ops ...channel.DrawOp) error {
	effects, err := s.stepDraws(ops)
	if err == nil {
		s.now(effects)
	}
	return err
}

func (s *Side) stepDraws(ops []channel.DrawOp) ([]channel.Effect, error) {
	before := s.asked
	s.asked = ops
	effects, err := s.step(channel.DrawOps{Ops: ops})
	if err != nil {
		s.asked = before
	}
	return effects, err
}

// Asked is the sum of all that this side authorised.
func (s *Side) Asked() (sum channel.Msat) {
	max := map[uint64]channel.Msat{}
	for _, l := range s.Letters {
		n := l.N
		if l.Raise != 0 {
			n = l.Raise
		}
		sum += l.Max - max[n]
		max[n] = l.Max
	}
	return sum
}

// Charge is the op that a letter of the peer's asks for.
func (l Letter) Charge(amount channel.Msat) channel.DrawOp {
	return channel.DrawOp{Kind: channel.ChargeDraw, N: l.N, Total: l.Total, Signature: l.Signature, Max: l.Max, Raise: l.Raise, Amount: amount}
}

// checkDraws checks the draws of one lane between honest peers against each other and against the twin.
func checkDraws(payer, payee *Side) error {
	var out channel.OutDraws
	var in channel.InDraws
	var lane channel.Lane
	if b := payer.disk.OutDraws; b != nil {
		if err := out.UnmarshalBinary(b); err != nil {
			return err
		}
	}
	if b := payee.disk.InDraws; b != nil {
		if err := in.UnmarshalBinary(b); err != nil {
			return err
		}
	}
	if err := lane.UnmarshalBinary(payee.disk.In); err != nil {
		return err
	}
	var held channel.Msat
	for _, r := range in.Running {
		held += r.Held
		if max := payer.Draws.Max[r.N]; r.Held > max {
			return fmt.Errorf("draw %d holds %d of %d", r.N, r.Held, max)
		}
	}
	switch {
	case lane.Spent+in.Drawn+held > lane.Total:
		return fmt.Errorf("pushed %d, drawn %d, held %d of %d", lane.Spent, in.Drawn, held, lane.Total)
	case in.Drawn != payer.Draws.Drawn():
		return fmt.Errorf("drawn are %d, the twin says %d", in.Drawn, payer.Draws.Drawn())
	case out.Count > in.Count || out.Drawn > in.Drawn || in.Told > out.Count:
		return fmt.Errorf("the payer has accepted %d draws of %d msat, the payee made %d of %d and was told of %d", out.Count, out.Drawn, in.Count, in.Drawn, in.Told)
	case out.Count == in.Count && out.Hash != in.Hash:
		return fmt.Errorf("the chains differ after %d draws", out.Count)
	}
	return nil
}
