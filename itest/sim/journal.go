package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// The journal stands beside the store: the real one, on a directory that loses power. A crash may leave a
// group in one of the two alone, or torn in the journal; and a machine may come back with one of them older
// than the other, or without it.

// segment is short, so that journals have several.
const segment = 256 << 10

// older is both copies as they were once.
type older struct {
	store store.Snapshot
	files *journaltest.Disk
}

// mount opens the journal as it is found and makes both copies agree. harmed says that something was done
// to them that no power loss does.
func (d *disk) mount(harmed bool) {
	w := d.p.w
	d.reopen()
	d.notices = nil
	r, err := daemon.Reconcile(d.mem, d.journal, d.p.scheme)
	if err != nil {
		w.broken("P7", "%s: the two copies can't be made to agree: %v", d.p.name, err)
		return
	}
	if r.Repaired() {
		d.notices = []string{r.String()}
	}
	w.trace.note("%s compares: %d records, %d restored, %d appended", d.p.name, r.Records, r.Restored, r.Appended)
	if (r.Repaired() && !harmed) || len(r.Recovering)+len(r.Findings) > 0 {
		w.broken("P7", "%s: after a loss of power: %s", d.p.name, r)
	}
}

// reopen opens the journal as it lies there.
func (d *disk) reopen() {
	j, err := file.Open(file.Options{FS: d.files, Key: sha256.Sum256(d.p.seed), Keep: daemon.Journaled, Segment: segment, Now: time.Now, Salt: d.salt})
	d.p.w.must(err)
	d.journal = j
}

func (d *disk) salt() [32]byte {
	d.salts++
	return sha256.Sum256(fmt.Appendf(nil, "%s %d %d", d.p.name, d.p.w.plan.Seed, d.salts))
}

// fall is what a loss of power leaves of the group that was under way: nothing, all, or all in one copy.
func (d *disk) fall() {
	if !d.busy || d.fault == full || d.fault == broken {
		return
	}
	switch d.p.w.rng.IntN(6) {
	case 0, 1:
		_, err := d.mem.ApplyBeside(d.group, d.journal)
		d.p.w.must(err)
		d.fell("both copies")
	case 2:
		_, err := d.mem.Apply(d.group)
		d.p.w.must(err)
		d.fell("the store")
	case 3:
		d.tear(false)
		d.fell("the journal")
	case 4:
		d.tear(true)
		d.fell("a part of the journal")
	}
}

func (d *disk) fell(where string) {
	d.p.w.trace.note("%s what was on its way is in %s", d.p.name, where)
}

// tear writes the group under way to the journal alone, whole, or so that any part of it may be lost.
func (d *disk) tear(torn bool) {
	before := d.mem.Snapshot()
	errs, err := d.mem.Apply(d.group)
	d.mem.Restore(before)
	d.p.w.must(err)
	d.p.w.must(d.journal.Prepare(d.group, errs))
	if torn {
		d.files.Fail = func(op, _ string) error {
			if op == "sync" {
				return errInput
			}
			return nil
		}
	}
	_ = d.journal.Write()
	d.files.Fail = nil
}

// harm does to one of the two copies what may happen to a file: it is an older one, or lost. The other copy
// is to bring all of it back.
func (d *disk) harm() bool {
	w := d.p.w
	if w.calm || !w.plan.Harm || w.rng.IntN(3) > 0 {
		return false
	}
	defer func() {
		if w.rng.IntN(2) == 0 { // the next time's older copies
			d.old = &older{d.mem.Snapshot(), d.files.PowerLoss(nil)}
		}
	}()
	switch n := w.rng.IntN(3); {
	case d.old == nil:
		return false
	case n == 0:
		d.mem.Restore(d.old.store)
		w.trace.note("%s has an older store", d.p.name)
	case n == 1:
		d.files = d.old.files.PowerLoss(nil)
		w.trace.note("%s has an older journal", d.p.name)
	default:
		d.mem = store.NewMemory()
		w.trace.note("%s makes its store again from the journal", d.p.name)
	}
	return true
}

// recall reads everything anew after the copies were compared: nothing that was durable is gone.
func (p *peer) recall() {
	before := p.states
	p.refresh()
	var ids []channel.ID
	for id := range before {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b channel.ID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		old, now := before[id], p.states[id]
		switch {
		case now != nil:
			p.grew(old, now)
		case old.Out.Total+old.In.Total > 0:
			p.w.broken("P1", "%s lost channel %s", p.name, id)
		}
	}
}
