package daemon_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

var errCall = errors.New("the call does not come through")

// holdBack makes calls of a kind fail until the returned function is called, and tells of the first one.
func (m *member) holdBack(call string) (seen <-chan struct{}, let func()) {
	first := make(chan struct{})
	var told atomic.Bool
	m.chain.SetFault(func(c string) error {
		if c != call {
			return nil
		}
		if !told.Swap(true) {
			close(first)
		}
		return errCall
	})
	return first, func() { m.chain.SetFault(nil) }
}

// The opener dies after the terms were agreed and before its funding was built: both give the channel up,
// and no coin stays locked.
func TestPowerLossBeforeFundingWasBuilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	seen, let := alice.holdBack("Fund")
	go func() {
		ctx, cancel := context.WithTimeout(w.ctx(), 2*time.Second)
		defer cancel()
		_, _ = alice.Open(ctx, channel.OpenRequest{Peer: "/mem/p2p/" + string(w.id("bob")), Deposit: 1_000_000})
	}()
	<-seen
	alice.powerLoss()
	let()
	w.synced(alice, bob)
	_, err := alice.Connect(w.ctx(), "/mem/p2p/"+string(w.id("bob"))) // nobody dials for a wish without money
	must(t, err)
	w.eventually("both gave up", func() bool {
		a, _ := alice.Channels(w.ctx())
		b, _ := bob.Channels(w.ctx())
		return (len(a) == 0 || a[0].Phase == channel.PhaseAbandoned) && len(b) == 0
	})
	w.chain.Mine(3)
	w.synced(alice, bob)
	w.conserved(alice, bob)
	if b, err := alice.Balance(w.ctx()); err != nil || b.Onchain != 2_000_000 || b.Locked != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	w.open(alice, bob, 1_000_000, 0)
}

// The opener dies when its funding is durable and not yet published: the next start publishes it.
func TestPowerLossBeforeFundingWasPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	seen, let := alice.holdBack("Publish")
	r, err := alice.Open(w.ctx(), channel.OpenRequest{Peer: "/mem/p2p/" + string(w.id("bob")), Deposit: 1_000_000})
	must(t, err)
	<-seen
	alice.powerLoss()
	let()
	w.mineUntil("open", func() bool { return alice.info(r.Channel).Spendable > 0 }, alice, bob)
	if got := alice.info(r.Channel).FundingTxID; got != r.FundingTxID {
		t.Errorf("funded by %s, told %s", got, r.FundingTxID)
	}
	alice.pay(r.Channel.String(), 1_000)
	w.conserved(alice, bob)
}

// Power losses while closing: with offers under way, and with the close complete and not published.
func TestPowerLossWhileClosing(t *testing.T) {
	t.Parallel()
	for _, when := range []wire.Message{&channel.Stop{}, &channel.CloseOffer{}, &channel.CloseSign{}, nil} {
		for _, victim := range []string{"alice", "bob"} {
			t.Run(victim, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				alice, bob, id, bobs := w.used()
				v := alice
				if victim == "bob" {
					v = bob
				}
				seen := make(chan struct{}, 100)
				if when == nil {
					held, _ := v.holdBack("Publish")
					go func() { <-held; seen <- struct{}{} }()
				}
				w.lose(func(_ channel.PeerID, m wire.Message) bool {
					if when != nil && wireName(m) == wireName(when) {
						select {
						case seen <- struct{}{}:
						default:
						}
					}
					return false
				})
				go func() {
					ctx, cancel := context.WithTimeout(w.ctx(), 2*time.Second)
					defer cancel()
					_, _ = alice.Close(ctx, channel.CloseRequest{Channel: id.String()})
				}()
				<-seen
				v.powerLoss()
				v.chain.SetFault(nil)
				w.lose(nil)
				w.synced(alice, bob)
				w.finish(alice, bob, id, bobs)
			})
		}
	}
}

func wireName(m wire.Message) string {
	switch m.(type) {
	case *channel.Stop:
		return "stop"
	case *channel.CloseOffer:
		return "offer"
	case *channel.CloseSign:
		return "sign"
	}
	return ""
}

// The payee dies between the decision to settle and a settlement that the network has.
func TestPowerLossBeforeTheSettlement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id, _ := w.used()
	alice.halt()
	seen, let := bob.holdBack("Publish")
	_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
	must(t, err)
	<-seen
	bob.powerLoss()
	w.synced(bob)
	let()
	w.mineUntil("settled", func() bool { return bob.State(id).InFunding.Spend != nil }, bob)
	alice.boot()
	w.synced(alice, bob)
	w.finish(alice, bob, id, 30_124-5_001)
}

// Nobody closes: payments stop in time, the payees settle before the payers can refund, and the payers
// take the rest.
func TestExpiryWithoutAClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id, bobs := w.used()
	expiry := alice.info(id).Expiry
	settled := uint32(0)
	for w.chain.Height() < expiry {
		w.chain.Mine(1)
		w.synced(alice, bob)
		h := w.chain.Height()
		if h >= expiry-24-2 {
			if _, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); err == nil {
				t.Fatalf("a payment at block %d of a lane that stops at %d", h, expiry-24)
			}
		}
		if sp := bob.State(id).InFunding.Spend; sp != nil && settled == 0 {
			settled = h
		}
	}
	if settled == 0 || settled > expiry-6 {
		t.Errorf("settled at block %d, the lane expires at %d", settled, expiry)
	}
	w.finish(alice, bob, id, bobs)
}

// Fees rise after a settlement was published: it is replaced until it is in a block, and never by one that
// pays less.
func TestSettlementThroughAFeeStorm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 900_000_000)
	alice.halt()
	_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
	must(t, err)
	w.eventually("published", func() bool { return len(w.chain.Mempool()) == 1 })
	w.chain.SetMinFee(50_000) // it is dropped
	w.chain.SetEstimate(60_000)
	fee := bob.State(id).InFunding.Exit.Fee
	for i := 0; bob.State(id).InFunding.Spend == nil; i++ {
		if i == 8 {
			t.Fatal("not settled within 8 blocks")
		}
		w.chain.Mine(1)
		w.synced(bob)
		time.Sleep(20 * time.Millisecond)
		now := bob.State(id).InFunding.Exit.Fee
		if now < fee {
			t.Errorf("the fee fell from %d to %d sat", fee, now)
		}
		fee = now
		if i == 1 {
			bob.powerLoss()
			w.synced(bob)
		}
	}
}
