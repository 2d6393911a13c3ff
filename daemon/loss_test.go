package daemon_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/store"
)

// burst is a number of payments that are made at once, and what became of them.
type burst struct {
	m      *member
	target string
	n      int
	amount channel.Msat
	salt   byte

	mu    sync.Mutex
	fates map[int]error
}

func (b *burst) request(i int) channel.PayRequest {
	id := channel.PaymentID{b.salt}
	binary.BigEndian.PutUint32(id[4:], uint32(i))
	return channel.PayRequest{Target: b.target, Amount: b.amount, HasID: true, ID: id, Ref: fmt.Sprint(b.salt, i)}
}

func (m *member) burst(id channel.ID, salt byte, n int, amount channel.Msat) *burst {
	b := &burst{m: m, target: id.String(), n: n, amount: amount, salt: salt, fates: map[int]error{}}
	for i := range n {
		m.PayAsync(b.request(i), func(r channel.PayResult, err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if err == nil && r.Status != channel.PayAcknowledged {
				err = fmt.Errorf("%s: %s", r.Status, r.Reason)
			}
			b.fates[i] = err
		})
	}
	return b
}

func (b *burst) told() (acknowledged, failed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, err := range b.fates {
		if err == nil {
			acknowledged++
		} else {
			failed++
		}
	}
	return acknowledged, failed
}

// insist asks for each of the burst's payments, by its id, until it is acknowledged.
func (b *burst) insist() {
	w := b.m.w
	w.t.Helper()
	for i := range b.n {
		w.eventually(fmt.Sprintf("payment %d is acknowledged", i), func() bool {
			ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
			defer cancel()
			r, err := b.m.Pay(ctx, b.request(i))
			return err == nil && r.Status == channel.PayAcknowledged
		})
	}
}

// books checks that both sides count the same, payment by payment, and want what was paid.
func (w *world) books(payer, payee *member, id channel.ID, want channel.Msat) {
	w.t.Helper()
	w.eventually("the books agree", func() bool {
		a, b := payer.State(id), payee.State(id)
		return a.Out.Hash == b.In.Hash && a.Out.NextSeq == b.In.NextSeq && a.Out.Spent == b.In.Spent && len(a.Unacked) == 0
	})
	if got := payee.info(id).Received; got != want {
		w.t.Errorf("%s received %d msat, want %d", payee.name, got, want)
	}
	seen := map[channel.PaymentID]int{}
	list, err := payee.Payments(w.ctx(), channel.PaymentFilter{Channel: id.String(), Limit: 1 << 20})
	must(w.t, err)
	for _, p := range list {
		if p.Dir == channel.Receiving && p.Status == channel.PayAcknowledged {
			seen[p.ID]++
		}
	}
	for id, n := range seen {
		if n > 1 {
			w.t.Errorf("payment %s was taken %d times", id, n)
		}
	}
}

func signEach(c *daemon.Config)     { c.SignEach = true }
func signTogether(c *daemon.Config) {}

// A power loss with at least 32 payments in flight, at the payer, the payee, or both: what was
// acknowledged is in both books, and every id ends as one payment.
func TestPowerLossInFlight(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"payer", "payee", "both"} {
		for mode, set := range map[string]func(*daemon.Config){"each": signEach, "together": signTogether} {
			t.Run(victim+" "+mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				alice, bob := w.start("alice", set), w.start("bob", set)
				alice.fund(2_000_000)
				id := w.open(alice, bob, 1_000_000, 0)
				alice.burst(id, 1, 10, 10).insist()
				slow := make(chan struct{})
				bob.disk.fault(func([]*store.Batch) error { <-slow; return nil })
				b := alice.burst(id, 2, 100, 1_000)
				w.eventually("at least 32 in flight", func() bool { return alice.State(id).Out.NextSeq-bob.durable(id).In.NextSeq >= 32 })
				close(slow)
				if victim != "payee" {
					alice.powerLoss()
				}
				if victim != "payer" {
					bob.powerLoss()
				}
				bob.disk.fault(nil)
				acknowledged, _ := b.told()
				w.synced(alice, bob)
				w.eventually("the books agree", func() bool { return alice.State(id).Out.Hash == bob.State(id).In.Hash })
				if got := bob.info(id).Received; got < channel.Msat(1_000*acknowledged) {
					t.Errorf("%d payments were acknowledged, bob has %d msat", acknowledged, got)
				}
				alice.again(b).insist()
				w.books(alice, bob, id, 10*10+100*1_000)
				w.conserved(alice, bob)
			})
		}
	}
}

// again is the burst asked for at the node that was started anew.
func (m *member) again(b *burst) *burst {
	return &burst{m: m, target: b.target, n: b.n, amount: b.amount, salt: b.salt, fates: map[int]error{}}
}

// durable is a channel's state as the disk has it.
func (m *member) durable(id channel.ID) channel.State {
	m.w.t.Helper()
	st, err := daemon.LoadChannel(m.disk, id)
	must(m.w.t, err)
	return st
}

// A write that fails in the middle of many: nothing leaves that is not stored, nobody is told of a success
// that is none, the channel goes on from what is stored, and every id ends as one payment.
func TestFailedCommitInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"payer", "payee"} {
		for mode, set := range map[string]func(*daemon.Config){"each": signEach, "together": signTogether} {
			for _, nth := range []int{1, 2, 3, 6} {
				t.Run(fmt.Sprint(victim, " ", mode, " ", nth), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					alice, bob := w.start("alice", set), w.start("bob", set)
					alice.fund(2_000_000)
					id := w.open(alice, bob, 1_000_000, 0)
					hurt := alice
					if victim == "payee" {
						hurt = bob
					}
					hurt.disk.failNth(nth)
					b := alice.burst(id, 3, 100, 1_000)
					w.eventually("each has a fate or waits", func() bool {
						a, f := b.told()
						return a+f+alice.Waiting() >= 100
					})
					w.eventually("the connection is back", func() bool { return alice.State(id).Synced && bob.State(id).Synced })
					b.insist()
					w.books(alice, bob, id, 100*1_000)
					w.conserved(alice, bob)
					w.eventually("no payment waits", func() bool { return alice.Waiting() == 0 })
				})
			}
		}
	}
}

// A disk that writes nothing for a while: payments fail or wait, and go on when it writes again.
func TestDiskThatStopsWriting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	for _, hurt := range []*member{alice, bob} {
		hurt.disk.fault(func([]*store.Batch) error { return errDisk })
		b := alice.burst(id, byte(len(hurt.name)), 50, 1_000)
		time.Sleep(50 * time.Millisecond)
		if a, _ := b.told(); a != 0 {
			t.Errorf("%d payments were acknowledged while %s's disk did not write", a, hurt.name)
		}
		hurt.disk.fault(nil)
		b.insist()
	}
	w.books(alice, bob, id, 100*1_000)
}

// Many commits of one channel are on their way when one fails: those behind it build on what is not
// stored, and must not be.
func TestFailedCommitWithOthersBehindIt(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"payer", "payee"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice, bob := w.start("alice", signEach), w.start("bob", signEach)
			alice.fund(2_000_000)
			id := w.open(alice, bob, 1_000_000, 0)
			hurt := alice
			if victim == "payee" {
				hurt = bob
			}
			gate, failing := make(chan struct{}), true
			hurt.disk.fault(func([]*store.Batch) error {
				<-gate
				if failing {
					failing = false
					return errDisk
				}
				return nil
			})
			var all []*burst
			for i := range 20 {
				all = append(all, alice.burst(id, byte(i), 1, 1_000))
				time.Sleep(2 * time.Millisecond) // each in a commit of its own
			}
			close(gate)
			w.eventually("the channel goes on", func() bool { return hurt.durable(id).Phase == channel.PhaseOpen && alice.State(id).Synced })
			for _, b := range all {
				b.insist()
			}
			w.books(alice, bob, id, 20*1_000)
		})
	}
}

// What a refused payment was is known at once to whoever asks again, also before the answer is stored.
func TestRefusedStaysRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	bob.limit(0)
	bob.chain.SetAway(true)
	w.eventually("bob is blind", func() bool { return len(must2(bob.Status(w.ctx())).Attention) > 0 })
	for i := range 100 {
		req := channel.PayRequest{Target: id.String(), Amount: 1_000, HasID: true, ID: channel.PaymentID{1, byte(i)}}
		for range 3 {
			if r, err := alice.Pay(w.ctx(), req); err != nil || r.Status != channel.PayRefused || r.Reason != channel.RefusedBlind {
				t.Fatalf("payment %d: %+v, %v", i, r, err)
			}
		}
		list, err := alice.Payments(w.ctx(), channel.PaymentFilter{ID: req.ID, HasID: true})
		if err != nil || len(list) != 1 || list[0].Status != channel.PayRefused {
			t.Fatalf("payment %d is listed as %+v, %v", i, list, err)
		}
	}
	alice.restart()
	w.synced(alice)
	for i := range 100 {
		req := channel.PayRequest{Target: id.String(), Amount: 1_000, HasID: true, ID: channel.PaymentID{1, byte(i)}}
		if r, err := alice.Pay(w.ctx(), req); err != nil || r.Status != channel.PayRefused {
			t.Fatalf("payment %d after a restart: %+v, %v", i, r, err)
		}
	}
	bob.chain.SetAway(false)
}

func must2[T any](v T, _ error) T { return v }
