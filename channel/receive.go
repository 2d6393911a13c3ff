package channel

import "slices"

// The payee's side of a lane (protocol.md 4).

// CanReceive says why the lane that pays us takes nothing now, or nil.
func (s *State) CanReceive() error {
	switch {
	case !s.Terms.In.Exists():
		return fail(KindNotOpen, "this channel has no lane in this direction")
	case planted("taken unopened"):
		return nil
	case s.Phase != PhaseOpen:
		return fail(KindNotOpen, "the channel is %s", s.Phase)
	case s.In.Frozen != NotFrozen:
		return fail(KindNotOpen, "the lane is frozen: %s", s.In.Frozen)
	case !s.InFunding.Ready:
		return fail(KindNotOpen, "the peer's funding is not confirmed")
	case s.latest() >= s.Terms.StopHeight(s.Terms.In):
		return fail(KindExpiring, "the lane stopped at block %d", s.Terms.StopHeight(s.Terms.In))
	}
	return nil
}

func (s *State) frames(frames []*Frame) ([]Effect, error) {
	if s.checking != nil || s.charging != nil {
		return nil, fail(KindForbidden, "a verification is running")
	}
	if s.Phase > PhaseOpen || s.In.Frozen != NotFrozen {
		return s.repeats(frames), nil
	}
	if err := s.CanReceive(); err != nil && KindOf(err) != KindExpiring {
		return nil, err
	}
	var effects []Effect
	next, spent, total := s.In.NextSeq, s.SpentIn()+s.InDraws.held(), Msat(0)
	for _, f := range frames {
		if f.Lane != s.Terms.In.ID() {
			return nil, fail(KindInvalid, "a frame for another lane")
		}
		sum, err := f.sum()
		if err != nil {
			return nil, err
		}
		if planted("repeat counted") && f.NextSeq() <= next {
			s.In.Spent = min(s.In.Spent+sum, s.In.Total)
		}
		if f.NextSeq() <= next { // also what this very batch holds already: the store knows it by then
			if f.FirstSeq < s.In.NextSeq {
				effects = append(effects, FindFrame{Frame: f})
			}
			continue
		}
		if f.FirstSeq != next {
			effects = append(effects, s.askAgain()...)
			break
		}
		if err := s.fitsVoucher(f, spent, sum, total); err != nil {
			effects = append(effects, Misbehaved{Text: err.Error()})
			break
		}
		next, spent, total = f.NextSeq(), spent+sum, f.Total
		s.checking = append(s.checking, f)
	}
	return append(effects, s.verify()...), nil
}

// repeats answers frames on a lane that takes nothing new any more: of those that were taken the payer
// may have lost the answer; the others stay the payer's.
func (s *State) repeats(frames []*Frame) (effects []Effect) {
	for _, f := range frames {
		if f.Lane == s.Terms.In.ID() && f.FirstSeq < s.In.NextSeq && f.NextSeq() <= s.In.NextSeq && !s.Phase.Final() {
			effects = append(effects, FindFrame{Frame: f})
		}
	}
	return effects
}

func (f *Frame) sum() (sum Msat, err error) {
	if len(f.Payments) == 0 || len(f.Payments) > MaxFramePayments {
		return 0, fail(KindInvalid, "a frame of %d payments", len(f.Payments))
	}
	if f.FirstSeq == 0 || f.FirstSeq+uint64(len(f.Payments)) < f.FirstSeq {
		return 0, fail(KindInvalid, "sequence number %d", f.FirstSeq)
	}
	for _, p := range f.Payments {
		if err := CheckPayment(p); err != nil {
			return 0, err
		}
		sum += p.Amount // 1,024 times all money fits
	}
	return sum, nil
}

// fitsVoucher judges a frame behind one over total. A voucher that came by another way may be newer than the
// frame's: then that one covers it.
func (s *State) fitsVoucher(f *Frame, spent, sum, total Msat) error {
	newest := max(f.Total, s.In.Total)
	switch {
	case f.Total > s.Terms.In.Capacity():
		return fail(KindBadVoucher, "a voucher over %d msat is above the lane's %d", f.Total, s.Terms.In.Capacity())
	case f.Total < total:
		return fail(KindBadVoucher, "a voucher over %d msat is below the one before over %d", f.Total, total)
	case sum > newest || spent > newest-sum:
		return fail(KindBadVoucher, "a voucher over %d msat does not cover the payments up to %d", newest, spent+sum)
	}
	return nil
}

// verify asks for the check of the newest waiting voucher: it covers the older ones. Where a newer one is held
// already, that one covers them all.
func (s *State) verify() []Effect {
	if len(s.checking) == 0 {
		s.checking = nil
		return nil
	}
	f := s.checking[len(s.checking)-1]
	if f.Total < s.In.Total {
		return []Effect{Verify{Total: s.In.Total, Signature: s.In.Voucher, Frames: s.checking, Known: true}}
	}
	known := f.Total == s.In.Total && f.Signature == s.In.Voucher && f.Total > 0
	return []Effect{Verify{Total: f.Total, Signature: f.Signature, Frames: s.checking, Known: known}}
}

func (s *State) verified(e Verified) ([]Effect, error) {
	if s.checking == nil {
		return nil, fail(KindForbidden, "no verification is running")
	}
	if s.Phase > PhaseOpen { // ended meanwhile: what was not taken by then stays the payer's
		s.checking = nil
		return nil, nil
	}
	if !e.OK {
		bad := s.checking[len(s.checking)-1]
		s.checking = slices.Clip(s.checking[:len(s.checking)-1])
		return append(s.verify(), Misbehaved{Text: fail(KindBadVoucher, "the signature over %d msat is wrong", bad.Total).Error()}), nil
	}
	frames, refused := s.checking, e.Refused
	s.checking = nil
	if s.CanReceive() != nil {
		refused = refuseAll(frames, RefusedClosed)
	}
	return s.take(frames, refused), nil
}

func (s *State) take(frames []*Frame, refused []Refusal) []Effect {
	var effects, answers []Effect
	rest := refused // without an answer so far
	for i, f := range frames {
		before := refused
		s.In.Hash, s.In.Spent, refused = f.apply(s.In.Hash, s.In.Spent, refused)
		mine := before[:len(before)-len(refused)]
		s.In.NextSeq = f.NextSeq()
		if f.Total >= s.In.Total {
			s.In.Total, s.In.Voucher = f.Total, f.Signature
		}
		effects = append(effects, SaveFrame{Frame: f, Ack: s.answer(f.Total, mine)}, Took{Frame: f, Refused: mine})
		// One answer for all, several only where one would be too long for a message.
		if n := len(rest) - len(refused); i == len(frames)-1 || n > maxAckRefused-MaxFramePayments {
			answers = append(answers, Send{s.answer(f.Total, rest[:n])})
			rest = refused
		}
	}
	s.In.Acked = s.In.NextSeq
	s.asked = 0
	return append(append(effects, Save{}), answers...)
}

// answer is about frames of which the last one is over total.
func (s *State) answer(total Msat, refused []Refusal) *Ack {
	return &Ack{Lane: s.Terms.In.ID(), NextSeq: s.In.NextSeq, Total: total, Spent: s.In.Spent, Refused: refused, Hash: s.In.Hash}
}

func refuseAll(frames []*Frame, r RefuseReason) (refused []Refusal) {
	for _, f := range frames {
		for i := range f.Payments {
			refused = append(refused, Refusal{Seq: f.FirstSeq + uint64(i), Reason: r})
		}
	}
	return refused
}

// askAgain tells the payer what we have, once for each gap.
func (s *State) askAgain() []Effect {
	if s.asked == s.In.NextSeq {
		return nil
	}
	s.asked = s.In.NextSeq
	return []Effect{Send{s.resync()}}
}

// framesLost asks even if the payer was asked for the same ones: it may have sent them into the loss.
func (s *State) framesLost() []Effect {
	if !s.Terms.In.Exists() || s.Phase.Final() {
		return nil
	}
	s.asked = 0
	return s.askAgain()
}

// found answers a repeated frame with its stored result, and freezes the lane if it was altered.
func (s *State) found(e FrameFound) ([]Effect, error) {
	if e.Stored == nil || e.Ack == nil || !e.Got.equal(e.Stored) {
		if s.In.Frozen != NotFrozen {
			return nil, nil
		}
		s.In.Frozen = FrozenAltered
		return []Effect{Save{}, Misbehaved{Text: "sequence number " + itoa(e.Got.FirstSeq) + " came again with other content"},
			Alert{Text: "no more payments on the lane that pays us: " + FrozenAltered.String()}}, nil
	}
	return []Effect{Send{e.Ack}}, nil
}

func (f *Frame) equal(g *Frame) bool {
	return f.Lane == g.Lane && f.FirstSeq == g.FirstSeq && f.Total == g.Total && f.Signature == g.Signature &&
		slices.Equal(f.Payments, g.Payments)
}
