package badger

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/runnel/runnel/store"
)

// Store is a store.Store on Badger.
type Store struct {
	db  *badger.DB
	dir *directory
	id  [16]byte

	writing sync.Mutex // one transaction at a time; guards broken and format
	broken  error
	format  uint32
	alone   atomic.Bool // the second copy failed: what this one holds was promised to nobody

	mu     sync.Mutex // guards the fields below
	idle   sync.Cond  // users became 0
	users  int        // calls that are inside Badger
	closed bool
}

func newStore(db *badger.DB, path string, format uint32, id [16]byte) (*Store, error) {
	dir, err := openDirectory(path)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s := &Store{db: db, dir: dir, format: format, id: id}
	s.idle.L = &s.mu
	return s, nil
}

// Format is that of the database. WriteFormat changes it, once what the other one asks for is there.
func (s *Store) Format() uint32 {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.format
}

// WriteFormat writes the format record.
func (s *Store) WriteFormat(format uint32) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := writeFormat(s.db, format); err != nil {
		return fmt.Errorf("store: writing the format record: %w", err)
	}
	s.format = format
	return nil
}

// ID tells this database from every other one.
func (s *Store) ID() [16]byte { return s.id }

// enter keeps Close away while a call is inside Badger.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	if s.alone.Load() {
		return fmt.Errorf("%w: the journal could not be written", store.ErrBroken)
	}
	s.users++
	return nil
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		s.idle.Broadcast()
	}
}

// Get returns a copy.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var value []byte
	err := s.db.View(func(txn *badger.Txn) (err error) {
		value, err = get(txn, key)
		return err
	})
	return value, err
}

// get returns store.ErrNotFound for an absent key and never nil for one that is there.
func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(dataKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("store: reading: %w", err)
	}
	value, err := item.ValueCopy([]byte{})
	if err != nil {
		return nil, fmt.Errorf("store: reading: %w", err)
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

func dataKey(key []byte) []byte {
	k := make([]byte, 0, len(key)+1)
	return append(append(k, dataPrefix), key...)
}

// Apply writes all batches in one transaction. After a write whose outcome is unknown it returns
// store.ErrBroken until the store is opened again: after a failed sync the kernel may report the next
// one as good although pages were lost.
func (s *Store) Apply(batches []*store.Batch) ([]error, error) {
	return s.ApplyBeside(batches, nil)
}

// ApplyBeside is Apply with a second copy that is written while Badger commits.
func (s *Store) ApplyBeside(batches []*store.Batch, second store.Second) ([]error, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.broken != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrBroken, s.broken)
	}
	if err := checkSpace(s.dir.path, floor); err != nil {
		return nil, err // nothing was written: it can be tried again
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	errs := make([]error, len(batches))
	for i, b := range batches {
		var err error
		if errs[i], err = apply(txn, b); err != nil {
			return nil, err
		}
	}
	var err error
	if second == nil {
		err = s.commit(txn)
	} else if err = second.Prepare(batches, errs); err == nil {
		err = s.commitBoth(txn, second)
	}
	if err != nil {
		return nil, err
	}
	return errs, nil
}

func (s *Store) commitBoth(txn *badger.Txn, second store.Second) error {
	written := make(chan error, 1)
	go func() { written <- second.Write() }()
	err := s.commit(txn)
	other := <-written
	if other != nil {
		s.alone.Store(true)
	}
	if err = errors.Join(err, other); err != nil && s.broken == nil {
		s.broken = err
	}
	return err
}

// apply returns first what concerns this batch alone, then what ends the transaction.
func apply(txn *badger.Txn, b *store.Batch) (own, all error) {
	if err := b.Check(); err != nil {
		return err, nil
	}
	for _, e := range b.Expects {
		if ok, err := holds(txn, e); err != nil {
			return nil, err
		} else if !ok {
			return store.ErrConflict, nil
		}
	}
	for _, op := range b.Ops {
		if err := write(txn, op); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func holds(txn *badger.Txn, e store.Expectation) (bool, error) {
	value, err := get(txn, e.Key)
	if errors.Is(err, store.ErrNotFound) {
		return e.Value == nil, nil
	}
	return err == nil && e.Value != nil && bytes.Equal(value, e.Value), err
}

func write(txn *badger.Txn, op store.Op) error {
	var err error
	if op.Delete {
		err = txn.Delete(dataKey(op.Key))
	} else {
		err = txn.Set(dataKey(op.Key), op.Value)
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		return store.ErrTooBig
	}
	if err != nil {
		return fmt.Errorf("store: writing: %w", err)
	}
	return nil
}

func (s *Store) commit(txn *badger.Txn) error {
	err := txn.Commit()
	if errors.Is(err, badger.ErrTxnTooBig) {
		return store.ErrTooBig
	}
	if err == nil {
		err = s.dir.sync()
	}
	if err != nil {
		s.broken = err
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}

// Scan visits the keys as they were when it began. fn must not call Close.
func (s *Store) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	from := prefix
	if bytes.Compare(start, prefix) > 0 {
		from = start
	}
	return s.scan(prefix, dataKey(from), false, fn)
}

// ScanBack visits the keys as they were when it began. fn must not call Close.
func (s *Store) ScanBack(prefix, end []byte, fn func(key, value []byte) bool) error {
	from := dataKey(end)
	if len(end) == 0 || bytes.Compare(end, prefix) > 0 && !bytes.HasPrefix(end, prefix) {
		from = lastKey(prefix)
	}
	return s.scan(prefix, from, true, fn)
}

// lastKey is above every key with the prefix and, but for keys of more than store.MaxKey bytes, below
// the next one.
func lastKey(prefix []byte) []byte {
	return append(dataKey(prefix), bytes.Repeat([]byte{0xff}, store.MaxKey)...)
}

func (s *Store) scan(prefix, from []byte, back bool, fn func(key, value []byte) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	want := dataKey(prefix)
	return s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: want, Reverse: back})
		defer it.Close()
		for it.Seek(from); it.ValidForPrefix(want); it.Next() {
			more := false
			err := it.Item().Value(func(v []byte) error {
				more = fn(it.Item().Key()[1:], v)
				return nil
			})
			if err != nil {
				return fmt.Errorf("store: reading: %w", err)
			}
			if !more {
				return nil
			}
		}
		return nil
	})
}

// RunGC gives space of overwritten records back to the disk as far as that is cheap. Call it at quiet
// times.
func (s *Store) RunGC() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	for {
		err := s.db.RunValueLogGC(0.5)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("store: collecting garbage: %w", err)
		}
	}
}

// Size is what the files take of the disk; maps that were only reserved don't count.
func (s *Store) Size() int64 { return s.dir.size() }

// Free is how much the disk can still take.
func (s *Store) Free() (int64, error) { return freeSpace(s.dir.path) }

// Close waits for calls under way. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for s.users > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	return errors.Join(s.db.Close(), s.dir.close())
}
