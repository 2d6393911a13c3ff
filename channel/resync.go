package channel

// Every connection begins with a resync of each channel, before anything is signed (protocol.md 4).

func (s *State) report() LaneReport {
	if !s.Terms.In.Exists() {
		return LaneReport{}
	}
	r := LaneReport{NextSeq: s.In.NextSeq, Total: s.In.Total, Spent: s.In.Spent, Signature: s.In.Voucher, Hash: s.In.Hash}
	if d := s.InDraws; d != nil {
		r.Draws, r.Drawn, r.DrawHash = d.Count, d.Drawn, d.Hash
	}
	return r
}

func (s *State) resync() *Resync {
	acked := s.Out.Acked
	if s.OutFunding.Spend != nil {
		acked = 1 // the chain gave answers of which the peer knows nothing
	}
	return &Resync{Channel: s.Terms.ID, Phase: s.Phase, In: s.report(), Funding: s.OutFunding.Claimed,
		Ready: s.InFunding.Ready, Acked: acked, Draws: s.OutDraws.count()}
}

func (s *State) connected(e Connected) []Effect {
	s.Synced, s.asked, s.there = false, 0, PhaseNone
	s.askedDraws, s.early, s.knows = 0, nil, knowsNone
	if e.Draws {
		s.knows = knowsDraws
	}
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
	effects = append(effects, s.adoptDraws(r.In)...)
	if !s.Terms.Out.Exists() {
		s.sync()
		return append(effects, s.offer()...), nil
	}
	if r.Ready && !s.OutFunding.Ready {
		more, _ := s.peerReady(s.Terms.Out.ID())
		effects = append(effects, more...)
	}
	switch {
	case r.In.NextSeq > s.Out.NextSeq || r.In.Total > s.Out.Total:
		return append(effects, CheckProof{Report: r.In}), nil
	case s.forgotDraws(r.In):
		s.sync()
		return append(append(effects, s.behind(r.In)...), s.sendUnacked(r.In.NextSeq)...), nil
	case s.OutFunding.Spend == nil && (r.In.NextSeq < s.Out.Acked || r.In.Spent < s.Out.Spent || r.In.Draws < s.OutDraws.count()): // a spend decides, not the peer
		s.sync()
		return append(append(effects, s.freezeOut(FrozenRegress)...), s.remind(r)...), nil
	case s.OutFunding.Spend == nil && s.differs(r.In):
		s.sync()
		return append(effects, s.freezeOut(FrozenHash)...), nil
	}
	s.sync()
	effects = append(append(effects, s.sendUnacked(r.In.NextSeq)...), s.remind(r)...)
	return append(effects, s.offer()...), nil
}

// differs reports whether a payee that has answered exactly what we have answers for has another book.
func (s *State) differs(r LaneReport) bool {
	return r.NextSeq == s.Out.Acked && (r.Hash != s.Out.Hash || r.Spent != s.Out.Spent) ||
		r.Draws == s.OutDraws.count() && (r.DrawHash != s.OutDraws.hash() || r.Drawn != s.OutDraws.drawn())
}

// covered reports whether the voucher of a report covers what was paid.
func (r *LaneReport) covered() bool { return r.Spent <= r.Total && r.Drawn <= r.Total-r.Spent }

func (s *State) sync() { s.Synced, s.proved = true, true }

// older reports whether the payer knows answers of ours that we don't.
func (s *State) older(r *Resync) bool { return r.Acked > s.In.NextSeq || r.Draws > s.InDraws.count() }

// forgotDraws reports whether a payee has ended draws of which our record knows no authorisation, and which our
// vouchers cover: each draw needs one of its own, durable before it left. So the record is an old copy, of a time
// before payments from credit, which no newer voucher gives away.
func (s *State) forgotDraws(r LaneReport) bool {
	return s.Out.Frozen == NotFrozen && s.OutFunding.Spend == nil && r.Draws > s.OutDraws.count()+s.OutDraws.open() && s.believes(r)
}

// behind stops the lane of a record that has forgotten draws.
func (s *State) behind(r LaneReport) []Effect {
	s.Out.Frozen = FrozenUnproven
	effects := append(s.adoptDraws(r), Save{Cold: true},
		Alert{Text: "the peer has ended draws of which we know no authorisation: our record is too old; the channel can only be closed"})
	return append(effects, s.move(PhaseRecovering)...)
}

// believes reports whether our vouchers cover what a payee says that it drew.
func (s *State) believes(r LaneReport) bool {
	return r.Drawn <= maxMsat && s.Out.Spent+r.Drawn <= s.Out.Total
}

// adoptDraws believes a payee's count of draws when our own record is too old to judge, as far as our vouchers
// cover it: what it has accepted answers for it does not report again. What it took of each authorisation nobody
// tells any more, so all of it stays counted.
func (s *State) adoptDraws(r LaneReport) []Effect {
	if s.Out.Frozen != FrozenUnproven || r.Draws <= s.OutDraws.count() || !s.believes(r) {
		return nil
	}
	d := s.OutDraws.clone()
	over := d.Open
	d.Count, d.Drawn, d.Hash, d.Open = r.Draws, r.Drawn, r.DrawHash, nil
	s.OutDraws = d
	effects := []Effect{SaveDraws{Out: true}, Save{}}
	if len(over) > 0 {
		effects = append(effects, DrawsOver{Open: over, Taken: true})
	}
	return effects
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
	if s.older(r) && s.In.Frozen == NotFrozen {
		s.In.Frozen = FrozenUnproven
		effects = append(effects, Save{}, Alert{Text: "the peer holds answers of ours that we do not know: our record is too old; " +
			"restore the newest backup, then close the channel"})
		effects = append(effects, s.move(PhaseRecovering)...)
	}
	if r.Draws <= s.InDraws.count() { // its answer may have been lost
		effects = append(effects, s.accepted(r.Draws)...)
	}
	if r.Draws < s.InDraws.count() {
		effects = append(effects, s.retell()...)
	}
	return effects
}

// proven adopts a voucher of our own that is newer than our record: an old backup was restored. Never
// again does this channel sign one. Payments that had no answer were covered by later vouchers: they count
// as made, unless the payee says that they did not reach it, for a voucher can come without a frame. A record
// that is known to be old takes payments from credit, too, which the voucher does not show.
func (s *State) proven(e ProofChecked) ([]Effect, error) {
	r := e.Report
	more := r.Total > s.Out.Total || r.Total == s.Out.Total && s.Out.Frozen == FrozenUnproven
	if !e.OK || !more || !r.covered() || r.NextSeq < s.Out.Acked {
		return []Effect{Misbehaved{Text: "the peer claims payments that we never made"}}, nil
	}
	s.Out.Total, s.Out.Voucher, s.Out.Frozen = r.Total, r.Signature, FrozenUnproven
	s.sync()
	var effects []Effect
	if drawn := max(r.Drawn, s.OutDraws.drawn()); r.NextSeq >= s.Out.NextSeq && r.Spent <= r.Total-min(r.Total, drawn) {
		s.Out.Spent, s.Out.Hash, s.Out.NextSeq, s.Out.Acked = r.Spent, r.Hash, r.NextSeq, r.NextSeq
		for _, f := range s.Unacked {
			effects = append(effects, Answered{Frame: f})
		}
		s.Unacked = nil
	}
	effects = append(append(effects, s.adoptDraws(r)...), Save{Cold: true},
		Alert{Text: "the peer holds a newer voucher of ours: our record is too old; the channel can only be closed"})
	effects = append(effects, s.move(PhaseRecovering)...)
	return append(effects, s.sendUnacked(r.NextSeq)...), nil
}
