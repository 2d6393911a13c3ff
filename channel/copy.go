package channel

// A record that was read from a copy (a backup, a replica) or made again from the chain may be older than
// what this side has said since. Nothing is signed on it any more, and nothing that an older record would
// decide wrongly is done before the peer was asked what it knows.

// Asking says that the record comes from a copy and the peer has not answered yet.
type Asking struct {
	Since uint32 // height from which the peer is asked; 0: not yet, the chain is not scanned
}

// Restored is the state as a copy of it comes back to life: the channel can only be ended.
func Restored(s State) State {
	if s.Phase.Final() {
		return s
	}
	s.own()
	s.Asking = &Asking{}
	if s.Phase >= PhaseClosing { // final already: nothing was signed after it
		return s
	}
	s.Phase = PhaseRecovering
	for _, l := range []*Lane{&s.Out, &s.In} {
		if l.Frozen == NotFrozen {
			l.Frozen = FrozenUnproven
		}
	}
	return s
}

// FoundID names a channel that was made again from a deposit found on the chain: its own id followed from
// what is lost.
func FoundID(lane LaneID) ID { return ID(TaggedHash("runnel/found", lane[:])) }

// Found is a channel that is known only by its own lane's deposit, found on the chain with the seed. It
// waits for the expiry, or for what a settlement leaves.
func Found(t Terms, o Outpoint) State {
	s := New(t)
	s.Phase, s.fresh = PhaseRecovering, false
	s.OutFunding.Claimed = o
	s.Out.Frozen, s.In.Frozen = FrozenUnproven, FrozenUnproven
	return s
}

// ask begins to count the blocks in which the peer could have answered.
func (s *State) ask(e Ask) []Effect {
	if s.Asking == nil || s.Asking.Since != 0 || s.Phase.Final() {
		return nil
	}
	s.Asking = &Asking{Since: max(e.Tip, 1)}
	return []Effect{Save{Cold: true}}
}

// heard notes that the peer was asked: what it has told by now is all that it tells.
func (s *State) heard() []Effect {
	if s.Asking == nil {
		return nil
	}
	s.Asking = nil
	return append([]Effect{Save{Cold: true}}, s.due()...)
}

// asks reports whether a settlement waits for the peer's answer: an older voucher would give away what
// was paid since. Near the expiry an old voucher is better than none.
func (s *State) asks() bool {
	return s.Asking != nil && s.Tip < sub(s.Terms.In.Expiry, s.Terms.Heights.Escalate)
}

// MayForce says from which height the owner may settle by a record whose peer did not answer.
func (s *State) MayForce() (height uint32, asking bool) {
	if s.Asking == nil || !s.Terms.In.Exists() {
		return 0, false
	}
	if s.Asking.Since == 0 {
		return s.Tip + AskBlocks, true
	}
	return min(s.Asking.Since+AskBlocks, s.Terms.StopHeight(s.Terms.In)), true
}

// dueAsked is the answer of a resync to a record from a copy: the payer has no answers of ours that we
// don't know. If it has, its newest voucher follows.
func (s *State) dueAsked(r *Resync) []Effect {
	if s.Asking == nil || s.Terms.In.Exists() && s.older(r) && s.recovers() {
		return nil
	}
	return s.heard()
}

// recovers reports whether a newer voucher can still be adopted: our own stop is not said yet.
func (s *State) recovers() bool {
	return s.Phase == PhaseRecovering || s.Phase == PhaseSettling && s.InFunding.Spend == nil
}

// remind hands a payee that lost its records what it had, so that it can end the channel with all of it.
// It had this voucher before, so it gains nothing that it was not paid.
func (s *State) remind(r *Resync) []Effect {
	forgot := r.In.NextSeq < s.Out.Acked || r.In.Draws < s.OutDraws.count() || r.Phase == PhaseRecovering && r.In.Total < s.Out.Total
	if !forgot || s.Out.Total == 0 || s.OutFunding.Spend != nil {
		return nil
	}
	return []Effect{Send{&Newest{Lane: s.Terms.Out.ID(), Out: LaneReport{NextSeq: s.Out.Acked, Total: s.Out.Total, Spent: s.Out.Spent,
		Signature: s.Out.Voucher, Hash: s.Out.Hash, Draws: s.OutDraws.count(), Drawn: s.OutDraws.drawn(), DrawHash: s.OutDraws.hash()}}}}
}

// reminded looks at a voucher that the payer hands back.
func (s *State) reminded(m *Newest) ([]Effect, error) {
	r := m.Out
	switch {
	case m.Lane != s.Terms.In.ID() || !s.Terms.In.Exists():
		return nil, fail(KindInvalid, "a voucher of a lane that this channel does not have")
	case r.Total == 0 || r.Total > s.Terms.In.Capacity() || !r.covered() || r.NextSeq == 0:
		return nil, fail(KindInvalid, "a voucher over %d msat of which %d are spent and %d drawn can't be", r.Total, r.Spent, r.Drawn)
	case s.In.Frozen != FrozenUnproven || !s.recovers():
		return nil, fail(KindForbidden, "our record stands")
	}
	if _, _, more := s.beside(r); !more {
		return s.heard(), nil // it knows no more than we do
	}
	return []Effect{CheckNewest{Report: r}}, nil
}

// beside is what our record becomes by a payer's. The voucher, what was pushed and what was drawn go on each by
// themselves, so that a payer can be ahead in one and behind in another: of each the more advanced one stands.
func (s *State) beside(r LaneReport) (l Lane, d *InDraws, more bool) {
	l, d = s.In, s.InDraws
	if r.Total > l.Total {
		l.Total, l.Voucher, more = r.Total, r.Signature, true
	}
	if r.NextSeq > l.NextSeq && r.Spent >= l.Spent {
		l.NextSeq, l.Acked, l.Spent, l.Hash, more = r.NextSeq, r.NextSeq, r.Spent, r.Hash, true
	}
	if r.Draws > d.count() && r.Drawn >= d.drawn() { // it has accepted them: nothing is left to report
		d, more = &InDraws{Count: r.Draws, Drawn: r.Drawn, Hash: r.DrawHash, Told: r.Draws, ToldHash: r.DrawHash}, true
	}
	return l, d, more && l.Spent <= l.Total && d.drawn() <= l.Total-l.Spent
}

// adopt takes a payer's newest voucher for the one that we had lost.
func (s *State) adopt(e NewestChecked) ([]Effect, error) {
	if !e.OK {
		return []Effect{Misbehaved{Text: "the peer hands back a voucher that it did not sign"}}, nil
	}
	lane, draws, more := s.beside(e.Report)
	if !more || s.In.Frozen != FrozenUnproven || !s.recovers() || e.Report.Total > s.Terms.In.Capacity() {
		return nil, fail(KindForbidden, "our record stands")
	}
	gained := lane.Total - s.In.Total
	var effects []Effect
	if draws != s.InDraws {
		effects = append(effects, SaveDraws{})
	}
	s.In, s.InDraws = lane, draws
	effects = append(effects, Save{}, Alert{Text: "the peer handed back its newest voucher: " + itoa(uint64(gained)) + " msat more than our record knew"})
	return append(effects, s.heard()...), nil
}
