// Package storetest is the one suite that every store.Store passes. It knows no particular store.
//
//	storetest.Run(t, storetest.Backend{Open: open, Reopen: reopen})
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/runnel/runnel/store"
)

// Backend makes stores. Open gives an empty one. Reopen closes s and opens the same data again.
type Backend struct {
	Open   func(t *testing.T) store.Store
	Reopen func(t *testing.T, s store.Store) store.Store
}

// Run runs the whole suite.
func Run(t *testing.T, b Backend) {
	tests := []struct {
		name string
		run  func(t *testing.T, b Backend)
	}{
		{"GetPutDelete", getPutDelete},
		{"Scan", scan},
		{"ScanStops", scanStops},
		{"ScanIsSnapshot", scanIsSnapshot},
		{"ReadInsideScan", readInsideScan},
		{"Expect", expect},
		{"ExpectEmptyAndAbsent", expectEmptyAndAbsent},
		{"GroupSeesItself", groupSeesItself},
		{"BadKeysStayOut", badKeysStayOut},
		{"LimitsFit", limitsFit},
		{"Reopen", reopen},
		{"Concurrent", concurrent},
		{"CompareAndSwapRace", compareAndSwapRace},
		{"Closed", closed},
		{"CloseWhileBusy", closeWhileBusy},
		{"Committer", committer},
		{"Model", model},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
}

func open(t *testing.T, b Backend) store.Store {
	t.Helper()
	s := b.Open(t)
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func batch() *store.Batch { return new(store.Batch) }

// apply writes one batch that must succeed.
func apply(t *testing.T, s store.Store, b *store.Batch) {
	t.Helper()
	if err := applyOne(s, b); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func applyOne(s store.Store, b *store.Batch) error {
	errs, err := s.Apply([]*store.Batch{b})
	if err != nil {
		return err
	}
	if len(errs) != 1 {
		return fmt.Errorf("%d results for one batch", len(errs))
	}
	return errs[0]
}

func wantValue(t *testing.T, s store.Store, key, want string) {
	t.Helper()
	got, err := s.Get([]byte(key))
	if err != nil || string(got) != want || got == nil {
		t.Fatalf("Get(%q) = %q, %v, want %q", key, got, err, want)
	}
}

func wantAbsent(t *testing.T, s store.Store, key string) {
	t.Helper()
	if got, err := s.Get([]byte(key)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get(%q) = %q, %v, want ErrNotFound", key, got, err)
	}
}

func getPutDelete(t *testing.T, b Backend) {
	s := open(t, b)
	wantAbsent(t, s, "a")
	apply(t, s, batch().Put([]byte("a"), []byte("1")).Put([]byte("b"), nil).Put([]byte("c"), []byte("3")))
	wantValue(t, s, "a", "1")
	wantValue(t, s, "b", "")
	got, _ := s.Get([]byte("a"))
	got[0] = 'x'
	wantValue(t, s, "a", "1")
	apply(t, s, batch().Put([]byte("a"), []byte("2")).Delete([]byte("c")).Delete([]byte("never")))
	wantValue(t, s, "a", "2")
	wantAbsent(t, s, "c")
	apply(t, s, batch().Put([]byte("a"), []byte("3")).Delete([]byte("a")).Delete([]byte("b")).Put([]byte("b"), []byte("4")))
	wantAbsent(t, s, "a")
	wantValue(t, s, "b", "4")
	apply(t, s, batch())
	if errs, err := s.Apply(nil); err != nil || len(errs) != 0 {
		t.Fatalf("Apply(nil) = %v, %v", errs, err)
	}
}

// scanKeys sit around every edge that a prefix scan has: below, at, above, 0x00 and 0xff.
var scanKeys = []string{"\x00", "a", "p", "p\x00", "p/1", "p/2", "p/2\x00", "p/\xff", "p/\xff\xff", "p0", "q", "\xff", "\xff\xff"}

func scan(t *testing.T, b Backend) {
	s := open(t, b)
	put := batch()
	for i := len(scanKeys) - 1; i >= 0; i-- {
		put.Put([]byte(scanKeys[i]), []byte("value of "+scanKeys[i]))
	}
	apply(t, s, put)
	edges := append([]string{"", "p/", "p/3", "o", "r", "p/\xff\xff\xff"}, scanKeys...)
	for _, prefix := range edges {
		for _, edge := range edges {
			want, wantBack := expectScan(prefix, edge)
			if got := collect(t, s.Scan, prefix, edge); !reflect.DeepEqual(got, want) {
				t.Errorf("Scan(%q, %q) = %q, want %q", prefix, edge, got, want)
			}
			if got := collect(t, s.ScanBack, prefix, edge); !reflect.DeepEqual(got, wantBack) {
				t.Errorf("ScanBack(%q, %q) = %q, want %q", prefix, edge, got, wantBack)
			}
		}
	}
}

func expectScan(prefix, edge string) (up, down []string) {
	for _, k := range scanKeys {
		if bytes.HasPrefix([]byte(k), []byte(prefix)) && k >= edge {
			up = append(up, k)
		}
	}
	for i := len(scanKeys) - 1; i >= 0; i-- {
		k := scanKeys[i]
		if bytes.HasPrefix([]byte(k), []byte(prefix)) && (edge == "" || k <= edge) {
			down = append(down, k)
		}
	}
	return up, down
}

// collect turns an empty edge into nil, and checks that values belong to their keys.
func collect(t *testing.T, scan func(prefix, edge []byte, fn func(k, v []byte) bool) error, prefix, edge string) []string {
	t.Helper()
	var e []byte
	if edge != "" {
		e = []byte(edge)
	}
	var keys []string
	err := scan([]byte(prefix), e, func(k, v []byte) bool {
		if string(v) != "value of "+string(k) {
			t.Errorf("key %q has value %q", k, v)
		}
		keys = append(keys, string(k))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func scanStops(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Put([]byte("1"), nil).Put([]byte("2"), nil).Put([]byte("3"), nil))
	var seen []string
	visit := func(k, _ []byte) bool {
		seen = append(seen, string(k))
		return len(seen)%2 != 0
	}
	if err := s.Scan(nil, nil, visit); err != nil {
		t.Fatal(err)
	}
	if err := s.ScanBack(nil, nil, visit); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1", "2", "3", "2"}; !reflect.DeepEqual(seen, want) {
		t.Fatalf("visited %q, want %q", seen, want)
	}
}

func scanIsSnapshot(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Put([]byte("1"), []byte("old")).Put([]byte("2"), []byte("old")).Put([]byte("3"), []byte("old")))
	var seen []string
	err := s.Scan(nil, nil, func(k, v []byte) bool {
		if len(seen) == 0 {
			apply(t, s, batch().Put([]byte("2"), []byte("new")).Delete([]byte("3")).Put([]byte("4"), []byte("new")))
		}
		seen = append(seen, string(k)+string(v))
		return true
	})
	if want := []string{"1old", "2old", "3old"}; err != nil || !reflect.DeepEqual(seen, want) {
		t.Fatalf("saw %q, %v, want %q", seen, err, want)
	}
}

func readInsideScan(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Put([]byte("a/1"), nil).Put([]byte("a/2"), nil).Put([]byte("b"), []byte("x")))
	n := 0
	err := s.Scan([]byte("a/"), nil, func(_, _ []byte) bool {
		wantValue(t, s, "b", "x")
		if err := s.ScanBack([]byte("a/"), nil, func(_, _ []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if err != nil || n != 4 {
		t.Fatalf("%d visits, %v", n, err)
	}
}

func expect(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Expect([]byte("a"), nil).Put([]byte("a"), []byte("1")))
	refused := []*store.Batch{
		batch().Expect([]byte("a"), nil).Put([]byte("a"), []byte("2")),
		batch().Expect([]byte("a"), []byte("0")).Put([]byte("a"), []byte("2")),
		batch().Expect([]byte("a"), []byte{}).Put([]byte("a"), []byte("2")),
		batch().Put([]byte("x"), []byte("2")).Expect([]byte("b"), []byte("1")).Put([]byte("a"), []byte("2")),
		batch().Expect([]byte("a"), []byte("1")).Expect([]byte("b"), []byte("1")).Delete([]byte("a")),
	}
	for i, r := range refused {
		if err := applyOne(s, r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("batch %d: %v, want ErrConflict", i, err)
		}
	}
	wantValue(t, s, "a", "1")
	wantAbsent(t, s, "x")
	apply(t, s, batch().Expect([]byte("a"), []byte("1")).Expect([]byte("b"), nil).Put([]byte("a"), []byte("2")))
	wantValue(t, s, "a", "2")
	apply(t, s, batch().Expect([]byte("a"), []byte("2")))
}

func expectEmptyAndAbsent(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Put([]byte("empty"), nil))
	if err := applyOne(s, batch().Expect([]byte("empty"), nil)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a key with an empty value counts as absent: %v", err)
	}
	apply(t, s, batch().Expect([]byte("empty"), []byte{}))
	if err := applyOne(s, batch().Expect([]byte("absent"), []byte{})); !errors.Is(err, store.ErrConflict) {
		t.Errorf("an absent key counts as empty: %v", err)
	}
}

func groupSeesItself(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Put([]byte("n"), []byte("0")).Put([]byte("gone"), []byte("1")))
	errs, err := s.Apply([]*store.Batch{
		batch().Expect([]byte("n"), []byte("0")).Put([]byte("n"), []byte("1")),
		batch().Expect([]byte("n"), []byte("0")).Put([]byte("n"), []byte("lost")).Put([]byte("lost"), nil),
		batch().Expect([]byte("n"), []byte("1")).Put([]byte("n"), []byte("2")).Delete([]byte("gone")),
		batch().Expect([]byte("gone"), nil).Expect([]byte("lost"), nil).Put([]byte("new"), []byte("3")),
		batch().Expect([]byte("new"), []byte("3")).Put([]byte("gone"), []byte("4")),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range errs {
		if want := i == 1; errors.Is(e, store.ErrConflict) != want || !want && e != nil {
			t.Errorf("batch %d: %v", i, e)
		}
	}
	wantValue(t, s, "n", "2")
	wantValue(t, s, "gone", "4")
	wantAbsent(t, s, "lost")
}

func badKeysStayOut(t *testing.T, b Backend) {
	s := open(t, b)
	long := make([]byte, store.MaxKey+1)
	bad := []*store.Batch{
		batch().Put([]byte("x"), nil).Put(nil, nil),
		batch().Put([]byte("x"), nil).Delete(long),
		batch().Put([]byte("x"), nil).Put([]byte("y"), make([]byte, store.MaxValue+1)),
		batch().Put([]byte("x"), nil).Expect(long, nil),
	}
	errs, err := s.Apply(append(bad, batch().Put(long[1:], []byte("good"))))
	if err != nil {
		t.Fatal(err)
	}
	for i := range bad {
		if !errors.Is(errs[i], store.ErrTooBig) {
			t.Errorf("batch %d: %v, want ErrTooBig", i, errs[i])
		}
	}
	if errs[len(bad)] != nil {
		t.Error(errs[len(bad)])
	}
	wantAbsent(t, s, "x")
	wantValue(t, s, string(long[1:]), "good")
}

// limitsFit writes the largest groups that a Committer with default limits makes.
func limitsFit(t *testing.T, b Backend) {
	s := open(t, b)
	limits := store.DefaultLimits()
	many := batch()
	for i := range limits.GroupOps {
		many.Put(fmt.Appendf(nil, "many/%06d", i), nil)
	}
	large := batch()
	for i := 0; large.Size() < limits.GroupBytes-store.MaxKey-10_000; i++ {
		large.Put(fmt.Appendf(nil, "large/%06d", i), make([]byte, 10_000))
	}
	apply(t, s, many)
	apply(t, s, large)
	apply(t, s, batch().Put([]byte("value"), make([]byte, store.MaxValue)))
	n := 0
	if err := s.Scan([]byte("many/"), nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != limits.GroupOps {
		t.Fatalf("%d of %d, %v", n, limits.GroupOps, err)
	}
}

func reopen(t *testing.T, b Backend) {
	s := b.Open(t)
	apply(t, s, batch().Put([]byte("a"), []byte("1")).Put([]byte("b"), []byte("2")).Put([]byte("e"), nil))
	for round := range 3 {
		apply(t, s, batch().Put([]byte("round"), fmt.Append(nil, round)).Delete([]byte("b")))
		s = b.Reopen(t, s)
		wantValue(t, s, "a", "1")
		wantValue(t, s, "e", "")
		wantAbsent(t, s, "b")
		wantValue(t, s, "round", fmt.Sprint(round))
	}
	closeStore(t, s)
}

func concurrent(t *testing.T, b Backend) {
	s := open(t, b)
	const writers, each = 8, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key, value := fmt.Appendf(nil, "%d/%03d", w, i), fmt.Append(nil, i)
				if err := applyOne(s, batch().Put(key, value)); err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Get(key); err != nil || !bytes.Equal(got, value) {
					t.Errorf("own write not seen: %q, %v", got, err)
				}
				last := ""
				err := s.Scan(nil, nil, func(k, _ []byte) bool {
					if string(k) <= last {
						t.Errorf("%q after %q", k, last)
					}
					last = string(k)
					return true
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	if err := s.ScanBack(nil, nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != writers*each {
		t.Fatalf("%d of %d, %v", n, writers*each, err)
	}
}

// compareAndSwapRace lets many writers count one record up; every success counts once.
func compareAndSwapRace(t *testing.T, b Backend) {
	s := open(t, b)
	apply(t, s, batch().Put([]byte("n"), []byte{0}))
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				old, err := s.Get([]byte("n"))
				if err != nil {
					t.Error(err)
					return
				}
				err = applyOne(s, batch().Expect([]byte("n"), old).Put([]byte("n"), []byte{old[0] + 1}))
				switch {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantValue(t, s, "n", string([]byte{writers * each}))
}

func closed(t *testing.T, b Backend) {
	s := b.Open(t)
	apply(t, s, batch().Put([]byte("a"), nil))
	closeStore(t, s)
	closeStore(t, s)
	_, getErr := s.Get([]byte("a"))
	never := func(_, _ []byte) bool { t.Error("visited a key after Close"); return true }
	for name, err := range map[string]error{
		"Get":      getErr,
		"Scan":     s.Scan(nil, nil, never),
		"ScanBack": s.ScanBack(nil, nil, never),
		"Apply":    applyOne(s, batch().Put([]byte("a"), nil)),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

// closeWhileBusy expects of every call during Close that it succeeds or says ErrClosed.
func closeWhileBusy(t *testing.T, b Backend) {
	s := b.Open(t)
	apply(t, s, batch().Put([]byte("a"), nil))
	started := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				err := applyOne(s, batch().Put(fmt.Appendf(nil, "%d/%d", w, i), nil))
				if err == nil {
					_, err = s.Get([]byte("a"))
				}
				if err == nil {
					err = s.Scan(nil, nil, func(_, _ []byte) bool { return true })
				}
				if i == 0 {
					started <- struct{}{}
				}
				if errors.Is(err, store.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	closeStore(t, s)
	wg.Wait()
}

func committer(t *testing.T, b Backend) {
	s := open(t, b)
	c := store.NewCommitter(s, store.Limits{GroupOps: 16})
	const writers, each = 16, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Appendf(nil, "%02d/%03d", w, i)
				if err := c.Commit(batch().Expect(key, nil).Put(key, []byte("v"))); err != nil {
					t.Error(err)
				} else if _, err := s.Get(key); err != nil {
					t.Errorf("reported before it was written: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if stats := c.Stats(); stats.Batches != writers*each || stats.Ops != writers*each || stats.Groups == 0 || stats.Waiting != 0 {
		t.Errorf("stats %+v", stats)
	}
}
