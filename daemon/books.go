package daemon

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// The node keeps two books, the store and the journal. This file says what both hold and whether they
// agree; reconcile.go makes them agree.

// Journal is the second durable copy; store/journal/file is one.
type Journal interface {
	// Replay shows all groups in order and lists what is damaged.
	Replay(fn func(*journal.Group) error) ([]journal.Finding, error)
	Append(batches []*store.Batch) error
	// Rebase puts what emit adds in the place of all groups so far. Their files are removed, or moved into
	// archive.
	Rebase(archive string, emit func(replay func(fn func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error) error
	Empty() bool
	Next() uint64 // number of the next group
	Size() int64
}

// Journaled says which writes the journal keeps: all but what follows from others (payment ids from
// frames, scripts from terms) and what is learned again (scanned blocks, addresses of peers).
func Journaled(op *store.Op) bool {
	switch op.Key[0] {
	case prefixID, prefixScripts, prefixPeer, keyScanned[0]:
		return false
	case prefixFrame, prefixRefusal:
		return !op.Delete // what is dropped below a lane's base is dropped in both books by that base
	}
	return true
}

// once reports whether records of a kind are written once and never again.
func once(kind byte) bool {
	switch kind {
	case prefixFrame, prefixRefusal, prefixEvent, prefixAuthorise, prefixDraw:
		return true
	}
	return false
}

type digest [16]byte

// tally is the digest of a set of records, in whatever order they come: sums of digests under a secret
// key. Two sets with the same tally are equal, but for a chance of 1 in 2^64.
type tally struct {
	n        uint64
	sum, mix uint64
}

func (t *tally) add(d digest) {
	t.n++
	t.sum += binary.BigEndian.Uint64(d[:8])
	t.mix += binary.BigEndian.Uint64(d[8:])
}

// digester makes digests under a key of this run of the program.
type digester struct {
	key [32]byte
	h   hash.Hash
	buf []byte
}

func newDigester(random func([]byte)) *digester {
	d := &digester{h: sha256.New()}
	random(d.key[:])
	return d
}

func (d *digester) of(key, value []byte) (out digest) {
	var head [36]byte
	copy(head[:], d.key[:])
	binary.BigEndian.PutUint32(head[32:], uint32(len(key)))
	d.h.Reset()
	d.h.Write(head[:])
	d.h.Write(key)
	d.h.Write(value)
	d.buf = d.h.Sum(d.buf[:0])
	copy(out[:], d.buf)
	return out
}

// summary is one of the two books, in short: a digest of each record that changes, a tally of those that don't.
type summary struct {
	*digester
	pruned  bases
	hot     map[string]digest
	tallies map[byte]*tally
}

func newSummary(d *digester, pruned bases) *summary {
	return &summary{digester: d, pruned: pruned, hot: map[string]digest{}, tallies: map[byte]*tally{prefixFrame: {}, prefixRefusal: {}, prefixEvent: {}, prefixID: {}, prefixAuthorise: {}, prefixDraw: {}}}
}

// replayed takes a group of the journal.
func (b *summary) replayed(g *journal.Group) error {
	for i := range g.Ops {
		op := &g.Ops[i]
		kind := op.Key[0]
		switch {
		case op.Delete:
			delete(b.hot, string(op.Key))
		case b.pruned.cover(op.Key, op.Value):
		case once(kind):
			b.tallies[kind].add(b.of(op.Key, op.Value))
			if kind == prefixFrame || kind == prefixAuthorise {
				if err := b.ids(op.Key, op.Value); err != nil {
					return err
				}
			}
		default:
			b.hot[string(op.Key)] = b.of(op.Key, op.Value)
		}
	}
	return nil
}

// ids adds the id records that follow from an own frame or authorisation.
func (b *summary) ids(key, value []byte) error {
	return idsOf(key, value, func(key, value []byte) error {
		b.tallies[prefixID].add(b.of(key, value))
		return nil
	})
}

// idsOf makes the id records of an own frame or authorisation; a frame of the peer's has none.
func idsOf(key, frame []byte, fn func(key, value []byte) error) error {
	if key[0] == prefixAuthorise {
		a, err := decodeAuthorised(frame)
		if err != nil || len(key) != 17 {
			return err
		}
		return fn(idKey(a.ID), encodeDrawID(laneKey(key[1:9]), seqOf(key[9:])))
	}
	r, err := decodeFrame(frame)
	if err != nil || r.Ack != nil {
		return err
	}
	value := encodeID(keyOf(r.Frame.Lane), r.Frame.FirstSeq)
	for _, p := range r.Frame.Payments {
		if err := fn(idKey(p.ID), value); err != nil {
			return err
		}
	}
	return nil
}

// stored takes a record of the store and reports whether it is as the journal says, as far as one record
// tells.
func (b *summary) stored(of *summary, key, value []byte) bool {
	kind := key[0]
	if b.pruned.cover(key, value) {
		return true
	}
	if once(kind) || kind == prefixID {
		b.tallies[kind].add(b.of(key, value))
		return true
	}
	if !Journaled(&store.Op{Key: key}) {
		return true
	}
	d := b.of(key, value)
	if of.hot[string(key)] != d {
		return false
	}
	b.hot[string(key)] = d
	return true
}

// equal reports whether a book of the store has all that the journal's has, after every record of the
// store was as the journal says.
func (b *summary) equal(of *summary) bool {
	for kind, t := range of.tallies {
		if *b.tallies[kind] != *t {
			return false
		}
	}
	return len(b.hot) == len(of.hot)
}

// compare reads both books once.
func compare(s store.Store, j Journal, random func([]byte)) (equal bool, records uint64, findings []journal.Finding, err error) {
	d := newDigester(random)
	pruned, err := loadBases(s)
	if err != nil {
		return false, 0, nil, err
	}
	mine, of := newSummary(d, pruned), newSummary(d, pruned)
	if findings, err = j.Replay(of.replayed); err != nil {
		return false, 0, findings, err
	}
	equal = true
	err = s.Scan(nil, nil, func(key, value []byte) bool {
		records++
		equal = mine.stored(of, key, value) && equal
		return true
	})
	return equal && mine.equal(of), records, findings, err
}
