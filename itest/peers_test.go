package itest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// P9: what a thousand hostile peers may make a daemon take.
const (
	hostilePeers = 1_000
	maxRSS       = 256 << 20
)

// TestThousandHostilePeers: each of them connects again and again and makes bob hold as much as it can. He
// stays small, and alice pays all the time. Her latencies are printed; on a busy machine they are no verdict.
func TestThousandHostilePeers(t *testing.T) {
	if !soaking() {
		t.Skip("only in make soak: a thousand peers take minutes")
	}
	a := newArena(t)
	w := a.world
	addr, err := w.Node("bob").Address(w.ctx)
	w.check(err)
	hello, err := wire.Encode(hello())
	w.check(err)
	baseline := w.latencies(a.bobs, 500)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex // guards the two below
	admitted, refused := 0, 0
	for i := range hostilePeers {
		r, err := makeRaw(addr)
		w.check(err)
		t.Cleanup(func() { r.host.Close() })
		all.Go(func() {
			for {
				ok := r.bother(w, i, hello, stop)
				mu.Lock()
				if ok {
					admitted++
				} else {
					refused++
				}
				mu.Unlock()
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
			}
		})
	}
	var most int64
	watching := make(chan struct{})
	all.Go(func() {
		for {
			most = max(most, w.memory("bob"))
			select {
			case <-watching:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	time.Sleep(10 * time.Second) // until the crowd is there
	under := w.latencies(a.bobs, 500)
	close(watching)
	close(stop)
	all.Wait()
	a.unharmed(w, func() {})
	t.Logf("%d hostile peers, %d connections admitted, %d refused: bob takes at most %d MB; alice's p50 and p99 alone %s and %s, among them %s and %s (%.1f times)",
		hostilePeers, admitted, refused, most>>20, at(baseline, 50), at(baseline, 99), at(under, 50), at(under, 99),
		float64(at(under, 99))/float64(at(baseline, 99)))
	if most > maxRSS {
		t.Errorf("bob takes %d MB, more than %d MB", most>>20, maxRSS>>20)
	}
}

// bother connects once and is as much of a burden as one peer can be; its kind depends on n.
func (r *raw) bother(w *world, n int, hello []byte, stop chan struct{}) bool {
	almost := framed(noise(wire.MaxMessage))
	frames := [][]byte{framed(hello)}
	switch n % 5 {
	case 0: // a message that never ends
		frames = append(frames, almost[:len(almost)-1])
	case 1: // questions, and no ear for the answers
		frames = append(frames, questions())
	case 2: // nothing at all
		frames = nil
	case 3: // garbage
		frames = append(frames, framed(noise(1000)))
	case 4: // channels that are never funded
		frames = append(frames, framed(hello))
	}
	s, err := r.stream(w.ctx, frames...)
	if err != nil {
		return false
	}
	done := make(chan struct{})
	if n%5 == 1 {
		close(done)
	} else {
		go func() { _ = ended(s); close(done) }()
	}
	select {
	case <-stop:
	case <-done:
	case <-time.After(5 * time.Second):
	}
	_ = s.Reset()
	_ = r.host.Network().ClosePeer(r.to.ID)
	return true
}

// latencies of payments of alice's, one after the other, ascending.
func (w *world) latencies(target string, n int) []time.Duration {
	w.t.Helper()
	var all []time.Duration
	for range n {
		start := time.Now()
		r, err := w.Node("alice").API.Pay(w.ctx, channel.PayRequest{Target: target, Amount: 1_000})
		if err == nil && r.Status != channel.PayAcknowledged {
			err = errors.New(r.Status.String())
		}
		w.check(err)
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all
}

// at is a percentile of ascending durations.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}
