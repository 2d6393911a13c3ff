package channel

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// One test for each guard that longer stories reach seldom: a state in which nothing but that guard says no.

var (
	ours, theirs, extra = Outpoint{TxID: [32]byte{1}}, Outpoint{TxID: [32]byte{2}}, Outpoint{TxID: [32]byte{3}}
	payout              = make([]byte, 34)
)

// usable is a channel with a lane each way that both take payments.
func usable() *State {
	lane := func(b byte) LaneTerms {
		return LaneTerms{Payer: Key{2, b}, Payee: Key{3, b}, Refund: Key{2, b, 1}, Expiry: 1000, Deposit: 100_000}
	}
	s := New(Terms{ID: ID{9}, Opener: true, Out: lane(1), In: lane(2), Heights: TestHeights, MaxUnacked: 1_000_000, Window: 4, OutConfs: 1, InConfs: 1, OpenedAt: 850})
	s.Phase, s.Tip, s.Synced, s.fresh = PhaseOpen, 860, true, false
	s.OutFunding = Funding{Claimed: ours, Ready: true, Seen: []Output{{Outpoint: ours, Value: 100_000, Height: 851}}}
	s.InFunding = Funding{Claimed: theirs, Ready: true, Seen: []Output{{Outpoint: theirs, Value: 100_000, Height: 851}}}
	s.Out = Lane{Total: 5_000, Spent: 5_000, NextSeq: 3, Acked: 3, Voucher: Signature{1}}
	s.In = Lane{Total: 7_000, Spent: 5_000, NextSeq: 4, Acked: 4, Voucher: Signature{2}}
	return &s
}

func with(change func(*State)) *State {
	s := usable()
	if change != nil {
		change(s)
	}
	return s
}

// next is the frame that continues the lane that pays us.
func (s *State) next(change func(*Frame)) *Frame {
	f := &Frame{Lane: s.Terms.In.ID(), FirstSeq: s.In.NextSeq, Total: s.In.Total + 1_000, Payments: []Payment{{ID: PaymentID{1}, Amount: 1_000}}, Signature: Signature{5}}
	if change != nil {
		change(f)
	}
	return f
}

func closing(s *State) {
	s.Phase = PhaseClosing
	s.Closing = Closing{At: 860, Mine: &Stop{In: s.report(), Payout: payout}, Peers: &Stop{In: LaneReport{NextSeq: 3, Total: 5_000, Spent: 5_000}, Payout: payout}}
}

func (s *State) stop(change func(*Stop)) Received {
	m := &Stop{Channel: s.Terms.ID, In: LaneReport{NextSeq: 3, Total: 5_000, Spent: 5_000}, Payout: payout}
	if change != nil {
		change(m)
	}
	return Received{Msg: m}
}

func has[E Effect](effects []Effect) bool {
	return slices.ContainsFunc(effects, func(e Effect) bool { _, ok := e.(E); return ok })
}

// TestRefusals: each event is refused with its kind and changes nothing.
func TestRefusals(t *testing.T) {
	pay := Pay{Payments: []Payment{{ID: PaymentID{7}, Amount: 1_000}}}
	noOut, noIn := func(s *State) { s.Terms.Out.Deposit = 0 }, func(s *State) { s.Terms.In.Deposit = 0 }
	unready := with(noOut)
	tests := []struct {
		name  string
		state *State
		event Input
		kind  Kind
		text  string
	}{
		{"pay on a lane that is not ready", with(func(s *State) { s.OutFunding.Ready = false }), pay, KindNotOpen, "does not take payments"},
		{"pay with a full window", with(func(s *State) { s.Unacked = make([]*Frame, 0, 4); fill(s, 4) }), pay, KindWindow, "frames wait"},
		{"pay above a capacity that is exceeded already", with(func(s *State) { s.Out.Spent = s.Terms.Out.Capacity() + 1; s.Out.Total = s.Out.Spent }), pay, KindCapacity, ""},
		{"frames without a lane", with(noIn), FramesReceived{}, KindNotOpen, "no lane in this direction"},
		{"close to a script that is too long", usable(), CloseTogether{Payout: make([]byte, MaxPayoutScript+1)}, KindInvalid, "payout script"},
		{"close while signing", with(func(s *State) { s.signing = &Frame{} }), CloseTogether{Payout: payout}, KindForbidden, "being signed"},
		{"stop of another channel", usable(), usable().stop(func(m *Stop) { m.Channel[0]++ }), KindInvalid, "malformed stop"},
		{"stop with a long script", usable(), usable().stop(func(m *Stop) { m.Payout = make([]byte, MaxPayoutScript+1) }), KindInvalid, "malformed stop"},
		{"funding without a lane", with(noOut), FundingBuilt{}, KindForbidden, "funding transaction already"},
		{"funding of a lane that another wallet funds", with(func(s *State) { s.Terms.External = true }), FundingBuilt{}, KindForbidden, "funding transaction already"},
		{"a claim without a lane", with(noIn), Received{&Funded{Lane: with(noIn).Terms.In.ID(), Funding: extra}}, KindInvalid, "does not have"},
		{"ready without a lane", unready, Received{&Ready{Lane: unready.Terms.Out.ID()}}, KindInvalid, "does not have"},
		{"an event that nobody knows", usable(), unknown{}, KindInvalid, "unknown event"},
	}
	for _, test := range tests {
		before := Snapshot(*test.state)
		after, effects, err := Step(*test.state, test.event)
		if KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) || len(effects) > 0 || Snapshot(after) != before {
			t.Errorf("%s: %v, %v", test.name, err, effects)
		}
	}
}

type unknown struct{}

func (unknown) input() {}

func fill(s *State, n int) {
	for range n {
		s.Unacked = append(s.Unacked, &Frame{FirstSeq: s.Out.NextSeq, Payments: []Payment{{Amount: 1}}})
		s.Out.NextSeq++
	}
}

// TestMisdeedsAreCalledSo: what a peer can't do by mistake is reported, and changes nothing of the money.
func TestMisdeedsAreCalledSo(t *testing.T) {
	frame := func(change func(*Frame)) Input { return FramesReceived{[]*Frame{usable().next(change)}} }
	report := LaneReport{NextSeq: 3, Total: 6_000, Spent: 6_000}
	proof := func(change func(*LaneReport)) Input {
		r := report
		change(&r)
		return ProofChecked{OK: true, Report: r}
	}
	peers := func(s *State) { s.Closing.Peers = s.stop(nil).Msg.(*Stop) }
	tests := []struct {
		name  string
		state *State
		event Input
	}{
		{"a voucher below the newest that covers too little", usable(), frame(func(f *Frame) { f.Total = 6_999; f.Payments[0].Amount = 3_001 })},
		{"a voucher below the one before", usable(), FramesReceived{[]*Frame{usable().next(nil), {Lane: usable().Terms.In.ID(), FirstSeq: usable().In.NextSeq + 1, Total: 7_500, Payments: []Payment{{Amount: 1}}}}}},
		{"a voucher that does not cover all payments", usable(), frame(func(f *Frame) { f.Payments[0].Amount = 3_001 })},
		{"a voucher above the capacity", usable(), frame(func(f *Frame) { f.Total = usable().Terms.In.Capacity() + 1 })},
		{"a stop with more spent than vouchered", usable(), usable().stop(func(m *Stop) { m.In.Spent, m.In.Total = 4_001, 4_000 })},
		{"a stop with a higher voucher", usable(), usable().stop(func(m *Stop) { m.In.Total = 5_001 })},
		{"a stop with more payments", usable(), usable().stop(func(m *Stop) { m.In.NextSeq = 4 })},
		{"another stop, spent", with(peers), usable().stop(func(m *Stop) { m.In.Spent = 4_999 })},
		{"another stop, total", with(peers), usable().stop(func(m *Stop) { m.In.Total, m.In.Spent = 4_999, 4_999 })},
		{"another stop, only total", with(func(s *State) { peers(s); s.Closing.Peers.In.Spent = 4_000 }), usable().stop(func(m *Stop) { m.In.Total, m.In.Spent = 4_999, 4_000 })},
		{"another stop, payout", with(peers), usable().stop(func(m *Stop) { m.Payout = make([]byte, 22) })},
		{"another output for a lane that is ready", with(func(s *State) { s.In = Lane{NextSeq: 1, Acked: 1} }), Received{&Funded{Lane: usable().Terms.In.ID(), Funding: extra}}},
		{"another output for a lane with a voucher", with(func(s *State) { s.InFunding.Ready = false }), Received{&Funded{Lane: usable().Terms.In.ID(), Funding: extra}}},
		{"a proof of no more than is known", usable(), proof(func(r *LaneReport) { r.Total, r.Spent = 5_000, 5_000 })},
		{"a proof of less", usable(), proof(func(r *LaneReport) { r.Total, r.Spent = 4_000, 4_000 })},
		{"a proof with more spent than vouchered", usable(), proof(func(r *LaneReport) { r.Spent = 6_001 })},
		{"a proof with fewer payments", usable(), proof(func(r *LaneReport) { r.NextSeq = 2 })},
	}
	for _, test := range tests {
		after, effects, err := Step(*test.state, test.event)
		if err != nil || !has[Misbehaved](effects) || after.Out != test.state.Out || after.In != test.state.In {
			t.Errorf("%s: %v, %v", test.name, effects, err)
		}
	}
	s := usable()
	if after, effects, err := Step(*s, proof(func(*LaneReport) {})); err != nil || has[Misbehaved](effects) || after.Out.Total != 6_000 {
		t.Errorf("a good proof: %v, %v", effects, err)
	}
}

// TestAlteredRepeatsFreeze: a repeated frame that differs in anything, or of which nothing is stored.
func TestAlteredRepeatsFreeze(t *testing.T) {
	s := usable()
	stored, ack := s.next(nil), &Ack{}
	found := func(change func(*Frame)) FrameFound { return FrameFound{Got: s.next(change), Stored: stored, Ack: ack} }
	for name, e := range map[string]FrameFound{
		"nothing stored":   {Got: stored, Ack: ack},
		"no answer stored": {Got: stored, Stored: stored},
		"lane":             found(func(f *Frame) { f.Lane[0]++ }),
		"sequence":         found(func(f *Frame) { f.FirstSeq++ }),
		"total":            found(func(f *Frame) { f.Total++ }),
		"signature":        found(func(f *Frame) { f.Signature[0]++ }),
		"payments":         found(func(f *Frame) { f.Payments = []Payment{{Amount: 3}} }),
	} {
		if after, effects, err := Step(*s, e); err != nil || after.In.Frozen != FrozenAltered || !has[Misbehaved](effects) {
			t.Errorf("%s: %v, %v", name, effects, err)
		}
	}
	if after, effects, err := Step(*s, found(nil)); err != nil || after.In.Frozen != NotFrozen || !has[Send](effects) {
		t.Errorf("the same frame: %v, %v", effects, err)
	}
}

// TestFrameAtTheLimits: what is just allowed is verified, and known only if the very signature is.
func TestFrameAtTheLimits(t *testing.T) {
	verify := func(name string, s *State, f *Frame) (v Verify) {
		t.Helper()
		_, effects, err := Step(*s, FramesReceived{[]*Frame{f}})
		if err != nil || len(effects) != 1 {
			t.Fatalf("%s: %v, %v", name, effects, err)
		}
		v, _ = effects[0].(Verify)
		return v
	}
	s := usable()
	for name, test := range map[string]struct {
		f     *Frame
		known bool
	}{
		"all the capacity":          {s.next(func(f *Frame) { f.Total = s.Terms.In.Capacity() }), false},
		"from credit":               {s.next(func(f *Frame) { f.Total, f.Signature = 7_000, Signature{2} }), true},
		"another signature":         {s.next(func(f *Frame) { f.Total = 7_000 }), false},
		"the signature for another": {s.next(func(f *Frame) { f.Signature = Signature{2} }), false},
	} {
		if v := verify(name, s, test.f); v.Total != test.f.Total || v.Known != test.known {
			t.Errorf("%s: %+v", name, v)
		}
	}
	late := with(func(s *State) { s.Tip = s.Terms.StopHeight(s.Terms.In) }) // the payments are refused, one by one
	if v := verify("near expiry", late, late.next(nil)); v.Total == 0 {
		t.Error("a frame near expiry gets no answer")
	}
}

// TestPayAtTheLimits: the last frame of the window goes; what was signed too late does not.
func TestPayAtTheLimits(t *testing.T) {
	pay := Pay{Payments: []Payment{{ID: PaymentID{7}, Amount: 1_000}}}
	s := with(func(s *State) { fill(s, 3) })
	signing, effects, err := Step(*s, pay)
	if err != nil || !has[Sign](effects) {
		t.Fatalf("%v, %v", effects, err)
	}
	for name, change := range map[string]func(*State){
		"sequence": func(s *State) { s.Out.NextSeq++ },
		"total":    func(s *State) { s.Out.Total += 100_000 },
	} {
		late := signing
		change(&late)
		if after, effects, err := Step(late, Signed{Signature: Signature{9}}); err != nil || len(effects) > 0 || after.Out != late.Out {
			t.Errorf("signed over another %s: %v, %v", name, effects, err)
		}
	}
}

// TestResyncGuards: what a resync must not do.
func TestResyncGuards(t *testing.T) {
	for name, s := range map[string]*State{
		"without a lane that pays us": with(func(s *State) { s.Terms.In.Deposit = 0 }),
		"on a frozen lane":            with(func(s *State) { s.In.Frozen = FrozenAltered }),
	} {
		m := &Resync{Channel: s.Terms.ID, Phase: PhaseOpen, Acked: 99, In: LaneReport{NextSeq: 3, Total: 5_000, Spent: 5_000}, Funding: theirs}
		if after, _, err := Step(*s, Received{m}); err != nil || after.Phase != PhaseOpen || after.In.Frozen != s.In.Frozen {
			t.Errorf("%s: %s, %v, %v", name, after.Phase, after.In.Frozen, err)
		}
	}
}

// TestCloseGuards: one condition of a close together after the other.
func TestCloseGuards(t *testing.T) {
	last := usable().Terms.Out.Expiry - TestHeights.CloseStop - 1
	for name, test := range map[string]struct {
		change func(*State)
		can    bool
	}{
		"as it is":          {func(*State) {}, true},
		"at the last block": {func(s *State) { s.Tip = last }, true},
		"a block later":     {func(s *State) { s.Tip = last + 1 }, false},
		"seen blindly":      {func(s *State) { s.blind = last + 1 }, false},
		"another phase":     {func(s *State) { s.Phase = PhaseSettling }, false},
		"not stopped here":  {func(s *State) { s.Closing.Mine = nil }, false},
		"not stopped there": {func(s *State) { s.Closing.Peers = nil }, false},
		"complete already":  {func(s *State) { s.Closing.Tx = &OwnTx{} }, false},
		"own lane spent":    {func(s *State) { s.OutFunding.Spend = &Spend{} }, false},
		"their lane spent":  {func(s *State) { s.InFunding.Spend = &Spend{} }, false},
	} {
		s := with(closing)
		test.change(s)
		if got := s.CanCloseTogether(); got != test.can {
			t.Errorf("%s: %v", name, got)
		}
	}
	s := with(closing)
	s.Closing.Tx = &OwnTx{TxID: [32]byte{1}}
	if after, effects, err := Step(*s, CloseBuilt{Tx: OwnTx{TxID: [32]byte{2}}}); err != nil || len(effects) > 0 || after.Closing.Tx.TxID[0] != 1 {
		t.Errorf("a second close: %v, %v", effects, err)
	}
	for _, first := range []bool{false, true} {
		for _, second := range []bool{false, true} {
			s := with(closing)
			s.Closing.Initiator = first
			if after, _, err := Step(*s, CloseTogether{Initiator: second}); err != nil || after.Closing.Initiator != (first || second) {
				t.Errorf("asked by %v, then %v: %v, %v", first, second, after.Closing.Initiator, err)
			}
		}
	}
	if _, effects, err := Step(*usable(), CloseTogether{Payout: make([]byte, MaxPayoutScript)}); err != nil || !has[Moved](effects) {
		t.Errorf("to the longest script: %v, %v", effects, err)
	}
	if _, effects, err := Step(*usable(), usable().stop(func(m *Stop) { m.Payout = make([]byte, MaxPayoutScript) })); err != nil || !has[AskPayout](effects) {
		t.Errorf("a stop with the longest script: %v, %v", effects, err)
	}
	one := with(func(s *State) { s.Terms.Out.Deposit = 0 })
	if _, effects, err := Step(*one, one.stop(func(m *Stop) { m.In.Total = 1 << 40 })); err != nil || has[Misbehaved](effects) {
		t.Errorf("a stop that reports a lane which is not there: %v, %v", effects, err)
	}
}

func TestPayoutGuards(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*State)
		ok     bool
	}{
		"as it is":         {func(*State) {}, true},
		"not stopped here": {func(s *State) { s.Closing.Mine = nil }, false},
		"all of ours":      {func(s *State) { s.Closing.Peers.In.Spent = 100_000_000 }, true},
		"more than ours":   {func(s *State) { s.Closing.Peers.In.Spent = 100_000_001 }, false},
		"all of theirs":    {func(s *State) { s.Closing.Mine.In.Spent = 100_000_000 }, true},
		"more than theirs": {func(s *State) { s.Closing.Mine.In.Spent = 100_000_001 }, false},
	} {
		s := with(closing)
		test.change(s)
		self, peer, err := s.Payouts()
		if (err == nil) != test.ok || err == nil && self+peer != 200_000 {
			t.Errorf("%s: %d and %d, %v", name, self, peer, err)
		}
	}
}

func TestGainsAlone(t *testing.T) {
	worth, less := MinReturn*1000, MinReturn*1000-1000
	for name, test := range map[string]struct {
		change func(*State)
		gains  bool
	}{
		"worth it":              {func(s *State) { s.In.Total = Msat(worth) }, true},
		"not worth it":          {func(s *State) { s.In.Total = Msat(less) }, false},
		"spent already":         {func(s *State) { s.In.Total = Msat(worth); s.InFunding.Spend = &Spend{} }, false},
		"nothing funded":        {func(s *State) { s.InFunding, s.OutFunding = Funding{}, Funding{} }, true},
		"only theirs is funded": {func(s *State) { s.OutFunding = Funding{}; s.In.Total = 0 }, false},
		"only ours is funded":   {func(s *State) { s.InFunding = Funding{}; s.In.Total = 0 }, false},
	} {
		if got := with(test.change).gainsAlone(); got != test.gains {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestStopAtExpiry: a lane without a voucher ends the channel at its expiry, not before.
func TestStopAtExpiry(t *testing.T) {
	for name, change := range map[string]func(*State){
		"their lane": func(s *State) { s.Terms.Out.Deposit = 0; s.In.Total, s.In.Spent = 0, 0; s.OutFunding = Funding{} },
		"our lane":   func(s *State) { s.Terms.In.Deposit = 0; s.In = Lane{NextSeq: 1, Acked: 1}; s.InFunding = Funding{} },
	} {
		for tip, ended := range map[uint32]bool{999: false, 1000: true} {
			if after, _, err := Step(*with(change), Height{Tip: tip}); err != nil || after.Phase >= PhaseSettling != ended {
				t.Errorf("%s at block %d: %s, %v", name, tip, after.Phase, err)
			}
		}
	}
}

func TestRefundGuards(t *testing.T) {
	settled := func(value Sat) func(*State) {
		return func(s *State) {
			s.Phase, s.OutFunding.Spend = PhaseSettling, &Spend{Kind: SpentSettled, RefundValue: value, Height: 855}
		}
	}
	for name, test := range map[string]struct {
		change func(*State)
		can    bool
	}{
		"expired":            {func(s *State) { s.Phase, s.Tip = PhaseSettling, 1000 }, true},
		"a block before":     {func(s *State) { s.Phase, s.Tip = PhaseSettling, 999 }, false},
		"another phase":      {func(s *State) { s.Tip = 1000 }, false},
		"settled":            {settled(DustSat), true},
		"settled, only dust": {settled(DustSat - 1), false},
	} {
		if got := with(test.change).CanRefund(); got != test.can {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLaneDone(t *testing.T) {
	deep, shallow := uint32(855), uint32(856) // six and five blocks at 860
	spent := func(sp Spend) func(*State) { return func(s *State) { s.OutFunding.Spend = &sp } }
	beside := func(o Output) func(*State) {
		return func(s *State) {
			s.OutFunding.Spend = &Spend{Kind: SpentTogether, Height: deep}
			s.OutFunding.Seen = append(s.OutFunding.Seen, o)
		}
	}
	for name, test := range map[string]struct {
		change func(*State)
		done   bool
	}{
		"together":                 {spent(Spend{Kind: SpentTogether, Height: deep}), true},
		"together, not deep":       {spent(Spend{Kind: SpentTogether, Height: shallow}), false},
		"together, in no block":    {spent(Spend{Kind: SpentTogether}), false},
		"refunded, a value beside": {spent(Spend{Kind: SpentRefunded, Height: deep, RefundValue: 5_000}), true},
		"settled, not swept":       {spent(Spend{Kind: SpentSettled, Height: deep, RefundValue: DustSat}), false},
		"settled, swept":           {spent(Spend{Kind: SpentSettled, Height: deep, RefundValue: DustSat, Swept: deep}), true},
		"settled, only dust":       {spent(Spend{Kind: SpentSettled, Height: deep, RefundValue: DustSat - 1}), true},
		"something beside":         {beside(Output{Outpoint: extra, Value: MinReturn}), false},
		"beside, returned":         {beside(Output{Outpoint: extra, Value: MinReturn, Returned: deep}), true},
		"beside, just returned":    {beside(Output{Outpoint: extra, Value: MinReturn, Returned: shallow}), false},
		"never funded":             {func(s *State) { s.OutFunding = Funding{} }, true},
		"funding on its way":       {func(s *State) { s.OutFunding = Funding{Tx: &OwnTx{}} }, false},
	} {
		if got := with(test.change).laneDone(true); got != test.done {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFateByTheChain(t *testing.T) {
	f := &Frame{FirstSeq: 3, Total: 6_000, Payments: []Payment{{Amount: 1_000}}}
	peers := func(next uint64) *Stop { return &Stop{In: LaneReport{NextSeq: next}} }
	for name, test := range map[string]struct {
		spend *Spend
		peers *Stop
		taken bool
	}{
		"not spent":                 {nil, peers(9), false},
		"refunded":                  {&Spend{Kind: SpentRefunded}, peers(9), false},
		"settled at its total":      {&Spend{Kind: SpentSettled, Total: 6_000}, nil, true},
		"settled below":             {&Spend{Kind: SpentSettled, Total: 5_999}, nil, false},
		"together, it is in":        {&Spend{Kind: SpentTogether}, peers(4), true},
		"together, it is not":       {&Spend{Kind: SpentTogether}, peers(3), false},
		"together, nobody said so":  {&Spend{Kind: SpentTogether}, nil, false},
		"together, and many others": {&Spend{Kind: SpentTogether}, peers(9), true},
	} {
		s := with(func(s *State) { s.OutFunding.Spend, s.Closing.Peers = test.spend, test.peers })
		if got := s.wasTaken(f); got != test.taken {
			t.Errorf("%s: %v", name, got)
		}
	}
	if effects := usable().resolve(); effects != nil {
		t.Errorf("nothing to resolve: %v", effects)
	}
}

// TestSeenTwice: what the chain shows again changes nothing.
func TestSeenTwice(t *testing.T) {
	spend := Spend{TxID: [32]byte{5}, Height: 855, Kind: SpentSettled, RefundValue: 5_000}
	settled := with(func(s *State) { sp := spend; s.Phase, s.OutFunding.Spend = PhaseSettling, &sp })
	moved := spend
	moved.Height++
	settled.OutFunding.Spend.Swept = 857
	for name, test := range map[string]struct {
		event Input
		news  bool
	}{
		"the spend again":          {SpendSeen{Out: true, Spend: spend}, false},
		"the spend in a new block": {SpendSeen{Out: true, Spend: moved}, true},
		"the sweep again":          {SweepSeen{Height: 857}, false},
		"the sweep in a new block": {SweepSeen{Height: 858}, true},
		"the output again":         {OutputSeen{Out: true, Output: Output{Outpoint: ours, Value: 100_000, Height: 851}}, false},
	} {
		if _, effects, err := Step(*settled, test.event); err != nil || (len(effects) > 0) != test.news {
			t.Errorf("%s: %v, %v", name, effects, err)
		}
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	s := usable()
	cold, _ := s.MarshalCold()
	out, _ := s.Out.MarshalBinary()
	in, _ := s.In.MarshalBinary()
	if _, err := Load(cold, out, in, nil); err != nil {
		t.Fatal(err)
	}
	var syntax *json.SyntaxError
	if _, err := Load(cold[:20], out, in, nil); !errors.As(err, &syntax) {
		t.Errorf("half a record: %v", err)
	}
	if _, err := Load(cold, nil, in, nil); err == nil {
		t.Error("no own lane, and it loads")
	}
	if _, err := Load(cold, out, nil, nil); err == nil {
		t.Error("no lane of the peer's, and it loads")
	}
	if errors.Is(&Error{}, io.EOF) {
		t.Error("an error is any other")
	}
}

// TestOtherBooks: a payee that answered as much as we know of, and has another sum or another history.
func TestOtherBooks(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*LaneReport)
		frozen FreezeReason
	}{
		"the same":      {func(*LaneReport) {}, NotFrozen},
		"another hash":  {func(r *LaneReport) { r.Hash[0]++ }, FrozenHash},
		"another sum":   {func(r *LaneReport) { r.Spent++; r.Total++ }, FrozenHash},
		"a smaller sum": {func(r *LaneReport) { r.Spent-- }, FrozenRegress},
	} {
		s := with(func(s *State) { s.Out.Total = 9_000 })
		r := LaneReport{NextSeq: s.Out.NextSeq, Total: s.Out.Total - 1, Spent: s.Out.Spent, Hash: s.Out.Hash}
		test.change(&r)
		if after, _, err := Step(*s, Received{&Resync{Channel: s.Terms.ID, Phase: PhaseOpen, In: r, Acked: 4}}); err != nil || after.Out.Frozen != test.frozen {
			t.Errorf("%s: %v, %v", name, after.Out.Frozen, err)
		}
	}
	a := LogRoot{Size: 1, Time: 5}
	b, c := a, a
	b.Time, c.Size = 6, 2
	if !a.Same(b) || a.Same(c) {
		t.Error("roots are the same when all but the time is")
	}
}

// TestGivenUpBeforeTheDeposit: only while the deposit that was asked for elsewhere may still come.
func TestGivenUpBeforeTheDeposit(t *testing.T) {
	waiting := func(s *State) {
		s.Phase, s.Terms.External, s.OutFunding, s.InFunding = PhaseSettling, true, Funding{}, Funding{}
	}
	for name, test := range map[string]struct {
		change func(*State)
		given  bool
	}{
		"waiting":       {func(*State) {}, true},
		"open":          {func(s *State) { s.Phase = PhaseOpen }, false},
		"funded":        {func(s *State) { s.InFunding.Seen = []Output{{Outpoint: theirs}} }, false},
		"expired":       {func(s *State) { s.Tip = 1000 }, false},
		"own wallet's":  {func(s *State) { s.Terms.External = false }, false},
		"nothing to it": {func(s *State) { s.Terms.Out.Deposit = 0 }, false},
	} {
		s := with(waiting)
		test.change(s)
		if got := s.GivenUp(); got != test.given {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestNoticesOfUnfundedChannels: nothing expires on a channel without money; an open one is told, funded or not.
func TestNoticesOfUnfundedChannels(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*State)
		told   bool
	}{
		"open":            {func(*State) {}, true},
		"agreed, funded":  {func(s *State) { s.Phase = PhaseAgreed }, true},
		"agreed, nothing": {func(s *State) { s.Phase, s.OutFunding, s.InFunding = PhaseAgreed, Funding{}, Funding{} }, false},
		"open, nothing":   {func(s *State) { s.OutFunding, s.InFunding = Funding{}, Funding{} }, true},
		"over":            {func(s *State) { s.Phase = PhaseClosed }, false},
	} {
		s := with(test.change)
		s.Tip = s.Terms.Out.Expiry - s.Terms.Heights.Stop
		if got := s.dueNotice() != nil; got != test.told {
			t.Errorf("%s: %v", name, got)
		}
	}
}
