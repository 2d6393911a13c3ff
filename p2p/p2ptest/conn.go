package p2ptest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// Conn is one end of a connection in memory.
type Conn struct {
	net        *Network
	self, peer channel.PeerID
	in, out    *queue
	link       *link
}

var _ wire.Conn = (*Conn)(nil)

// link is what both ends share: one end closes both.
type link struct {
	once sync.Once
	done chan struct{}
	err  error
}

func newPair(a, b *Host) (atA, atB *Conn) {
	ab, ba := newQueue(a.net), newQueue(a.net)
	l := &link{done: make(chan struct{})}
	atA = &Conn{net: a.net, self: a.id, peer: b.id, in: ba, out: ab, link: l}
	atB = &Conn{net: a.net, self: b.id, peer: a.id, in: ab, out: ba, link: l}
	return atA, atB
}

func (c *Conn) Peer() channel.PeerID  { return c.peer }
func (c *Conn) RemoteAddr() string    { return "/mem" }
func (c *Conn) Done() <-chan struct{} { return c.in.done }

// Close ends both ends. What was sent before can still be received by the peer.
func (c *Conn) Close() error {
	c.in.end()
	c.shut(errors.New("closed"))
	return nil
}

// cut ends both ends and loses what was under way.
func (c *Conn) cut(err error) {
	c.in.lose()
	c.out.lose()
	c.in.end()
	c.shut(err)
}

func (c *Conn) shut(err error) {
	c.link.once.Do(func() {
		c.link.err = err
		close(c.link.done)
		c.out.finish()
		c.in.finish()
	})
}

func (c *Conn) ended() bool {
	select {
	case <-c.link.done:
		return true
	default:
		return false
	}
}

// Send queues a copy of msg for the peer.
func (c *Conn) Send(msg []byte) error {
	if len(msg) == 0 || len(msg) > wire.MaxMessage {
		return fmt.Errorf("%w: %d bytes", wire.ErrTooLong, len(msg))
	}
	if c.ended() {
		return c.closedError()
	}
	if c.net.lost(c.self, c.peer, msg) {
		return nil
	}
	if err := c.out.put(bytes.Clone(msg)); err != nil {
		c.cut(err)
		return c.closedError()
	}
	return nil
}

// Recv returns the next message of the peer.
func (c *Conn) Recv() ([]byte, error) {
	if msg, ok := c.in.get(); ok {
		return msg, nil
	}
	c.shut(errors.New("closed"))
	return nil, c.closedError()
}

func (c *Conn) closedError() error {
	<-c.link.done
	return fmt.Errorf("%w: %w", wire.ErrClosed, c.link.err)
}

// queue carries messages one way. done is closed when its reader will get no more.
type queue struct {
	limit    int
	patience time.Duration
	done     chan struct{}

	mu       sync.Mutex
	list     [][]byte
	size     int
	finished bool // nothing more is put
	ended    bool // nothing more is got
	changed  chan struct{}
}

func newQueue(n *Network) *queue {
	return &queue{limit: n.QueueBytes, patience: n.SendTimeout, done: make(chan struct{}), changed: make(chan struct{})}
}

var errSlow = errors.New("the peer does not read")

func (q *queue) put(msg []byte) error {
	timer := time.NewTimer(q.patience)
	defer timer.Stop()
	for {
		changed, ok := q.tryPut(msg)
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return errSlow
		}
	}
}

// tryPut reports true also when the message has nowhere to go any more.
func (q *queue) tryPut(msg []byte) (changed <-chan struct{}, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.finished {
		return nil, true
	}
	if q.size > 0 && q.size+len(msg) > q.limit {
		return q.changed, false
	}
	q.list = append(q.list, msg)
	q.size += len(msg)
	q.wake()
	return nil, true
}

func (q *queue) get() ([]byte, bool) {
	for {
		msg, changed := q.tryGet()
		if changed == nil {
			return msg, msg != nil
		}
		<-changed
	}
}

func (q *queue) tryGet() (msg []byte, changed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.ended:
		return nil, nil
	case len(q.list) > 0:
		msg, q.list = q.list[0], q.list[1:]
		q.size -= len(msg)
		q.wake()
		return msg, nil
	case q.finished:
		q.stop()
		return nil, nil
	}
	return nil, q.changed
}

// finish says that nothing more comes; what waits can still be got.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	if len(q.list) == 0 {
		q.stop()
	}
	q.wake()
}

// end says that nothing more is wanted.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stop()
	q.wake()
}

// lose forgets what waits.
func (q *queue) lose() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list, q.size = nil, 0
}

// stop is called with the lock held.
func (q *queue) stop() {
	if !q.ended {
		q.ended = true
		close(q.done)
	}
}

func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}
