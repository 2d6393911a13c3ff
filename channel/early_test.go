package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
)

// Whoever sees no waiting transactions settles sooner; whoever sees them waits for the stop height; and
// where nothing was received there is nothing to settle.
func TestEarlySettlement(t *testing.T) {
	for name, c := range map[string]struct {
		early    bool
		total    channel.Msat
		sooner   uint32 // than the stop height
		settling bool
	}{
		"at its height":          {true, 5000, 12, true},
		"one block before":       {true, 5000, 13, false},
		"with a mempool":         {false, 5000, 1, false},
		"with a mempool at stop": {false, 5000, 0, true},
		"nothing received":       {true, 0, 0, false},
	} {
		s := open(t)
		if s.Terms.Heights.Escalate != 12 {
			t.Fatalf("the test's heights escalate %d blocks before the expiry", s.Terms.Heights.Escalate)
		}
		s.Terms.In.Expiry, s.In.Total = s.Terms.Out.Expiry, c.total
		step(t, &s, channel.Height{Tip: s.Terms.StopHeight(s.Terms.In) - c.sooner, Early: c.early})
		if got := s.Phase == channel.PhaseSettling; got != c.settling {
			t.Errorf("%s: phase %s", name, s.Phase)
		}
	}
}
