package daemon_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// Connections that begin while the node scans the chain, or break again and again: no order of greeting,
// scan and words of the peer leaves a channel that never pays again.
func TestGreetingInEveryOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	var each atomic.Int64
	var paid channel.Msat
	for round := range 40 {
		switch round % 4 {
		case 0:
			alice.restart()
		case 1:
			bob.restart()
		case 2:
			for range 5 {
				w.net.Break(w.id("alice"), w.id("bob"))
				time.Sleep(time.Duration(round) * 100 * time.Microsecond)
			}
		case 3: // a resync gets lost with its connection
			each.Store(1)
			w.lose(func(_ channel.PeerID, m wire.Message) bool {
				if _, ok := m.(*channel.Resync); ok && each.Add(-1) == 0 {
					go w.net.Break(w.id("alice"), w.id("bob"))
					return true
				}
				return false
			})
			w.net.Break(w.id("alice"), w.id("bob"))
		}
		w.synced(alice, bob)
		w.eventually("alice can pay", func() bool { st := alice.State(id); return st.Synced && st.CanPay() == nil })
		w.eventually("bob can pay", func() bool { st := bob.State(id); return st.Synced && st.CanPay() == nil })
	}
	w.lose(nil)
	b := alice.burst(id, 1, 20, 1_000)
	b.insist()
	paid += 20_000
	w.books(alice, bob, id, paid)
}
