package sim

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// sched lets one goroutine of the nodes go on at a time. A goroutine that begins, or goes on after a
// wait, stands in ready until its turn comes.
type sched struct {
	mu    sync.Mutex // guards the fields below
	count uint64
	alive int
	ready []*task
	of    map[uint64]*task // by goroutine
}

// task is a goroutine of a node, or one of the simulation's own that calls a node.
type task struct {
	num  uint64
	life *life // nil: the simulation's own
	what string
	run  func()        // not begun yet
	wake chan struct{} // waits for its turn
}

func newSched() *sched { return &sched{of: map[uint64]*task{}} }

// spawn adds a goroutine that has yet to begin.
func (s *sched) spawn(l *life, what string, run func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.alive++
	s.ready = append(s.ready, &task{num: s.count, life: l, what: what, run: run})
}

// yield is called by a goroutine of a node: it goes on when the simulation says so.
func (s *sched) yield() {
	s.mu.Lock()
	t := s.of[goroutine()]
	if t == nil {
		s.mu.Unlock()
		panic("sim: a goroutine that nobody started waits for its turn")
	}
	wake := make(chan struct{})
	t.wake = wake
	s.ready = append(s.ready, t)
	s.mu.Unlock()
	<-wake
}

// goroutine is the number of the calling goroutine, which its stack trace begins with.
func goroutine() (id uint64) {
	var b [32]byte
	n := runtime.Stack(b[:], false)
	for _, c := range b[len("goroutine "):n] {
		if c < '0' || c > '9' {
			break
		}
		id = 10*id + uint64(c-'0')
	}
	return id
}

// next takes the task out that choose picks of those that are ready, oldest first; nil when it picks none.
func (s *sched) next(choose func([]*task) int) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.ready, func(a, b *task) int { return cmp.Compare(a.num, b.num) })
	i := choose(s.ready)
	if i < 0 {
		return nil
	}
	t := s.ready[i]
	s.ready = slices.Delete(s.ready, i, i+1)
	return t
}

// let makes a task go on.
func (s *sched) let(t *task) {
	if t.run == nil {
		close(t.wake)
		return
	}
	run := t.run
	t.run = nil
	go func() {
		id := goroutine()
		s.mu.Lock()
		s.of[id] = t
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.of, id)
			s.alive--
		}()
		run()
	}()
}

// waiting is the number of tasks that are ready, and whether any exists at all.
func (s *sched) waiting() (ready, alive int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready), s.alive
}

// dead takes the oldest ready task of a life that is over.
func (s *sched) dead() *task {
	return s.next(func(ready []*task) int {
		return slices.IndexFunc(ready, func(t *task) bool { return t.life != nil && t.life.over })
	})
}

func (t *task) String() string {
	if t.life == nil {
		return t.what
	}
	return fmt.Sprintf("%s/%d %s", t.life.p.name, t.num, t.what)
}
