package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
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

var errForeign = errors.New("the peer speaks of a lane or channel that it has no part in")

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
		return n.toRoots(s, m.Log.Lane, m)
	case *channel.RootAck:
		return n.toRoots(s, m.Log.Lane, m)
	case *channel.RootRequest:
		return n.toRoots(s, m.Lane, m)
	case *channel.Draws:
		return n.toDraws(s, m.Lane, m)
	case *channel.DrawsAck:
		return n.toDraws(s, m.Lane, m)
	case *channel.DrawsVoid:
		return n.toDraws(s, m.Lane, m)
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

func (n *Node) toRoots(s *session, lane channel.LaneID, m channel.Message) error {
	if !s.roots {
		return errors.New("a message for a feature that was not agreed")
	}
	return n.toLane(s, lane, rootEvent{m})
}

func (n *Node) toDraws(s *session, lane channel.LaneID, m channel.Message) error {
	if !s.draws {
		return errors.New("a message for a feature that was not agreed")
	}
	return n.toLane(s, lane, channel.Received{Msg: m})
}

// toChannel posts a message to its channel. A peer that speaks of a channel that we don't have is told
// so: it may have agreed to one that we gave up.
func (n *Node) toChannel(s *session, id channel.ID, m channel.Message) error {
	n.mu.Lock()
	d, opening := n.drivers[id], n.opening[id] != nil
	n.mu.Unlock()
	if d != nil && d.peer != s.peer {
		return errForeign
	}
	if d == nil {
		_, resync := m.(*channel.Resync)
		_, accept := m.(*channel.Accept)
		if (resync || accept) && !opening {
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
	if own && s.out.holds(frame) {
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

// connect returns the session with a peer given by id or multiaddr, dialling if there is none.
func (n *Node) connect(ctx context.Context, addr string) (*session, error) {
	peer, err := n.deps.Transport.Parse(addr)
	if err != nil {
		return nil, channel.Faultf(channel.CodeBadRequest, "%s", words(err)).
			WithHint("a peer is a peer id or a multiaddr that ends in /p2p/PEER_ID")
	}
	if peer == n.deps.Transport.Self() {
		return nil, channel.Faultf(channel.CodeBadRequest, "%s is this node's own id", peer)
	}
	if s := n.session(peer); s != nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	heard := make(chan error, 1)
	n.mu.Lock()
	n.hellos[peer] = append(n.hellos[peer], heard)
	n.mu.Unlock()
	defer n.unhear(peer, heard)
	if err := n.dial(ctx, peer, addr); err != nil {
		return nil, err
	}
	for {
		select {
		case err := <-heard:
			n.woke()
			if err != nil {
				return nil, incompatible(err)
			}
		case <-time.After(20 * time.Millisecond): // an older greeting may have been heard before we asked
			n.woke()
		case <-ctx.Done():
			n.woke()
			return nil, channel.Faultf(channel.CodePeerUnreachable, "peer %s did not answer in time", shortPeer(peer))
		}
		if s := n.session(peer); s != nil {
			return s, nil
		}
	}
}

// unhear ends a wait for a greeting.
func (n *Node) unhear(peer channel.PeerID, heard chan error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hellos[peer] = slices.DeleteFunc(n.hellos[peer], func(c chan error) bool { return c == heard })
	if len(n.hellos[peer]) == 0 {
		delete(n.hellos, peer)
	}
}

func incompatible(err error) error {
	var said *wire.Error
	if errors.As(err, &said) {
		return channel.Faultf(channel.CodeIncompatible, "%s", words(err))
	}
	for _, cause := range []error{wire.ErrNetwork, wire.ErrVersion, wire.ErrFeature, wire.ErrMalformed} {
		if errors.Is(err, cause) {
			return channel.Faultf(channel.CodeIncompatible, "%s", words(err))
		}
	}
	return channel.Faultf(channel.CodePeerUnreachable, "%s", words(err))
}

// dial tries the address, or for a bare id what the store remembers.
func (n *Node) dial(ctx context.Context, peer channel.PeerID, addr string) error {
	addrs := []string{addr}
	if addr == string(peer) {
		addrs = append(n.addresses(peer), addr)
	}
	var last error
	for _, a := range addrs {
		_, err := n.deps.Transport.Dial(ctx, a)
		if err == nil {
			if a != string(peer) {
				n.remember(peer, a)
			}
			return nil
		}
		if last == nil || !errors.Is(err, wire.ErrUnknownPeer) {
			last = err
		}
	}
	if errors.Is(last, wire.ErrUnknownPeer) {
		return channel.Faultf(channel.CodeUnknownPeer, "no address is known for peer %s", peer).
			WithHint("give its full multiaddr, which it shows with: runnel status")
	}
	return channel.Faultf(channel.CodePeerUnreachable, "peer %s can't be reached: %v", shortPeer(peer), last)
}

func (n *Node) addresses(peer channel.PeerID) (addrs []string) {
	b, err := n.deps.Store.Get(peerKey(peer))
	if err == nil {
		err = json.Unmarshal(b, &addrs)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		n.log.Warn("a peer's addresses can't be read", "peer", peer, "err", err)
	}
	return addrs
}

const maxAddresses = 4

// remember keeps the last few addresses at which a peer was reached.
func (n *Node) remember(peer channel.PeerID, addr string) {
	addrs := []string{addr}
	for _, a := range n.addresses(peer) {
		if a != addr && len(addrs) < maxAddresses {
			addrs = append(addrs, a)
		}
	}
	b, _ := json.Marshal(addrs) // strings only
	if err := n.deps.Committer.Commit(new(store.Batch).Put(peerKey(peer), b)); err != nil {
		n.log.Warn("a peer's address could not be stored", "peer", peer, "err", err)
	}
}

// keepConnected dials peers with which something is at stake, with growing pauses.
func (n *Node) keepConnected() {
	pause, next := map[channel.PeerID]time.Duration{}, map[channel.PeerID]time.Time{}
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
			n.woke()
		}
		for _, peer := range n.missing() {
			now := n.deps.Now()
			if now.Before(next[peer]) {
				continue
			}
			if !n.redial(peer) {
				break
			}
			p := min(max(2*pause[peer], retryFirst), retryMost)
			pause[peer], next[peer] = p, now.Add(p)
		}
		n.mu.Lock()
		for peer := range pause {
			if n.sessions[peer] != nil {
				delete(pause, peer)
				delete(next, peer)
			}
		}
		n.mu.Unlock()
	}
}

// maxDials bounds how many peers are dialled again at once, so that thousands of them that are away cost
// neither goroutines nor sockets.
const maxDials = 64

// missing lists peers that we share a channel with and are not connected to.
func (n *Node) missing() (peers []channel.PeerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for peer := range n.watch.bound {
		if n.sessions[peer] == nil && !n.dialing[peer] {
			peers = append(peers, peer)
		}
	}
	slices.Sort(peers)
	return peers
}

// redial reports false when too many are dialled already.
func (n *Node) redial(peer channel.PeerID) bool {
	n.mu.Lock()
	if len(n.dialing) >= maxDials {
		n.mu.Unlock()
		return false
	}
	n.dialing[peer] = true
	n.mu.Unlock()
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
		defer cancel()
		err := n.dial(ctx, peer, string(peer))
		n.mu.Lock()
		delete(n.dialing, peer)
		n.mu.Unlock()
		if err != nil && n.ctx.Err() == nil {
			n.log.Debug("a peer can't be reached", "peer", peer, "err", err)
		}
	})
	return true
}

// Connect dials a peer.
func (n *Node) Connect(ctx context.Context, addr string) (channel.PeerInfo, error) {
	s, err := n.connect(ctx, addr)
	if err != nil {
		return channel.PeerInfo{}, err
	}
	return channel.PeerInfo{PeerID: s.peer, Addrs: []string{s.conn.RemoteAddr()}, Connected: true, Agent: s.agent}, nil
}

// Disconnect ends the connection to a peer. One with live channels is dialled again.
func (n *Node) Disconnect(_ context.Context, peer string) error {
	id, err := n.resolvePeer(peer)
	if err != nil {
		return err
	}
	if n.session(id) == nil {
		return channel.Faultf(channel.CodeNotFound, "peer %s is not connected", shortPeer(id))
	}
	n.drop(id, "asked by the owner")
	return nil
}

// Peers lists who is connected and with whom there are channels.
func (n *Node) Peers(context.Context) ([]channel.PeerInfo, error) {
	n.mu.Lock()
	found := map[channel.PeerID]*channel.PeerInfo{}
	for peer, s := range n.sessions {
		found[peer] = &channel.PeerInfo{PeerID: peer, Connected: true, Agent: s.agent, Addrs: []string{s.conn.RemoteAddr()}}
	}
	for peer, live := range n.watch.live {
		if peer == "" { // of channels found with the seed nobody knows the peer
			continue
		}
		if found[peer] == nil {
			found[peer] = &channel.PeerInfo{PeerID: peer}
		}
		found[peer].Channels = live
	}
	n.mu.Unlock()
	list := make([]channel.PeerInfo, 0, len(found))
	for _, p := range found {
		if len(p.Addrs) == 0 {
			p.Addrs = n.addresses(p.PeerID)
		}
		list = append(list, *p)
	}
	sortBy(list, func(a, b channel.PeerInfo) bool { return strings.Compare(string(a.PeerID), string(b.PeerID)) < 0 })
	return list, nil
}

// protect asks the transport to keep room for a peer that we share a channel with, however many
// strangers are there. A transport that has no such notion is not asked.
func (n *Node) protect(peer channel.PeerID, on bool) {
	t, ok := n.deps.Transport.(interface {
		Protect(peer channel.PeerID, on bool) error
	})
	if !ok {
		return
	}
	if err := t.Protect(peer, on); err != nil {
		n.log.Warn("no room is kept for a peer", "peer", peer, "err", err)
	}
}
