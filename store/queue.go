package store

// Stats counts what a Queue or Committer did since it was made.
type Stats struct {
	Groups    uint64 // transactions, each with one sync
	Batches   uint64 // batches in them, those that failed included
	Ops       uint64 // writes in them
	Bytes     uint64 // size of the writes
	Conflicts uint64 // batches left out for their Expect
	Failed    uint64 // batches that failed otherwise
	Waiting   int    // batches that wait now
}

// Outcome is the result of one batch, to be reported to whoever submitted it.
type Outcome struct {
	Done func(error)
	Err  error
}

// Report hands the result over.
func (o Outcome) Report() { o.Done(o.Err) }

// Queue is the pure part of group commit: batches go in one by one and come out in groups, results come
// out in the order in which the batches went in. It has no goroutine and no lock; Committer drives it
// for real, a simulation drives it step by step.
type Queue struct {
	limits   Limits
	waiting  []submission
	mem      int
	group    []submission
	underWay bool
	stats    Stats
}

type submission struct {
	batch *Batch // nil when err is set
	size  int
	done  func(error)
	err   error // known before any transaction
}

// NewQueue takes zero fields of limits from DefaultLimits.
func NewQueue(limits Limits) *Queue { return &Queue{limits: limits.orDefault()} }

// Push adds a batch. One that no transaction could hold fails in its turn with ErrTooBig.
func (q *Queue) Push(b *Batch, done func(error)) {
	s := submission{batch: b, size: b.Size(), done: done}
	if err := b.Check(); err != nil {
		s.err = err
	} else if len(b.Ops) > q.limits.GroupOps || s.size > q.limits.GroupBytes {
		s.err = ErrTooBig
	}
	q.push(s)
}

// Reject adds a batch that fails in its turn.
func (q *Queue) Reject(err error, done func(error)) { q.push(submission{err: err, done: done}) }

func (q *Queue) push(s submission) {
	if s.err != nil {
		s.batch, s.size = nil, 0
	}
	q.waiting = append(q.waiting, s)
	q.mem += s.size
}

// Full asks the submitter to wait.
func (q *Queue) Full() bool {
	return len(q.waiting) >= q.limits.MaxWaiting || q.mem >= q.limits.MaxWaitingMem
}

// Take returns the next group, and false when nothing waits or the last group is not complete. A group
// may be empty when all of it fails without a transaction; it needs Complete all the same.
func (q *Queue) Take() ([]*Batch, bool) {
	if q.underWay || len(q.waiting) == 0 {
		return nil, false
	}
	n := q.next()
	q.group = append(q.group[:0], q.waiting[:n]...)
	clear(q.waiting[:n])
	q.waiting = q.waiting[n:]
	q.underWay = true
	var batches []*Batch
	for _, s := range q.group {
		q.mem -= s.size
		if s.batch != nil {
			batches = append(batches, s.batch)
		}
	}
	return batches, true
}

// next is the number of submissions that one transaction holds; at least one.
func (q *Queue) next() int {
	ops, bytes := 0, 0
	for i, s := range q.waiting {
		if s.batch != nil {
			ops += len(s.batch.Ops)
		}
		bytes += s.size
		if ops > q.limits.GroupOps || bytes > q.limits.GroupBytes {
			return i
		}
	}
	return len(q.waiting)
}

// Complete takes what Apply returned for the group and gives the results, in order of submission. A
// failed Apply fails all of the group; batches that were submitted behind it are tried all the same, so
// whoever builds one batch on another says so with Expect.
func (q *Queue) Complete(errs []error, err error) []Outcome {
	outcomes := make([]Outcome, 0, len(q.group))
	applied := 0
	for _, s := range q.group {
		result := s.err
		if s.batch != nil {
			result = err
			if err == nil {
				result = errs[applied]
			}
			applied++
		}
		q.count(s, result)
		outcomes = append(outcomes, Outcome{Done: s.done, Err: result})
	}
	if applied > 0 {
		q.stats.Groups++
	}
	clear(q.group)
	q.group = q.group[:0]
	q.underWay = false
	return outcomes
}

func (q *Queue) count(s submission, result error) {
	q.stats.Batches++
	switch {
	case result == nil:
		q.stats.Ops += uint64(len(s.batch.Ops))
		q.stats.Bytes += uint64(s.size)
	case result == ErrConflict:
		q.stats.Conflicts++
	default:
		q.stats.Failed++
	}
}

// Stats returns the counters.
func (q *Queue) Stats() Stats {
	s := q.stats
	s.Waiting = len(q.waiting)
	return s
}
