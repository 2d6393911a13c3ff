package policy

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

const settleSize = 205 // vB of a settlement of one lane

func exitFee(rate uint64, vbytes int) channel.Sat {
	return channel.Sat((rate*uint64(vbytes) + 999) / 1000)
}

func TestFeeRate(t *testing.T) {
	for _, c := range []struct{ asked, estimate, want uint64 }{
		{0, 0, FeeFloor}, {0, 1, FeeFloor}, {0, 20_000, 20_000}, {0, 1 << 60, FeeCap}, {1000, 20_000, 1000}, {1 << 40, 0, 1 << 40},
	} {
		if got := FeeRate(c.asked, c.estimate); got != c.want {
			t.Errorf("asked %d, estimated %d: %d, want %d", c.asked, c.estimate, got, c.want)
		}
	}
}

func TestExitFee(t *testing.T) {
	calm := Exit{VBytes: settleSize, Stake: 1_000_000, Estimate: 10_000, Left: 288, Window: 144}
	with := func(e Exit, change func(*Exit)) Exit { change(&e); return e }
	for name, c := range map[string]struct {
		exit    Exit
		verdict FeeVerdict
		rate    uint64
	}{
		"the estimate":           {calm, FeeBuild, 10_000},
		"no estimate":            {with(calm, func(e *Exit) { e.Estimate = 0 }), FeeBuild, FeeFloor},
		"asked for":              {with(calm, func(e *Exit) { e.Asked = 3000 }), FeeBuild, 3000},
		"a quarter of the stake": {with(calm, func(e *Exit) { e.Stake = 4100 }), FeeBuild, 5000},
		"asked for more":         {with(calm, func(e *Exit) { e.Stake, e.Asked = 4100, 12_000 }), FeeBuild, 12_000},
		"asked for more than all": {with(calm, func(e *Exit) { e.Stake, e.Asked = 4100, 1_000_000 }), FeeBuild,
			(4100 - 546) * 1000 / settleSize},
		"the floor eats it":      {with(calm, func(e *Exit) { e.Stake = 800 }), FeeWait, 0},
		"the floor is possible":  {with(calm, func(e *Exit) { e.Stake = 1_000 }), FeeBuild, FeeFloor},
		"young":                  {with(calm, func(e *Exit) { e.Last = Standing{Rate: 9000, Fee: 1845, Age: 2, Whole: true} }), FeeKeep, 9000},
		"old":                    {with(calm, func(e *Exit) { e.Last = Standing{Rate: 9000, Fee: 1845, Age: 3, Whole: true} }), FeeBuild, 12_250},
		"refused":                {with(calm, func(e *Exit) { e.Last = Standing{Rate: 9000, Fee: 1845, Whole: true, Refused: true} }), FeeBuild, 12_250},
		"the market fell":        {with(calm, func(e *Exit) { e.Last = Standing{Rate: 90_000, Fee: 18_450, Age: 3, Whole: true} }), FeeBuild, 113_500},
		"spends something else":  {with(calm, func(e *Exit) { e.Last = Standing{Rate: 9000} }), FeeBuild, 12_250},
		"beside what is larger":  {with(calm, func(e *Exit) { e.Last = Standing{Rate: 2000, Fee: 10_000} }), FeeBuild, 49_782},
		"budget reached":         {with(calm, func(e *Exit) { e.Last = Standing{Rate: 1_219_000, Fee: 249_895, Age: 9, Whole: true} }), FeeKeep, 1_219_000},
		"last blocks, first try": {with(calm, func(e *Exit) { e.Left = 144 }), FeeBuild, 15_000},
		"last blocks, next try":  {with(calm, func(e *Exit) { e.Left, e.Last = 143, Standing{Rate: 15_000, Fee: 3075, Age: 1, Whole: true} }), FeeBuild, 19_750},
		"last blocks, no time":   {with(calm, func(e *Exit) { e.Left, e.Last = 50, Standing{Rate: 15_000, Fee: 3075, Age: 1, Whole: true} }), FeeBuild, FeeCap},
		"no deadline":            {with(calm, func(e *Exit) { e.Left = NoDeadline }), FeeBuild, 10_000},
	} {
		verdict, rate := c.exit.Fee()
		if verdict != c.verdict || rate != c.rate {
			t.Errorf("%s: %d, %d; want %d, %d", name, verdict, rate, c.verdict, c.rate)
		}
	}
}

// Whatever comes: no fee falls, a replacement is one that nodes take, and the budget holds.
func TestExitFeeNeverFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		e := Exit{VBytes: settleSize, Stake: channel.Sat(1 + r.Uint64N(1<<(1+r.IntN(40)))), Window: 144}
		var last Standing
		for left := 288; left > 0; left-- {
			e.Left, e.Estimate = uint32(left), r.Uint64N(1<<(1+r.IntN(21)))
			last.Refused = r.IntN(4) == 0
			e.Last = last
			verdict, rate := e.Fee()
			fee := exitFee(rate, e.VBytes)
			switch {
			case verdict == FeeWait:
				if last.Rate > 0 || exitFee(FeeFloor, e.VBytes)*10/9+1 < e.Stake-min(e.Stake, leftover) {
					t.Fatalf("nothing is published for %d sat: %+v", e.Stake, e)
				}
			case verdict == FeeKeep:
				last.Age++
			case rate < FeeFloor || last.Rate > 0 && (rate <= last.Rate || fee < last.Fee+exitFee(relayStep, e.VBytes)):
				t.Fatalf("%d sat/kvB, %d sat after %+v", rate, fee, last)
			case fee > e.Stake*9/10 || e.Stake-fee < leftover || rate > FeeCap:
				t.Fatalf("a fee of %d sat for %d sat", fee, e.Stake)
			case left > 144 && fee > max(e.Stake/4, exitFee(FeeFloor, e.VBytes)):
				t.Fatalf("a fee of %d sat for %d sat, long before the end", fee, e.Stake)
			default:
				last = Standing{Rate: rate, Fee: fee, Whole: true}
			}
		}
		if most := min(e.share(9, 10), FeeCap); last.Rate > 0 && max(e.above(last.Fee), last.Rate+relayStep) <= most {
			t.Fatalf("never more than %d of %d sat/kvB was offered", last.Rate, most)
		}
	})
}

// The fee is at its highest with a third of the window gone, on every network and from every start.
func TestEscalationIsInTime(t *testing.T) {
	for _, window := range []uint32{144, 12} {
		for start := window + 3; start > window*2/3; start-- {
			e := Exit{VBytes: settleSize, Stake: 10_000_000, Estimate: 1000, Window: window}
			for e.Left = start; e.Left > window*2/3-1; e.Left-- {
				if verdict, rate := e.Fee(); verdict == FeeBuild {
					e.Last = Standing{Rate: rate, Fee: exitFee(rate, settleSize), Whole: true}
				}
				e.Last.Age++
			}
			if e.Last.Rate != FeeCap {
				t.Errorf("window %d, from %d: %d sat/kvB at %d blocks", window, start, e.Last.Rate, e.Left)
			}
		}
	}
}
