package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// How peers are reached: addresses, one dial for all that wait, and again after a connection is lost.

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
