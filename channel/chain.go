package channel

// What the chain shows, and what it asks for at each height (protocol.md 7 and 8).

func (s *State) height(e Height) []Effect {
	if e.Blind {
		s.blind = e.Tip
		return nil
	}
	s.Tip, s.blind = e.Tip, 0
	return append(s.dueEarly(e.Early), s.due()...)
}

// latest is the height by which time runs out.
func (s *State) latest() uint32 { return max(s.Tip, s.blind) }

// due is all that is to be done at the present height. It is safe to call at any time.
func (s *State) due() []Effect {
	if s.Phase.Final() {
		return nil
	}
	effects := append(s.dueFunding(), s.dueAnswer()...)
	effects = append(effects, s.dueReturns()...)
	effects = append(effects, s.dueNotice()...)
	effects = append(effects, s.dueStop()...)
	if s.Phase == PhaseClosing {
		effects = append(effects, s.dueClose()...)
	}
	if s.Phase == PhaseClosing || s.Phase == PhaseSettling {
		effects = append(effects, s.dueExit()...)
		if sp := s.OutFunding.Spend; sp != nil && s.deep(sp.Height) {
			effects = append(effects, s.resolve()...)
		}
		effects = append(effects, s.dueClosed()...)
	}
	return effects
}

// dueEarly begins the settlement before the stop height where nobody sees how it fares in the mempools.
func (s *State) dueEarly(early bool) []Effect {
	stop := sub(s.Terms.StopHeight(s.Terms.In), s.Terms.Heights.Escalate)
	if !early || s.Phase != PhaseOpen || s.In.Total == 0 || s.Tip < stop {
		return nil
	}
	return s.move(PhaseSettling)
}

// dueStop moves to settling when a lane's time is over.
func (s *State) dueStop() []Effect {
	if s.Phase == PhaseSettling || s.Phase.Final() {
		return nil
	}
	stop := s.Terms.StopHeight(s.Terms.In)
	if planted("settled at expiry") {
		stop = s.Terms.In.Expiry
	}
	in := s.In.Total > 0 && s.Tip >= stop || s.Terms.In.Exists() && s.Tip >= s.Terms.In.Expiry
	out := s.Terms.Out.Exists() && s.Tip >= s.Terms.Out.Expiry
	if (in || out) && s.Phase == PhaseAgreed && s.unfunded() {
		return s.move(PhaseAbandoned)
	}
	if in || out {
		return s.move(PhaseSettling)
	}
	return nil
}

// dueExit settles, refunds and sweeps what is ours.
func (s *State) dueExit() (effects []Effect) {
	if s.Phase == PhaseSettling && s.CanSettle() {
		effects = append(effects, Settle{})
	}
	if s.CanRefund() {
		effects = append(effects, Refund{})
	}
	return effects
}

// CanSettle reports whether there is something for us on the lane that pays us, and it is time to take it.
func (s *State) CanSettle() bool {
	_, ok := s.InFunding.Claim()
	return ok && s.InFunding.Spend == nil && s.In.Total > 0 && !s.asks()
}

// CanRefund reports whether something of the own lane can be had back alone at this height.
func (s *State) CanRefund() bool {
	expiry := s.Terms.Out.Expiry
	if planted("refunded early") {
		expiry = s.Terms.StopHeight(s.Terms.Out)
	}
	return s.canSweep() || s.Tip >= expiry && s.Phase == PhaseSettling && len(s.OutFunding.returns()) > 0
}

func (s *State) canSweep() bool {
	sp := s.OutFunding.Spend
	return sp != nil && sp.Kind == SpentSettled && sp.RefundValue >= DustSat && sp.Swept == 0 && s.Tip >= sp.Height
}

// Refunds is what Refund takes back: the refund output of a settlement if there is one to sweep, else
// what is at the own lane's script.
func (s *State) Refunds() (sweep bool, outputs []Output) {
	if s.canSweep() {
		sp := s.OutFunding.Spend
		return true, []Output{{Outpoint: Outpoint{TxID: sp.TxID, Index: sp.RefundIndex}, Value: sp.RefundValue, Height: sp.Height}}
	}
	return false, s.OutFunding.returns()
}

func (s *State) dueClosed() []Effect {
	if !s.laneDone(true) || !s.laneDone(false) {
		return nil
	}
	effects := s.resolve()
	return append(effects, s.move(PhaseClosed)...)
}

func (s *State) deep(height uint32) bool {
	return height > 0 && (s.Tip+1 >= height+DeepConfirmations || planted("closed at once"))
}

// laneDone reports whether nothing of a lane can concern us any more.
func (s *State) laneDone(out bool) bool {
	f, terms := s.lane(out)
	if !terms.Exists() {
		return true
	}
	if out {
		if s.awaits() && f.Claimed == (Outpoint{}) {
			return false
		}
		for _, o := range f.Seen {
			if o.Returned > 0 && !s.deep(o.Returned) {
				return false
			}
		}
		if len(f.returns()) > 0 {
			return false
		}
	}
	if f.Spend == nil {
		if out {
			return f.Tx == nil && f.Claimed == (Outpoint{})
		}
		return s.In.Total == 0 && (f.unused() || s.Phase == PhaseSettling)
	}
	if !s.deep(f.Spend.Height) {
		return false
	}
	return !out || f.Spend.Kind != SpentSettled || f.Spend.RefundValue < DustSat || s.deep(f.Spend.Swept)
}

// resolve tells the fate of payments that never got an answer, now that the chain proved what was taken.
func (s *State) resolve() (effects []Effect) {
	effects = s.resolveDraws()
	if len(s.Unacked) == 0 {
		return effects
	}
	for _, f := range s.Unacked {
		var refused []Refusal
		if !s.wasTaken(f) {
			refused = refuseAll([]*Frame{f}, RefusedClosed)
		}
		effects = append(effects, Answered{Frame: f, Refused: refused})
	}
	s.Unacked = nil
	s.Out.Acked = s.Out.NextSeq
	return append(effects, Save{})
}

func (s *State) wasTaken(f *Frame) bool {
	sp := s.OutFunding.Spend
	switch {
	case sp == nil || sp.Kind == SpentRefunded:
		return false
	case sp.Kind == SpentSettled:
		return f.Total <= sp.Total
	default:
		return s.Closing.Peers != nil && f.NextSeq() <= s.Closing.Peers.In.NextSeq
	}
}

func (s *State) spendSeen(e SpendSeen) []Effect {
	f, _ := s.lane(e.Out)
	if f.Spend != nil && f.Spend.TxID == e.Spend.TxID && f.Spend.Height == e.Spend.Height {
		return nil
	}
	sp := e.Spend
	f.Spend = &sp
	effects := []Effect{Save{Cold: true}}
	switch {
	case sp.Kind != SpentTogether:
		effects = append(effects, s.move(PhaseSettling)...)
	case s.Phase != PhaseClosing:
		s.Closing.At = s.Tip
		effects = append(effects, s.move(PhaseClosing)...)
	}
	if e.Out && sp.Kind == SpentSettled && sp.Total > s.Out.Total {
		effects = append(effects, Alert{Text: "the peer settled more than our record says that we signed: our record is too old"})
	}
	return append(effects, s.due()...)
}

func (s *State) returnSeen(e ReturnSeen) []Effect {
	for i := range s.OutFunding.Seen {
		o := &s.OutFunding.Seen[i]
		if o.Outpoint == e.Outpoint && o.Outpoint != s.OutFunding.Claimed && o.Returned != e.Height {
			o.Returned = e.Height
			return append([]Effect{Save{Cold: true}}, s.due()...)
		}
	}
	return nil
}

func (s *State) sweepSeen(e SweepSeen) []Effect {
	if s.OutFunding.Spend == nil || s.OutFunding.Spend.Swept == e.Height {
		return nil
	}
	s.OutFunding.Spend.Swept = e.Height
	return append([]Effect{Save{Cold: true}}, s.due()...)
}

func (s *State) reorganised(e Reorganised) []Effect {
	if planted("reorganisation ignored") {
		return nil
	}
	changed := false
	for _, f := range []*Funding{&s.OutFunding, &s.InFunding} {
		kept := f.Seen[:0]
		for _, o := range f.Seen {
			if o.Returned >= e.Height && o.Returned > 0 {
				o.Returned, changed = 0, true
			}
			if o.Height < e.Height {
				kept = append(kept, o)
			}
		}
		changed = changed || len(kept) != len(f.Seen)
		f.Seen = kept
		if f.Spend != nil && f.Spend.Swept >= e.Height {
			f.Spend.Swept, changed = 0, true
		}
		if f.Spend != nil && f.Spend.Height >= e.Height {
			f.Spend, changed = nil, true
		}
	}
	if e.Height > 0 && s.Tip >= e.Height {
		s.Tip = e.Height - 1
	}
	if !changed {
		return nil
	}
	return append([]Effect{Save{Cold: true}}, s.due()...)
}

func (s *State) exitBuilt(e ExitBuilt) ([]Effect, error) {
	if s.Phase != PhaseSettling {
		return nil, fail(KindForbidden, "the channel is %s: nothing is settled or refunded", s.Phase)
	}
	f, _ := s.lane(e.Out)
	tx := e.Tx
	f.Exit = &tx
	if tx.Shared > 0 {
		return []Effect{Save{Cold: true}}, nil
	}
	return []Effect{Save{Cold: true}, Publish{Tx: tx}}, nil
}
