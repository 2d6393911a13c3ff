package channel

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// The payer's side of a lane (protocol.md 4).

// CanPay says why the own lane can't pay now, or nil.
func (s *State) CanPay() error {
	switch {
	case !s.Terms.Out.Exists():
		return fail(KindNotOpen, "this channel has no lane in this direction")
	case s.Phase == PhaseAgreed:
		return fail(KindNotOpen, "the channel waits for its funding to confirm")
	case s.Phase != PhaseOpen:
		return fail(KindNotOpen, "the channel is %s", s.Phase)
	case s.Closing.Peers != nil || s.early != nil:
		return fail(KindNotOpen, "the peer is closing the channel")
	case s.there > PhaseOpen:
		return fail(KindNotOpen, "for the peer the channel is %s", s.there)
	case s.Out.Frozen != NotFrozen:
		return fail(KindNotOpen, "the lane is frozen: %s", s.Out.Frozen)
	case s.latest() >= sub(s.Terms.StopHeight(s.Terms.Out), s.Terms.Heights.PayerStop):
		return fail(KindExpiring, "the lane stops at block %d and the chain is at %d",
			sub(s.Terms.StopHeight(s.Terms.Out), s.Terms.Heights.PayerStop), s.latest())
	case !s.OutFunding.Ready:
		return fail(KindNotOpen, "the peer does not take payments on this lane yet: its funding is not confirmed")
	}
	if _, ok := s.OutFunding.Claim(); !ok {
		return fail(KindNotOpen, "the lane's funding is not in the chain that we see")
	}
	return nil
}

func (s *State) pay(e Pay) ([]Effect, error) {
	if s.signing != nil || s.authorising != nil {
		return nil, fail(KindForbidden, "a signature is awaited")
	}
	if err := s.CanPay(); err != nil {
		return nil, err
	}
	if !s.Synced && !planted("paid before resync") {
		return nil, fail(KindWindow, "the peer is not connected")
	}
	payments, total, err := s.fit(e.Payments)
	if err != nil {
		return nil, err
	}
	s.signing = &Frame{Lane: s.Terms.Out.ID(), FirstSeq: s.Out.NextSeq, Payments: payments, Total: total}
	if total == s.Out.Total { // all from credit: the newest voucher covers it already
		return s.signed(Signed{Signature: s.Out.Voucher})
	}
	return []Effect{Sign{Total: total}}, nil
}

// fit takes the longest prefix of payments that the lane can carry in one frame.
func (s *State) fit(payments []Payment) ([]Payment, Msat, error) {
	if len(payments) == 0 {
		return nil, 0, fail(KindInvalid, "no payment")
	}
	if len(s.Unacked) >= int(s.Terms.Window) {
		return nil, 0, fail(KindWindow, "%d frames wait for an answer", len(s.Unacked))
	}
	unacked := s.UnackedSum()
	used := s.Out.Spent + unacked + s.OutDraws.taken()
	unacked += s.OutDraws.risk()
	n := 0
	for ; n < len(payments) && n < MaxFramePayments; n++ {
		if err := s.fits(payments[n], used, unacked, n == 0 && len(s.Unacked) == 0); err != nil {
			if n == 0 {
				return nil, 0, err
			}
			break
		}
		used += payments[n].Amount
		unacked += payments[n].Amount
	}
	if planted("credit ignored") {
		used += s.Out.Credit()
	}
	return slices.Clip(payments[:n]), max(s.Out.Total, used), nil
}

func (s *State) fits(p Payment, used, unacked Msat, alone bool) error {
	if err := CheckPayment(p); err != nil {
		return err
	}
	capacity := s.Terms.Out.Capacity()
	if (used > capacity || p.Amount > capacity-used) && !planted("above capacity") {
		spendable := Msat(0)
		if capacity > used {
			spendable = capacity - used
		}
		return fail(KindCapacity, "%d msat is more than the %d msat that the channel can still pay", p.Amount, spendable)
	}
	// One payment larger than the bound goes alone: whoever pays such a sum at once means to.
	if !alone && (p.Amount > s.Terms.MaxUnacked || unacked > s.Terms.MaxUnacked-p.Amount) {
		return fail(KindWindow, "%d msat wait for an answer", unacked)
	}
	return nil
}

// CheckPayment checks what does not depend on a lane.
func CheckPayment(p Payment) error {
	max, _ := MaxMoney.Msat()
	switch {
	case p.Amount == 0:
		return fail(KindInvalid, "a payment must be at least 1 msat")
	case p.Amount > max:
		return fail(KindInvalid, "a payment of %d msat is more than all money", p.Amount)
	case len(p.Ref) > MaxRefBytes:
		return fail(KindInvalid, "a reference has at most %d bytes, this one has %d", MaxRefBytes, len(p.Ref))
	}
	return nil
}

// Signing is the frame whose signature is awaited, or nil.
func (s *State) Signing() *Frame { return s.signing }

func (s *State) signed(e Signed) ([]Effect, error) {
	f := s.signing
	if f == nil {
		if s.authorising != nil {
			return s.authorised(e)
		}
		return nil, fail(KindForbidden, "no signature is awaited")
	}
	s.signing = nil
	if e.Err != nil || f.FirstSeq != s.Out.NextSeq || f.Total < s.Out.Total || s.CanPay() != nil {
		return nil, nil // what was signed after the lane stopped never leaves
	}
	g := *f
	g.Signature = e.Signature
	s.Out.Total, s.Out.Voucher, s.Out.NextSeq = g.Total, g.Signature, g.NextSeq()
	s.Unacked = append(s.Unacked, &g)
	return []Effect{SaveFrame{Out: true, Frame: &g}, Save{}, Send{&g}}, nil
}

// LaneHash continues a lane's hash chain by one payment and its result:
// TaggedHash("runnel/pay", h || lane || u64 seq || u64 amount || id || SHA256(ref) || u8 result).
func LaneHash(h [32]byte, lane LaneID, seq uint64, p Payment, r RefuseReason) [32]byte {
	ref := refHash(p.Ref)
	var b [64 + 32 + 32 + 8 + 8 + 16 + 32 + 1]byte
	n := copy(b[:], payTag[:])
	n += copy(b[n:], payTag[:])
	n += copy(b[n:], h[:])
	n += copy(b[n:], lane[:])
	binary.BigEndian.PutUint64(b[n:], seq)
	binary.BigEndian.PutUint64(b[n+8:], uint64(p.Amount))
	n += 16
	n += copy(b[n:], p.ID[:])
	n += copy(b[n:], ref[:])
	b[n] = byte(r)
	return sha256.Sum256(b[:])
}

// What every payment's hash takes is hashed once: the tag, and that there is no reference.
var (
	payTag = sha256.Sum256([]byte("runnel/pay"))
	noRef  = sha256.Sum256(nil)
)

func refHash(ref string) [32]byte {
	if ref == "" {
		return noRef
	}
	return sha256.Sum256([]byte(ref))
}

// apply works a frame's results into hash and spent. It reads the refusals of this frame from the front
// of refused and returns the rest.
func (f *Frame) apply(hash [32]byte, spent Msat, refused []Refusal) ([32]byte, Msat, []Refusal) {
	for i, p := range f.Payments {
		seq, reason := f.FirstSeq+uint64(i), Accepted
		if len(refused) > 0 && refused[0].Seq == seq {
			reason, refused = refused[0].Reason, refused[1:]
		}
		if reason == Accepted || planted("refused counted") {
			spent += p.Amount
		}
		hash = LaneHash(hash, f.Lane, seq, p, reason)
	}
	return hash, spent, refused
}

func (s *State) ack(a *Ack) ([]Effect, error) {
	if a.Lane != s.Terms.Out.ID() {
		return nil, fail(KindInvalid, "an answer for another lane")
	}
	if a.NextSeq <= s.Out.Acked {
		return nil, nil // an old answer again
	}
	hash, spent, refused := s.Out.Hash, s.Out.Spent, a.Refused
	for len(refused) > 0 && refused[0].Seq < s.Out.Acked {
		refused = refused[1:] // of payments whose own answer came before this one
	}
	var answered []Effect
	n := 0
	for n < len(s.Unacked) && s.Unacked[n].NextSeq() <= a.NextSeq {
		f, before := s.Unacked[n], refused
		hash, spent, refused = f.apply(hash, spent, refused)
		answered = append(answered, Answered{Frame: f, Refused: before[:len(before)-len(refused)]})
		n++
	}
	if n == 0 || s.Unacked[n-1].NextSeq() != a.NextSeq {
		return nil, fail(KindWrongSeq, "an answer up to %d that ends within or beyond what was sent", a.NextSeq)
	}
	last := s.Unacked[n-1]
	if spent > s.Out.Total-min(s.Out.Total, s.OutDraws.drawn()) { // of an old record, on which the payee was believed
		return s.freezeOut(FrozenHash), nil
	}
	if len(refused) > 0 || hash != a.Hash || spent != a.Spent || a.Total != last.Total {
		if n > 1 {
			return s.sendAgain(n), nil
		}
		return s.freezeOut(FrozenHash), nil
	}
	s.Unacked = s.Unacked[n:]
	s.Out.Hash, s.Out.Spent, s.Out.Acked = hash, spent, a.NextSeq
	return append(answered, Save{}), nil
}

// sendAgain asks for the answers to the oldest n frames one by one, for each once as long as the same one
// is the oldest. An answer names only what its own frames had refused; those of frames before it may have
// been lost with a connection, and then the two books differ only to the eye.
func (s *State) sendAgain(n int) (effects []Effect) {
	if s.again != s.Out.Acked {
		s.again, s.againTo = s.Out.Acked, 0
	}
	for _, f := range s.Unacked[:n] {
		if f.FirstSeq >= s.againTo {
			effects = append(effects, Send{f})
			s.againTo = f.NextSeq()
		}
	}
	return effects
}

func (s *State) freezeOut(r FreezeReason) []Effect {
	if s.Out.Frozen != NotFrozen {
		return nil
	}
	s.Out.Frozen = r
	return []Effect{Save{}, Alert{Text: "no more payments on the lane that we pay on: " + r.String()}}
}
