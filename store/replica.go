package store

import (
	"errors"
	"sync"
	"time"
)

// ReplicaLog is where a replica is kept. It belongs to one goroutine.
type ReplicaLog interface {
	// Append makes a group durable. After an error the log is closed and opened again.
	Append(batches []*Batch) error
	// Replace puts state in the place of all groups so far, at once or not at all.
	Replace(state []Op) error
	Size() int64
	Close() error
}

// ReplicaOptions say what a replica holds and how long payments wait for it.
type ReplicaOptions struct {
	Keep     func(*Op) bool
	Open     func() (ReplicaLog, error)           // also again, after an error
	Snapshot func() ([]Op, error)                 // all that the store has of what is kept, as one state
	Wait     time.Duration                        // the longest that a group waits; 0: DefaultReplicaWait
	Rest     time.Duration                        // how long nothing waits after that; 0: 10 s
	Retry    time.Duration                        // before the first new attempt, doubled up to a minute; 0: 1 s
	MaxQueue int                                  // bytes that may wait to be written; 0: 8 MiB
	MaxSize  int64                                // above which the log is begun anew; 0: 64 MiB
	After    func(time.Duration) <-chan time.Time // nil: time.After
}

// DefaultReplicaWait is long for a disk and short for a person.
const DefaultReplicaWait = 500 * time.Millisecond

func (o *ReplicaOptions) defaults() {
	pick := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	pick(&o.Wait, DefaultReplicaWait)
	pick(&o.Rest, 10*time.Second)
	pick(&o.Retry, time.Second)
	if o.MaxQueue <= 0 {
		o.MaxQueue = 8 << 20
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 64 << 20
	}
	if o.After == nil {
		o.After = time.After
	}
}

// ReplicaHealth says whether a replica has all that was acknowledged.
type ReplicaHealth struct {
	OK      bool
	Since   time.Time // not OK since; zero while OK
	Waiting int       // bytes that are not written yet
	Err     error     // of the last attempt, while it fails
}

// Replicated is a store of two copies with a third, the replica, that holds less and may fall behind. It is
// written at the same time as the others; a group waits for it, but never longer than the bound. What it
// could not take it gets later, from the store, as one state.
type Replicated struct {
	*Pair
	o       ReplicaOptions
	stopped chan struct{}
	stop    chan struct{}

	gate  sync.Mutex // held over a commit: what a snapshot below it holds is all that was committed
	group *replicaGroup

	mu      sync.Mutex // guards the fields below, never held over I/O
	wake    sync.Cond
	queue   []*replicaGroup
	bytes   int
	anew    bool      // the queue lacks something: the log must be made from the store
	resting time.Time // nothing waits before
	since   time.Time
	err     error
	closing bool
	log     ReplicaLog // used by run alone
	base    int64      // size after Replace
}

type replicaGroup struct {
	batch *Batch
	size  int
	done  chan struct{} // closed when it is durable in the replica, or given up
}

// NewReplicated begins with a replica that is made anew from the store.
func NewReplicated(first Beside, second Second, o ReplicaOptions) *Replicated {
	o.defaults()
	r := &Replicated{Pair: NewPair(first, second), o: o, stopped: make(chan struct{}), stop: make(chan struct{}), anew: true, since: time.Now()}
	r.wake.L = &r.mu
	go r.run()
	return r
}

// Apply writes all copies.
func (r *Replicated) Apply(batches []*Batch) ([]error, error) {
	r.gate.Lock()
	r.group = nil
	errs, err := r.Beside.ApplyBeside(batches, replicating{r})
	g := r.group
	r.gate.Unlock()
	if err == nil && g != nil {
		r.await(g)
	}
	return errs, err
}

// replicating is the second copy, which takes the replica along.
type replicating struct{ r *Replicated }

// Prepare asks the second copy alone: a replica never refuses.
func (p replicating) Prepare(batches []*Batch, left []error) error {
	r := p.r
	if err := r.second.Prepare(batches, left); err != nil {
		return err
	}
	all := new(Batch)
	for i, b := range batches {
		for k := range b.Ops {
			if left[i] == nil && r.o.Keep(&b.Ops[k]) {
				all.Ops = append(all.Ops, b.Ops[k])
			}
		}
	}
	if len(all.Ops) > 0 {
		r.group = &replicaGroup{all, all.Size(), make(chan struct{})}
	}
	return nil
}

func (p replicating) Write() error {
	if g := p.r.group; g != nil {
		p.r.offer(g)
	}
	return p.r.second.Write()
}

func (r *Replicated) offer(g *replicaGroup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || r.anew && r.err != nil || r.bytes+g.size > r.o.MaxQueue {
		r.giveUp()
		close(g.done)
		return
	}
	r.queue, r.bytes = append(r.queue, g), r.bytes+g.size
	r.wake.Signal()
}

// giveUp drops what waits: the store has it.
func (r *Replicated) giveUp() {
	for _, g := range r.queue {
		close(g.done)
	}
	r.queue, r.bytes, r.anew = nil, 0, true
	r.behind()
	r.wake.Signal()
}

func (r *Replicated) behind() {
	if r.since.IsZero() {
		r.since = time.Now()
	}
}

// await waits for a group, once in a while at most.
func (r *Replicated) await(g *replicaGroup) {
	r.mu.Lock()
	skip := !r.since.IsZero() || time.Now().Before(r.resting)
	r.mu.Unlock()
	if skip {
		return
	}
	timeout := r.o.After(r.o.Wait)
	select {
	case <-g.done:
	case <-timeout:
		r.mu.Lock()
		r.resting = time.Now().Add(r.o.Rest)
		if len(r.queue) > 0 {
			r.behind()
		}
		r.mu.Unlock()
	}
}

// Health says how the replica is.
func (r *Replicated) Health() ReplicaHealth {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ReplicaHealth{OK: r.since.IsZero(), Since: r.since, Waiting: r.bytes, Err: r.err}
}

// CloseReplica writes what waits, for as long as a stop may take, and lets go of the replica. Close the
// committer before it, and the store after it.
func (r *Replicated) CloseReplica() error {
	r.mu.Lock()
	if !r.closing {
		r.closing = true
		close(r.stop)
	}
	r.wake.Signal()
	r.mu.Unlock()
	select {
	case <-r.stopped:
		return r.Health().Err
	case <-r.o.After(10 * r.o.Wait):
		return errors.New("store: the replica's disk does not answer; what was written last may not be in it")
	}
}

// run is the one goroutine that touches the log.
func (r *Replicated) run() {
	defer close(r.stopped)
	retry := r.o.Retry
	for {
		g, anew, ok := r.next()
		if !ok {
			break
		}
		err := r.step(g, anew)
		if r.done(g, err); err == nil {
			retry = r.o.Retry
			continue
		}
		select {
		case <-r.o.After(retry):
		case <-r.stop:
		}
		retry = min(2*retry, time.Minute)
	}
	if r.log != nil {
		if err := r.log.Close(); err != nil {
			r.fail(err)
		}
	}
}

// next waits for work. A replica that is closed makes one attempt more at most.
func (r *Replicated) next() (g *replicaGroup, anew, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closing && !r.anew && len(r.queue) == 0 {
		r.wake.Wait()
	}
	switch {
	case r.anew:
		return nil, true, !r.closing || r.err == nil
	case len(r.queue) > 0:
		return r.queue[0], false, true
	}
	return nil, false, false
}

func (r *Replicated) step(g *replicaGroup, anew bool) (err error) {
	if anew {
		return r.begin()
	}
	if err = r.log.Append([]*Batch{g.batch}); err != nil {
		return err
	}
	if r.log.Size() > r.o.MaxSize+2*r.base {
		r.mu.Lock()
		r.anew = true
		r.mu.Unlock()
	}
	return nil
}

// begin makes the log from the store. Commits wait while the state is read, not while it is written.
func (r *Replicated) begin() (err error) {
	if r.log == nil {
		if r.log, err = r.o.Open(); err != nil {
			return err
		}
	}
	r.gate.Lock()
	state, err := r.o.Snapshot()
	r.mu.Lock()
	old := r.queue
	r.queue, r.bytes = nil, 0 // the state has it
	r.anew = false
	r.mu.Unlock()
	r.gate.Unlock()
	if err == nil {
		err = r.log.Replace(state)
	}
	for _, g := range old {
		close(g.done)
	}
	if err == nil {
		r.base = r.log.Size()
	}
	return err
}

// done notes how a step ended.
func (r *Replicated) done(g *replicaGroup, err error) {
	if err != nil {
		if r.log != nil {
			err = errors.Join(err, r.log.Close())
			r.log = nil
		}
		r.fail(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = nil
	if g != nil && len(r.queue) > 0 && r.queue[0] == g {
		r.queue, r.bytes = r.queue[1:], r.bytes-g.size
		close(g.done)
	}
	if len(r.queue) == 0 && !r.anew {
		r.since = time.Time{}
	}
}

func (r *Replicated) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.giveUp()
}
