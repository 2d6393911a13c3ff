package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDisk = errors.New("disk on fire")

// gate is an Applier that waits for permission, and records the groups that it was given.
type gate struct {
	entered chan struct{}
	results chan error

	mu     sync.Mutex
	groups []int
}

func newGate() *gate {
	return &gate{entered: make(chan struct{}, 100), results: make(chan error, 100)}
}

func (g *gate) Apply(batches []*store.Batch) ([]error, error) {
	g.mu.Lock()
	g.groups = append(g.groups, len(batches))
	g.mu.Unlock()
	g.entered <- struct{}{}
	return make([]error, len(batches)), <-g.results
}

func (g *gate) seen() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.groups)
}

func single(key string) *store.Batch { return new(store.Batch).Put([]byte(key), nil) }

// recorder notes results in the order in which they come. Only one goroutine calls it at a time.
type recorder []string

func (r *recorder) done(name string) func(error) {
	return func(err error) { *r = append(*r, fmt.Sprintf("%s:%v", name, err)) }
}

func (r recorder) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(r, want) {
		t.Errorf("results %q, want %q", r, want)
	}
}

func TestCommitterGathersWhileTheDiskIsBusy(t *testing.T) {
	g := newGate()
	c := store.NewCommitter(g, store.Limits{GroupOps: 4})
	var r recorder
	c.Submit(single("0"), r.done("0"))
	<-g.entered
	for i := 1; i <= 6; i++ {
		name := fmt.Sprint(i)
		c.Submit(single(name), r.done(name)) // returns although the disk answers nothing
	}
	if w := c.Stats().Waiting; w != 6 {
		t.Errorf("%d wait, want 6", w)
	}
	for range 3 {
		g.results <- nil
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := g.seen(); !slices.Equal(got, []int{1, 4, 2}) {
		t.Errorf("groups %v, want [1 4 2]", got)
	}
	r.want(t, "0:<nil>", "1:<nil>", "2:<nil>", "3:<nil>", "4:<nil>", "5:<nil>", "6:<nil>")
	if s := c.Stats(); s.Groups != 3 || s.Batches != 7 || s.Ops != 7 || s.Failed != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCommitterFailsTheGroupAndGoesOn(t *testing.T) {
	g := newGate()
	c := store.NewCommitter(g, store.Limits{})
	var r recorder
	c.Submit(single("a"), r.done("a"))
	<-g.entered
	c.Submit(single("b"), r.done("b"))
	c.Submit(single("c"), r.done("c"))
	g.results <- nil
	<-g.entered
	c.Submit(single("d"), r.done("d"))
	g.results <- errDisk
	g.results <- nil
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a:<nil>", "b:"+errDisk.Error(), "c:"+errDisk.Error(), "d:<nil>")
	if s := c.Stats(); s.Failed != 2 || s.Batches != 4 {
		t.Errorf("stats %+v", s)
	}
}

func TestCommitterReportsBadBatchesInTheirTurn(t *testing.T) {
	m := store.NewMemory()
	c := store.NewCommitter(m, store.Limits{GroupOps: 2})
	var r recorder
	c.Submit(single("a"), r.done("a"))
	c.Submit(single("b").Put([]byte("c"), nil).Put([]byte("d"), nil), r.done("three"))
	c.Submit(single(""), r.done("empty"))
	c.Submit(new(store.Batch).Expect([]byte("a"), nil).Put([]byte("z"), nil), r.done("conflict"))
	c.Submit(single("e"), r.done("e"))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.Submit(single("f"), r.done("late"))
	r.want(t, "a:<nil>", "three:"+store.ErrTooBig.Error(),
		"empty:"+new(store.Batch).Put(nil, nil).Check().Error(),
		"conflict:"+store.ErrConflict.Error(), "e:<nil>", "late:"+store.ErrClosed.Error())
	if s := c.Stats(); s.Conflicts != 1 || s.Failed != 2 || s.Ops != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestCommitterHoldsBackSubmittersWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := store.NewCommitter(g, store.Limits{MaxWaiting: 2, GroupOps: 1})
		var r recorder
		c.Submit(single("a"), r.done("a"))
		<-g.entered
		c.Submit(single("b"), r.done("b"))
		c.Submit(single("c"), r.done("c"))
		submitted := false
		go func() {
			c.Submit(single("d"), r.done("d"))
			submitted = true
		}()
		synctest.Wait() // until every goroutine is blocked
		if w := c.Stats().Waiting; submitted || w != 2 {
			t.Errorf("Submit returned: %v; %d wait, at most 2", submitted, w)
		}
		g.results <- nil
		<-g.entered
		synctest.Wait()
		if !submitted {
			t.Error("Submit still waits although there is room")
		}
		for range 3 {
			g.results <- nil
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		r.want(t, "a:<nil>", "b:<nil>", "c:<nil>", "d:<nil>")
	})
}

func TestCloseWhileSubmittersWait(t *testing.T) {
	g := newGate()
	c := store.NewCommitter(g, store.Limits{MaxWaiting: 1})
	results := make(chan error, 10)
	submit := func() { c.Submit(single("x"), func(err error) { results <- err }) }
	submit()
	<-g.entered
	submit()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(submit)
	}
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	for range 10 {
		g.results <- nil
	}
	wg.Wait()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := <-results; err != nil && !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestQueueWaitsForComplete(t *testing.T) {
	q := store.NewQueue(store.Limits{})
	if _, ok := q.Take(); ok {
		t.Fatal("a group out of nothing")
	}
	var r recorder
	q.Push(single("a"), r.done("a"))
	if g, ok := q.Take(); !ok || len(g) != 1 {
		t.Fatalf("group %v, %v", g, ok)
	}
	q.Push(single("b"), r.done("b"))
	if _, ok := q.Take(); ok {
		t.Fatal("a second group while one is under way")
	}
	for _, o := range q.Complete([]error{nil}, nil) {
		o.Report()
	}
	if g, ok := q.Take(); !ok || len(g) != 1 {
		t.Fatalf("group %v, %v", g, ok)
	}
	r.want(t, "a:<nil>")
}

// TestQueueAgainstApplyingOneByOne: whatever the grouping, results and content are those of batches that
// were applied alone, and no group exceeds its limits.
func TestQueueAgainstApplyingOneByOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := store.Limits{GroupOps: rapid.IntRange(1, 4).Draw(rt, "ops"), GroupBytes: rapid.IntRange(100, 400).Draw(rt, "bytes")}
		q, grouped, alone := store.NewQueue(limits), store.NewMemory(), store.NewMemory()
		var got, want []error
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "push") {
				b := drawBatch(rt)
				q.Push(b, func(err error) { got = append(got, err) })
				want = append(want, aloneResult(alone, limits, b))
			} else {
				turn(rt, q, grouped, limits)
			}
		}
		for turn(rt, q, grouped, limits) {
		}
		if len(got) != len(want) {
			rt.Fatalf("%d results of %d", len(got), len(want))
		}
		for i := range got {
			if !errors.Is(got[i], want[i]) {
				rt.Fatalf("batch %d: %v, want %v", i, got[i], want[i])
			}
		}
		if a, b := content(grouped), content(alone); a != b {
			rt.Fatalf("content %s, want %s", a, b)
		}
	})
}

func drawBatch(rt *rapid.T) *store.Batch {
	key := rapid.SampledFrom([]string{"a", "b", "c"})
	b := new(store.Batch)
	if rapid.Bool().Draw(rt, "absent") {
		b.Expect([]byte(key.Draw(rt, "key")), nil)
	}
	for range rapid.IntRange(0, 5).Draw(rt, "n") {
		k := []byte(key.Draw(rt, "key"))
		if rapid.Bool().Draw(rt, "delete") {
			b.Delete(k)
		} else {
			b.Put(k, make([]byte, rapid.IntRange(0, 200).Draw(rt, "len")))
		}
	}
	return b
}

func aloneResult(m *store.Memory, limits store.Limits, b *store.Batch) error {
	if len(b.Ops) > limits.GroupOps || b.Size() > limits.GroupBytes {
		return store.ErrTooBig
	}
	errs, err := m.Apply([]*store.Batch{b})
	if err != nil {
		return err
	}
	return errs[0]
}

func turn(rt *rapid.T, q *store.Queue, m *store.Memory, limits store.Limits) bool {
	group, ok := q.Take()
	if !ok {
		return false
	}
	ops, bytes := 0, 0
	for _, b := range group {
		ops += len(b.Ops)
		bytes += b.Size()
	}
	if ops > limits.GroupOps || bytes > limits.GroupBytes {
		rt.Fatalf("group of %d writes and %d bytes", ops, bytes)
	}
	errs, err := m.Apply(group)
	for _, o := range q.Complete(errs, err) {
		o.Report()
	}
	return true
}

func content(m *store.Memory) string {
	s := ""
	_ = m.Scan(nil, nil, func(k, v []byte) bool { s += fmt.Sprintf("%s=%d ", k, len(v)); return true })
	return s
}
