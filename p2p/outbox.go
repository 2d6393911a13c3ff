package p2p

import (
	"errors"
	"sync"
	"time"
)

var (
	errFull   = errors.New("the peer does not read")
	errClosed = errors.New("closed")
)

// outbox holds framed messages until the one writer takes all of them at once.
type outbox struct {
	limit int
	wake  chan struct{} // holds one token while there is something to take

	mu     sync.Mutex
	buf    []byte
	spare  []byte        // what the writer gave back
	room   chan struct{} // closed when buf was taken; nil unless somebody waits
	closed bool
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, wake: make(chan struct{}, 1)}
}

// put queues a copy of msg. It waits for room, but not longer than patience.
func (o *outbox) put(msg []byte, patience time.Duration) error {
	var timeout <-chan time.Time
	for {
		room, err := o.try(msg)
		if room == nil {
			return err
		}
		if timeout == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-room:
		case <-timeout:
			return errFull
		}
	}
}

// try queues msg, or returns a channel that is closed when there may be room.
func (o *outbox) try(msg []byte) (room <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errClosed
	}
	if len(o.buf) > 0 && len(o.buf)+headerSize+len(msg) > o.limit {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		return o.room, nil
	}
	if o.buf == nil {
		o.buf, o.spare = o.spare, nil
	}
	o.buf = appendFrame(o.buf, msg)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil, nil
}

// take returns everything that waits, nil for nothing. The buffer taken before comes back.
func (o *outbox) take(before []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if before != nil {
		o.spare = before[:0]
	}
	b := o.buf
	o.buf = nil
	o.release()
	return b
}

// rest gives back the memory of a burst; a quiet connection keeps little.
func (o *outbox) rest() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cap(o.spare) > keepBuffer {
		o.spare = nil
	}
}

// close makes every put fail from now on; what waits can still be taken.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.release()
}

func (o *outbox) release() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}
