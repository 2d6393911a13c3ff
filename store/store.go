// Package store says what Runnel needs of a database: ordered keys, atomic batches with
// compare-and-swap, and durability before an answer. It knows nothing of channels.
//
//	errs, err := s.Apply([]*store.Batch{new(store.Batch).Put(key, value)})
package store

import "errors"

// ErrNotFound is returned by Get for a key that is not there.
var ErrNotFound = errors.New("store: not found")

// ErrConflict is returned for a batch whose Expect did not hold; nothing of that batch was written.
var ErrConflict = errors.New("store: record was changed by another writer")

// ErrNewer is returned when the data was written by a newer format than this program knows.
var ErrNewer = errors.New("store: data was written by a newer version of Runnel")

// ErrClosed is returned after Close.
var ErrClosed = errors.New("store: closed")

// Op is one write of a batch.
type Op struct {
	Key    []byte
	Value  []byte // nil together with Delete
	Delete bool
}

// Expectation is one condition of a batch: the key holds exactly Value, or is absent when Value is nil.
type Expectation struct {
	Key   []byte
	Value []byte
}

// Batch is a set of writes that happen all or not at all. Keys and values must not be changed after
// they were handed over.
type Batch struct {
	Ops     []Op
	Expects []Expectation
}

// Put adds a write.
func (b *Batch) Put(key, value []byte) *Batch {
	b.Ops = append(b.Ops, Op{Key: key, Value: value})
	return b
}

// Delete removes a key; an absent key is no error.
func (b *Batch) Delete(key []byte) *Batch {
	b.Ops = append(b.Ops, Op{Key: key, Delete: true})
	return b
}

// Expect makes the whole batch conditional on the value that key has before it. A nil value asks that
// the key is absent.
func (b *Batch) Expect(key, value []byte) *Batch {
	b.Expects = append(b.Expects, Expectation{Key: key, Value: value})
	return b
}

// Store is an ordered key-value store.
//
// Apply writes the batches in order in one durable transaction: when it returns a nil error, every batch
// whose own error is nil survives a power loss; later batches see the writes of earlier ones, also in
// their Expects. A batch with a failed Expect gets ErrConflict and is left out. When the second result is
// not nil nothing is known to be written.
//
// Scan visits keys with the prefix that are >= start in ascending order (start may be nil) until fn
// returns false. ScanBack visits keys with the prefix that are <= end in descending order (end may be
// nil: from the last). Key and value are only valid during the call.
//
// All methods are safe for concurrent use.
type Store interface {
	Get(key []byte) ([]byte, error)
	Scan(prefix, start []byte, fn func(key, value []byte) bool) error
	ScanBack(prefix, end []byte, fn func(key, value []byte) bool) error
	Apply(batches []*Batch) ([]error, error)
	Close() error
}

// Sizer is implemented by stores that know their size on disk in bytes.
type Sizer interface{ Size() int64 }

// Spacer is implemented by stores that know how many bytes their disk can still take.
type Spacer interface{ Free() (int64, error) }
