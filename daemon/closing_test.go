package daemon_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// used is a channel with payments both ways that no rounding hides.
func (w *world) used() (alice, bob *member, id channel.ID, bobs int64) {
	w.t.Helper()
	alice, bob, id = w.pair()
	alice.pay(id.String(), 123_456)
	bob.pay(id.String(), 5_000_007)
	alice.pay(id.String(), 30_000_000)
	return alice, bob, id, 30_124 - 5_001
}

// finish mines until both sides are done, and checks to the satoshi that bob has what is his. Whoever
// brought a transaction to the chain paid its fee.
func (w *world) finish(alice, bob *member, id channel.ID, bobs int64) {
	w.t.Helper()
	for range 200 {
		if alice.info(id).Phase == channel.PhaseClosed && bob.info(id).Phase == channel.PhaseClosed {
			break
		}
		w.chain.Mine(1)
		w.synced(alice, bob)
	}
	if a, b := alice.info(id).Phase, bob.info(id).Phase; a != channel.PhaseClosed || b != channel.PhaseClosed {
		w.t.Fatalf("alice: %s, bob: %s", a, b)
	}
	w.conserved(alice, bob)
	if got := w.lockedNow(alice, bob); got != 0 {
		w.t.Errorf("%d sat are still locked", got)
	}
	got := int64(bob.onchain()) - int64(bob.given)
	fees, _ := w.feesAndLocked(w.ownTxs([]*member{alice, bob}), []*member{alice, bob})
	if got > bobs || got+int64(fees) < bobs {
		w.t.Errorf("bob has %d sat more than he came with; %d are his, fees are %d in all", got, bobs, fees)
	}
}

// Each message of a close gets lost once, or its sender's peer vanishes with it: the channel ends all the
// same, and the sums are exact.
func TestCloseLosesEachMessage(t *testing.T) {
	t.Parallel()
	for _, m := range []wire.Message{&channel.Stop{}, &channel.CloseOffer{}, &channel.CloseSign{}, &channel.CloseDone{}} {
		for _, then := range []string{"lost", "cut", "restart"} {
			t.Run(fmt.Sprintf("%T %s", m, then), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				alice, bob, id, bobs := w.used()
				kind, seen := reflect.TypeOf(m), make(chan struct{})
				var once sync.Once
				w.lose(func(_ channel.PeerID, m wire.Message) (lost bool) {
					if reflect.TypeOf(m) == kind {
						once.Do(func() {
							lost = true
							close(seen)
							if then == "cut" {
								go w.net.Break(w.id("alice"), w.id("bob"))
							}
						})
					}
					return lost
				})
				done := make(chan error, 1)
				go func() {
					_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
					done <- err
				}()
				<-seen
				if then == "restart" {
					bob.restart()
				}
				if then != "lost" {
					// Without another block: a new connection begins a new attempt.
					w.eventually("closed together", func() bool {
						return alice.State(id).Closing.Tx != nil || len(w.chain.Mempool()) > 0
					})
				}
				w.finish(alice, bob, id, bobs)
				<-done
				if k := alice.State(id).OutFunding.Spend.Kind; k != channel.SpentTogether && then != "lost" {
					t.Errorf("it ended by a spend of kind %d", k)
				}
			})
		}
	}
}

// The peer vanishes at each message until all lanes have expired: the payee settles, and the payer gets
// all the rest.
func TestPeerVanishesInAClose(t *testing.T) {
	t.Parallel()
	for _, m := range []wire.Message{&channel.Stop{}, &channel.CloseOffer{}, &channel.CloseSign{}, &channel.CloseDone{}} {
		for _, survivor := range []string{"alice", "bob"} {
			t.Run(fmt.Sprintf("%T %s stays", m, survivor), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				alice, bob, id, bobs := w.used()
				kind := reflect.TypeOf(m)
				var gone atomic.Bool
				seen := make(chan struct{}, 1)
				w.lose(func(_ channel.PeerID, m wire.Message) bool {
					if reflect.TypeOf(m) == kind && !gone.Swap(true) {
						seen <- struct{}{}
					}
					return gone.Load()
				})
				done := make(chan struct{})
				go func() {
					defer close(done)
					ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
					defer cancel()
					_, _ = alice.Close(ctx, channel.CloseRequest{Channel: id.String()})
				}()
				<-seen
				stays, leaves := alice, bob
				if survivor == "bob" {
					stays, leaves = bob, alice
				}
				leaves.halt()
				<-done
				for range 12 {
					w.chain.Mine(1)
					w.synced(stays)
				}
				w.chain.Mine(150)
				w.synced(stays)
				w.mineUntil("the survivor is done", func() bool { return stays.info(id).Phase == channel.PhaseClosed }, stays)
				w.lose(nil)
				leaves.boot()
				spend := stays.State(id).OutFunding.Spend
				if survivor == "bob" {
					spend = stays.State(id).InFunding.Spend
				}
				if spend.Kind != channel.SpentTogether {
					if bobs = 30_124; survivor == "alice" {
						bobs = -5_001
					}
				}
				w.finish(alice, bob, id, bobs)
			})
		}
	}
}

// Both owners close in the same moment.
func TestBothCloseAtOnce(t *testing.T) {
	t.Parallel()
	for range 3 {
		w := newWorld(t)
		alice, bob, id, bobs := w.used()
		var wg sync.WaitGroup
		for _, m := range []*member{alice, bob} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if _, err := m.Close(w.ctx(), channel.CloseRequest{Channel: id.String()}); err != nil {
					t.Errorf("%s: %v", m.name, err)
				}
			}()
		}
		wg.Wait()
		w.finish(alice, bob, id, bobs)
		if k := alice.State(id).OutFunding.Spend.Kind; k != channel.SpentTogether {
			t.Errorf("it ended by a spend of kind %d", k)
		}
	}
}

// A close while payments are in flight, from either side: what was acknowledged is paid.
func TestCloseWithPaymentsInFlight(t *testing.T) {
	t.Parallel()
	for _, closer := range []string{"alice", "bob"} {
		t.Run(closer, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice, bob, id, bobs := w.used()
			b := alice.burst(id, 9, 300, 100_000)
			m := alice
			if closer == "bob" {
				m = bob
			}
			_, err := m.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
			must(t, err)
			w.eventually("every payment has a fate", func() bool {
				a, f := b.told()
				if a+f < 300 {
					w.chain.Mine(1)
					w.synced(alice, bob)
				}
				return a+f == 300
			})
			acknowledged, _ := b.told()
			if got := bob.State(id).In.Spent; got != channel.Msat(30_123_456+100_000*acknowledged) {
				t.Errorf("bob took %d msat, alice was told of %d payments", got, acknowledged)
			}
			w.finish(alice, bob, id, bobs+int64(100*acknowledged))
		})
	}
}

// A payer to whom nothing is owed gains nothing by ending alone: it waits for the peer, which comes back
// long after the time for a close, instead of for its refund.
func TestPeerComesBackLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	w.lose(func(from channel.PeerID, _ wire.Message) bool { return from == w.id("bob") })
	ctx, cancel := context.WithTimeout(w.ctx(), 100*time.Millisecond)
	defer cancel()
	_, err := alice.Close(ctx, channel.CloseRequest{Channel: id.String()})
	if codeOf(err) != channel.CodePending {
		t.Errorf("close without an answer: %v", err)
	}
	bob.halt()
	w.lose(nil)
	w.chain.Mine(20)
	w.synced(alice)
	bob.boot()
	w.synced(bob)
	w.eventually("closed together", func() bool { return alice.State(id).Closing.Tx != nil })
	w.finish(alice, bob, id, 0)
	if k := alice.State(id).OutFunding.Spend.Kind; k != channel.SpentTogether {
		t.Errorf("it ended by a spend of kind %d", k)
	}
}
