package daemon

import (
	"sync"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// outgoing is what one session has still to send. A channel puts messages in and never waits: a peer that
// does not read delays itself, not the owner's questions about the channel or the scan of the chain.
type outgoing struct {
	wake chan struct{} // holds a token while something waits

	mu      sync.Mutex // guards the fields below
	list    []parcel
	answers int                     // bytes in list that the peer caused
	frames  map[*channel.Frame]bool // own ones that have not left yet
}

// parcel is one message; frame is set when it is one of ours.
type parcel struct {
	msg   []byte
	frame *channel.Frame
}

// maxAnswers bounds what waits for a peer that asks and does not read. Own frames do not count: a lane's
// window bounds them, for each waits once at most.
const maxAnswers = 1 << 20

func newOutgoing() *outgoing {
	return &outgoing{wake: make(chan struct{}, 1), frames: map[*channel.Frame]bool{}}
}

// holds reports whether a frame waits already: a peer can ask for it again as often as it likes.
func (o *outgoing) holds(f *channel.Frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.frames[f]
}

// put reports false when the peer does not read. frame is nil for what the peer caused.
func (o *outgoing) put(msg []byte, frame *channel.Frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if frame == nil {
		if o.answers > maxAnswers {
			return false
		}
		o.answers += len(msg)
	} else {
		o.frames[frame] = true
	}
	o.list = append(o.list, parcel{msg, frame})
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

func (o *outgoing) take() []parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.list
	o.list, o.answers = nil, 0
	return list
}

func (o *outgoing) left(f *channel.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.frames, f)
}

func over(conn wire.Conn) bool {
	select {
	case <-conn.Done():
		return true
	default:
		return false
	}
}

// carry sends what is put in until the connection ends.
func (o *outgoing) carry(conn wire.Conn, woke func()) {
	defer conn.Close()
	for {
		for _, p := range o.take() {
			if conn.Send(p.msg) != nil {
				return
			}
			if p.frame != nil {
				o.left(p.frame)
			}
		}
		if over(conn) { // not by chance, when something waits as well
			return
		}
		select {
		case <-o.wake:
			woke()
		case <-conn.Done():
			return
		}
	}
}
