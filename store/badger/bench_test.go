package badger

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/runnel/runnel/store"
)

// Every commit of these benchmarks is one sync of the log (msync) before the answer: on a disk with a
// volatile cache that it flushes, figures follow the disk, not the program. Compare within one run only.

func benchStore(b *testing.B) *Store {
	s := mustOpen(b, Options{Dir: filepath.Join(b.TempDir(), "store"), Create: true})
	b.Cleanup(func() { mustClose(b, s) })
	return s
}

// payment is about what a lane writes for one payment: its state, the payment, the budget.
func payment(n uint64) *store.Batch {
	return new(store.Batch).
		Put(fmt.Appendf(nil, "lane/%04d", n%64), make([]byte, 200)).
		Put(fmt.Appendf(nil, "payment/%016x", n), make([]byte, 80)).
		Put(fmt.Appendf(nil, "budget/%04d", n%64), make([]byte, 20))
}

func BenchmarkCommitAlone(b *testing.B) {
	s := benchStore(b)
	n := uint64(0)
	for b.Loop() {
		n++
		if errs, err := s.Apply([]*store.Batch{payment(n)}); err != nil || errs[0] != nil {
			b.Fatal(errs, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func BenchmarkCommitAloneThroughCommitter(b *testing.B) {
	c := store.NewCommitter(benchStore(b), store.Limits{})
	n := uint64(0)
	for b.Loop() {
		n++
		if err := c.Commit(payment(n)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	_ = c.Close()
}

func BenchmarkCommit64Writers(b *testing.B) {
	c := store.NewCommitter(benchStore(b), store.Limits{})
	var n atomic.Uint64
	b.SetParallelism(32) // times GOMAXPROCS, 2 on the reference machine
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := c.Commit(payment(n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	stats := c.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64(stats.Batches)/float64(stats.Groups), "batches/sync")
	_ = c.Close()
}

// BenchmarkDiskFor1000Payments reports what T8 asks for the store alone.
func BenchmarkDiskFor1000Payments(b *testing.B) {
	const payments = 100_000
	for b.Loop() {
		s := benchStore(b)
		before := s.Size()
		c := store.NewCommitter(s, store.Limits{})
		results := make(chan error, payments)
		for n := range uint64(payments) {
			c.Submit(payment(n), func(err error) { results <- err })
		}
		for range payments {
			if err := <-results; err != nil {
				b.Fatal(err)
			}
		}
		_ = c.Close()
		b.ReportMetric(float64(s.Size()-before)/payments*1000/1000, "kB/1000payments")
	}
}
