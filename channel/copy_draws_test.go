package channel

import (
	"slices"
	"testing"
)

// Copies of records that are older than what was said since, with draws: vouchers then go on without frames.

// reloads is the state as a start of the program finds it.
func reloads(t *testing.T, s *State) {
	t.Helper()
	out, _ := s.Out.MarshalBinary()
	in, _ := s.In.MarshalBinary()
	cold, err := s.MarshalCold()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(cold, out, in, s.Unacked)
	if err != nil {
		t.Fatal(err)
	}
	var a, b []byte
	if s.OutDraws != nil {
		a, _ = s.OutDraws.MarshalBinary()
	}
	if s.InDraws != nil {
		b, _ = s.InDraws.MarshalBinary()
	}
	if _, err := again.WithDraws(a, b); err != nil {
		t.Fatalf("what is stored can't be loaded: %v", err)
	}
}

func takes(t *testing.T, s *State, e Input) (State, []Effect) {
	t.Helper()
	next, effects, err := Step(*s, e)
	if err != nil {
		t.Fatalf("%T: %v", e, err)
	}
	reloads(t, &next)
	return next, effects
}

func old(s *State) { *s = Restored(*s) }

// A payee that lost its newest voucher gets it back although the payer has no answers to some of the payments
// that the copy knows.
func TestNewestVoucherOfAPayerThatIsBehind(t *testing.T) {
	s := with(old)
	after, _ := takes(t, s, NewestChecked{OK: true, Report: LaneReport{NextSeq: 2, Total: 9_000, Spent: 1_000, Signature: Signature{9}, Draws: 1, Drawn: 500, DrawHash: [32]byte{1}}})
	if after.In.Total != 9_000 || after.In.Voucher != (Signature{9}) || after.In.NextSeq != 4 || after.In.Spent != 5_000 || after.SpentIn() != 5_500 {
		t.Errorf("%+v, %d in all", after.In, after.SpentIn())
	}
}

// What a payer says of an old record never makes more spent than vouchered, nor less drawn than was.
func TestNewestOfALiar(t *testing.T) {
	s := with(old)
	s.InDraws = &InDraws{Count: 2, Drawn: 1_500, Hash: [32]byte{7}, Told: 1, Untold: []Draw{{N: 2, Amount: 1_000}}}
	for name, r := range map[string]LaneReport{
		"more pushed than the draws leave": {NextSeq: 5, Total: 7_001, Spent: 7_001, Signature: Signature{9}},
		"fewer draws":                      {NextSeq: 5, Total: 7_001, Spent: 6_000, Signature: Signature{9}, Draws: 1, Drawn: 1_000},
		"more draws of less":               {NextSeq: 4, Total: 7_000, Spent: 5_000, Signature: Signature{9}, Draws: 3, Drawn: 1_000},
	} {
		after, _, err := Step(*s, NewestChecked{OK: true, Report: r})
		if after.SpentIn() < s.SpentIn() || after.SpentIn() > after.In.Total {
			t.Errorf("%s: %d of %d, %v", name, after.SpentIn(), after.In.Total, err)
		}
		reloads(t, &after)
	}
}

// An application carried a voucher while the frames before it waited for a connection that never came. A copy of
// the payer's record from then adopts the voucher, and what did not arrive did not count.
func TestProofOfAVoucherThatOvertookFrames(t *testing.T) {
	s := with(func(s *State) {
		f := &Frame{Lane: s.Terms.Out.ID(), FirstSeq: 3, Total: 5_800, Payments: []Payment{{ID: PaymentID{1}, Amount: 800}}}
		s.Unacked, s.Out.NextSeq, s.Out.Total = []*Frame{f}, 4, 5_800
		old(s)
	})
	after, effects := takes(t, s, ProofChecked{OK: true, Report: LaneReport{NextSeq: 3, Total: 9_000, Spent: 5_000, Signature: Signature{9}, Draws: 2, Drawn: 3_000}})
	if has[Misbehaved](effects) || has[Answered](effects) || after.Out.Total != 9_000 || len(after.Unacked) != 1 || after.SpentOut() != 8_000 {
		t.Errorf("%v: %+v, %d wait, %d spent", effects, after.Out, len(after.Unacked), after.SpentOut())
	}
	// What the vouchers no longer cover beside the draws is not believed.
	hash, _, _ := s.Unacked[0].apply(after.Out.Hash, after.Out.Spent, nil)
	after.OutDraws = after.OutDraws.clone()
	after.OutDraws.Drawn = 3_500
	again, _ := takes(t, &after, Received{&Ack{Lane: s.Terms.Out.ID(), NextSeq: 4, Total: 5_800, Spent: 5_800, Hash: hash}})
	if again.SpentOut() > again.Out.Total {
		t.Errorf("%d of %d", again.SpentOut(), again.Out.Total)
	}
}

// A payee that shows a newer voucher of ours can't make the record one that no start takes.
func TestProofOfALiar(t *testing.T) {
	s := with(func(s *State) {
		s.Out.Total, s.OutDraws = 6_000, &OutDraws{Next: 3, Count: 2, Drawn: 1_000}
		old(s)
	})
	after, _ := takes(t, s, ProofChecked{OK: true, Report: LaneReport{NextSeq: 3, Total: 7_000, Spent: 7_000, Signature: Signature{9}}})
	if after.Out.Total != 7_000 || after.SpentOut() > after.Out.Total {
		t.Errorf("%d of %d", after.SpentOut(), after.Out.Total)
	}
}

// Payments from credit need no new voucher. A record from a copy believes them, one that is proven does not.
func TestProofOfPaymentsFromCredit(t *testing.T) {
	r := ProofChecked{OK: true, Report: LaneReport{NextSeq: 5, Total: 5_000, Spent: 4_500, Signature: Signature{1}}}
	spent := func(s *State) { s.Out.Spent = 4_000 }
	after, effects := takes(t, with(func(s *State) { spent(s); old(s) }), r)
	if has[Misbehaved](effects) || after.Out.Spent != 4_500 || after.Out.NextSeq != 5 {
		t.Errorf("%v: %+v", effects, after.Out)
	}
	if after, effects := takes(t, with(spent), r); !has[Misbehaved](effects) || after.Out.Spent != 4_000 {
		t.Errorf("a record that is proven: %v, %+v", effects, after.Out)
	}
}

// A copy of the payer's data from before draws that it paid from credit and had answered: no voucher is newer, and
// the payee has nothing left to report. What the payee says shows the copy's age, if our vouchers cover it.
func TestCopyThatForgotDraws(t *testing.T) {
	open := func(s *State) {
		s.Out.Total, s.OutDraws = 9_000, &OutDraws{Next: 5, Count: 2, Drawn: 1_000, Hash: [32]byte{1}, Open: []OpenDraw{{N: 3, Max: 400}, {N: 4, Max: 600}}}
	}
	says := func(s *State, draws uint64, drawn Msat) (State, []Effect) {
		r := LaneReport{NextSeq: s.Out.NextSeq, Total: 9_000, Spent: s.Out.Spent, Hash: s.Out.Hash, Draws: draws, Drawn: drawn, DrawHash: [32]byte{2}}
		return takes(t, s, Received{&Resync{Channel: s.Terms.ID, Phase: PhaseOpen, In: r}})
	}
	after, effects := says(with(open), 5, 1_700)
	if after.Out.Frozen != FrozenUnproven || after.Phase != PhaseRecovering || after.OutDraws.Count != 5 || after.OutDraws.Drawn != 1_700 {
		t.Errorf("%s, %s, %+v", after.Phase, after.Out.Frozen, after.OutDraws)
	}
	if !has[Alert](effects) || !slices.ContainsFunc(effects, func(e Effect) bool { o, ok := e.(DrawsOver); return ok && o.Taken && len(o.Open) == 2 }) {
		t.Errorf("what was open is forgotten: %v", effects)
	}
	if again, effects := says(&after, 5, 1_700); has[Alert](effects) || again.OutDraws.Count != 5 {
		t.Errorf("told twice: %v", effects)
	}
	for name, c := range map[string]struct {
		draws uint64
		drawn Msat
	}{"all were authorised": {4, 1_700}, "more than the vouchers cover": {5, 9_001}, "so much that it overflows": {5, 1<<64 - 1}} {
		after, effects := says(with(open), c.draws, c.drawn)
		if after.Out.Frozen != NotFrozen || after.Phase != PhaseOpen || after.OutDraws.Count != 2 || has[Alert](effects) {
			t.Errorf("%s: %s, %s, %+v", name, after.Phase, after.Out.Frozen, after.OutDraws)
		}
	}
}

// Nobody is told of draws who does not know the word.
func TestNoReportsToAProgramWithoutDraws(t *testing.T) {
	s := with(func(s *State) {
		s.InDraws = &InDraws{Running: []RunningDraw{{N: 1, Max: 500, Held: 500}}}
		s.InDraws.use(1)
	})
	for _, knows := range []bool{false, true} {
		now, _ := takes(t, s, Connected{Draws: knows})
		now, effects := takes(t, &now, DrawOps{Ops: []DrawOp{{Kind: EndDraw, N: 1, Amount: 500}}})
		if has[Send](effects) != knows || now.SpentIn() != 5_500 {
			t.Errorf("knows %v: %v, %d", knows, effects, now.SpentIn())
		}
	}
}

// A stop that tells of less than was answered is taken, for it costs nothing, and shown.
func TestStopThatForgot(t *testing.T) {
	for name, change := range map[string]func(*LaneReport){
		"payments": func(r *LaneReport) { r.NextSeq = 2 },
		"draws":    func(r *LaneReport) { r.Draws, r.Drawn = 0, 900 },
	} {
		s := with(func(s *State) { s.Out.Total, s.OutDraws = 6_000, &OutDraws{Next: 2, Count: 1, Drawn: 1_000} })
		m := s.stop(func(m *Stop) { m.In.Total, m.In.Draws, m.In.Drawn = 6_000, 1, 1_000; change(&m.In) })
		after, effects := takes(t, s, m)
		if after.Closing.Peers == nil || after.Out.Frozen != FrozenRegress || !has[Alert](effects) {
			t.Errorf("%s: %v, %s", name, effects, after.Out.Frozen)
		}
	}
}

// What came of an authorisation without a report is known when the chain has decided, if at all.
func TestDrawFate(t *testing.T) {
	for name, c := range map[string]struct {
		kind   SpendKind
		change func(*State)
		want   PayStatus
	}{
		"settled with all":            {SpentSettled, nil, PayAcknowledged},
		"ended together":              {SpentTogether, nil, PayRefused},
		"refunded":                    {SpentRefunded, nil, PayRefused},
		"ended together, an old copy": {SpentTogether, old, PayPending},
		"refunded, an old copy":       {SpentRefunded, old, PayRefused},
		"not deep":                    {SpentSettled, func(s *State) { s.OutFunding.Spend.Height = s.Tip }, PayPending},
		"open":                        {SpentSettled, func(s *State) { s.OutDraws = &OutDraws{Next: 8, Open: []OpenDraw{{N: 7}}} }, PayPending},
		"not spent":                   {0, func(s *State) { s.OutFunding.Spend = nil }, PayPending},
	} {
		s := with(func(s *State) {
			s.Tip = 1_000
			s.OutFunding.Spend = &Spend{Kind: c.kind, Height: 900}
			if c.change != nil {
				c.change(s)
			}
		})
		if got := s.DrawFate(7); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
