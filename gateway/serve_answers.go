package gateway

import (
	"container/list"
	"net/http"
	"sync"
)

// answers keeps what was answered to requests that may come again, the newest ones, in bounded memory. Safe for
// concurrent use.
type answers struct {
	maxBytes, maxCount int

	mu    sync.Mutex
	byKey map[string]*list.Element
	order list.List // of *stored, the newest first
	bytes int
}

// print is what must be the same for a repeat.
type print struct {
	method, authority, target string
	body                      [32]byte
}

// stored is an answer, or the place for one that is being made, or what is left of one that was paid and not kept.
type stored struct {
	key     string
	print   print
	running bool
	gone    bool // paid, and not kept: a repeat would be paid again
	status  int
	header  http.Header
	body    []byte
}

func (s *stored) size() int {
	n := 256 + len(s.key) + len(s.print.target) + len(s.body)
	for name, values := range s.header {
		n += len(name)
		for _, v := range values {
			n += len(v) + 16
		}
	}
	return n
}

// begin reserves the place for an answer, or returns what is there.
func (a *answers) begin(key string, p print) (there *stored, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.byKey[key]; e != nil {
		a.order.MoveToFront(e)
		return e.Value.(*stored), false
	}
	a.put(&stored{key: key, print: p, running: true})
	return nil, true
}

// get returns what is there, or nil.
func (a *answers) get(key string) *stored {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.byKey[key]; e != nil {
		return e.Value.(*stored)
	}
	return nil
}

// end fills the place; a nil answer frees it.
func (a *answers) end(key string, s *stored) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.byKey[key]; e != nil {
		a.drop(e)
	}
	if s != nil {
		a.put(s)
	}
}

func (a *answers) put(s *stored) {
	if a.byKey == nil {
		a.byKey = map[string]*list.Element{}
	}
	a.byKey[s.key] = a.order.PushFront(s)
	a.bytes += s.size()
	for e := a.order.Back(); e != a.order.Front() && (a.bytes > a.maxBytes || a.order.Len() > a.maxCount); {
		older := e
		e = e.Prev()
		if !older.Value.(*stored).running { // the place of a request that runs keeps its repeat from being charged
			a.drop(older)
		}
	}
}

func (a *answers) drop(e *list.Element) {
	s := e.Value.(*stored)
	a.order.Remove(e)
	delete(a.byKey, s.key)
	a.bytes -= s.size()
}
