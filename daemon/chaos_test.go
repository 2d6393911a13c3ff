package daemon_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

// Everything at once, in an order that chance decides: payments both ways, restarts, power losses, writes
// that fail, connections that break, reorganisations, a chain that is away. Every id is one payment, both
// books agree, and the close pays each side what is its own to the satoshi.
func TestChaos(t *testing.T) {
	t.Parallel()
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { t.Parallel(); chaos(t, rand.New(rand.NewPCG(uint64(seed), 7))) })
	}
}

func chaos(t *testing.T, rng *rand.Rand) {
	w := newWorld(t)
	w.chain.Mine(8)
	alice, bob, id := w.pair()
	var out, back []*burst
	out = append(out, alice.burst(id, 98, 1, 5_000_001)) // so that each lane is worth a settlement
	back = append(back, bob.burst(id, 99, 1, 5_000_001))
	var story []string
	defer func() {
		if t.Failed() {
			t.Log(story)
		}
	}()
	for step := range 25 {
		m := alice
		if rng.IntN(2) == 0 {
			m = bob
		}
		what := rng.IntN(9)
		story = append(story, fmt.Sprint(m.name, " ", what))
		switch what {
		case 0, 1, 2:
			n := 1 + rng.IntN(60)
			if m == alice {
				out = append(out, m.burst(id, byte(step), n, channel.Msat(1+rng.IntN(20_000))))
			} else {
				back = append(back, m.burst(id, byte(100+step), n, channel.Msat(1+rng.IntN(2_000))))
			}
		case 3:
			m.restart()
		case 4:
			m.powerLoss()
		case 5:
			m.disk.failNth(1 + rng.IntN(6))
		case 6:
			w.net.Break(w.id("alice"), w.id("bob"))
		case 7:
			must(t, w.chain.Reorg(1+rng.IntN(6)))
			w.chain.Mine(1)
		case 8:
			m.chain.SetAway(true)
			time.Sleep(5 * time.Millisecond)
			m.chain.SetAway(false)
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
	}
	alice.disk.fault(nil)
	bob.disk.fault(nil)
	w.mineUntil("both lanes are ready", func() bool {
		return alice.info(id).Reason == "" && bob.info(id).Reason == ""
	}, alice, bob)
	// Payments that are due in one direction can be paid in any number of turns: those that were refused
	// stay refused under their id.
	sum := func(m *member, list []*burst) (sum channel.Msat) {
		for _, b := range list {
			for i := range b.n {
				w.eventually("each payment has a fate", func() bool {
					ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
					defer cancel()
					r, err := m.Pay(ctx, b.request(i))
					if err == nil && r.Status == channel.PayAcknowledged {
						sum += b.amount
					}
					return err == nil
				})
			}
		}
		return sum
	}
	sent, received := sum(alice, out), sum(bob, back)
	w.books(alice, bob, id, sent)
	w.books(bob, alice, id, received)
	t.Logf("sent %d, received %d, at block %d", sent, received, w.chain.Height())
	closer, force := alice, rng.IntN(2) == 0
	if rng.IntN(2) == 0 {
		closer = bob
	}
	if force { // alone: at what was signed
		sent, received = alice.State(id).Out.Total, bob.State(id).Out.Total
	}
	w.eventually("closed", func() bool {
		_, err := closer.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: force})
		return err == nil
	})
	if rng.IntN(3) == 0 {
		w.chain.Mine(1)
		closer.powerLoss()
		must(t, w.chain.Reorg(1))
	}
	w.finish(alice, bob, id, int64(sent.SatCeil())-int64(received.SatCeil()))
}
