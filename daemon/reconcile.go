package daemon

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// Reconciliation is what came of comparing store and journal.
type Reconciliation struct {
	Records    uint64 // in the store
	Restored   int    // that the store had lost or had in an older form
	Appended   int    // that the journal had lost or had in an older form
	Findings   []journal.Finding
	Recovering []channel.ID // whose state neither proves
	Late       bool         // all that differed was on its way when the node went down
	Took       time.Duration
}

// Repaired reports whether something was wrong that no ordinary stop explains.
func (r *Reconciliation) Repaired() bool {
	return len(r.Findings) > 0 || len(r.Recovering) > 0 || r.Restored+r.Appended > 0 && !r.Late
}

// String is the sentence for the owner.
func (r *Reconciliation) String() string {
	if !r.Repaired() {
		return "database and journal agree"
	}
	s := fmt.Sprintf("database and journal did not agree and were repaired: %d records came back from the journal, %d from the database",
		r.Restored, r.Appended)
	if len(r.Findings) > 0 {
		s += fmt.Sprintf("; %s (the damaged journal is kept beside the new one)", r.Findings[0].Error())
	}
	if len(r.Recovering) > 0 {
		s += fmt.Sprintf("; %d channels are not proven any more and can only be closed", len(r.Recovering))
	}
	return s
}

// ErrBooks is returned when store and journal contradict each other and neither proves more.
var ErrBooks = errors.New("database and journal contradict each other")

// Reconcile compares the store with the journal before a node is made of them, and makes them agree: each
// record comes from the book that proves more. It writes the store directly, not through a pair.
func Reconcile(s store.Store, j Journal, scheme ledger.Scheme) (*Reconciliation, error) {
	began := time.Now()
	random := func(b []byte) { _, _ = rand.Read(b) }
	equal, records, findings, err := compare(s, j, random)
	if err != nil {
		return nil, err
	}
	r := &reconciler{s: s, j: j, scheme: scheme, random: random, out: &Reconciliation{Records: records, Findings: findings}}
	if !equal || len(findings) > 0 {
		if err := r.repair(); err != nil {
			return nil, err
		}
	}
	r.out.Took = time.Since(began)
	return r.out, nil
}

// Rewrite makes the journal anew from the store alone: for a store that never had one, and after a
// journal was lost. Segments that are there are kept in archive.
func Rewrite(s store.Store, j Journal, archive string) error {
	return j.Rebase(archive, func(_ func(func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error {
		var bad error
		err := s.Scan(nil, nil, func(key, value []byte) bool {
			bad = add(&store.Op{Key: key, Value: value})
			return bad == nil
		})
		return errors.Join(err, bad)
	})
}

// Holds reports whether a store has anything that must not be lost.
func Holds(s store.Store) (found bool, err error) {
	err = s.Scan(nil, nil, func(key, _ []byte) bool {
		found = Journaled(&store.Op{Key: key})
		return !found
	})
	return found, err
}

type reconciler struct {
	s      store.Store
	j      Journal
	scheme ledger.Scheme
	random func([]byte)
	out    *Reconciliation

	pruned     bases
	last       uint64            // number of the journal's newest group
	once       map[digest]record // of records that are written once, by key; those that the store lacks
	hot        map[string]value  // of the journal; nil bytes: deleted
	stored     map[string][]byte // of the store
	lostStore  bool              // the store lacks something older than the newest group
	toStore    store.Batch
	toJournal  store.Batch
	storeAhead bool // a record was newer in the store than in the journal
	newer      bool // storeAhead, once all channels are decided
}

// record is one that is written once, value one that changes, each with the group that wrote it last.
type record struct {
	value  digest
	number uint64
}

type value struct {
	bytes  []byte
	number uint64
}

// repair looks at every record, decides, and only then writes.
func (r *reconciler) repair() error {
	d := newDigester(r.random)
	if err := r.readJournal(d); err != nil {
		return err
	}
	if err := r.readStore(d); err != nil {
		return err
	}
	if err := r.decide(); err != nil {
		return err
	}
	r.out.Late = !r.lostStore && len(r.out.Findings) == 0 && r.out.Appended <= maxLate
	if err := r.fillStore(d); err != nil {
		return err
	}
	if err := r.fillJournal(); err != nil {
		return err
	}
	if len(r.out.Findings) > 0 && r.lostStore {
		if err := r.distrust(); err != nil {
			return err
		}
	}
	if len(r.out.Findings) > 0 {
		if err := Rewrite(r.s, r.j, "damaged-"+time.Now().UTC().Format("20060102-150405")); err != nil {
			return err
		}
	}
	return r.verify()
}

// maxLate bounds what one group can hold, and with it what can be on its way when a node goes down.
const maxLate = 4096

func (r *reconciler) readJournal(d *digester) error {
	r.once, r.hot = map[digest]record{}, map[string]value{}
	var err error
	if r.pruned, err = loadBases(r.s); err != nil {
		return err
	}
	_, err = r.j.Replay(func(g *journal.Group) error { // the store may have lost bases that the journal has
		for i := range g.Ops {
			if op := &g.Ops[i]; op.Key[0] == prefixBase && !op.Delete {
				r.pruned.add(op.Key, op.Value)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = r.j.Replay(func(g *journal.Group) error {
		if !g.Base {
			r.last = max(r.last, g.Number)
		}
		number := g.Number
		if g.Base {
			number = 0
		}
		for i := range g.Ops {
			switch op := &g.Ops[i]; {
			case r.pruned.cover(op.Key, op.Value):
			case once(op.Key[0]):
				r.once[d.of(op.Key, nil)] = record{d.of(op.Key, op.Value), number}
			case op.Delete:
				r.hot[string(op.Key)] = value{nil, number}
			default:
				r.hot[string(op.Key)] = value{bytes.Clone(op.Value), number}
			}
		}
		return nil
	})
	return err
}

// readStore leaves in once what the store lacks and gathers for the journal what that one lacks.
func (r *reconciler) readStore(d *digester) error {
	r.stored = map[string][]byte{}
	var bad error
	err := r.s.Scan(nil, nil, func(key, value []byte) bool {
		kind := key[0]
		if r.pruned.cover(key, value) {
			return true
		}
		if !once(kind) {
			if Journaled(&store.Op{Key: key}) {
				r.stored[string(key)] = bytes.Clone(value)
			}
			return true
		}
		k := d.of(key, nil)
		have, ok := r.once[k]
		switch {
		case !ok:
			r.toJournal.Put(bytes.Clone(key), bytes.Clone(value))
		case have.value != d.of(key, value):
			bad = fmt.Errorf("%w: a record of payments or events (%c%x) differs; restore the newest backup of the whole data directory", ErrBooks, kind, key[1:])
			return false
		default:
			delete(r.once, k)
		}
		return true
	})
	for _, rec := range r.once {
		r.lostStore = r.lostStore || rec.number < r.last
	}
	r.storeAhead = len(r.toJournal.Ops) > 0
	return errors.Join(err, bad)
}

// decide goes through the records that change: channels as a whole, then the others.
func (r *reconciler) decide() error {
	channels := map[channel.ID]bool{}
	var others []string
	for key := range r.bothKeys() {
		if id, ok := channelOf(key); ok {
			channels[id] = true
		} else {
			others = append(others, key)
		}
	}
	for id := range channels {
		if err := r.decideChannel(id); err != nil {
			return err
		}
	}
	for _, key := range others {
		_, known := r.hot[key]
		r.storeAhead = r.storeAhead || !known
	}
	r.newer = r.storeAhead || len(r.out.Findings) > 0
	for _, key := range others {
		r.decideOther(key)
	}
	r.out.Restored, r.out.Appended = len(r.toStore.Ops)+len(r.once), len(r.toJournal.Ops)
	return nil
}

func (r *reconciler) bothKeys() map[string]bool {
	keys := map[string]bool{}
	for k := range maps.Keys(r.hot) {
		keys[k] = true
	}
	for k := range maps.Keys(r.stored) {
		keys[k] = true
	}
	return keys
}

// fillStore puts back what the store lacks, the ids of payments with their frames.
func (r *reconciler) fillStore(d *digester) error {
	w := writer{apply: func(b *store.Batch) error { return applyAll(r.s, b) }}
	_, err := r.j.Replay(func(g *journal.Group) error {
		for i := range g.Ops {
			op := &g.Ops[i]
			if op.Delete || !once(op.Key[0]) || r.pruned.cover(op.Key, op.Value) {
				continue
			}
			if _, lost := r.once[d.of(op.Key, nil)]; lost {
				if err := w.put(op.Key, op.Value); err != nil {
					return err
				}
			}
			if op.Key[0] == prefixFrame || op.Key[0] == prefixAuthorise {
				if err := r.fillIDs(&w, op); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range r.toJournal.Ops { // their ids may be missing all the same
		if op := &r.toJournal.Ops[i]; op.Key[0] == prefixFrame || op.Key[0] == prefixAuthorise {
			if err := r.fillIDs(&w, op); err != nil {
				return err
			}
		}
	}
	for _, op := range r.toStore.Ops {
		if err := w.add(op); err != nil {
			return err
		}
	}
	return w.flush()
}

func (r *reconciler) fillIDs(w *writer, op *store.Op) error {
	return idsOf(op.Key, op.Value, func(key, value []byte) error {
		have, err := r.s.Get(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if bytes.Equal(have, value) {
			return nil
		}
		r.out.Restored++
		return w.put(key, value)
	})
}

func (r *reconciler) fillJournal() error {
	w := writer{apply: func(b *store.Batch) error { return r.j.Append([]*store.Batch{b}) }}
	for _, op := range r.toJournal.Ops {
		if err := w.add(op); err != nil {
			return err
		}
	}
	return w.flush()
}

// distrust ends the trust in every channel: both books lost something, and what both lost nobody knows.
func (r *reconciler) distrust() error {
	ids, err := channelIDs(r.s)
	if err != nil {
		return err
	}
	for _, id := range ids {
		moved, err := recoverChannel(r.s, func(b *store.Batch) error {
			if err := applyAll(r.s, b); err != nil {
				return err
			}
			return r.j.Append([]*store.Batch{b})
		}, id)
		if err != nil {
			return err
		}
		if moved {
			r.out.Recovering = append(r.out.Recovering, id)
		}
	}
	return nil
}

// verify compares once more: a repair that did not lead to two equal books is none.
func (r *reconciler) verify() error {
	equal, _, findings, err := compare(r.s, r.j, r.random)
	if err != nil {
		return err
	}
	if !equal || len(findings) > 0 {
		return fmt.Errorf("%w also after a repair; restore the newest backup of the whole data directory", ErrBooks)
	}
	return nil
}

// writer gathers writes into batches that every store takes.
type writer struct {
	apply func(*store.Batch) error
	batch store.Batch
	size  int
}

func (w *writer) put(key, value []byte) error {
	return w.add(store.Op{Key: bytes.Clone(key), Value: bytes.Clone(value)})
}

func (w *writer) add(op store.Op) error {
	w.batch.Ops = append(w.batch.Ops, op)
	w.size += len(op.Key) + len(op.Value)
	if len(w.batch.Ops) < 1024 && w.size < 256<<10 {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if len(w.batch.Ops) == 0 {
		return nil
	}
	b := w.batch
	w.batch, w.size = store.Batch{}, 0
	return w.apply(&b)
}

func applyAll(s store.Store, b *store.Batch) error {
	errs, err := s.Apply([]*store.Batch{b})
	if err != nil {
		return err
	}
	return errs[0]
}
