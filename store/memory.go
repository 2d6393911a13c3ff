package store

import (
	"bytes"
	"fmt"
	"sync"
)

// Memory is a Store without a disk, for simulations and tests. What survives a power loss is decided by
// its owner: take a Snapshot at the last moment that counts as durable, Restore it afterwards.
type Memory struct {
	mu     sync.Mutex // guards the fields below
	root   *node
	bytes  int64
	closed bool
	broken error // the second copy failed
}

// Snapshot is all that a Memory held at one moment. It never changes.
type Snapshot struct {
	root  *node
	bytes int64
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{} }

// NewMemoryFrom opens a snapshot, as a process does after a restart.
func NewMemoryFrom(s Snapshot) *Memory { return &Memory{root: s.root, bytes: s.bytes} }

// Snapshot costs nothing and also works on a closed store.
func (m *Memory) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Snapshot{root: m.root, bytes: m.bytes}
}

// Restore forgets all that happened since the snapshot was taken.
func (m *Memory) Restore(s Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.root, m.bytes = s.root, s.bytes
}

func (m *Memory) view() (*node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if m.broken != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, m.broken)
	}
	return m.root, nil
}

// Get returns a copy.
func (m *Memory) Get(key []byte) ([]byte, error) {
	root, err := m.view()
	if err != nil {
		return nil, err
	}
	n := root.get(key)
	if n == nil {
		return nil, ErrNotFound
	}
	return append([]byte{}, n.value...), nil
}

// Scan visits the keys as they were when it began.
func (m *Memory) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	root, err := m.view()
	if err != nil {
		return err
	}
	from := prefix
	if bytes.Compare(start, prefix) > 0 {
		from = start
	}
	root.ascend(from, func(n *node) bool { return bytes.HasPrefix(n.key, prefix) && fn(n.key, n.value) })
	return nil
}

// ScanBack visits the keys as they were when it began.
func (m *Memory) ScanBack(prefix, end []byte, fn func(key, value []byte) bool) error {
	root, err := m.view()
	if err != nil {
		return err
	}
	below := func(key []byte) bool {
		if len(end) > 0 && bytes.Compare(key, end) > 0 {
			return false
		}
		return bytes.HasPrefix(key, prefix) || bytes.Compare(key, prefix) < 0
	}
	root.descend(below, func(n *node) bool { return bytes.HasPrefix(n.key, prefix) && fn(n.key, n.value) })
	return nil
}

// Apply never fails as a whole but for ErrClosed.
func (m *Memory) Apply(batches []*Batch) ([]error, error) { return m.ApplyBeside(batches, nil) }

// ApplyBeside writes the second copy first, in the caller's goroutine, so that a simulation knows the order.
func (m *Memory) ApplyBeside(batches []*Batch, second Second) ([]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if m.broken != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, m.broken)
	}
	root, size := m.root, m.bytes
	errs := make([]error, len(batches))
	for i, b := range batches {
		errs[i] = m.apply(b)
	}
	if second == nil {
		return errs, nil
	}
	err := second.Prepare(batches, errs)
	if err == nil {
		if err = second.Write(); err != nil {
			m.broken = err
		}
	}
	if err != nil {
		m.root, m.bytes = root, size
		return nil, err
	}
	return errs, nil
}

func (m *Memory) apply(b *Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	for _, e := range b.Expects {
		n := m.root.get(e.Key)
		if (n == nil) != (e.Value == nil) || n != nil && !bytes.Equal(n.value, e.Value) {
			return ErrConflict
		}
	}
	for _, op := range b.Ops {
		m.write(op)
	}
	return nil
}

func (m *Memory) write(op Op) {
	old := m.root.get(op.Key)
	if old != nil {
		m.bytes -= int64(len(old.key) + len(old.value))
	}
	switch {
	case !op.Delete:
		m.root = m.root.put(op.Key, op.Value)
		m.bytes += int64(len(op.Key) + len(op.Value))
	case old != nil:
		m.root = m.root.remove(op.Key)
	}
}

// Size is the sum of all keys and values.
func (m *Memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// Close makes every later call fail with ErrClosed. A second Close does nothing.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
