package channel

import (
	"slices"
	"testing"
)

func offer(o Outpoint, change func(*ReturnOffer)) Received {
	m := &ReturnOffer{Channel: ID{9}, Output: o, Value: 100_000, Fee: 500, Payout: payout, Nonce: [66]byte{2}}
	if change != nil {
		change(m)
	}
	return Received{Msg: m}
}

// besides is a channel with an output at the peer's lane that nobody uses.
func besides(change func(*State)) *State {
	return with(func(s *State) {
		s.InFunding.Seen = append(s.InFunding.Seen, Output{Outpoint: extra, Value: 100_000, Height: 855})
		if change != nil {
			change(s)
		}
	})
}

// TestSignedAway: what may be signed away, in which state, and that the record says so before the signature.
func TestSignedAway(t *testing.T) {
	foreign := Outpoint{TxID: [32]byte{77}}
	fresh := func(s *State) { s.In = Lane{NextSeq: 1, Acked: 1}; s.InFunding.Claimed = Outpoint{} }
	for name, c := range map[string]struct {
		s    *State
		ask  Received
		want bool
	}{
		"beside the deposit":         {besides(nil), offer(extra, nil), true},
		"while closing":              {besides(closing), offer(extra, nil), true},
		"after the close":            {besides(func(s *State) { s.Phase = PhaseClosed }), offer(extra, nil), true},
		"given up":                   {with(func(s *State) { fresh(s); s.Phase = PhaseAbandoned }), offer(foreign, nil), true},
		"before any is named":        {besides(func(s *State) { fresh(s); s.Phase = PhaseAgreed }), offer(extra, nil), true},
		"the live one":               {besides(nil), offer(theirs, nil), false},
		"the live one, not used yet": {besides(func(s *State) { s.In, s.InFunding.Ready, s.Phase = Lane{NextSeq: 1, Acked: 1}, false, PhaseAgreed }), offer(theirs, nil), false},
		"the live one, closing":      {besides(closing), offer(theirs, nil), false},
		"the live one, closed":       {besides(func(s *State) { s.Phase = PhaseClosed }), offer(theirs, nil), false},
		"an output of others":        {besides(nil), offer(foreign, nil), false},
		"own lane's":                 {besides(nil), offer(ours, nil), false},
		"of another value":           {besides(nil), offer(extra, func(m *ReturnOffer) { m.Value++ }), false},
		"recovering":                 {besides(func(s *State) { s.Phase = PhaseRecovering }), offer(extra, nil), false},
		"asking":                     {besides(func(s *State) { s.Asking = &Asking{} }), offer(extra, nil), false},
		"unproven":                   {besides(func(s *State) { s.Phase, s.In.Frozen = PhaseSettling, FrozenUnproven }), offer(extra, nil), false},
		"of another channel":         {besides(nil), offer(extra, func(m *ReturnOffer) { m.Channel[0]++ }), false},
		"all of it fee":              {besides(nil), offer(extra, func(m *ReturnOffer) { m.Fee = m.Value }), false},
		"to nowhere":                 {besides(nil), offer(extra, func(m *ReturnOffer) { m.Payout = nil }), false},
		"too many":                   {besides(func(s *State) { s.InFunding.Away = make([]Outpoint, MaxAway) }), offer(extra, nil), false},
	} {
		next, effects, err := Step(*c.s, c.ask)
		signs := slices.IndexFunc(effects, func(e Effect) bool { _, ok := e.(SignAway); return ok })
		if (signs >= 0) != c.want || (err == nil) != c.want {
			t.Errorf("%s: %v, %v", name, effects, err)
			continue
		}
		if c.want && (!next.InFunding.away(c.ask.Msg.(*ReturnOffer).Output) || effects[0] != Effect(Save{Cold: true})) {
			t.Errorf("%s: %v leaves before the record that says so", name, effects)
		}
	}
}

// TestSignedAwayIsNeverServed: not in this run, not after a start, and asking again changes nothing.
func TestSignedAwayIsNeverServed(t *testing.T) {
	s := besides(func(s *State) {
		s.Phase, s.In, s.InFunding.Ready, s.InFunding.Claimed = PhaseAgreed, Lane{NextSeq: 1, Acked: 1}, false, Outpoint{}
	})
	next, _, err := Step(*s, offer(extra, nil))
	if err != nil {
		t.Fatal(err)
	}
	again, effects, err := Step(next, offer(extra, func(m *ReturnOffer) { m.Fee++ }))
	if err != nil || len(effects) != 1 || len(again.InFunding.Away) != 1 {
		t.Errorf("asked twice: %v, %v, %v", effects, err, again.InFunding.Away)
	}
	cold, err := next.MarshalCold()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := next.Out.MarshalBinary()
	in, _ := next.In.MarshalBinary()
	stored, err := Load(cold, out, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	stored.Tip = next.Tip
	for name, st := range map[string]State{"now": next, "after a start": stored} {
		for _, m := range []Message{&Funded{Lane: st.Terms.In.ID(), Funding: extra}, &Resync{Channel: st.Terms.ID, Phase: PhaseAgreed, Funding: extra, In: LaneReport{NextSeq: 3, Total: 5_000, Spent: 5_000, Signature: Signature{1}}, Acked: 1}} {
			after, effects, _ := Step(st, Received{Msg: m})
			blamed := slices.ContainsFunc(effects, func(e Effect) bool { _, ok := e.(Misbehaved); return ok })
			if after.InFunding.Claimed != (Outpoint{}) || !blamed {
				t.Errorf("%s: %T of an output that was signed away: %v", name, m, effects)
			}
		}
	}
}

// TestReturnIsAsked: a payer asks for what its vouchers don't spend, and for all that the peer gave up.
func TestReturnIsAsked(t *testing.T) {
	beside := func(o Output) func(*State) {
		return func(s *State) { s.there, s.OutFunding.Seen = PhaseOpen, append(s.OutFunding.Seen, o) }
	}
	good := Output{Outpoint: extra, Value: 77_000, Height: 855}
	both := func(a, b func(*State)) func(*State) { return func(s *State) { a(s); b(s) } }
	for name, c := range map[string]struct {
		change func(*State)
		want   bool
	}{
		"beside":          {beside(good), true},
		"nothing beside":  {func(s *State) { s.there = PhaseOpen }, false},
		"too little":      {beside(Output{Outpoint: extra, Value: MinReturn - 1, Height: 855}), false},
		"returned":        {beside(Output{Outpoint: extra, Value: 77_000, Height: 855, Returned: 859}), false},
		"on its way":      {beside(Output{Outpoint: extra, Value: 77_000, Height: 855, Return: &OwnTx{Height: 858}}), false},
		"stuck":           {beside(Output{Outpoint: extra, Value: 77_000, Height: 855, Return: &OwnTx{Height: 860 - returnPatience}}), true},
		"recovering":      {both(beside(good), func(s *State) { s.Phase = PhaseRecovering }), false},
		"asking":          {both(beside(good), func(s *State) { s.Asking = &Asking{} }), false},
		"peer away":       {both(beside(good), func(s *State) { s.there = PhaseNone }), false},
		"expired":         {both(beside(good), func(s *State) { s.Tip = 1000 }), false},
		"peer gave up":    {func(s *State) { s.there, s.Out = PhaseAbandoned, Lane{NextSeq: 1, Acked: 1} }, true},
		"with vouchers":   {func(s *State) { s.there = PhaseAbandoned }, false},
		"with one signed": {func(s *State) { s.there, s.Out = PhaseAbandoned, Lane{NextSeq: 2, Acked: 1} }, false},
	} {
		s := with(c.change)
		got := slices.ContainsFunc(s.dueReturns(), func(e Effect) bool { _, ok := e.(AskReturn); return ok })
		if got != c.want {
			t.Errorf("%s: asked %v", name, got)
		}
	}
}
