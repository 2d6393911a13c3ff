package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// A node that is told to stop with payments in flight stops soon, tells each caller what is known, and
// goes on after the next start where it was.
func TestStopWithPaymentsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	w.lose(func(_ channel.PeerID, m wire.Message) bool { _, ack := m.(*channel.Ack); return ack })
	b := alice.burst(id, 1, 200, 1_000)
	w.eventually("some are signed", func() bool { return alice.State(id).Out.NextSeq > 1 })
	begin := time.Now()
	must(t, alice.Stop(w.ctx()))
	alice.halt()
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	b.mu.Lock()
	for i := range 200 {
		err, told := b.fates[i]
		if code := codeOf(err); !told || code != channel.CodePending && code != channel.CodeStopping {
			t.Errorf("payment %d: told %v, %v", i, told, err)
		}
	}
	b.mu.Unlock()
	w.lose(nil)
	alice.boot()
	w.synced(alice)
	alice.again(b).insist()
	w.books(alice, bob, id, 200*1_000)
}

// Payments and closes that come in while a node stops end, one way or the other.
func TestRequestsWhileStopping(t *testing.T) {
	w := newWorld(t)
	alice, bob, id := w.pair()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	paid := 0
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(w.ctx(), 5*time.Second)
				r, err := alice.Pay(ctx, channel.PayRequest{Target: id.String(), Amount: channel.Msat(1_000 + i)})
				cancel()
				if err == nil && r.Status == channel.PayAcknowledged {
					mu.Lock()
					paid++
					mu.Unlock()
				}
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	alice.halt()
	close(stop)
	wg.Wait()
	alice.boot()
	w.synced(alice)
	w.eventually("the books agree", func() bool { return alice.State(id).Out.Hash == bob.State(id).In.Hash })
	t.Logf("%d paid", paid)
	if got := bob.State(id).In.Spent; got < channel.Msat(1_000*paid) {
		t.Errorf("bob has %d msat of %d payments", got, paid)
	}
}

// Watch shows every event once and in order, over restarts and power losses, under load, from wherever it
// is asked to begin.
func TestWatchOverRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	var mu sync.Mutex
	var got []channel.Event
	var since uint64
	stop := make(chan struct{})
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(w.ctx())
	var node sync.Mutex // held while bob has none
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			node.Lock()
			watched := bob.Node
			node.Unlock()
			err := watched.Watch(ctx, since, func(e channel.Event) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, e)
				since = e.Seq
				if len(got)%97 == 0 {
					return errors.New("the watcher goes away")
				}
				return nil
			})
			if codeOf(err) == channel.CodeStopping {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	var bursts []*burst
	for round := range 4 {
		b := alice.burst(id, byte(10+round), 150, 1_000)
		bursts = append(bursts, b)
		bob.pay(id.String(), 10)
		node.Lock()
		if round%2 == 0 {
			bob.restart()
		} else {
			bob.powerLoss()
		}
		node.Unlock()
		w.synced(bob)
	}
	for _, b := range bursts {
		b.insist()
	}
	w.books(alice, bob, id, 600*1_000)
	var all []channel.Event
	last := func() uint64 {
		all = nil
		short, cancel := context.WithTimeout(w.ctx(), 200*time.Millisecond)
		defer cancel()
		_ = bob.Watch(short, 0, func(e channel.Event) error { all = append(all, e); return nil })
		return all[len(all)-1].Seq
	}()
	w.eventually("the watcher has all", func() bool { mu.Lock(); defer mu.Unlock(); return since >= last })
	close(stop)
	cancel()
	<-done
	if len(got) != len(all) {
		t.Fatalf("watched %d events, the log has %d", len(got), len(all))
	}
	payments := map[string]int{}
	for i := range all {
		if got[i] != all[i] {
			t.Fatalf("event %d was %+v and is %+v", i, got[i], all[i])
		}
		if i > 0 && all[i].Seq <= all[i-1].Seq {
			t.Fatalf("event %d after %d", all[i].Seq, all[i-1].Seq)
		}
		if p := all[i].Payment; all[i].Kind == channel.EventPayment {
			payments[fmt.Sprint(p.Dir, p.ID)]++
		}
	}
	if len(payments) != 604 {
		t.Errorf("%d payments in the log, want 600 in and 4 out", len(payments))
	}
	for p, n := range payments {
		if n != 1 {
			t.Errorf("payment %s is told %d times", p, n)
		}
	}
	for from := 0; from < len(all)-1; from += 83 {
		first := errors.New("enough")
		var e channel.Event
		_ = bob.Watch(w.ctx(), all[from].Seq, func(got channel.Event) error { e = got; return first })
		if e != all[from+1] {
			t.Errorf("after %d comes %d, not %d", all[from].Seq, e.Seq, all[from+1].Seq)
		}
	}
}

// Thousands of channels are there soon after a start, and idle ones cost no goroutine.
func TestManyChannels(t *testing.T) {
	const n = many
	w := newWorld(t)
	alice, _, id := w.pair()
	st := alice.State(id)
	alice.halt()
	w.net.Drop(nil) // the check of each message reads every channel
	b := new(store.Batch)
	for i := range n {
		copied := st
		copied.Terms.ID[0], copied.Terms.ID[1], copied.Terms.ID[2] = byte(i), byte(i>>8), ^st.Terms.ID[2]
		copied.Terms.Peer = channel.PeerID(fmt.Sprint("stranger", i%1000))
		copied.Terms.Out.Expiry += uint32(i % 50)
		copied.Terms.Out.Deposit += channel.Sat(i + 1)
		copied.Terms.In = channel.LaneTerms{}
		copied.InFunding = channel.Funding{}
		for _, op := range daemonRecords(t, &copied) {
			b.Put(op[0], op[1])
		}
	}
	errs, err := alice.disk.Memory.Apply([]*store.Batch{b})
	must(t, errors.Join(append(errs, err)...))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	alice.boot()
	loaded := time.Since(begin)
	w.synced(alice)
	ready := time.Since(begin)
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d channels: loaded in %v, at the tip after %v, %d kB of heap", n, loaded, ready, (after.HeapAlloc-before.HeapAlloc)>>10)
	w.eventually("few goroutines", func() bool { return runtime.NumGoroutine() < 200 })
	list, err := alice.Channels(w.ctx())
	must(t, err)
	if len(list) != n+1 {
		t.Errorf("%d channels", len(list))
	}
	w.chain.Mine(2)
	w.synced(alice)
	w.eventually("the old one pays", func() bool { return alice.info(id).Spendable > 0 && alice.info(id).Connected })
	alice.pay(id.String(), 1_000)
}

func daemonRecords(t *testing.T, st *channel.State) [][2][]byte {
	t.Helper()
	scheme, err := bitcoin.NewScheme("simnet")
	must(t, err)
	list, err := daemon.Records(scheme, st)
	must(t, err)
	return list
}
