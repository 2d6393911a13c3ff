package channel

import "bytes"

// Closing together and alone (protocol.md 6 and 7).

func (s *State) closeTogether(e CloseTogether) ([]Effect, error) {
	s.payout = false
	switch {
	case s.Phase == PhaseClosing:
		s.Closing.Initiator = s.Closing.Initiator || e.Initiator
		effects := []Effect{Save{Cold: true}}
		if s.Closing.Mine != nil {
			effects = append(effects, Send{s.Closing.Mine})
		}
		return append(effects, s.offer()...), nil
	case s.Phase == PhaseAgreed && s.unfunded() && (s.InFunding.unused() || s.awaits()):
		return s.giveUp(), nil
	case !s.Phase.CanMove(PhaseClosing):
		return nil, fail(KindForbidden, "the channel is %s already", s.Phase)
	case s.Asking != nil:
		return nil, fail(KindForbidden, "this channel was restored from a copy, and the peer was not asked yet what came after it")
	case len(e.Payout) == 0 || len(e.Payout) > MaxPayoutScript:
		return nil, fail(KindInvalid, "the payout script has %d bytes", len(e.Payout))
	case s.signing != nil || s.checking != nil || s.authorising != nil || s.charging != nil:
		return nil, fail(KindForbidden, "a payment is being signed or checked")
	}
	ended := s.endAll()
	s.Closing.At, s.Closing.Initiator = s.Tip, e.Initiator
	s.Closing.Mine = &Stop{Channel: s.Terms.ID, In: s.report(), Payout: e.Payout}
	effects := append(s.move(PhaseClosing), Send{s.Closing.Mine})
	if planted("stop not stored") {
		effects = effects[2:]
	}
	return append(append(ended, effects...), s.offer()...), nil
}

func (s *State) stopped(m *Stop) ([]Effect, error) {
	if m.Channel != s.Terms.ID || len(m.Payout) == 0 || len(m.Payout) > MaxPayoutScript {
		return nil, fail(KindInvalid, "a malformed stop")
	}
	if s.Phase.Final() || s.Phase == PhaseSettling {
		return nil, nil
	}
	if s.Terms.Out.Exists() && (!m.In.covered() || m.In.Total > s.Out.Total || m.In.NextSeq > s.Out.NextSeq) {
		return []Effect{Misbehaved{Text: "the peer's stop claims more than we signed"}}, nil
	}
	if p := s.Closing.Peers; p != nil && (p.In.Spent != m.In.Spent || p.In.Drawn != m.In.Drawn || p.In.Total != m.In.Total || !bytes.Equal(p.Payout, m.Payout)) {
		return []Effect{Misbehaved{Text: "the peer changed its stop"}}, nil
	}
	if s.Closing.Peers == nil && m.In.Draws > s.OutDraws.count() && s.Terms.Out.Exists() && s.OutFunding.Spend == nil {
		s.early = m // every draw is judged before a close pays it
		return s.askDraws(), nil
	}
	if s.Closing.Peers == nil {
		s.Closing.Peers = m
	}
	effects := []Effect{Save{Cold: true}}
	if s.Terms.Out.Exists() && s.OutFunding.Spend == nil && s.differs(m.In) {
		effects = append(effects, s.freezeOut(FrozenHash)...) // to be told; the close pays what was vouchered at most
	}
	if s.Terms.Out.Exists() && s.OutFunding.Spend == nil && (m.In.NextSeq < s.Out.Acked || m.In.Spent < s.Out.Spent || m.In.Draws < s.OutDraws.count()) {
		effects = append(effects, s.freezeOut(FrozenRegress)...)
	}
	if s.Phase == PhaseClosing {
		return append(effects, s.offer()...), nil
	}
	if s.payout {
		return effects, nil
	}
	return append(effects, s.dueAnswer()...), nil
}

// dueAnswer asks for what our own stop needs once the peer has stopped; with every block again, for a
// wallet can be away or a start can come between.
func (s *State) dueAnswer() []Effect {
	s.payout = s.Closing.Peers != nil && s.Phase.CanMove(PhaseClosing)
	if s.payout {
		return []Effect{AskPayout{}}
	}
	return nil
}

// offer starts an attempt when both sides have stopped.
func (s *State) offer() []Effect {
	if !s.CanCloseTogether() {
		return nil
	}
	return []Effect{OfferClose{}}
}

// CanCloseTogether reports whether a closing transaction may be signed now.
func (s *State) CanCloseTogether() bool {
	_, out := s.Funded(true)
	_, in := s.Funded(false)
	return s.Phase == PhaseClosing && s.Closing.Mine != nil && s.Closing.Peers != nil && s.Closing.Tx == nil &&
		s.latest() < sub(s.earliestExpiry(), s.Terms.Heights.CloseStop) &&
		(out || in) && s.OutFunding.Spend == nil && s.InFunding.Spend == nil
}

func (s *State) earliestExpiry() uint32 {
	e := s.Terms.Out.Expiry
	if !s.Terms.Out.Exists() || s.Terms.In.Exists() && s.Terms.In.Expiry < e {
		e = s.Terms.In.Expiry
	}
	return e
}

// Payouts is what a close together pays each side before the fee: deposits plus or minus what was spent,
// each lane rounded up to whole satoshis in favour of its payee. Lanes that were never funded count as
// nothing.
func (s *State) Payouts() (self, peer Sat, err error) {
	if s.Closing.Mine == nil || s.Closing.Peers == nil {
		return 0, 0, fail(KindForbidden, "both sides must have stopped")
	}
	if o, ok := s.Funded(true); ok {
		f := (s.Closing.Peers.In.Spent + s.Closing.Peers.In.Drawn).SatCeil()
		if f > o.Value {
			return 0, 0, fail(KindBadVoucher, "spent is more than the deposit")
		}
		self, peer = o.Value-f, f
	}
	if o, ok := s.Funded(false); ok {
		f := (s.Closing.Mine.In.Spent + s.Closing.Mine.In.Drawn).SatCeil()
		if f > o.Value {
			return 0, 0, fail(KindBadVoucher, "spent is more than the deposit")
		}
		self, peer = self+f, peer+o.Value-f
	}
	return self, peer, nil
}

func (s *State) closeMessage(m Message) ([]Effect, error) {
	if s.Phase != PhaseClosing || s.Closing.Tx != nil {
		return nil, nil
	}
	if _, done := m.(*CloseDone); !done && !s.CanCloseTogether() {
		return []Effect{Send{&Refuse{Channel: s.Terms.ID, Code: DenyLate, Text: "no close together can be signed now"}}}, nil
	}
	return []Effect{AnswerClose{Msg: m}}, nil
}

func (s *State) closeBuilt(e CloseBuilt) ([]Effect, error) {
	if s.Phase != PhaseClosing {
		return nil, fail(KindForbidden, "the channel is %s", s.Phase)
	}
	if s.Closing.Tx != nil {
		return nil, nil
	}
	tx := e.Tx
	s.Closing.Tx = &tx
	return []Effect{Save{Cold: true}, Publish{Tx: tx}}, nil
}

// giveUp ends a channel that was agreed and never funded. Where the address of the own lane was given out,
// money may be on its way to it: then the channel is not over before the expiry, so that what comes returns.
func (s *State) giveUp() []Effect {
	to := PhaseAbandoned
	if s.awaits() {
		to = PhaseSettling
	}
	return append(s.move(to), Send{&Refuse{Channel: s.Terms.ID, Code: DenyUnknownChannel, Text: "given up before funding"}})
}

// GivenUp reports whether the channel was ended before the deposit came for which its address was given out.
func (s *State) GivenUp() bool { return s.Phase == PhaseSettling && s.unfunded() && s.awaits() }

func (s *State) closeAlone(e CloseAlone) ([]Effect, error) {
	if len(e.To) > MaxPayoutScript {
		return nil, fail(KindInvalid, "the payout script has %d bytes", len(e.To))
	}
	if s.Phase == PhaseAgreed && s.unfunded() {
		return s.giveUp(), nil
	}
	if s.Phase != PhaseSettling && !s.Phase.CanMove(PhaseSettling) {
		return nil, fail(KindForbidden, "the channel is %s already", s.Phase)
	}
	var effects []Effect
	if height, asking := s.MayForce(); asking {
		if s.Tip < height {
			return nil, fail(KindForbidden, "this channel was restored from a copy: settling now could give away what was received after it; "+
				"the peer is asked for that, and without an answer this is possible from block %d on", height)
		}
		s.Asking = nil
		effects = append(effects, Save{Cold: true})
	}
	effects = append(effects, s.move(PhaseSettling)...)
	if len(e.To) > 0 {
		s.Closing.To = e.To
		effects = append(effects, Save{Cold: true})
	}
	return append(effects, s.due()...), nil
}

// dueClose publishes the close again until it is in a block, and stops waiting for one.
func (s *State) dueClose() []Effect {
	if s.OutFunding.Spend != nil || s.InFunding.Spend != nil {
		// The close was without the lane that pays us. That is known at the end of its block.
		if s.Tip >= s.Closing.At+CloseTimeout && s.CanSettle() && s.Tip >= s.OutFunding.Spend.Height {
			return s.move(PhaseSettling)
		}
		return nil
	}
	if s.Closing.Tx != nil {
		if planted("published once") {
			return nil
		}
		return []Effect{Publish{Tx: *s.Closing.Tx}}
	}
	if s.Tip >= s.Closing.At+CloseTimeout && s.gainsAlone() {
		return s.move(PhaseSettling)
	}
	return s.offer()
}

func (s *State) advice() string {
	if s.Phase == PhaseAgreed && s.awaits() {
		return "; send nothing to its address: what arrives there returns after block " + itoa(uint64(s.Terms.Out.Expiry))
	}
	return "; close it with --force"
}

// gainsAlone reports whether ending alone brings anything now. A payer to whom nothing is owed would only
// wait for its refund; a payee to whom nothing is owed would leave the payer to that wait. Both can still
// close together when the other comes back.
func (s *State) gainsAlone() bool {
	_, out := s.OutFunding.Claim()
	_, in := s.InFunding.Claim()
	return s.CanSettle() && s.In.Total.SatCeil() >= MinReturn || !out && !in
}

// refused handles a Refuse that names the channel.
func (s *State) refused(m *Refuse) []Effect {
	if m.Code != DenyUnknownChannel {
		return []Effect{Alert{Text: "the peer refused: " + m.Code + ": " + m.Text, Peers: true}}
	}
	s.Synced, s.there = false, PhaseAbandoned
	if s.Asking != nil { // it can tell nothing
		return append(s.heard(), Alert{Text: "the peer does not know this restored channel any more" + s.advice(), Peers: true})
	}
	if s.Phase == PhaseAgreed && s.unfunded() && !s.awaits() {
		return s.move(PhaseAbandoned)
	}
	if s.Phase >= PhaseClosing {
		return nil // it has closed already; the chain tells
	}
	return []Effect{Alert{Text: "the peer does not know this channel any more: " + m.Text + s.advice(), Peers: true}}
}
