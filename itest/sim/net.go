package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

var errCut = errors.New("sim: the connection is cut")

// host is the wire.Transport of one life.
type host struct {
	l       *life
	current map[channel.PeerID]*conn
	fresh   []*conn
	changed chan struct{}
	closed  bool
}

func newHost(l *life) *host {
	return &host{l: l, current: map[channel.PeerID]*conn{}, changed: make(chan struct{})}
}

func (h *host) Self() channel.PeerID { return h.l.p.id }
func (h *host) Addrs() []string      { return []string{"/sim/p2p/" + string(h.l.p.id)} }

func (h *host) Parse(addr string) (channel.PeerID, error) {
	id := addr
	if strings.HasPrefix(addr, "/") {
		var found bool
		if _, id, found = strings.Cut(addr, "/p2p/"); !found {
			return "", fmt.Errorf("%w: %q", wire.ErrAddress, addr)
		}
	}
	if id == "" || strings.ContainsAny(id, "/ .") {
		return "", fmt.Errorf("%w: %q", wire.ErrAddress, addr)
	}
	return channel.PeerID(id), nil
}

func (h *host) Dial(ctx context.Context, addr string) (wire.Conn, error) {
	id, err := h.Parse(addr)
	if err != nil {
		return nil, err
	}
	w := h.l.p.w
	w.sched.yield()
	switch {
	case h.closed || h.l.over:
		return nil, wire.ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case id == h.l.p.id:
		return nil, fmt.Errorf("%w: %s", wire.ErrSelf, id)
	}
	to := w.peers[id]
	if to == nil {
		return nil, fmt.Errorf("%w: %s", wire.ErrUnknownPeer, id)
	}
	if to.life == nil || to.life.host == nil || to.life.host.closed || w.apart(h.l.p, to) {
		return nil, fmt.Errorf("%w: %s can't be reached", errCut, id)
	}
	if c := h.current[id]; c != nil && !c.ended {
		return c, nil
	}
	return w.connect(h, to.life.host), nil
}

func newConn(h *host, peer channel.PeerID) *conn {
	return &conn{h: h, peer: peer, done: make(chan struct{}), changed: make(chan struct{}), told: map[channel.ID]bool{}, heard: map[channel.ID]bool{}}
}

// connect joins two hosts.
func (w *World) connect(a, b *host) *conn {
	at, bt := newConn(a, b.l.p.id), newConn(b, a.l.p.id)
	at.other, bt.other = bt, at
	w.conns = append(w.conns, at, bt)
	w.trace.note("%s and %s are connected", a.l.p.name, b.l.p.name)
	a.take(at)
	b.take(bt)
	return at
}

func (h *host) take(c *conn) {
	h.current[c.peer] = c
	h.fresh = append(h.fresh, c)
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *host) Accept(ctx context.Context) (wire.Conn, error) {
	for {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case h.closed:
			return nil, wire.ErrClosed
		case len(h.fresh) > 0:
			c := h.fresh[0]
			h.fresh = h.fresh[1:]
			return c, nil
		}
		select {
		case <-h.changed:
		case <-ctx.Done():
		}
		h.l.p.w.sched.yield()
	}
}

func (h *host) Close() error {
	if h.closed {
		return nil
	}
	h.closed = true
	close(h.changed)
	h.changed = make(chan struct{})
	for _, c := range h.l.p.w.conns {
		if c.h == h {
			c.end(false)
		}
	}
	h.l.p.w.sched.waiting() // its lock orders this before what follows: the race detector does not see a WaitGroup's wait
	return nil
}

// conn is one end of a connection.
type conn struct {
	h       *host
	peer    channel.PeerID
	other   *conn
	queue   [][]byte // sent to this end, on its way
	inbox   [][]byte // arrived
	done    chan struct{}
	changed chan struct{}
	ended   bool
	until   hold

	told, heard map[channel.ID]bool // channels whose resync left, and was read
}

func (c *conn) Peer() channel.PeerID  { return c.peer }
func (c *conn) RemoteAddr() string    { return "/sim" }
func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Send(msg []byte) error {
	if len(msg) == 0 || len(msg) > wire.MaxMessage {
		return fmt.Errorf("%w: %d bytes", wire.ErrTooLong, len(msg))
	}
	if c.ended || c.h.l.over {
		return wire.ErrClosed
	}
	w := c.h.l.p.w
	greeted(c.told, msg)
	if c.h.l.p.hostile {
		msg = c.twist(msg)
	} else {
		w.sent(c.h.l.p, c.other.h.l.p, msg)
	}
	c.other.queue = append(c.other.queue, bytes.Clone(msg))
	if len(c.other.queue) == 1 {
		c.other.until.draw(w)
	}
	return nil
}

func (c *conn) Recv() ([]byte, error) {
	for {
		if len(c.inbox) > 0 {
			msg := c.inbox[0]
			c.inbox = c.inbox[1:]
			greeted(c.heard, msg)
			return msg, nil
		}
		if c.ended {
			return nil, wire.ErrClosed
		}
		<-c.changed
		c.h.l.p.w.sched.yield()
	}
}

// Close ends both ends. Whether what is under way still arrives is the network's choice.
func (c *conn) Close() error {
	if !c.ended && !c.h.l.over {
		c.end(c.h.l.p.w.rng.IntN(2) == 0)
	}
	return nil
}

// end ends both ends; arrive hands over what was on its way to the other one.
func (c *conn) end(arrive bool) {
	if c.ended {
		return
	}
	if arrive {
		c.other.inbox = append(c.other.inbox, c.other.queue...)
	}
	for _, e := range []*conn{c, c.other} {
		e.ended, e.queue = true, nil
		close(e.done)
		close(e.changed)
		e.changed = make(chan struct{})
	}
	c.inbox = nil
	c.h.l.p.w.trace.note("%s and %s are apart", c.h.l.p.name, c.peer)
}

func (c *conn) waits() bool { return len(c.queue) > 0 && c.until.over() }

// turn lets the network do something with the oldest message to this end.
func (c *conn) turn() {
	w := c.h.l.p.w
	f := &w.plan.Net
	msg := c.queue[0]
	how := "gets"
	switch r := w.rng.Float64(); {
	case w.calm:
		c.queue = c.queue[1:]
	case r < f.Drop:
		c.queue = c.queue[1:]
		w.trace.note("%s loses %s from %s", c.h.l.p.name, short(msg), c.peer)
		return
	case r < f.Drop+f.Repeat:
		how = "gets, again to come,"
	case r < f.Drop+f.Repeat+f.Reorder && len(c.queue) > 1:
		i := 1 + w.rng.IntN(len(c.queue)-1)
		msg = c.queue[i]
		c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
		how = "gets out of turn"
	default:
		c.queue = c.queue[1:]
	}
	c.until.draw(w)
	w.delivered++
	w.trace.note("%s %s %s from %s", c.h.l.p.name, how, describe(msg), c.peer)
	c.inbox = append(c.inbox, bytes.Clone(msg))
	close(c.changed)
	c.changed = make(chan struct{})
}

// describe names a message.
func describe(msg []byte) string {
	m, err := wire.Decode(msg)
	if err != nil {
		return "garbage " + short(msg)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T ", m), "*") + short(msg)
}
