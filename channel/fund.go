package channel

import "slices"

// From agreed terms to lanes that take vouchers.

func (s *State) fundingBuilt(e FundingBuilt) ([]Effect, error) {
	s.funding = false
	switch {
	case s.OutFunding.Tx != nil || !s.Terms.Out.Exists() || s.Terms.External:
		return nil, fail(KindForbidden, "the lane has a funding transaction already")
	case s.Phase != PhaseAgreed && s.Phase != PhaseOpen || s.Closing.Peers != nil:
		return nil, fail(KindForbidden, "the channel ended while its funding was built; nothing was published")
	}
	tx := e.Tx
	s.OutFunding.Tx, s.OutFunding.Claimed = &tx, e.Outpoint
	effects := []Effect{Save{Cold: true}, Publish{Tx: tx}}
	return append(effects, Send{&Funded{Lane: s.Terms.Out.ID(), Funding: e.Outpoint}}), nil
}

func (s *State) fundingFailed() []Effect {
	s.funding, s.fresh = false, false
	if s.Phase == PhaseAgreed && s.Terms.Opener && s.OutFunding.Tx == nil {
		return append(s.move(PhaseAbandoned), Send{&Refuse{Channel: s.Terms.ID, Code: DenyUnknownChannel, Text: "not funded"}})
	}
	return nil
}

// claim notes which output the payer's vouchers spend. It can't change once a voucher was taken.
func (s *State) claim(lane LaneID, o Outpoint) ([]Effect, error) {
	if lane != s.Terms.In.ID() || !s.Terms.In.Exists() {
		return nil, fail(KindInvalid, "funding of a lane that this channel does not have")
	}
	f := &s.InFunding
	if f.Claimed == o {
		return nil, nil
	}
	if f.away(o) {
		return []Effect{Misbehaved{Text: "the peer names a funding output that it had us sign away"}}, nil
	}
	if f.Ready || s.In.Total > 0 {
		return []Effect{Misbehaved{Text: "the peer names another funding output for a lane in use"}}, nil
	}
	f.Claimed = o
	return append([]Effect{Save{Cold: true}}, s.due()...), nil
}

func (s *State) peerReady(lane LaneID) ([]Effect, error) {
	if lane != s.Terms.Out.ID() || !s.Terms.Out.Exists() {
		return nil, fail(KindInvalid, "a lane that this channel does not have")
	}
	if s.OutFunding.Ready { // its funding is back: what it dropped meanwhile comes again
		return s.sendUnacked(s.Out.Acked), nil
	}
	s.OutFunding.Ready = true
	return append([]Effect{Save{Cold: true}, LaneChanged{Out: true, Ready: true}}, s.dueOpen()...), nil
}

// dueOpen opens the channel once a lane takes payments. A peer that calls a lane ready on which there is
// no money does not open it.
func (s *State) dueOpen() []Effect {
	if s.Phase == PhaseAgreed && (s.InFunding.Ready || s.OutFunding.Ready && !s.OutFunding.unused()) {
		return s.move(PhaseOpen)
	}
	return nil
}

func (s *State) outputSeen(e OutputSeen) []Effect {
	f, terms := s.lane(e.Out)
	for _, o := range f.Seen {
		if o.Outpoint == e.Output.Outpoint {
			return nil
		}
	}
	if !f.makeRoom(e.Output, terms.Deposit) {
		return nil
	}
	f.Seen = append(f.Seen, e.Output)
	effects := []Effect{Save{Cold: true}}
	if e.Output.Value != terms.Deposit {
		effects = append(effects, Alert{Text: "an output of " + itoa(uint64(e.Output.Value)) + " sat arrived at a lane's address that was agreed for " +
			itoa(uint64(terms.Deposit)) + " sat; it is not counted and returns to the payer after block " + itoa(uint64(terms.Expiry))})
	} else if e.Out && f.Claimed == (Outpoint{}) {
		f.Claimed = e.Output.Outpoint                     // funded by some other wallet
		if s.Phase <= PhaseOpen && s.there <= PhaseOpen { // a peer that gave the channel up knows no such lane
			effects = append(effects, Send{&Funded{Lane: terms.ID(), Funding: f.Claimed}})
		}
	}
	return append(effects, s.due()...)
}

// makeRoom keeps Seen bounded, for anybody may send dust to an address: what can be the lane's funding
// takes the place of what can't.
func (f *Funding) makeRoom(o Output, deposit Sat) bool {
	if len(f.Seen) < maxSeen {
		return true
	}
	for i, seen := range f.Seen {
		if seen.Outpoint != f.Claimed && (o.Outpoint == f.Claimed || o.Value == deposit && seen.Value != deposit) {
			f.Seen = slices.Delete(f.Seen, i, i+1)
			return true
		}
	}
	return false
}

func (s *State) lane(out bool) (*Funding, LaneTerms) {
	if out {
		return &s.OutFunding, s.Terms.Out
	}
	return &s.InFunding, s.Terms.In
}

// Confirmations of the output that a lane's vouchers spend.
func (s *State) Confirmations(out bool) uint32 {
	f, _ := s.lane(out)
	if o, ok := f.Claim(); ok && o.Height <= s.Tip {
		return s.Tip - o.Height + 1
	}
	return 0
}

// Funded is the confirmed output that a lane's vouchers spend, if it is what was agreed. A close is over such
// outputs only: signed over one of another value it would be worth nothing, and both would wait for it.
func (s *State) Funded(out bool) (Output, bool) {
	f, terms := s.lane(out)
	o, ok := f.Claim()
	return o, ok && o.Value == terms.Deposit
}

// dueFunding is what funding asks for at this height.
func (s *State) dueFunding() []Effect {
	effects := append(s.dueReady(), s.dueOpen()...)
	f := &s.OutFunding
	if f.Tx != nil && f.Spend == nil {
		if _, ok := f.Claim(); !ok && !planted("published once") { // also when the channel ends before it is in a block
			effects = append(effects, Publish{Tx: *f.Tx})
		}
	}
	if s.Phase != PhaseAgreed && s.Phase != PhaseOpen || f.Tx != nil {
		return effects
	}
	if s.wantsFunding() {
		s.funding = true
		return append(effects, Fund{})
	}
	if s.Phase == PhaseAgreed && s.unfunded() && s.given() {
		return append(effects, s.move(PhaseAbandoned)...)
	}
	return effects
}

// wantsFunding: the opener funds first; the peer locks its money only after the opener's is in a block.
func (s *State) wantsFunding() bool {
	if s.funding || s.Closing.Peers != nil || s.Terms.External || !s.Terms.Out.Exists() || s.Tip >= s.Terms.StopHeight(s.Terms.Out) {
		return false
	}
	if s.Terms.Opener {
		return s.fresh
	}
	o, ok := s.InFunding.Claim()
	return ok && o.Value == s.Terms.In.Deposit && s.Confirmations(false) > 0
}

// unfunded reports whether the channel can be given up without money on the chain. A funding transaction
// that is still being built does not count: fundingBuilt drops it.
func (s *State) unfunded() bool {
	return s.OutFunding.unused() && len(s.InFunding.Seen) == 0
}

// awaits reports whether somebody may still be sending money to the own lane's address, because this node
// gave it out. It is watched until the lane expires, whatever the peer thinks of the channel by then.
func (s *State) awaits() bool {
	return s.Terms.External && s.Terms.Out.Exists() && s.Tip < s.Terms.Out.Expiry
}

// given reports whether an unfunded channel is given up: by the opener that did not fund it in the run
// in which it was agreed, and by both after Heights.Abandon.
func (s *State) given() bool {
	if s.awaits() {
		return false
	}
	return s.Tip >= s.Terms.OpenedAt+s.Terms.Heights.Abandon || s.Terms.Opener && !s.Terms.External && !s.fresh
}

// dueReady starts or stops the lane that pays us.
func (s *State) dueReady() []Effect {
	f := &s.InFunding
	o, seen := f.Claim()
	ready := seen && (o.Value == s.Terms.In.Deposit || planted("amount unchecked")) && s.Confirmations(false) >= max(s.Terms.InConfs, 1)
	if ready == f.Ready || f.Ready && seen { // confirmations don't shrink without a reorganisation
		return nil
	}
	f.Ready = ready
	effects := []Effect{Save{Cold: true}, LaneChanged{Ready: ready}}
	if !ready {
		return append(effects, Alert{Text: "the peer's funding left the chain: nothing more is taken until it is back"})
	}
	return append(effects, Send{&Ready{Lane: s.Terms.In.ID()}})
}
