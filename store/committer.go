package store

import "sync"

// Applier is the part of a Store that a Committer needs. A second durable copy that is written at the
// same time fits here: an Applier over both.
type Applier interface {
	Apply(batches []*Batch) ([]error, error)
}

// Committer writes all that waits in one transaction, so that many writers share one sync. There is no
// timer: a lone batch goes at once, and while it is on its way to the disk the next group gathers.
type Committer struct {
	applier Applier
	stopped chan struct{} // closed when the goroutine has reported its last result

	mu      sync.Mutex // guards the fields below, never held over I/O or a callback
	queue   *Queue
	wake    sync.Cond // something waits, or Close was called
	space   sync.Cond // the queue is no longer full
	closing bool
	exited  bool
}

// NewCommitter starts the one goroutine that calls Apply. Zero fields of limits are taken from
// DefaultLimits. The committer does not own the store: close the committer first.
func NewCommitter(a Applier, limits Limits) *Committer {
	c := &Committer{applier: a, stopped: make(chan struct{}), queue: NewQueue(limits)}
	c.wake.L, c.space.L = &c.mu, &c.mu
	go c.run()
	return c
}

// Submit hands a batch over and returns without waiting for the disk; it blocks only while more than
// MaxWaiting batches (or MaxWaitingMem bytes) wait. done is called exactly once with nil after the batch
// is durable, with ErrConflict, or with the error that left it out. Results come one after another in
// the order of submission, from the committer's goroutine: done must not block and must not call Submit.
func (c *Committer) Submit(b *Batch, done func(error)) {
	c.mu.Lock()
	for c.queue.Full() && !c.closing {
		c.space.Wait()
	}
	if c.exited {
		c.mu.Unlock()
		done(ErrClosed)
		return
	}
	if c.closing {
		c.queue.Reject(ErrClosed, done)
	} else {
		c.queue.Push(b, done)
	}
	c.wake.Signal()
	c.mu.Unlock()
}

// Commit submits and waits for the result.
func (c *Committer) Commit(b *Batch) error {
	result := make(chan error, 1)
	c.Submit(b, func(err error) { result <- err })
	return <-result
}

// Stats returns the counters.
func (c *Committer) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.Stats()
}

// Close waits until all that was submitted is written and reported. Later batches get ErrClosed.
func (c *Committer) Close() error {
	c.mu.Lock()
	c.closing = true
	c.wake.Signal()
	c.space.Broadcast()
	c.mu.Unlock()
	<-c.stopped
	return nil
}

func (c *Committer) run() {
	defer close(c.stopped)
	for {
		batches, ok := c.take()
		if !ok {
			return
		}
		var errs []error
		var err error
		if len(batches) > 0 {
			errs, err = c.applier.Apply(batches)
		}
		for _, o := range c.complete(errs, err) {
			o.Report()
		}
	}
}

// take waits for a group; false means that the committer is closed and empty.
func (c *Committer) take() ([]*Batch, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if batches, ok := c.queue.Take(); ok {
			c.space.Broadcast()
			return batches, true
		}
		if c.closing {
			c.exited = true
			return nil, false
		}
		c.wake.Wait()
	}
}

func (c *Committer) complete(errs []error, err error) []Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.Complete(errs, err)
}
