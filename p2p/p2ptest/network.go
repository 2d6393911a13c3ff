// Package p2ptest has a network in memory, whose hosts are wire.Transports, and the suite that every
// wire.Transport passes. Links can be cut and messages dropped, for tests of what lies above.
//
//	net := p2ptest.NewNetwork()
//	alice, bob := net.Host("alice"), net.Host("bob")
//	conn, err := alice.Dial(ctx, "bob")
package p2ptest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// ErrCut is what Dial returns across a cut link.
var ErrCut = errors.New("p2ptest: the link is cut")

// Network is a set of hosts in memory. The zero value is not ready; use NewNetwork.
type Network struct {
	// QueueBytes may wait on one connection before Send blocks, SendTimeout is how long it blocks until
	// the connection ends. Set them before the first Dial.
	QueueBytes  int
	SendTimeout time.Duration

	mu    sync.Mutex
	hosts map[channel.PeerID]*Host
	cuts  map[[2]channel.PeerID]bool
	drop  func(from, to channel.PeerID, msg []byte) bool
}

// NewNetwork returns a network without hosts.
func NewNetwork() *Network {
	return &Network{QueueBytes: 1 << 20, SendTimeout: 5 * time.Second,
		hosts: make(map[channel.PeerID]*Host), cuts: make(map[[2]channel.PeerID]bool)}
}

// Host returns the host with this id, which consists of letters and digits. One that was closed is
// replaced by a new one, like a program that starts again.
func (n *Network) Host(id channel.PeerID) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[id]; h != nil && !h.isClosed() {
		return h
	}
	h := &Host{net: n, id: id, current: make(map[channel.PeerID]*Conn), changed: make(chan struct{})}
	n.hosts[id] = h
	return h
}

// Cut ends the connection of two hosts and lets them have none until Heal.
func (n *Network) Cut(a, b channel.PeerID) {
	n.mu.Lock()
	n.cuts[pair(a, b)] = true
	h := n.hosts[a]
	n.mu.Unlock()
	if h != nil {
		h.drop(b)
	}
}

// Heal undoes Cut.
func (n *Network) Heal(a, b channel.PeerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, pair(a, b))
}

// Break ends the connection of two hosts; they may connect again at once.
func (n *Network) Break(a, b channel.PeerID) {
	n.Cut(a, b)
	n.Heal(a, b)
}

// Drop makes messages for which lose is true vanish without an error; nil ends that.
func (n *Network) Drop(lose func(from, to channel.PeerID, msg []byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = lose
}

func (n *Network) lost(from, to channel.PeerID, msg []byte) bool {
	n.mu.Lock()
	lose := n.drop
	n.mu.Unlock()
	return lose != nil && lose(from, to, msg)
}

func (n *Network) find(from, to channel.PeerID) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[to]
	if h == nil || h.isClosed() {
		return nil, fmt.Errorf("%w: %s", wire.ErrUnknownPeer, to)
	}
	if n.cuts[pair(from, to)] {
		return nil, fmt.Errorf("%w: %s and %s", ErrCut, from, to)
	}
	return h, nil
}

func pair(a, b channel.PeerID) [2]channel.PeerID {
	if a > b {
		a, b = b, a
	}
	return [2]channel.PeerID{a, b}
}

// Host is one node of the network.
type Host struct {
	net *Network
	id  channel.PeerID

	mu      sync.Mutex
	current map[channel.PeerID]*Conn
	fresh   []*Conn
	changed chan struct{}
	closed  bool
}

var _ wire.Transport = (*Host)(nil)

func (h *Host) Self() channel.PeerID { return h.id }
func (h *Host) Addrs() []string      { return []string{"/mem/p2p/" + string(h.id)} }

// Parse takes an id, or an address that ends in /p2p/ and an id.
func (h *Host) Parse(addr string) (channel.PeerID, error) {
	id := addr
	if strings.HasPrefix(addr, "/") {
		_, after, found := strings.Cut(addr, "/p2p/")
		if !found {
			return "", fmt.Errorf("%w: %q does not end in /p2p/ and an id", wire.ErrAddress, addr)
		}
		id = after
	}
	letter := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}
	if id == "" || strings.ContainsFunc(id, letter) {
		return "", fmt.Errorf("%w: %q", wire.ErrAddress, addr)
	}
	return channel.PeerID(id), nil
}

// Dial connects, or returns the connection that is there.
func (h *Host) Dial(ctx context.Context, addr string) (wire.Conn, error) {
	id, err := h.Parse(addr)
	if err != nil {
		return nil, err
	}
	if id == h.id {
		return nil, fmt.Errorf("%w: %s", wire.ErrSelf, id)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	to, err := h.net.find(h.id, id)
	if err != nil {
		return nil, err
	}
	return connect(h, to)
}

// connect gives both hosts their end, under both locks, so that two who dial at once share one.
func connect(from, to *Host) (wire.Conn, error) {
	first, second := from, to
	if first.id > second.id {
		first, second = second, first
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	second.mu.Lock()
	defer second.mu.Unlock()
	if from.closed || to.closed {
		return nil, wire.ErrClosed
	}
	if c := from.current[to.id]; c != nil && !c.ended() {
		return c, nil
	}
	mine, theirs := newPair(from, to)
	from.add(mine)
	to.add(theirs)
	return mine, nil
}

// add is called with the lock held.
func (h *Host) add(c *Conn) {
	h.current[c.peer] = c
	h.fresh = append(slices.DeleteFunc(h.fresh, (*Conn).ended), c)
	close(h.changed)
	h.changed = make(chan struct{})
}

// Accept returns the next connection.
func (h *Host) Accept(ctx context.Context) (wire.Conn, error) {
	for {
		c, changed, err := h.pop()
		if err != nil {
			return nil, err
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

func (h *Host) pop() (*Conn, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, wire.ErrClosed
	}
	for len(h.fresh) > 0 {
		c := h.fresh[0]
		h.fresh = slices.Delete(h.fresh, 0, 1)
		if !c.ended() {
			return c, nil, nil
		}
	}
	return nil, h.changed, nil
}

func (h *Host) drop(peer channel.PeerID) {
	h.mu.Lock()
	c := h.current[peer]
	h.mu.Unlock()
	if c != nil {
		c.cut(ErrCut)
	}
}

func (h *Host) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Close ends all connections.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	close(h.changed)
	var all []*Conn
	for _, c := range h.current {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	return nil
}
