package book

import (
	"errors"
	"fmt"
	"io"
)

// Difference is the first place at which two books of the two sides of a lane don't agree.
type Difference struct {
	Lane string
	Seq  uint64 // 0: not of a payment
	Text string
}

func (d *Difference) Error() string {
	s := fmt.Sprintf("lane %.16s", d.Lane)
	if d.Seq > 0 {
		s += fmt.Sprintf(", payment %d", d.Seq)
	}
	return s + ": " + d.Text
}

// Agreement is what two books agree about.
type Agreement struct {
	Lanes    int
	Payments uint64
	Pending  uint64 // that one side has no answer for yet
}

// SideError says which of the two books can't be taken.
type SideError struct {
	Peers bool
	Err   error
}

func (e *SideError) Error() string {
	if e.Peers {
		return "the peer's book: " + e.Err.Error()
	}
	return "the own book: " + e.Err.Error()
}

func (e *SideError) Unwrap() error { return e.Err }

// side reads one book lane by lane.
type side struct {
	r     *Reader
	peers bool
	item  any
	done  bool
}

func (s *side) next() error {
	item, err := s.r.Next()
	if errors.Is(err, io.EOF) {
		s.item, s.done = nil, true
		return nil
	}
	if err != nil {
		return &SideError{s.peers, err}
	}
	s.item = item
	return nil
}

// skipLane passes over the rest of a lane.
func (s *side) skipLane() error {
	for {
		if err := s.next(); err != nil || s.done {
			return err
		}
		if _, ok := s.item.(*Lane); ok {
			return nil
		}
	}
}

// Compare reads two books, the own and the peer's, and checks both. Lanes that only one has are passed
// over. The error is a *Difference, a *SideError, or one of reading.
func Compare(own, peers *Reader) (a Agreement, err error) {
	x, y := &side{r: own}, &side{r: peers, peers: true}
	if err := errors.Join(x.next(), y.next()); err != nil {
		return a, err
	}
	for !x.done && !y.done {
		l, m := x.item.(*Lane), y.item.(*Lane)
		switch {
		case l.ID < m.ID:
			err = x.skipLane()
		case l.ID > m.ID:
			err = y.skipLane()
		default:
			err = a.lane(x, y, l, m)
		}
		if err != nil {
			return a, err
		}
	}
	for _, s := range []*side{x, y} { // to the end: a book that breaks off proves nothing
		for !s.done {
			if err := s.skipLane(); err != nil {
				return a, err
			}
		}
	}
	return a, nil
}

func (a *Agreement) lane(x, y *side, l, m *Lane) error {
	a.Lanes++
	differ := func(seq uint64, format string, args ...any) error {
		return &Difference{Lane: l.ID, Seq: seq, Text: fmt.Sprintf(format, args...)}
	}
	if l.Direction == m.Direction {
		return differ(0, "both books say %q: they are of the same side", l.Direction)
	}
	if err := errors.Join(x.next(), y.next()); err != nil {
		return err
	}
	if err := align(x, y, max(l.FirstSeq, m.FirstSeq)); err != nil {
		return err
	}
	for {
		p, pok := x.item.(*Payment)
		q, qok := y.item.(*Payment)
		switch {
		case pok && qok:
			if text := differences(p, q); text != "" {
				return differ(p.Seq, "%s", text)
			}
			a.Payments++
			if !counted(p) || !counted(q) {
				a.Pending++
			}
		case pok && counted(p):
			return differ(p.Seq, "the peer's book ends before it")
		case qok && counted(q):
			return differ(q.Seq, "the own book ends before it")
		case !pok && !qok:
			return errors.Join(x.next(), y.next())
		default:
			a.Pending++
		}
		if pok {
			if err := x.next(); err != nil {
				return err
			}
		}
		if qok {
			if err := y.next(); err != nil {
				return err
			}
		}
	}
}

// counted reports whether both sides should know a payment's result.
func counted(p *Payment) bool { return p.Result != Pending && !p.ByChain }

// align passes over payments that one side has pruned.
func align(x, y *side, first uint64) error {
	for _, s := range []*side{x, y} {
		for p, ok := s.item.(*Payment); ok && p.Seq < first; p, ok = s.item.(*Payment) {
			if err := s.next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// differences says in what two records of one payment don't agree, first the own.
func differences(p, q *Payment) string {
	switch {
	case p.ID != q.ID:
		return fmt.Sprintf("its id is %s here and %s there", p.ID, q.ID)
	case p.Amount != q.Amount:
		return fmt.Sprintf("it is %d msat here and %d msat there", p.Amount, q.Amount)
	case p.Ref != q.Ref || p.RefHex != q.RefHex:
		return "its reference differs"
	case counted(p) && counted(q) && p.Result != q.Result:
		return fmt.Sprintf("it is %s here and %s there", p.Result, q.Result)
	case counted(p) && counted(q) && p.Hash != q.Hash:
		return "the lane hashes differ from here on, though the payments agree: the books begin differently"
	}
	return ""
}
