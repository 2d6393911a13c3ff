package sim

import (
	"errors"
	"fmt"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// disk holds what survives a power loss. The queue of the group commit is the real one; the simulation
// says when a group goes to the disk and what becomes of it.
type disk struct {
	p     *peer
	mem   *store.Memory // durable
	queue *store.Queue  // of the life that runs
	group []*store.Batch
	busy  bool // group is under way
	until hold
	fault fault
	nth   int // groups until the fault
	next  fault
	ghost *store.Snapshot

	files   *journaltest.Disk // where the journal lies
	journal *file.Journal     // of the life that runs
	salts   int
	old     *older
	notices []string // of the last comparison
}

// fault is what is wrong with a disk.
type fault uint8

const (
	healthy fault = iota
	full          // nothing is written, and it says so
	once          // the next write fails, and nothing of it is on the disk
	failing       // the next write fails, and nobody knows what of it is on the disk
	broken        // nothing more is taken until the data is opened anew
)

var errNoSpace, errInput = errors.New("sim: no space left on device"), errors.New("sim: input/output error")

func newDisk(p *peer) *disk { return &disk{p: p, mem: store.NewMemory(), files: journaltest.NewDisk()} }

// open gives a new life the disk as a power loss or kill left it.
func (d *disk) open() {
	w := d.p.w
	d.fall()
	if d.ghost != nil && w.rng.IntN(2) == 0 { // what a failed write left shows up
		d.mem.Restore(*d.ghost)
		w.trace.note("%s the failed write is there after all", d.p.name)
	}
	d.files = d.files.PowerLoss(w.rng)
	d.mount(d.harm())
	d.p.recall()
	d.group, d.busy, d.ghost, d.fault, d.nth = nil, false, nil, healthy, 0
	d.queue = store.NewQueue(store.Limits{})
}

// lose ends what the life that is over still had under way; a group that was begun may yet be found written.
func (d *disk) lose() {
	q := d.queue
	d.queue = nil
	for ok := d.busy; ; _, ok = q.Take() {
		if !ok && q.Stats().Waiting == 0 {
			return
		}
		for _, o := range q.Complete(nil, store.ErrClosed) {
			o.Report()
		}
	}
}

func (d *disk) waits() bool {
	return d.queue != nil && (d.busy || d.queue.Stats().Waiting > 0) && d.until.over()
}

// turn begins a group, or ends the one under way.
func (d *disk) turn() {
	w := d.p.w
	if !d.busy {
		d.group, d.busy = d.queue.Take()
		d.until.brief(w, w.plan.Lazy)
		w.trace.note("%s disk takes %d batches", d.p.name, len(d.group))
		return
	}
	errs, err := d.write()
	d.busy = false
	for _, o := range d.queue.Complete(errs, err) {
		o.Report()
	}
}

func (d *disk) write() ([]error, error) {
	if d.nth > 0 && d.fault == healthy {
		if d.nth--; d.nth == 0 {
			d.fault = d.next
		}
	}
	if w := d.p.w; d.fault == healthy && !w.calm && w.rng.Float64() < w.plan.Disk {
		d.fault = []fault{failing, once, once}[w.rng.IntN(3)]
	}
	switch d.fault {
	case full:
		d.p.w.trace.note("%s disk is full", d.p.name)
		return nil, errNoSpace
	case once:
		d.fault = healthy
		d.p.w.trace.note("%s disk fails once", d.p.name)
		return nil, errInput
	case failing:
		d.fail()
		return nil, errInput
	case broken:
		return nil, store.ErrBroken
	}
	return d.apply("wrote"), nil
}

// fail keeps aside what the disk would hold if the failed write was complete.
func (d *disk) fail() {
	d.fault = broken
	before := d.mem.Snapshot()
	_, _ = d.mem.Apply(d.group)
	after := d.mem.Snapshot()
	d.mem.Restore(before)
	d.tear(true)
	d.ghost = &after
	d.p.w.trace.note("%s disk fails", d.p.name)
}

// apply makes the group under way durable.
func (d *disk) apply(how string) []error {
	w := d.p.w
	errs, err := d.mem.ApplyBeside(d.group, d.journal)
	if err != nil {
		panic(err) // this memory is never closed
	}
	sum := []byte{}
	for i, b := range d.group {
		sum = fmt.Appendf(sum, "%v|", errs[i])
		for _, op := range b.Ops {
			sum = fmt.Appendf(sum, "%x=%x,%v;", op.Key, op.Value, op.Delete)
		}
	}
	w.trace.note("%s disk %s %s", d.p.name, how, short(sum))
	w.commits++
	for i, b := range d.group {
		if errs[i] == nil {
			d.p.stored(b)
		}
	}
	return errs
}

// committer is the way of one life to the disk.
type committer struct{ l *life }

func (c committer) Submit(b *store.Batch, done func(error)) {
	if c.l.over {
		done(store.ErrClosed)
		return
	}
	c.l.p.disk.queue.Push(b, done)
}

func (c committer) Commit(b *store.Batch) error {
	result := make(chan error, 1)
	c.Submit(b, func(err error) { result <- err })
	err := <-result
	c.l.p.w.sched.yield()
	return err
}
