package file_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
	"github.com/runnel/runnel/store/journal"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
	"github.com/runnel/runnel/store/storetest"
)

// pair closes both copies.
type pair struct {
	*store.Pair
	j *file.Journal
}

func (p pair) Close() error { return errors.Join(p.Pair.Close(), p.j.Close()) }

func TestPairOfMemories(t *testing.T) {
	var disk *journaltest.Disk
	open := func(t *testing.T, m *store.Memory) store.Store {
		j := mustOpen(t, options(disk))
		return pair{store.NewPair(m, j), j}
	}
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			disk = journaltest.NewDisk()
			return open(t, store.NewMemory())
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			p := s.(pair)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, store.NewMemoryFrom(p.Pair.Beside.(*store.Memory).Snapshot()))
		},
	})
}

func openPair(t testing.TB, dir string, create bool) pair {
	t.Helper()
	db, err := badger.Open(badger.Options{Dir: filepath.Join(dir, "db"), Key: testKey, Create: create})
	if err != nil {
		t.Fatal(err)
	}
	o := options(file.OS(dir))
	o.Segment = 0
	j := mustOpen(t, o)
	return pair{store.NewPair(db, j), j}
}

// TestPairLeavesConflictsOut: what the store leaves out is not in the journal either.
func TestPairLeavesConflictsOut(t *testing.T) {
	p := openPair(t, t.TempDir(), true)
	defer p.Close()
	c := store.NewCommitter(p, store.Limits{})
	var conflicts atomic.Int64
	results := make(chan error, 400)
	for i := range 400 {
		b := new(store.Batch).Expect([]byte("last"), nil).Put([]byte("last"), fmt.Append(nil, i))
		if i%2 == 0 {
			b = new(store.Batch).Put(fmt.Appendf(nil, "n%d", i), []byte("x"))
		}
		c.Submit(b, func(err error) { results <- err })
	}
	for range 400 {
		if err := <-results; errors.Is(err, store.ErrConflict) {
			conflicts.Add(1)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	written := 0
	findings, err := p.j.Replay(func(g *journal.Group) error { written += len(g.Ops); return nil })
	if err != nil || len(findings) > 0 || conflicts.Load() != 199 || written != 201 {
		t.Errorf("%d writes in the journal, %d conflicts, %v, %v", written, conflicts.Load(), findings, err)
	}
}

// TestPairStopsWhenTheJournalFails: neither writes nor reads go on with a half-written journal.
func TestPairStopsWhenTheJournalFails(t *testing.T) {
	disk := journaltest.NewDisk()
	db, err := badger.Open(badger.Options{Dir: filepath.Join(t.TempDir(), "db"), Key: testKey, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p := store.NewPair(db, mustOpen(t, options(disk)))
	if _, err := p.Apply(group(0)); err != nil {
		t.Fatal(err)
	}
	failing := "allocate"
	disk.Fail = func(op, _ string) error {
		if op == failing {
			return errors.New("disk on fire")
		}
		return nil
	}
	huge := []*store.Batch{new(store.Batch).Put([]byte("huge"), make([]byte, 400<<10))}
	if _, err := p.Apply(huge); err == nil || errors.Is(err, store.ErrBroken) {
		t.Errorf("no room: %v", err)
	}
	if _, err := p.Get([]byte("huge")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what found no room is stored: %v", err)
	}
	failing = ""
	if _, err := p.Apply(group(1)); err != nil {
		t.Errorf("after no room: %v", err)
	}
	failing = "sync"
	if _, err := p.Apply(group(2)); err == nil {
		t.Fatal("a journal that can't be synced was good enough")
	}
	if _, err := p.Apply(group(3)); !errors.Is(err, store.ErrBroken) {
		t.Errorf("write: %v, want ErrBroken", err)
	}
	if _, err := p.Get([]byte("hot")); !errors.Is(err, store.ErrBroken) {
		t.Errorf("read: %v, want ErrBroken", err)
	}
}

func payment(n uint64) *store.Batch {
	return new(store.Batch).
		Put(fmt.Appendf(nil, "lane/%04d", n%64), make([]byte, 200)).
		Put(fmt.Appendf(nil, "payment/%016x", n), make([]byte, 80)).
		Put(fmt.Appendf(nil, "budget/%04d", n%64), make([]byte, 20))
}

// BenchmarkCommit compares the database alone with database and journal, each in one transaction and one
// sync a group.
func BenchmarkCommit(b *testing.B) {
	for _, beside := range []bool{false, true} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("journal=%v/writers=%d", beside, writers), func(b *testing.B) {
				p := openPair(b, b.TempDir(), true)
				defer p.Close()
				var a store.Applier = p.Pair.Beside
				if beside {
					a = p.Pair
				}
				c := store.NewCommitter(a, store.Limits{})
				var n atomic.Uint64
				b.SetParallelism(max(1, writers/2))
				b.ResetTimer()
				if writers == 1 {
					for range b.N {
						if err := c.Commit(payment(n.Add(1))); err != nil {
							b.Fatal(err)
						}
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if err := c.Commit(payment(n.Add(1))); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				b.StopTimer()
				_ = c.Close()
			})
		}
	}
}
