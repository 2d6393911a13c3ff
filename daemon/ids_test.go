package daemon_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

func codeOf(err error) channel.Code {
	var f *channel.Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

func (w *world) pair() (alice, bob *member, id channel.ID) {
	w.t.Helper()
	alice, bob = w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.fund(2_000_000)
	bob.fund(1_000_000)
	return alice, bob, w.open(alice, bob, 1_000_000, 200_000)
}

// An application that asks 64 times at once pays once, and again after both nodes lost their memory.
func TestTheSameIDPaysOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	req := channel.PayRequest{Target: id.String(), Amount: 1_000, HasID: true, ID: channel.PaymentID{7}}
	ask := func() {
		t.Helper()
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := req
				if i%2 == 1 {
					r.Target = string(w.id("bob"))
				}
				got, err := alice.Pay(w.ctx(), r)
				if err != nil || got.Status != channel.PayAcknowledged || got.Channel != id || got.Amount != 1_000 {
					t.Errorf("%+v, %v", got, err)
				}
			}()
		}
		wg.Wait()
	}
	ask()
	ask()
	alice.restart()
	w.synced(alice)
	ask()
	alice.powerLoss()
	bob.powerLoss()
	ask()
	for _, other := range []channel.PayRequest{
		{Target: id.String(), Amount: 1_001}, {Target: string(w.id("carol")), Amount: 1_000},
	} {
		other.HasID, other.ID = true, req.ID
		if _, err := alice.Pay(w.ctx(), other); codeOf(err) != channel.CodeIDConflict {
			t.Errorf("the id again for %+v: %v", other, err)
		}
	}
	if sent, received := alice.info(id).Sent, bob.info(id).Received; sent != 1_000 || received != 1_000 {
		t.Errorf("sent %d, received %d", sent, received)
	}
}

// The same id 64 times while the payer dies: after the next start it is paid once.
func TestTheSameIDOverAPowerLoss(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"frame", "ack", "nothing"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice, bob, id := w.pair()
			w.lose(func(_ channel.PeerID, m wire.Message) bool {
				_, frame := m.(*channel.Frame)
				_, ack := m.(*channel.Ack)
				return frame && lost == "frame" || ack && lost == "ack"
			})
			req := channel.PayRequest{Target: id.String(), Amount: 1_000, HasID: true, ID: channel.PaymentID{7}}
			for range 64 {
				alice.PayAsync(req, func(channel.PayResult, error) {})
			}
			if lost != "nothing" {
				w.eventually("one waits", func() bool { return alice.Waiting() == 1 })
				time.Sleep(5 * time.Millisecond)
			}
			alice.powerLoss()
			w.lose(nil)
			w.synced(alice)
			w.eventually("paid", func() bool {
				ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
				defer cancel()
				r, err := alice.Pay(ctx, req)
				return err == nil && r.Status == channel.PayAcknowledged
			})
			if sent, received := alice.info(id).Sent, bob.info(id).Received; sent != 1_000 || received != 1_000 {
				t.Errorf("sent %d, received %d", sent, received)
			}
		})
	}
}
