package daemon

import (
	"sync"

	"github.com/runnel/runnel/wire"
)

// outgoing is what one session has still to send. A channel puts messages in and never waits: a peer that
// does not read delays itself, not the owner's questions about the channel or the scan of the chain.
type outgoing struct {
	wake chan struct{} // holds a token while something waits

	mu      sync.Mutex // guards the fields below
	list    [][]byte
	answers int // bytes in list that the peer caused
}

// maxAnswers bounds what waits for a peer that asks and does not read. Own frames do not count: a lane's
// window bounds them.
const maxAnswers = 1 << 20

func newOutgoing() *outgoing { return &outgoing{wake: make(chan struct{}, 1)} }

// put reports false when the peer does not read.
func (o *outgoing) put(msg []byte, own bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !own {
		if o.answers > maxAnswers {
			return false
		}
		o.answers += len(msg)
	}
	o.list = append(o.list, msg)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

func (o *outgoing) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.list
	o.list, o.answers = nil, 0
	return list
}

// carry sends what is put in until the connection ends.
func (o *outgoing) carry(conn wire.Conn) {
	defer conn.Close()
	for {
		for _, msg := range o.take() {
			if conn.Send(msg) != nil {
				return
			}
		}
		select {
		case <-o.wake:
		case <-conn.Done():
			return
		}
	}
}
