package daemon_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// What a channel makes of a state in the same turn in which it learns that this state could not be stored is
// dropped with it: nothing of it is stored, sent or published (found by the simulation, seed 308).
func TestTurnOfADroppedState(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	alice.pay(id.String(), 1_000)
	w.eventually("all is stored", func() bool { return alice.State(id).Out.Acked == 2 && alice.Waiting() == 0 })

	writing, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	alice.disk.fault(func([]*store.Batch) (err error) {
		once.Do(func() {
			close(writing)
			<-gate
			err = errDisk
		})
		return err
	})
	other := channel.Output{Outpoint: channel.Outpoint{TxID: [32]byte{7}}, Value: 5_000, Height: alice.State(id).Tip}
	alice.Post(id, channel.OutputSeen{Out: true, Output: other}) // a commit that will fail
	<-writing
	waiting, release := alice.Hold(id)
	alice.Post(id, channel.BooksDiffer{}) // builds on it
	close(gate)
	w.eventually("both are in the mail", func() bool { return waiting() >= 2 })
	release()
	w.eventually("the channel is back at what is stored", func() bool { return len(alice.State(id).OutFunding.Seen) == 1 })
	if st := alice.State(id); st.Out.Frozen != channel.NotFrozen {
		t.Fatalf("the lane is frozen: %s", st.Out.Frozen)
	}
	ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
	defer cancel()
	_ = alice.Watch(ctx, 0, func(e channel.Event) error {
		if strings.Contains(e.Text, "books differ") {
			t.Errorf("an alert about what was dropped: %s", e.Text)
		}
		return nil
	})
}
