package sim_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel/runnel/itest/sim"
)

var (
	seed   = flag.Uint64("seed", 0, "run the simulations from this seed on; 0: from 1")
	runs   = flag.Int("runs", 0, "number of seeds; 0: as many as fit the time")
	budget = flag.Duration("for", time.Minute, "time for all runs, when -runs is 0")
	lines  = flag.String("trace", "", "write the trace of each run to this file")
	logs   = flag.String("logs", "", "write what the nodes log to this file")
)

func create(t *testing.T, name string) *os.File {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// simulate runs one seed in a bubble.
func simulate(t *testing.T, plan sim.Plan) (r sim.Result) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { r = sim.Run(plan) })
	return r
}

// Seeds, one after another, as many as were asked for or as fit the time. None breaks a promise.
func TestSeeds(t *testing.T) {
	first, limit := max(*seed, 1), *budget
	if testing.Short() {
		limit /= 10
	}
	began := time.Now()
	var sum sim.Result
	n := 0
	for ; *runs == 0 && time.Since(began) < limit || n < *runs; n++ {
		plan := sim.Plan{Seed: first + uint64(n)}
		if f := create(t, *lines); f != nil {
			plan.Trace = f
		}
		if f := create(t, *logs); f != nil {
			plan.Log = f
		}
		r := simulate(t, plan)
		if report(t, r); t.Failed() {
			return
		}
		sum.Steps += r.Steps
		sum.Commits += r.Commits
		sum.Messages += r.Messages
		sum.Payments += r.Payments
		sum.Crashes += r.Crashes
		sum.Elapsed += r.Elapsed
		if *runs > 0 {
			t.Logf("seed %d: trace %s, %d steps", r.Seed, r.Hash, r.Steps)
		}
	}
	t.Logf("%d runs from seed %d: %d steps, %d commits, %d messages, %d payments, %d crashes, %v simulated, in %v",
		n, first, sum.Steps, sum.Commits, sum.Messages, sum.Payments, sum.Crashes, sum.Elapsed.Round(time.Second), time.Since(began).Round(time.Millisecond))
}

func report(t *testing.T, r sim.Result) {
	t.Helper()
	if len(r.Violations) == 0 {
		return
	}
	tail := r.Tail
	if len(tail) > 40 {
		tail = tail[len(tail)-40:]
	}
	t.Errorf("seed %d broke promises:\n  %s\nthe end of its trace:\n%s\nrepeat it with: make sim SEED=%d RUNS=1",
		r.Seed, strings.Join(r.Violations, "\n  "), strings.Join(tail, ""), r.Seed)
}

// The same seed gives the same trace to the byte.
func TestSameSeedSameTrace(t *testing.T) {
	for s := range uint64(5) {
		var x, y bytes.Buffer
		a, b := simulate(t, sim.Plan{Seed: 100 + s, Trace: &x}), simulate(t, sim.Plan{Seed: 100 + s, Trace: &y})
		if a.Hash != b.Hash {
			t.Errorf("seed %d: %d and %d steps: %s", 100+s, a.Steps, b.Steps, differ(x.String(), y.String()))
		}
	}
}

// differ is the first line that differs.
func differ(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			from, to := max(i-12, 0), min(i+12, len(x), len(y))
			return fmt.Sprintf("\n%s\n---\n%s", strings.Join(x[from:to], "\n"), strings.Join(y[i:to], "\n"))
		}
	}
	return "one is longer"
}
