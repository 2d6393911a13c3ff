package channel

import "testing"

func TestFundingGuards(t *testing.T) {
	agreed := func(s *State) { s.Phase, s.OutFunding, s.InFunding = PhaseAgreed, Funding{}, Funding{} }
	for name, test := range map[string]struct {
		change func(*State)
		moved  bool
	}{
		"the opener's failed":           {agreed, true},
		"the other's failed":            {func(s *State) { agreed(s); s.Terms.Opener = false }, false},
		"another was published already": {func(s *State) { agreed(s); s.OutFunding.Tx = &OwnTx{} }, false},
	} {
		if _, effects, err := Step(*with(test.change), FundingFailed{}); err != nil || has[Moved](effects) != test.moved {
			t.Errorf("%s: %v, %v", name, effects, err)
		}
	}
	stop := usable().Terms.StopHeight(usable().Terms.Out)
	fresh := func(s *State) { s.fresh = true }
	second := func(s *State) { s.Terms.Opener = false }
	for name, test := range map[string]struct {
		change func(*State)
		wants  bool
	}{
		"the opener":               {fresh, true},
		"under way":                {func(s *State) { fresh(s); s.funding = true }, false},
		"the peer is closing":      {func(s *State) { fresh(s); s.Closing.Peers = &Stop{} }, false},
		"another wallet funds":     {func(s *State) { fresh(s); s.Terms.External = true }, false},
		"no lane":                  {func(s *State) { fresh(s); s.Terms.Out.Deposit = 0 }, false},
		"a block before the stop":  {func(s *State) { fresh(s); s.Tip = stop - 1 }, true},
		"at the stop":              {func(s *State) { fresh(s); s.Tip = stop }, false},
		"the peer":                 {second, true},
		"before the opener's":      {func(s *State) { second(s); s.InFunding.Seen = nil }, false},
		"the opener's is too low":  {func(s *State) { second(s); s.InFunding.Seen[0].Value-- }, false},
		"the opener's is to come":  {func(s *State) { second(s); s.InFunding.Seen[0].Height = s.Tip + 1 }, false},
		"the opener's is new":      {func(s *State) { second(s); s.InFunding.Seen[0].Height = s.Tip }, true},
		"the opener in a new life": {nil, false},
	} {
		if got := with(test.change).wantsFunding(); got != test.wants {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestGivenUp(t *testing.T) {
	external := func(s *State) { s.Terms.External = true }
	abandon := usable().Terms.OpenedAt + TestHeights.Abandon
	for name, test := range map[string]struct {
		change        func(*State)
		awaits, given bool
	}{
		"the opener, a new life":          {nil, false, true},
		"the opener, in this life":        {func(s *State) { s.fresh = true }, false, false},
		"the peer":                        {func(s *State) { s.Terms.Opener = false }, false, false},
		"the peer, a block before":        {func(s *State) { s.Terms.Opener, s.Tip = false, abandon-1 }, false, false},
		"the peer, after long":            {func(s *State) { s.Terms.Opener, s.Tip = false, abandon }, false, true},
		"by another wallet":               {external, true, false},
		"by another wallet, after long":   {func(s *State) { external(s); s.Tip = 999 }, true, false},
		"by another wallet, expired":      {func(s *State) { external(s); s.Tip = 1000 }, false, true},
		"by another wallet, without lane": {func(s *State) { external(s); s.Terms.Out.Deposit = 0 }, false, false},
	} {
		s := with(test.change)
		if s.awaits() != test.awaits || s.given() != test.given {
			t.Errorf("%s: awaits %v, given %v", name, s.awaits(), s.given())
		}
	}
	for name, f := range map[string]Funding{"published": {Tx: &OwnTx{}}, "claimed": {Claimed: extra}, "seen": {Seen: []Output{{Outpoint: extra}}}} {
		if f.unused() {
			t.Errorf("%s, and called unused", name)
		}
	}
	if with(func(s *State) { s.OutFunding = Funding{} }).unfunded() {
		t.Error("the peer's money is there, and the channel is called unfunded")
	}
}

// TestReadyStays: a lane that was ready stays so while its funding is in the chain.
func TestReadyStays(t *testing.T) {
	s := with(func(s *State) { s.Terms.InConfs = 100 })
	if effects := s.dueReady(); effects != nil || !s.InFunding.Ready {
		t.Errorf("%v", effects)
	}
}
