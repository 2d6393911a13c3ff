package daemon

import (
	"slices"
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
	answers int                    // bytes in list that the peer caused
	frames  map[*channel.Frame]int // where in list own ones are
	gaps    int                    // parcels in list that were moved to its end
}

// parcel is one message; frame is set when it is one of ours. One without a message is a gap.
type parcel struct {
	msg   []byte
	frame *channel.Frame
}

// maxAnswers bounds what waits for a peer that asks and does not read. Own frames do not count: a lane's
// window bounds them, for each waits once at most.
const maxAnswers = 1 << 20

func newOutgoing() *outgoing {
	return &outgoing{wake: make(chan struct{}, 1), frames: map[*channel.Frame]int{}}
}

// again moves a frame that waits behind all that was put in since, and reports whether there is one: a peer can
// ask for it as often as it likes. Frames have to arrive in order, so what is repeated leaves in the order of the
// repetition, never some of it from an older place in the queue: the payee asks only once for what is missing.
func (o *outgoing) again(f *channel.Frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i, waits := o.frames[f]
	if !waits {
		return false
	}
	o.frames[f] = len(o.list)
	o.list = append(o.list, o.list[i])
	o.list[i] = parcel{}
	if o.gaps++; o.gaps > len(o.list)/2 {
		o.close()
	}
	return true
}

// close closes the gaps.
func (o *outgoing) close() {
	o.list = slices.DeleteFunc(o.list, func(p parcel) bool { return p.msg == nil })
	for i, p := range o.list {
		if p.frame != nil {
			o.frames[p.frame] = i
		}
	}
	o.gaps = 0
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
		o.frames[frame] = len(o.list)
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
	o.list, o.answers, o.gaps = nil, 0, 0
	clear(o.frames)
	return list
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
			if p.msg != nil && conn.Send(p.msg) != nil {
				return
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
