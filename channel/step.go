package channel

import (
	"slices"
	"strconv"
)

// Step carries a channel through one event. On an error the state is the one that was given and there
// are no effects. The effects are valid only together with the returned state.
func Step(s State, e Input) (State, []Effect, error) {
	next := s
	effects, err := next.step(e)
	if err != nil {
		return s, nil, err
	}
	return next, effects, nil
}

func (s *State) step(e Input) ([]Effect, error) {
	switch e := e.(type) {
	case Pay:
		return s.pay(e)
	case Signed:
		return s.signed(e)
	case FramesReceived:
		return s.frames(e.Frames)
	case Verified:
		return s.verified(e)
	case FrameFound:
		return s.found(e)
	case ProofChecked:
		return s.proven(e)
	case NewestChecked:
		return s.adopt(e)
	case Received:
		return s.received(e.Msg)
	case DrawOps:
		return s.drawOps(e)
	case DrawChecked:
		return s.drawChecked(e)
	case Authorise:
		return s.authorise(e)
	case DrawsLost:
		return s.endAll(), nil
	case VoidDraws:
		return s.void(e), nil
	case Connected:
		return s.connected(e), nil
	case Disconnected:
		s.Synced = false
		return nil, nil
	}
	return s.slow(e)
}

// slow handles what happens a few times in a channel's life. Its states share no memory with the
// caller's, so that they can be changed in place.
func (s *State) slow(e Input) ([]Effect, error) {
	s.own()
	switch e := e.(type) {
	case FundingBuilt:
		return s.fundingBuilt(e)
	case FundingFailed:
		return s.fundingFailed(), nil
	case CloseTogether:
		return s.closeTogether(e)
	case CloseAlone:
		return s.closeAlone(e)
	case CloseBuilt:
		return s.closeBuilt(e)
	case ReturnBuilt:
		return s.returnBuilt(e)
	case ExitBuilt:
		return s.exitBuilt(e)
	case BooksDiffer:
		return s.booksDiffer(), nil
	case Height:
		return s.height(e), nil
	case OutputSeen:
		return s.outputSeen(e), nil
	case SpendSeen:
		return s.spendSeen(e), nil
	case ReturnSeen:
		return s.returnSeen(e), nil
	case SweepSeen:
		return s.sweepSeen(e), nil
	case FramesLost:
		return s.framesLost(), nil
	case Ask:
		return s.ask(e), nil
	case Reorganised:
		return s.reorganised(e), nil
	}
	return nil, fail(KindInvalid, "unknown event %T", e)
}

func (s *State) received(m Message) ([]Effect, error) {
	switch m := m.(type) {
	case *Ack:
		return s.ack(m)
	case *Draws:
		return s.drawsTold(m)
	case *DrawsAck:
		return s.drawsAcked(m)
	case *DrawsVoid:
		return s.voided(m)
	}
	s.own()
	switch m := m.(type) {
	case *Resync:
		effects, err := s.resynced(m)
		if err != nil {
			return nil, err
		}
		return append(effects, s.dueReturns()...), nil
	case *Funded:
		return s.claim(m.Lane, m.Funding)
	case *Ready:
		return s.peerReady(m.Lane)
	case *Newest:
		return s.reminded(m)
	case *Stop:
		return s.stopped(m)
	case *CloseOffer, *CloseSign, *CloseDone:
		return s.closeMessage(m)
	case *ReturnOffer:
		return s.returnAsked(m)
	case *ReturnSign:
		return []Effect{CombineReturn{Msg: m}}, nil
	case *Refuse:
		return append(s.refused(m), s.dueReturns()...), nil
	}
	return nil, fail(KindInvalid, "a %T does not belong to a channel", m)
}

// own makes the slices and pointers that the slow events change this state's own.
func (s *State) own() {
	for _, f := range []*Funding{&s.OutFunding, &s.InFunding} {
		f.Seen = slices.Clone(f.Seen)
		if f.Spend != nil {
			c := *f.Spend
			f.Spend = &c
		}
	}
}

// move takes an edge of the phase table and reports it.
func (s *State) move(to Phase) []Effect {
	if !s.Phase.CanMove(to) {
		return nil
	}
	s.Phase = to
	return []Effect{Save{Cold: true}, Moved{To: to}}
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
