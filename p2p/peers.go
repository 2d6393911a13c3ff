package p2p

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// instance tells one run of a program from the next.
type instance [16]byte

// origin is what decides between two streams of one peer.
type origin struct {
	dialer   channel.PeerID // the side that opened the stream
	instance instance       // of the peer's process
}

// peers holds the one connection of each peer, and those that Accept has not returned yet.
type peers struct {
	self channel.PeerID

	mu      sync.Mutex
	current map[channel.PeerID]*conn
	fresh   []*conn
	changed chan struct{} // closed and replaced when a connection came
	closed  bool
}

func newPeers(self channel.PeerID) *peers {
	return &peers{self: self, current: make(map[channel.PeerID]*conn), changed: make(chan struct{})}
}

func (p *peers) get(id channel.PeerID) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current[id]
}

func (p *peers) all() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*conn, 0, len(p.current))
	for _, c := range p.current {
		list = append(list, c)
	}
	return list
}

// offer makes c the connection of its peer, unless another one stays. It returns the one that was
// replaced, if any; the caller ends it.
func (p *peers) offer(c *conn) (replaced *conn, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.current[c.peer]
	if p.closed || (old != nil && !c.replaces(old.origin, smaller(p.self, c.peer))) {
		return nil, false
	}
	p.current[c.peer] = c
	p.fresh = append(slices.DeleteFunc(p.fresh, (*conn).ended), c) // so it never outgrows the peers
	close(p.changed)
	p.changed = make(chan struct{})
	return old, true
}

// replaces is the rule of the package comment; smaller is the smaller id of the two ends.
func (o origin) replaces(old origin, smaller channel.PeerID) bool {
	return old.instance != o.instance || old.dialer == o.dialer || o.dialer == smaller
}

func smaller(a, b channel.PeerID) channel.PeerID {
	if bytes.Compare([]byte(a), []byte(b)) < 0 {
		return a
	}
	return b
}

func (p *peers) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current[c.peer] == c {
		delete(p.current, c.peer)
	}
}

// accept waits for the next connection that lives.
func (p *peers) accept(ctx context.Context) (*conn, error) {
	for {
		c, changed, err := p.pop()
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *peers) pop() (*conn, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, wire.ErrClosed
	}
	for len(p.fresh) > 0 {
		c := p.fresh[0]
		p.fresh = slices.Delete(p.fresh, 0, 1)
		if !c.ended() {
			return c, nil, nil
		}
	}
	return nil, p.changed, nil
}

// wait waits until the peer has a connection.
func (p *peers) wait(ctx context.Context, id channel.PeerID) (*conn, error) {
	for {
		p.mu.Lock()
		c, changed, closed := p.current[id], p.changed, p.closed
		p.mu.Unlock()
		if closed {
			return nil, wire.ErrClosed
		}
		if c != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close wakes everybody who waits and refuses what comes.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.changed)
	}
}
