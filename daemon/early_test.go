package daemon_test

import (
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// The peer has a new channel before the opener has, and may greet for it while the opener's record is on its
// way to the disk. It greets once for each connection: an opener that missed it could never pay.
func TestGreetingBeforeTheOpenerHasTheChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	stored := make(chan struct{})
	var once sync.Once
	w.lose(func(_ channel.PeerID, m wire.Message) bool {
		switch m := m.(type) {
		case *channel.Accept:
			alice.disk.fault(func([]*store.Batch) error { <-stored; return nil })
			bob.Greet(m.Channel)
		case *channel.Resync:
			once.Do(func() { time.AfterFunc(50*time.Millisecond, func() { close(stored) }) })
		}
		return false
	})
	id := w.open(alice, bob, 1_000_000, 0)
	w.eventually("alice is greeted", func() bool { return alice.State(id).Synced })
	alice.burst(id, 1, 3, 1_000).insist()
	w.books(alice, bob, id, 3_000)
}
