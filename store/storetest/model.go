package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/store"
)

// twin is the naive store that every other one must agree with.
type twin map[string]string

func (w twin) apply(b *store.Batch) error {
	for _, e := range b.Expects {
		v, ok := w[string(e.Key)]
		if ok != (e.Value != nil) || v != string(e.Value) {
			return store.ErrConflict
		}
	}
	for _, op := range b.Ops {
		if op.Delete {
			delete(w, string(op.Key))
		} else {
			w[string(op.Key)] = string(op.Value)
		}
	}
	return nil
}

func (w twin) scan(prefix, start string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(w)) {
		if strings.HasPrefix(k, prefix) && k >= start {
			out = append(out, k+"="+w[k])
		}
	}
	return out
}

func (w twin) scanBack(prefix, end string) []string {
	out := w.scan(prefix, "")
	slices.Reverse(out)
	if end == "" {
		return out
	}
	return slices.DeleteFunc(out, func(kv string) bool { k, _, _ := strings.Cut(kv, "="); return k > end })
}

// model runs random operations on a store and on its twin. One store serves all runs, each under a
// prefix of its own, because opening one is slow.
func model(t *testing.T, b Backend) {
	s := b.Open(t)
	defer func() { closeStore(t, s) }()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &machine{t: t, backend: b, store: &s, ns: fmt.Sprintf("run%06d/", run), twin: twin{}}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": m.apply, "get": m.get, "scan": m.scan, "scanBack": m.scanBack, "reopen": m.reopen,
		})
	})
}

type machine struct {
	t       *testing.T
	backend Backend
	store   *store.Store
	ns      string
	twin    twin
	steps   int
}

var (
	keyPart   = rapid.SampledFrom([]string{"a", "b", "c", "\x00", "\xff"})
	valuePart = rapid.SampledFrom([]string{"", "1", "2"})
)

func (m *machine) key(rt *rapid.T) []byte {
	return []byte(m.ns + strings.Join(rapid.SliceOfN(keyPart, 1, 2).Draw(rt, "key"), ""))
}

func (m *machine) batch(rt *rapid.T) *store.Batch {
	b := batch()
	for range rapid.IntRange(0, 3).Draw(rt, "expects") {
		key := m.key(rt)
		v, ok := m.twin[string(key)]
		switch {
		case rapid.IntRange(0, 3).Draw(rt, "wrong") == 0:
			b.Expect(key, []byte(valuePart.Draw(rt, "value")))
		case ok:
			b.Expect(key, []byte(v))
		default:
			b.Expect(key, nil)
		}
	}
	for range rapid.IntRange(0, 4).Draw(rt, "ops") {
		if rapid.Bool().Draw(rt, "put") {
			b.Put(m.key(rt), []byte(valuePart.Draw(rt, "value")))
		} else {
			b.Delete(m.key(rt))
		}
	}
	return b
}

func (m *machine) apply(rt *rapid.T) {
	batches := make([]*store.Batch, rapid.IntRange(1, 4).Draw(rt, "batches"))
	for i := range batches {
		batches[i] = m.batch(rt)
	}
	errs, err := (*m.store).Apply(batches)
	if err != nil || len(errs) != len(batches) {
		rt.Fatalf("Apply = %v, %v", errs, err)
	}
	for i, b := range batches {
		if want := m.twin.apply(b); !errors.Is(errs[i], want) {
			rt.Fatalf("batch %d: %v, want %v", i, errs[i], want)
		}
	}
}

func (m *machine) get(rt *rapid.T) {
	key := m.key(rt)
	got, err := (*m.store).Get(key)
	want, ok := m.twin[string(key)]
	if ok && (err != nil || !bytes.Equal(got, []byte(want))) || !ok && !errors.Is(err, store.ErrNotFound) {
		rt.Fatalf("Get(%q) = %q, %v, want %q %v", key, got, err, want, ok)
	}
}

func (m *machine) scan(rt *rapid.T) {
	m.compare(rt, (*m.store).Scan, m.twin.scan)
}

func (m *machine) scanBack(rt *rapid.T) {
	m.compare(rt, (*m.store).ScanBack, m.twin.scanBack)
}

func (m *machine) compare(rt *rapid.T, scan func(p, e []byte, fn func(k, v []byte) bool) error, want func(p, e string) []string) {
	prefix := m.ns + rapid.SampledFrom([]string{"", "a", "b", "\xff"}).Draw(rt, "prefix")
	var edge []byte
	if rapid.Bool().Draw(rt, "edge") {
		edge = m.key(rt)
	}
	var got []string
	err := scan([]byte(prefix), edge, func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return true
	})
	if expected := want(prefix, string(edge)); err != nil || !slices.Equal(got, expected) {
		rt.Fatalf("prefix %q edge %q: %q, %v, want %q", prefix, edge, got, err, expected)
	}
}

// reopen happens rarely: it costs more than all the rest.
func (m *machine) reopen(*rapid.T) {
	if m.steps++; m.steps%20 == 0 {
		*m.store = m.backend.Reopen(m.t, *m.store)
	}
}
