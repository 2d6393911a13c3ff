package gateway

import (
	"sync"

	"github.com/runnel/runnel/channel"
)

// running are the streams that are being served, so that a top-up finds them. Safe for concurrent use.
type running struct {
	mu      sync.Mutex
	streams map[channel.ID]map[uint64]*topUps
}

// topUps tells a stream that there is more.
type topUps struct {
	wake chan struct{} // holds one
	mu   sync.Mutex
	max  channel.Msat // that the draw may take
}

func (t *topUps) limit() channel.Msat {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.max
}

func (t *topUps) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (r *running) add(id channel.ID, n uint64, limit channel.Msat) *topUps {
	t := &topUps{wake: make(chan struct{}, 1), max: limit}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams == nil {
		r.streams = map[channel.ID]map[uint64]*topUps{}
	}
	if r.streams[id] == nil {
		r.streams[id] = map[uint64]*topUps{}
	}
	r.streams[id][n] = t
	return t
}

func (r *running) remove(id channel.ID, n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.streams[id], n)
	if len(r.streams[id]) == 0 {
		delete(r.streams, id)
	}
}

// raise lets a draw take more, and tells every stream of the channel that there may be more credit.
func (r *running) raise(p *Payload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, t := range r.streams[p.Channel] {
		if n == p.Raise {
			t.mu.Lock()
			t.max = max(t.max, p.Max)
			t.mu.Unlock()
		}
		t.poke()
	}
}
