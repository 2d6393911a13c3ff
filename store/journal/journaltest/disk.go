// Package journaltest is a directory in memory that loses power: what was not synced is gone, or there in
// parts. It knows nothing of journals.
//
//	d := journaltest.NewDisk()
//	j, err := file.Open(file.Options{FS: d})
//	j, err = file.Open(file.Options{FS: d.PowerLoss(random)})
package journaltest

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/runnel/runnel/store/journal/file"
)

// Disk is a file.FS. Fail, if set before use, is asked before every change and may refuse it; it is
// called with the operation's name and the file's.
type Disk struct {
	Fail func(op, name string) error

	mu      sync.Mutex // guards the fields below
	names   map[string]*inode
	durable map[string]*inode
	changes []func(names map[string]*inode) // of names, since they were synced
}

type inode struct {
	data   []byte
	synced []byte
}

// NewDisk is an empty directory.
func NewDisk() *Disk { return &Disk{names: map[string]*inode{}, durable: map[string]*inode{}} }

// sector is what a disk writes at once.
const sector = 512

// PowerLoss is the directory as it is found afterwards. Of what was not synced nothing is there if random
// is nil; else each sector is there or not, and names up to one of the changes.
func (d *Disk) PowerLoss(random *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := NewDisk()
	kept := maps.Clone(d.durable)
	if random != nil {
		for _, change := range d.changes[:random.IntN(len(d.changes)+1)] {
			change(kept)
		}
	}
	for name, n := range kept {
		b := n.after(random)
		found.names[name] = &inode{data: b, synced: slices.Clone(b)}
	}
	found.durable = maps.Clone(found.names)
	return found
}

func (n *inode) after(random *rand.Rand) []byte {
	if random == nil {
		return slices.Clone(n.synced)
	}
	size := len(n.synced)
	if random.IntN(2) == 0 {
		size = len(n.data)
	}
	b := make([]byte, size)
	copy(b, n.synced)
	for at := 0; at < size; at += sector {
		if end := min(at+sector, size, len(n.data)); at < end && random.IntN(2) == 0 {
			copy(b[at:end], n.data[at:end])
		}
	}
	return b
}

// Flip changes one bit of a file, behind everybody's back.
func (d *Disk) Flip(name string, bit int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	n.data[bit/8] ^= 1 << (bit % 8)
	n.synced = slices.Clone(n.data)
}

// Bytes is a copy of a file's content.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.names[name].data)
}

func (d *Disk) check(op, name string) error {
	if d.Fail == nil {
		return nil
	}
	return d.Fail(op, name)
}

// change does something with names now, and perhaps after a power loss.
func (d *Disk) change(op, name string, fn func(names map[string]*inode)) error {
	if err := d.check(op, name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fn(d.names)
	d.changes = append(d.changes, fn)
	return nil
}

// List is file.FS's.
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), nil
}

// Create is file.FS's.
func (d *Disk) Create(name string) (file.File, error) {
	d.mu.Lock()
	_, taken := d.names[name]
	d.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	n := &inode{}
	if err := d.change("create", name, func(names map[string]*inode) { names[name] = n }); err != nil {
		return nil, err
	}
	return &handle{d: d, name: name, n: n}, nil
}

// Open is file.FS's.
func (d *Disk) Open(name string) (file.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return &handle{d: d, name: name, n: n}, nil
}

// Rename is file.FS's.
func (d *Disk) Rename(from, to string) error {
	return d.change("rename", from, func(names map[string]*inode) {
		if n := names[from]; n != nil {
			delete(names, from)
			names[to] = n
		}
	})
}

// Remove is file.FS's.
func (d *Disk) Remove(name string) error {
	return d.change("remove", name, func(names map[string]*inode) { delete(names, name) })
}

// Sync is file.FS's.
func (d *Disk) Sync() error {
	if err := d.check("syncdir", ""); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable, d.changes = maps.Clone(d.names), nil
	return nil
}

type handle struct {
	d    *Disk
	name string
	n    *inode
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	if err := h.d.check("write", h.name); err != nil {
		return 0, err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.grow(off + int64(len(b)))
	return copy(h.n.data[off:], b), nil
}

func (h *handle) grow(size int64) {
	if more := size - int64(len(h.n.data)); more > 0 {
		h.n.data = append(h.n.data, make([]byte, more)...)
	}
}

func (h *handle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return int64(len(h.n.data)), nil
}

func (h *handle) Truncate(size int64) error {
	if err := h.d.check("truncate", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.grow(size)
	h.n.data = slices.Clone(h.n.data[:size])
	return nil
}

func (h *handle) Allocate(size int64) error {
	if err := h.d.check("allocate", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.grow(size)
	return nil
}

func (h *handle) Sync() error {
	if err := h.d.check("sync", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.n.synced = slices.Clone(h.n.data)
	return nil
}

// SyncData does not sync a new length, as a strict disk would not.
func (h *handle) SyncData() error {
	if err := h.d.check("sync", h.name); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	copy(h.n.synced, h.n.data)
	return nil
}

func (h *handle) Close() error { return nil }
