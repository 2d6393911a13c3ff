package store

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"
)

// replicaDisk is where replicas are kept in these tests. It can fail, and be held up.
type replicaDisk struct {
	mu      sync.Mutex
	state   map[string]string
	fail    error
	held    chan struct{} // nil: not held
	opens   int
	anew    int
	appends int
}

func (d *replicaDisk) enter() error {
	d.mu.Lock()
	held, fail := d.held, d.fail
	d.mu.Unlock()
	if held != nil {
		<-held
	}
	return fail
}

func (d *replicaDisk) set(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn()
}

func (d *replicaDisk) open() (ReplicaLog, error) {
	d.set(func() { d.opens++ })
	return d, d.enter()
}

func (d *replicaDisk) write(ops []Op) {
	for _, op := range ops {
		if op.Delete {
			delete(d.state, string(op.Key))
		} else {
			d.state[string(op.Key)] = string(op.Value)
		}
	}
}

func (d *replicaDisk) Append(batches []*Batch) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.set(func() {
		d.appends++
		for _, b := range batches {
			d.write(b.Ops)
		}
	})
	return nil
}

func (d *replicaDisk) Replace(state []Op) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.set(func() { d.anew++; d.state = map[string]string{}; d.write(state) })
	return nil
}

func (d *replicaDisk) Size() int64  { d.mu.Lock(); defer d.mu.Unlock(); return int64(100 * d.appends) }
func (d *replicaDisk) Close() error { return nil }

// noSecond is a second copy that takes everything.
type noSecond struct{}

func (noSecond) Prepare([]*Batch, []error) error { return nil }
func (noSecond) Write() error                    { return nil }

type replicaWorld struct {
	t    *testing.T
	disk *replicaDisk
	s    *Memory
	r    *Replicated
	want map[string]string
	n    int
}

func newReplicaWorld(t *testing.T, change func(*ReplicaOptions)) *replicaWorld {
	w := &replicaWorld{t: t, disk: &replicaDisk{state: map[string]string{}}, s: NewMemory(), want: map[string]string{}}
	o := ReplicaOptions{Keep: func(op *Op) bool { return op.Key[0] == 'k' }, Open: w.disk.open, Retry: time.Millisecond, Wait: time.Minute,
		Snapshot: func() (all []Op, err error) {
			err = w.s.Scan([]byte("k"), nil, func(key, value []byte) bool {
				all = append(all, Op{Key: append([]byte{}, key...), Value: append([]byte{}, value...)})
				return true
			})
			return all, err
		}}
	if change != nil {
		change(&o)
	}
	w.r = NewReplicated(w.s, noSecond{}, o)
	t.Cleanup(func() { _ = w.r.CloseReplica() })
	return w
}

// write commits a record that is kept, one that isn't, and one that is left out.
func (w *replicaWorld) write() {
	w.t.Helper()
	w.n++
	key, value := fmt.Sprintf("k%d", w.n%7), fmt.Sprint(w.n)
	errs, err := w.r.Apply([]*Batch{new(Batch).Put([]byte(key), []byte(value)).Put([]byte("other"), []byte(value)),
		new(Batch).Expect([]byte("none"), []byte("x")).Put([]byte("k0"), []byte("lost"))})
	if err != nil || errs[0] != nil || !errors.Is(errs[1], ErrConflict) {
		w.t.Fatal(errs, err)
	}
	w.want[key] = value
}

func (w *replicaWorld) same() bool {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	return maps.Equal(w.disk.state, w.want)
}

func (w *replicaWorld) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: never; %+v", what, w.r.Health())
		}
	}
}

func (w *replicaWorld) current() {
	w.t.Helper()
	w.until("current", func() bool { return w.r.Health().OK })
}

// TestReplicaHasWhatWasAnswered: once it is current, nothing is answered that is not in it.
func TestReplicaHasWhatWasAnswered(t *testing.T) {
	w := newReplicaWorld(t, func(o *ReplicaOptions) { o.MaxSize = 1000 })
	w.write()
	w.current()
	for range 50 {
		w.write()
		if !w.same() {
			t.Fatalf("after %d groups the replica has %v, not %v", w.n, w.disk.state, w.want)
		}
	}
	if w.disk.set(func() {}); w.disk.anew < 2 {
		t.Errorf("a log of %d groups was begun %d times", w.disk.appends, w.disk.anew)
	}
}

// TestReplicaFails: commits go on, the failure is told, and the replica gets all when it can.
func TestReplicaFails(t *testing.T) {
	w := newReplicaWorld(t, nil)
	w.current()
	bad := errors.New("disk is gone")
	w.disk.set(func() { w.disk.fail = bad })
	for range 20 {
		w.write()
	}
	w.until("the failure is told", func() bool { h := w.r.Health(); return !h.OK && errors.Is(h.Err, bad) && !h.Since.IsZero() })
	w.disk.set(func() { w.disk.fail = nil })
	w.current()
	w.until("it has all", w.same)
	w.write()
	if !w.same() || w.r.Health().Err != nil {
		t.Errorf("%+v", w.r.Health())
	}
}

// TestReplicaIsSlow: a group waits once, not longer than the bound; what overflows comes from the store.
func TestReplicaIsSlow(t *testing.T) {
	var waits sync.Map
	w := newReplicaWorld(t, func(o *ReplicaOptions) {
		o.MaxQueue, o.Rest, o.Wait = 2000, time.Hour, 7*time.Second
		o.After = func(d time.Duration) <-chan time.Time {
			n, _ := waits.LoadOrStore(d, new(int))
			*n.(*int)++
			c := make(chan time.Time)
			close(c) // the time is over at once
			return c
		}
	})
	w.current()
	release := make(chan struct{})
	w.disk.set(func() { w.disk.held = release })
	for range 100 {
		w.write()
	}
	if h := w.r.Health(); h.OK || h.Waiting > 2000 {
		t.Errorf("%+v", h)
	}
	if n, ok := waits.Load(7 * time.Second); !ok || *n.(*int) != 1 {
		t.Errorf("commits waited for a disk that stands still: %v", n)
	}
	w.disk.set(func() { w.disk.held = nil })
	close(release)
	w.current()
	if !w.same() {
		t.Error("what overflowed is missing")
	}
}

// TestReplicaStops: what waits is written before the end, and a disk that stands still stops no stop.
func TestReplicaStops(t *testing.T) {
	w := newReplicaWorld(t, func(o *ReplicaOptions) { o.Wait = time.Millisecond })
	w.current()
	release := make(chan struct{})
	w.disk.set(func() { w.disk.held = release })
	w.write()
	if err := w.r.CloseReplica(); err == nil {
		t.Error("nothing is said of what is missing")
	}
	close(release)
	<-w.r.stopped
	if !w.same() {
		t.Error("the last group is missing")
	}
}
