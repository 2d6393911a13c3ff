package daemon

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// session is a connection whose hellos agreed.
type session struct {
	conn    wire.Conn
	peer    channel.PeerID
	agent   string
	out     *outgoing
	num     uint64 // counts all sessions of this node
	roots   bool   // the peer knows roots of lane logs
	draws   bool   // the peer knows draws
	returns bool   // and deposits that go back early
}

const (
	helloTimeout = 10 * time.Second
	dialTimeout  = 15 * time.Second
	retryFirst   = 300 * time.Millisecond
	retryMost    = 30 * time.Second
)

func (n *Node) acceptPeers() {
	for {
		conn, err := n.deps.Transport.Accept(n.ctx)
		if err != nil {
			if n.ctx.Err() == nil && !errors.Is(err, wire.ErrClosed) {
				n.log.Error("no more connections are accepted", "err", err)
			}
			return
		}
		n.spawn(func() { n.serve(conn) })
	}
}

func (n *Node) hello() *wire.Hello {
	return &wire.Hello{Versions: []uint32{wire.Version}, Genesis: n.deps.Scheme.Genesis(),
		Features: []uint32{wire.FeatureRoots, wire.FeatureDraws, wire.FeatureReturns}, Agent: "runnel/" + n.cfg.Version}
}

// serve greets a peer and reads what it says until the connection ends.
func (n *Node) serve(conn wire.Conn) {
	defer conn.Close()
	peer := conn.Peer()
	s, err := n.greet(conn)
	n.greeted(peer, err)
	if err != nil {
		n.log.Info("peer not taken", "peer", peer, "err", err)
		return
	}
	if !n.spawn(func() { s.out.carry(conn, n.woke) }) {
		return
	}
	n.begin(s)
	err = n.listen(s)
	n.end(s, err)
}

// greet exchanges hellos. A peer that does not say hello in time is cut off.
func (n *Node) greet(conn wire.Conn) (*session, error) {
	b, err := wire.Encode(n.hello())
	if err != nil {
		return nil, err
	}
	if err := conn.Send(b); err != nil {
		return nil, err
	}
	var said, late atomic.Bool
	n.deps.After(helloTimeout, func() {
		if !said.Load() {
			late.Store(true)
			_ = conn.Close()
		}
	})
	b, err = conn.Recv()
	said.Store(true)
	if late.Load() {
		return nil, fmt.Errorf("%w: the peer did not say hello within %v", wire.ErrClosed, helloTimeout)
	}
	if err != nil {
		return nil, err
	}
	m, err := wire.Decode(b)
	if err != nil {
		n.sayError(conn, err)
		return nil, err
	}
	if refusal, ok := m.(*wire.Error); ok {
		return nil, refusal
	}
	hello, ok := m.(*wire.Hello)
	if !ok {
		return nil, errors.New("the peer did not begin with a hello")
	}
	agreed, err := wire.Negotiate(*n.hello(), *hello)
	if err != nil {
		n.sayError(conn, err)
		return nil, err
	}
	return &session{conn: conn, peer: conn.Peer(), agent: agreed.Agent, out: newOutgoing(), roots: agreed.Has(wire.FeatureRoots),
		draws: agreed.Has(wire.FeatureDraws), returns: agreed.Has(wire.FeatureReturns)}, nil
}

func (n *Node) sayError(conn wire.Conn, err error) {
	if b, encErr := wire.Encode(wire.ErrorFor(err)); encErr == nil {
		_ = conn.Send(b)
		time.Sleep(50 * time.Millisecond) // lets the last word leave before the connection ends
		n.woke()
	}
}

// greeted tells those that wait for a connection.
func (n *Node) greeted(peer channel.PeerID, err error) {
	n.mu.Lock()
	waiting := n.hellos[peer]
	delete(n.hellos, peer)
	n.mu.Unlock()
	for _, w := range waiting {
		w <- err
	}
}

func (n *Node) begin(s *session) {
	n.mu.Lock()
	old := n.sessions[s.peer]
	n.sessions[s.peer] = s
	n.greetings++
	s.num = n.greetings
	drivers := append([]*driver(nil), n.byPeer[s.peer]...)
	n.mu.Unlock()
	if old != nil {
		_ = old.conn.Close()
	}
	n.log.Info("peer connected", "peer", s.peer, "addr", s.conn.RemoteAddr(), "agent", s.agent)
	if n.chain.scanned.Load() {
		for _, d := range drivers {
			d.post(met{s})
		}
	}
}

func (n *Node) end(s *session, cause error) {
	n.mu.Lock()
	current := n.sessions[s.peer] == s
	if current {
		delete(n.sessions, s.peer)
	}
	drivers := append([]*driver(nil), n.byPeer[s.peer]...)
	n.mu.Unlock()
	n.log.Info("peer disconnected", "peer", s.peer, "cause", cause)
	if !current {
		return
	}
	for _, d := range drivers {
		d.post(parted{s})
	}
}

// listen reads messages and posts them to the channels that they are about.
func (n *Node) listen(s *session) error {
	if !n.chain.scanned.Load() { // nothing is taken before the scan proved the fundings unspent
		select {
		case <-n.chain.ready:
		case <-s.conn.Done():
		}
		n.woke()
	}
	for {
		b, err := s.conn.Recv()
		if err != nil {
			return err
		}
		m, err := wire.Decode(b)
		if err == nil {
			err = n.route(s, m)
		}
		if said := (*wire.Error)(nil); errors.As(err, &said) {
			return err // its last word is no offence
		}
		if err != nil {
			n.metrics.misbehaved()
			n.sayError(s.conn, err)
			n.punish(s.peer, err.Error())
			return err
		}
	}
}

var (
	errForeign   = errors.New("the peer speaks of a lane or channel that it has no part in")
	errNotAgreed = errors.New("a message for a feature that was not agreed")
)

func (n *Node) route(s *session, m wire.Message) error {
	switch m := m.(type) {
	case *channel.Frame:
		return n.toLane(s, m.Lane, frameEvent{m})
	case *channel.Ack:
		return n.toLane(s, m.Lane, channel.Received{Msg: m})
	case *channel.Funded:
		return n.toLane(s, m.Lane, channel.Received{Msg: m})
	case *channel.Ready:
		return n.toLane(s, m.Lane, channel.Received{Msg: m})
	case *channel.Root:
		return n.toLaneIf(s.roots, s, m.Log.Lane, rootEvent{m})
	case *channel.RootAck:
		return n.toLaneIf(s.roots, s, m.Log.Lane, rootEvent{m})
	case *channel.RootRequest:
		return n.toLaneIf(s.roots, s, m.Lane, rootEvent{m})
	case *channel.Draws:
		return n.toLaneIf(s.draws, s, m.Lane, channel.Received{Msg: m})
	case *channel.DrawsAck:
		return n.toLaneIf(s.draws, s, m.Lane, channel.Received{Msg: m})
	case *channel.DrawsVoid:
		return n.toLaneIf(s.draws, s, m.Lane, channel.Received{Msg: m})
	case *channel.Newest:
		return n.toLane(s, m.Lane, channel.Received{Msg: m})
	case *channel.Open:
		n.receiveOpen(s, m)
	case *channel.Accept:
		if !n.answered(m.Channel, m) { // too late: the peer should not wait for a funding
			return n.toChannel(s, m.Channel, m)
		}
	case *channel.Refuse:
		if !n.answered(m.Channel, m) {
			return n.toChannel(s, m.Channel, m)
		}
	case *channel.Resync:
		return n.toChannel(s, m.Channel, m)
	case *channel.Stop:
		return n.toChannel(s, m.Channel, m)
	case *channel.CloseOffer:
		return n.toChannel(s, m.Channel, m)
	case *channel.CloseSign:
		return n.toChannel(s, m.Channel, m)
	case *channel.CloseDone:
		return n.toChannel(s, m.Channel, m)
	case *channel.ReturnOffer:
		return n.toReturns(s, m.Channel, m)
	case *channel.ReturnSign:
		return n.toReturns(s, m.Channel, m)
	case *wire.Error:
		n.log.Warn("the peer ended the connection", "peer", s.peer, "err", m)
		return m
	default:
		return errors.New("a message that has no place here")
	}
	return nil
}

func (n *Node) toLane(s *session, lane channel.LaneID, event any) error {
	n.mu.Lock()
	ref, ok := n.lanes[keyOf(lane)]
	n.mu.Unlock()
	if !ok || ref.d.peer != s.peer {
		return errForeign
	}
	ref.d.postBounded(said{s, event})
	return nil
}

// toLaneIf is for messages of a feature that the hellos may have agreed on.
func (n *Node) toLaneIf(agreed bool, s *session, lane channel.LaneID, event any) error {
	if !agreed {
		return errNotAgreed
	}
	return n.toLane(s, lane, event)
}

// toChannel posts a message to its channel. A peer that speaks of a channel that we don't have is told
// so: it may have agreed to one that we gave up.
func (n *Node) toChannel(s *session, id channel.ID, m channel.Message) error {
	_, resync := m.(*channel.Resync)
	_, accept := m.(*channel.Accept)
	n.mu.Lock()
	d, o := n.drivers[id], n.opening[id]
	if d == nil && o != nil && resync {
		o.resync = &said{s, channel.Received{Msg: m}}
	}
	n.mu.Unlock()
	if d != nil && d.peer != s.peer {
		return errForeign
	}
	if d == nil {
		if (resync || accept) && o == nil {
			s.refuse(&channel.Refuse{Channel: id, Code: channel.DenyUnknownChannel, Text: "no such channel here"})
		}
		return nil
	}
	d.postBounded(said{s, channel.Received{Msg: m}})
	return nil
}

// send hands a message to the peer's connection, if there is one. What gets lost here is sent again
// after the next resync.
func (n *Node) send(peer channel.PeerID, m channel.Message) {
	n.mu.Lock()
	s := n.sessions[peer]
	n.mu.Unlock()
	if s == nil || isRoot(m) && !s.roots || isDraws(m) && !s.draws || isReturn(m) && !s.returns {
		return
	}
	frame, own := m.(*channel.Frame)
	if own && s.out.again(frame) {
		return
	}
	b, err := wire.Encode(m)
	if err != nil {
		n.log.Error("a message could not be encoded", "type", fmt.Sprintf("%T", m), "err", err)
		return
	}
	if !s.out.put(b, frame) {
		n.log.Warn("disconnecting: the peer does not read our answers", "peer", peer)
		_ = s.conn.Close()
	}
}

// refuse answers a request in the goroutine that serves the peer: one that does not read is not heard.
func (s *session) refuse(r *channel.Refuse) {
	if b, err := wire.Encode(r); err == nil {
		_ = s.conn.Send(b)
	}
}

// drop ends the connection to a peer.
func (n *Node) drop(peer channel.PeerID, why string) {
	n.mu.Lock()
	s := n.sessions[peer]
	n.mu.Unlock()
	if s != nil {
		n.log.Info("disconnecting", "peer", peer, "why", why)
		_ = s.conn.Close()
	}
}

func (n *Node) session(peer channel.PeerID) *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sessions[peer]
}
