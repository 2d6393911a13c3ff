package channel

// Deposits that no voucher will ever spend go back early: outputs of a wrong value, those that came twice,
// and the deposit of a channel that the payee has given up (protocol.md 9). The payer asks, the payee signs
// its half of a key path spend. From the moment that it might have signed, that output is away: its record
// is durable, and the payee never takes a voucher that spends it.

// returnPatience is how many blocks a return waits before it is made again at a higher fee.
const returnPatience = 12

// ReturnOffer asks the payee of a lane to sign an output at the lane's address away, back to the payer. The
// transaction follows from it: one input, one output of Value less Fee to Payout.
type ReturnOffer struct {
	Channel ID
	Attempt [16]byte
	Output  Outpoint
	Value   Sat
	Fee     Sat
	Payout  []byte
	Nonce   [66]byte
}

// ReturnSign answers ReturnOffer.
type ReturnSign struct {
	Channel ID
	Attempt [16]byte
	Nonce   [66]byte
	Partial [32]byte
}

func (*ReturnOffer) message() {}
func (*ReturnSign) message()  {}

type (
	// ReturnBuilt: the return of an output is signed by both.
	ReturnBuilt struct {
		Output Outpoint
		Tx     OwnTx
	}
	// AskReturn wants the peer's signature for the return of an output; answered by ReturnBuilt.
	AskReturn struct{ Output Output }
	// SignAway wants our signature for the peer. The record that says so is part of the same step.
	SignAway struct{ Offer *ReturnOffer }
	// CombineReturn hands over the peer's signature.
	CombineReturn struct{ Msg *ReturnSign }
)

func (ReturnBuilt) input()    {}
func (AskReturn) effect()     {}
func (SignAway) effect()      {}
func (CombineReturn) effect() {}

// away reports whether an output may have been signed away.
func (f *Funding) away(o Outpoint) bool {
	for _, a := range f.Away {
		if a == o {
			return true
		}
	}
	return false
}

// returnAsked decides whether an output is signed away. One that vouchers spend never is, nor any while our
// own record is not proven: it may have forgotten which one that is. A refusal says nothing and costs nothing:
// what is not signed returns at the expiry.
func (s *State) returnAsked(m *ReturnOffer) ([]Effect, error) {
	if m.Channel != s.Terms.ID || !s.Terms.In.Exists() || len(m.Payout) == 0 || len(m.Payout) > MaxPayoutScript || m.Fee >= m.Value || m.Value > MaxMoney {
		return nil, fail(KindInvalid, "a malformed offer of a return")
	}
	if why := s.keeps(m); why != "" {
		return nil, fail(KindForbidden, "%s", why)
	}
	effects := []Effect{SignAway{Offer: m}}
	if s.InFunding.away(m.Output) {
		return effects, nil
	}
	if len(s.InFunding.Away) >= MaxAway {
		return nil, fail(KindForbidden, "%d outputs were signed away already", MaxAway)
	}
	s.InFunding.Away = append(s.InFunding.Away[:len(s.InFunding.Away):len(s.InFunding.Away)], m.Output)
	return append([]Effect{Save{Cold: true}}, effects...), nil
}

// keeps says why an output is not signed away.
func (s *State) keeps(m *ReturnOffer) string {
	f := &s.InFunding
	switch {
	case s.Phase == PhaseRecovering || s.Asking != nil || s.In.Frozen == FrozenUnproven:
		return "our record is not proven: it may have forgotten which output the vouchers spend"
	case s.Phase == PhaseAbandoned: // nothing was ever vouchered, and nothing will be
		if s.In.Total > 0 {
			return "there are vouchers"
		}
		return ""
	case m.Output == f.Claimed:
		return "the vouchers spend this output"
	case s.Phase.Final():
		return "" // this lane's output is spent, deep in the chain
	}
	for _, o := range f.Seen {
		if o.Outpoint == m.Output && o.Value == m.Value {
			return ""
		}
	}
	return "no such output is at the lane's address, as far as this node knows"
}

// dueReturns asks for what can return early, and publishes again what was signed.
func (s *State) dueReturns() (effects []Effect) {
	if !s.Terms.Out.Exists() || s.Phase.Final() || s.Tip >= s.Terms.Out.Expiry {
		return nil
	}
	for _, o := range s.OutFunding.Seen {
		if o.Returned > 0 || o.Outpoint == s.OutFunding.Claimed && s.OutFunding.Spend != nil {
			continue
		}
		if o.Return != nil {
			effects = append(effects, Publish{Tx: *o.Return})
		}
		if s.returnable(o) {
			effects = append(effects, AskReturn{Output: o})
		}
	}
	return effects
}

// returnable reports whether the payer asks for an output: one that its vouchers don't spend, or all of a
// channel that the peer has given up.
func (s *State) returnable(o Output) bool {
	if o.Return != nil && s.Tip < o.Return.Height+returnPatience {
		return false
	}
	if s.Asking != nil || s.Phase == PhaseRecovering || s.Out.Frozen == FrozenUnproven || s.there == PhaseNone {
		return false // without a word of the peer's in this connection nobody listens
	}
	if o.Outpoint == s.OutFunding.Claimed {
		return s.there == PhaseAbandoned && s.Out.Total == 0 && s.Out.NextSeq == 1
	}
	return o.Value >= MinReturn
}

// returnBuilt keeps a return and publishes it.
func (s *State) returnBuilt(e ReturnBuilt) ([]Effect, error) {
	for i := range s.OutFunding.Seen {
		o := &s.OutFunding.Seen[i]
		if o.Outpoint != e.Output || o.Returned > 0 {
			continue
		}
		if e.Output == s.OutFunding.Claimed && (s.Out.Total > 0 || s.OutFunding.Spend != nil) {
			break
		}
		first, tx := o.Return == nil, e.Tx
		o.Return = &tx
		effects := []Effect{Save{Cold: true}, Publish{Tx: tx}}
		if first {
			effects = append(effects, Alert{Text: "a deposit of " + itoa(uint64(o.Value)) + " sat that is not used returns now: the peer signed it back"})
		}
		return effects, nil
	}
	return nil, fail(KindForbidden, "there is no such output to be returned")
}

// Waiting is the sum of outputs beside the deposit that have not returned yet.
func (s *State) Waiting() (sum Sat) {
	for _, o := range s.OutFunding.Seen {
		if o.Outpoint != s.OutFunding.Claimed && o.Returned == 0 && o.Value >= MinReturn {
			sum += o.Value
		}
	}
	return sum
}
