//go:build linux

// Package powerloss runs real programs on a file system that forgets, at a power cut, what was not synced:
// FUSE with everything in memory. It knows nothing of what the files mean.
//
//	d := powerloss.New(seed); m, err := d.Mount(dir); ...; d.CutAfter(100); <-d.Dark(); err = d.Restore(next)
package powerloss

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// page is the unit in which the kernel writes back, sector the one that a disk writes whole.
const (
	page   = 4096
	sector = 512
)

// Disk is a tree of files with two states: what programs see, and what a power cut leaves.
type Disk struct {
	mu    sync.Mutex // guards everything below and all nodes
	rng   *rand.Rand
	root  *node
	inode uint64
	count int           // operations that change something until the cut; negative: none is planned
	dark  chan struct{} // closed at the cut
	ops   int
	left  *node // the tree that the cut left
}

// node is a file or a directory.
type node struct {
	ino  uint64
	mode uint32

	// Of a file: the content, the synced content, and the pages that differ.
	live, synced []byte
	dirty        map[int]bool

	// Of a directory: the entries, the synced entries, and the changes between the two in their order.
	entries, kept map[string]*node
	changes       []func(map[string]*node)
}

// New is an empty disk. The seed decides what of the unsynced data a cut leaves.
func New(seed uint64) *Disk {
	d := &Disk{rng: rand.New(rand.NewPCG(seed, 1)), count: -1, dark: make(chan struct{})}
	d.root = d.newNode(syscall.S_IFDIR | 0o700)
	return d
}

// Load fills the disk with the synced copy of a directory.
func (d *Disk) Load(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.load(d.root, dir)
}

func (d *Disk) load(n *node, dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		var child *node
		switch {
		case e.IsDir():
			child = d.newNode(syscall.S_IFDIR | uint32(info.Mode().Perm()))
			err = d.load(child, path)
		case info.Mode().IsRegular():
			child = d.newNode(syscall.S_IFREG | uint32(info.Mode().Perm()))
			if child.live, err = os.ReadFile(path); err == nil {
				child.synced = append([]byte(nil), child.live...)
			}
		default:
			continue // a socket of a program that is gone
		}
		if err != nil {
			return err
		}
		n.entries[e.Name()], n.kept[e.Name()] = child, child
	}
	return nil
}

func (d *Disk) newNode(mode uint32) *node {
	d.inode++
	n := &node{ino: d.inode, mode: mode}
	if n.dir() {
		n.entries, n.kept = map[string]*node{}, map[string]*node{}
	} else {
		n.dirty = map[int]bool{}
	}
	return n
}

func (n *node) dir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// CutAfter plans the cut: it comes in the middle of the n-th operation from now that changes or syncs
// something, and that operation fails.
func (d *Disk) CutAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count = n
}

// Dark is closed when the power is gone. From then on every change and every sync fails.
func (d *Disk) Dark() <-chan struct{} { return d.dark }

// Ops counts the operations that changed or synced something.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Cut turns the power off now.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
}

func (d *Disk) cut() {
	if d.left == nil {
		d.left = d.survivor(d.root)
		close(d.dark)
	}
}

// step is called before each operation that changes or syncs something; without power it fails.
func (d *Disk) step() syscall.Errno {
	if d.count == 0 {
		d.cut()
	}
	if d.left != nil {
		return syscall.EIO
	}
	d.ops++
	if d.count > 0 {
		d.count--
	}
	return 0
}

// survivor is what the cut leaves of a node: all that was synced, and of the rest whatever the disk had come
// to. Entries of a directory are written in order, pages in any.
func (d *Disk) survivor(n *node) *node {
	s := &node{ino: n.ino, mode: n.mode}
	if n.dir() {
		s.entries = map[string]*node{}
		kept := maps.Clone(n.kept)
		for _, change := range n.changes[:d.rng.IntN(len(n.changes)+1)] {
			change(kept)
		}
		for name, child := range kept {
			s.entries[name] = d.survivor(child)
		}
		return s
	}
	s.live = append([]byte(nil), n.synced...)
	if len(n.live) != len(n.synced) && d.rng.IntN(2) == 0 {
		s.live = resized(s.live, len(n.live))
	}
	for p := range n.dirty {
		d.tear(s.live, n.live, p*page)
	}
	return s
}

// tear writes a page, a part of it, or nothing of it.
func (d *Disk) tear(to, from []byte, at int) {
	for end := min(at+page, len(to), len(from)); at < end; {
		n := sector * d.rng.IntN(page/sector+1)
		if d.rng.IntN(2) == 0 {
			n = page
		}
		n = min(n, end-at)
		if n == 0 || d.rng.IntN(2) == 0 {
			return
		}
		copy(to[at:at+n], from[at:at+n])
		at += n
	}
}

func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// Restore writes what the cut left into an empty directory.
func (d *Disk) Restore(dir string) error {
	d.mu.Lock()
	left := d.left
	d.mu.Unlock()
	return write(left, dir)
}

func write(n *node, path string) error {
	switch n.mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		for name, child := range n.entries {
			if err := write(child, filepath.Join(path, name)); err != nil {
				return err
			}
		}
	case syscall.S_IFREG:
		return os.WriteFile(path, n.live, os.FileMode(n.mode&0o777))
	}
	return nil
}

// The operations of a file. All of them are called with the lock held.

func (n *node) writeAt(b []byte, at int) {
	if end := at + len(b); end > len(n.live) {
		n.live = resized(n.live, end)
	}
	copy(n.live[at:], b)
	for p := at / page; p <= (at+len(b)-1)/page; p++ {
		n.dirty[p] = true
	}
}

func (n *node) truncate(size int) {
	for p := size / page; p*page < len(n.live); p++ {
		n.dirty[p] = true // zeros, if the file grows again
	}
	n.live = resized(n.live, size)
}

func (n *node) sync() {
	if n.dir() {
		n.kept, n.changes = maps.Clone(n.entries), nil
		return
	}
	n.synced = resized(n.synced, len(n.live))
	for p := range n.dirty {
		if at := p * page; at < len(n.synced) {
			copy(n.synced[at:min(at+page, len(n.synced))], n.live[at:])
		}
	}
	clear(n.dirty)
}

// syncNames keeps what was done to directories so far. Journaling file systems (ext4, XFS) commit it with the
// sync of any file; Badger, which names a table in its manifest without a sync of the directory, relies on that.
func (n *node) syncNames() {
	if !n.dir() {
		return
	}
	n.sync()
	for _, child := range n.entries {
		child.syncNames()
	}
}

// change does something to the entries of a directory, which is kept once that or any file is synced.
func (n *node) change(f func(map[string]*node)) {
	f(n.entries)
	n.changes = append(n.changes, f)
}
