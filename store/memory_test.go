package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		Open: func(*testing.T) store.Store { return store.NewMemory() },
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return store.NewMemoryFrom(s.(*store.Memory).Snapshot())
		},
	})
}

func put(t *testing.T, m *store.Memory, key, value string) {
	t.Helper()
	if _, err := m.Apply([]*store.Batch{new(store.Batch).Put([]byte(key), []byte(value))}); err != nil {
		t.Fatal(err)
	}
}

func TestPowerLossDropsAllSinceTheSnapshot(t *testing.T) {
	m := store.NewMemory()
	put(t, m, "a", "1")
	put(t, m, "b", "1")
	size := m.Size()
	synced := m.Snapshot()
	put(t, m, "a", "22")
	put(t, m, "c", "3")
	if _, err := m.Apply([]*store.Batch{new(store.Batch).Delete([]byte("b"))}); err != nil {
		t.Fatal(err)
	}
	m.Restore(synced)
	for key, want := range map[string]string{"a": "1", "b": "1"} {
		if got, err := m.Get([]byte(key)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", key, got, err, want)
		}
	}
	if _, err := m.Get([]byte("c")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("c survived: %v", err)
	}
	if m.Size() != size {
		t.Errorf("size %d, want %d", m.Size(), size)
	}
}

func BenchmarkMemoryPut100k(b *testing.B) {
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "channel/%08d", i*7919%len(keys))
	}
	for b.Loop() {
		m := store.NewMemory()
		for _, k := range keys {
			if _, err := m.Apply([]*store.Batch{new(store.Batch).Put(k, k)}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
