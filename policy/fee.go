package policy

import "github.com/runnel/runnel/channel"

// Everything that decides what a transaction of ours pays. Rates are in satoshis for a thousand virtual
// bytes, distances in blocks.

const (
	// FeeFloor is the least that nodes relay, 1 sat/vB, with a quarter on top: on the edge it would fail on
	// nodes whose mempool has filled a little.
	FeeFloor uint64 = 1250

	// FeeCap bounds what an estimate or an escalation can reach: mainnet never needed 1,000 sat/vB for more
	// than a few blocks, and a node that is cut off must not burn a deposit while it waits.
	FeeCap uint64 = 1_000_000

	// Patience is how many blocks a transaction waits for a block before its fee is raised.
	Patience = 3

	// NoDeadline says that nobody else can take the money.
	NoDeadline uint32 = 1<<32 - 1

	// relayStep is what a replacement adds for each thousand of its own bytes (BIP 125, rule 4).
	relayStep uint64 = 1000

	// leftover is the smallest output that nodes relay to every standard script.
	leftover channel.Sat = 546
)

// A fee is at most a quarter of what it brings home, or nine tenths when the money would be lost otherwise.
const (
	calmNumerator, calmDenominator     = 1, 4
	urgentNumerator, urgentDenominator = 9, 10
)

// FeeRate is the rate for a transaction that nothing presses: what the owner asked for, or the estimate
// between floor and cap. Zero says that there is none.
func FeeRate(asked, estimate uint64) uint64 {
	if asked > 0 {
		return asked
	}
	return min(max(estimate, FeeFloor), FeeCap)
}

// Exit is a transaction that brings home what lanes owe us, at the moment when its fee is chosen.
type Exit struct {
	VBytes   int         // of the transaction that would be built
	Stake    channel.Sat // what it brings before the fee
	Estimate uint64      // rate for a block among the next six; 0: unknown
	Asked    uint64      // rate that the owner asked for; 0: the estimate
	Left     uint32      // blocks until somebody else may take the money, or NoDeadline
	Window   uint32      // the last of these, in which the fee rises steeply
	Last     Standing    // what it replaces; zero: nothing
}

// Standing is a transaction of ours that was published and is in no block.
type Standing struct {
	Rate    uint64      // the highest that was ever paid for any of the inputs
	Fee     channel.Sat // that a replacement must exceed; 0: nodes hold nothing that it replaces
	Age     uint32      // blocks since it was made
	Whole   bool        // it spends just what is to be spent now
	Refused bool        // nodes did not take it
}

// FeeVerdict is what to do about an exit now.
type FeeVerdict uint8

const (
	FeeBuild FeeVerdict = iota // build it at the rate, in place of what stands
	FeeKeep                    // publish what stands again
	FeeWait                    // the fee would eat what it brings
)

// Fee decides. A rate never falls below the last one, unless what is at stake can't pay that any more; it
// exceeds the calm budget only by that rule.
func (e Exit) Fee() (FeeVerdict, uint64) {
	most := e.share(urgentNumerator, urgentDenominator)
	if e.Asked == 0 {
		most = min(most, FeeCap)
	}
	if most < FeeFloor {
		if e.Last.Whole {
			return FeeKeep, e.Last.Rate
		}
		return FeeWait, 0
	}
	if e.Last.Rate == 0 {
		return FeeBuild, min(e.first(), e.budget(most))
	}
	if e.Last.Whole && !e.due() {
		return FeeKeep, e.Last.Rate
	}
	return e.replace(most)
}

// replace is the decision when something of ours spends the same already.
func (e Exit) replace(most uint64) (FeeVerdict, uint64) {
	least := e.Last.Rate
	if e.Last.Fee > 0 {
		least = max(least+relayStep, e.above(e.Last.Fee))
	}
	want := max(e.first(), least, e.raised(most))
	budget := e.budget(most)
	switch {
	case want <= budget:
		return FeeBuild, want
	case least <= budget:
		return FeeBuild, budget
	case e.Last.Whole:
		return FeeKeep, e.Last.Rate
	}
	return FeeBuild, min(least, most) // below least it is taken once what stands is gone
}

// urgent reports whether the time has come in which fees rise steeply.
func (e Exit) urgent() bool { return e.Left <= e.Window && e.Left != NoDeadline }

func (e Exit) due() bool {
	return e.Last.Refused || e.Last.Age >= Patience || e.urgent() && e.Last.Age > 0
}

// first is the rate of a transaction that replaces nothing.
func (e Exit) first() uint64 {
	rate := FeeRate(e.Asked, e.Estimate)
	if e.urgent() {
		return max(rate, FeeRate(0, e.Estimate)) * 3 / 2
	}
	return rate
}

// raised is what the next attempt pays: a quarter more than the last, and in the last blocks as much more
// as it takes to reach most while a third of the window is gone.
func (e Exit) raised(most uint64) uint64 {
	last := e.Last.Rate
	if !e.urgent() {
		return last + last/4 + relayStep
	}
	goal := e.Window * 2 / 3
	if e.Left <= goal {
		return max(most, last)
	}
	return climb(last, most, e.Left-goal)
}

// climb is the next of so many steps from a rate to the top, each the same gentle multiple of the one before.
func climb(last, top uint64, steps uint32) uint64 {
	for _, percent := range []uint64{125, 150, 200, 300, 500} {
		rate := last
		for range steps {
			if rate = rate*percent/100 + relayStep; rate >= top {
				return last*percent/100 + relayStep
			}
		}
	}
	return top
}

// budget is the highest rate that the stake allows now. The floor is always allowed: waiting brings
// nothing when fees can't fall.
func (e Exit) budget(most uint64) uint64 {
	if e.urgent() {
		return most
	}
	return min(most, max(e.share(calmNumerator, calmDenominator), FeeFloor, e.Asked))
}

// share is the highest rate at which the fee is at most a part of the stake and an output remains.
func (e Exit) share(numerator, denominator uint64) uint64 {
	if e.VBytes <= 0 || e.Stake <= leftover || e.Stake > channel.MaxMoney {
		return 0
	}
	fee := min(uint64(e.Stake)/denominator*numerator, uint64(e.Stake-leftover))
	return fee * 1000 / uint64(e.VBytes)
}

// above is the lowest rate whose fee replaces another fee (BIP 125, rules 3 and 4).
func (e Exit) above(fee channel.Sat) uint64 {
	if e.VBytes <= 0 {
		return 0
	}
	size := uint64(e.VBytes)
	return (uint64(fee)*1000+size-1)/size + relayStep + 1
}

// Worth reports whether a lane that brings so much is settled at a fee now, rather than later or never.
// together means that nobody named it: then the fee is at most a quarter of it.
func Worth(value, fee channel.Sat, together bool) bool {
	if together {
		return fee <= value/calmDenominator*calmNumerator
	}
	return fee < value/urgentDenominator*urgentNumerator && value-fee >= leftover
}
