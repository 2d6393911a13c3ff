package channel

// Every connection begins with a resync of each channel, before anything is signed (protocol.md 4).

func (s *State) report() LaneReport {
	if !s.Terms.In.Exists() {
		return LaneReport{}
	}
	return LaneReport{NextSeq: s.In.NextSeq, Total: s.In.Total, Spent: s.In.Spent, Signature: s.In.Voucher, Hash: s.In.Hash}
}

func (s *State) resync() *Resync {
	acked := s.Out.Acked
	if s.OutFunding.Spend != nil {
		acked = 1 // the chain gave answers of which the peer knows nothing
	}
	return &Resync{Channel: s.Terms.ID, Phase: s.Phase, In: s.report(), Funding: s.OutFunding.Claimed,
		Ready: s.InFunding.Ready, Acked: acked}
}

func (s *State) connected() []Effect {
	s.Synced, s.asked, s.there = false, 0, PhaseNone
	if s.Phase.Final() {
		return nil
	}
	effects := []Effect{Send{s.resync()}}
	if s.Phase == PhaseClosing && s.Closing.Mine != nil {
		effects = append(effects, Send{s.Closing.Mine})
	}
	return effects
}

func (s *State) resynced(r *Resync) ([]Effect, error) {
	if r.Channel != s.Terms.ID {
		return nil, fail(KindInvalid, "a resync of another channel")
	}
	if s.Phase.Final() {
		return []Effect{Send{&Refuse{Channel: s.Terms.ID, Code: DenyUnknownChannel, Text: "the channel is " + s.Phase.String()}}}, nil
	}
	s.there = r.Phase
	if planted("reopened") && s.Phase == PhaseClosing && r.Phase == PhaseOpen {
		s.Phase = PhaseOpen
	}
	effects := append(s.resyncIn(r), s.dueAsked(r)...)
	if !s.Terms.Out.Exists() {
		s.Synced = true
		return append(effects, s.offer()...), nil
	}
	if r.Ready && !s.OutFunding.Ready {
		more, _ := s.peerReady(s.Terms.Out.ID())
		effects = append(effects, more...)
	}
	switch {
	case r.In.NextSeq > s.Out.NextSeq || r.In.Total > s.Out.Total:
		return append(effects, CheckProof{Report: r.In}), nil
	case s.OutFunding.Spend == nil && (r.In.NextSeq < s.Out.Acked || r.In.Spent < s.Out.Spent): // a spend decides, not the peer
		s.Synced = true
		return append(append(effects, s.freezeOut(FrozenRegress)...), s.remind(r)...), nil
	case s.OutFunding.Spend == nil && s.differs(r.In):
		s.Synced = true
		return append(effects, s.freezeOut(FrozenHash)...), nil
	}
	s.Synced = true
	effects = append(append(effects, s.sendUnacked(r.In.NextSeq)...), s.remind(r)...)
	return append(effects, s.offer()...), nil
}

// differs reports whether a payee that has answered exactly what we have answers for has another book.
func (s *State) differs(r LaneReport) bool {
	return r.NextSeq == s.Out.Acked && (r.Hash != s.Out.Hash || r.Spent != s.Out.Spent)
}

// sendUnacked repeats what has no answer. When nothing new may leave any more, that is what the peer,
// whose next sequence number is given, took already.
func (s *State) sendUnacked(next uint64) (effects []Effect) {
	for _, f := range s.Unacked {
		if !planted("not sent again") && s.Synced && (s.Phase == PhaseOpen || f.NextSeq() <= next) {
			effects = append(effects, Send{f})
		}
	}
	return effects
}

func (s *State) resyncIn(r *Resync) (effects []Effect) {
	if !s.Terms.In.Exists() {
		return nil
	}
	if r.Funding != (Outpoint{}) {
		effects, _ = s.claim(s.Terms.In.ID(), r.Funding)
	}
	if r.Acked > s.In.NextSeq && s.In.Frozen == NotFrozen {
		s.In.Frozen = FrozenUnproven
		effects = append(effects, Save{}, Alert{Text: "the peer holds answers of ours that we do not know: our record is too old; " +
			"restore the newest backup, then close the channel"})
		effects = append(effects, s.move(PhaseRecovering)...)
	}
	return effects
}

// proven adopts a voucher of our own that is newer than our record: an old backup was restored. Never
// again does this channel sign one. Payments that had no answer were covered by later vouchers: they count
// as made.
func (s *State) proven(e ProofChecked) ([]Effect, error) {
	r := e.Report
	if !e.OK || r.Total <= s.Out.Total || r.Spent > r.Total || r.NextSeq < s.Out.NextSeq {
		return []Effect{Misbehaved{Text: "the peer claims payments that we never made"}}, nil
	}
	s.Out.Total, s.Out.Voucher, s.Out.Spent, s.Out.Hash = r.Total, r.Signature, r.Spent, r.Hash
	s.Out.NextSeq, s.Out.Acked = r.NextSeq, r.NextSeq
	s.Out.Frozen = FrozenUnproven
	s.Synced = true
	var effects []Effect
	for _, f := range s.Unacked {
		effects = append(effects, Answered{Frame: f})
	}
	s.Unacked = nil
	effects = append(effects, Save{Cold: true}, Alert{Text: "the peer holds a newer voucher of ours: our record is too old; the channel can only be closed"})
	return append(effects, s.move(PhaseRecovering)...), nil
}
