package channel

import "fmt"

// Phase is where a channel stands. Phases only move forward along edges; the most advanced of two
// records wins.
//
//	none ──> agreed ──> open ──> closing ──> settling ──> closed
//	agreed ──> closing, settling, abandoned
//	open ──> settling
//	none, agreed, open ──> recovering ──> closing, settling
//	closing ──> closed
type Phase uint8

const (
	PhaseNone       Phase = iota
	PhaseAgreed           // terms durable on this side, waiting for funding
	PhaseOpen             // at least one lane takes vouchers
	PhaseRecovering       // what we know is not proven: close, settle, refund only
	PhaseClosing          // no more vouchers; closing together
	PhaseSettling         // a lane is being or was spent alone
	PhaseClosed           // every lane is spent six blocks deep
	PhaseAbandoned        // never funded
)

var phaseNames = [...]string{"none", "agreed", "open", "recovering", "closing", "settling", "closed", "abandoned"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase_%d", uint8(p))
}

// edges is the one table of allowed moves.
var edges = map[Phase][]Phase{
	PhaseNone:       {PhaseAgreed, PhaseRecovering},
	PhaseAgreed:     {PhaseOpen, PhaseRecovering, PhaseClosing, PhaseSettling, PhaseAbandoned},
	PhaseOpen:       {PhaseRecovering, PhaseClosing, PhaseSettling},
	PhaseRecovering: {PhaseClosing, PhaseSettling},
	PhaseClosing:    {PhaseSettling, PhaseClosed},
	PhaseSettling:   {PhaseClosed},
	PhaseClosed:     {},
	PhaseAbandoned:  {},
}

// CanMove reports whether the table has an edge from p to q.
func (p Phase) CanMove(q Phase) bool {
	for _, e := range edges[p] {
		if e == q {
			return true
		}
	}
	return false
}

// Final reports whether nothing is at stake any more.
func (p Phase) Final() bool { return p == PhaseClosed || p == PhaseAbandoned }
