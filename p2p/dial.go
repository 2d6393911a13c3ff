package p2p

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

var errSupplanted = errors.New("the peer keeps another connection to this node")

// Dial connects to a peer, or returns the connection that is there.
func (h *Host) Dial(ctx context.Context, addr string) (wire.Conn, error) {
	info, err := parsePeer(addr)
	if err != nil {
		return nil, err
	}
	if info.ID == h.settings.self {
		return nil, fmt.Errorf("%w: %s is this node's own id", wire.ErrSelf, info.ID)
	}
	if !h.enter() {
		return nil, wire.ErrClosed
	}
	defer h.work.Done()
	ctx, cancel := context.WithTimeout(ctx, h.settings.Limits.DialTimeout)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	c, err := h.dial(ctx, info)
	if h.ctx.Err() != nil {
		return nil, wire.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, info peer.AddrInfo) (*conn, error) {
	unlock, err := h.dials.lock(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c := h.peers.get(channelID(info.ID)); c != nil {
		return c, nil
	}
	if left := h.gater.refusedFor(info.ID); left > 0 {
		return nil, fmt.Errorf("this node refuses %s for another %v", info.ID, left.Round(100*time.Millisecond))
	}
	if len(info.Addrs) > 0 {
		h.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.AddressTTL)
	}
	if len(h.host.Peerstore().Addrs(info.ID)) == 0 && h.host.Network().Connectedness(info.ID) == network.NotConnected {
		return nil, fmt.Errorf("%w: %s; give a multiaddr that ends in /p2p/%s", wire.ErrUnknownPeer, info.ID, info.ID)
	}
	if s, ok := h.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(info.ID) // the caller has a back-off of its own
	}
	return h.connect(ctx, info.ID)
}

// connect opens a stream. One on a connection that was there before may turn out to be dead; then it
// is tried once more on a new one.
func (h *Host) connect(ctx context.Context, id peer.ID) (*conn, error) {
	old := h.host.Network().ConnsToPeer(id)
	c, err := h.open(ctx, id)
	if err != nil && !errors.Is(err, errSupplanted) && len(old) > 0 && ctx.Err() == nil {
		for _, c := range old {
			_ = c.Close()
		}
		c, err = h.open(ctx, id)
	}
	if errors.Is(err, errSupplanted) {
		return h.other(ctx, id)
	}
	return c, err
}

// other waits for the connection that the peer prefers to ours. It is on its way, unless the peer
// holds a dead one; then it will notice within IdleTimeout.
func (h *Host) other(ctx context.Context, id peer.ID) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, h.settings.Limits.HandshakeTimeout)
	defer cancel()
	c, err := h.peers.wait(ctx, channelID(id))
	if err != nil {
		return nil, fmt.Errorf("can't reach %s: %w, which may be dead; try again in %v", id, errSupplanted, h.settings.Limits.IdleTimeout)
	}
	return c, nil
}

// open dials and does the handshake.
func (h *Host) open(ctx context.Context, id peer.ID) (*conn, error) {
	stream, err := h.host.NewStream(ctx, id, Protocol)
	if err != nil {
		return nil, fmt.Errorf("can't reach %s: %w", id, oneLine(err))
	}
	c := h.newConn(stream, h.peers.self)
	stop := context.AfterFunc(ctx, func() { _ = stream.Reset() })
	_, err = stream.Write(appendFrame(nil, h.instance[:]))
	if err == nil {
		err = c.readInstance()
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = stream.Reset()
		return nil, h.handshakeError(id, err)
	}
	if !h.start(c) {
		_ = stream.ResetWithError(network.StreamSupplanted)
		return nil, errSupplanted
	}
	return c, nil
}

func (h *Host) handshakeError(id peer.ID, err error) error {
	var reset *network.StreamError
	if errors.As(err, &reset) && reset.Remote && reset.ErrorCode == network.StreamSupplanted {
		return errSupplanted
	}
	return fmt.Errorf("%s does not speak %s with this node: %w", id, Protocol, reason(err))
}

// handle answers a stream that a peer opened.
func (h *Host) handle(stream network.Stream) {
	if !h.enter() {
		_ = stream.ResetWithError(network.StreamShutdown)
		return
	}
	defer h.work.Done()
	if h.gater.refusedFor(stream.Conn().RemotePeer()) > 0 { // on a connection that was there before
		_ = stream.ResetWithError(network.StreamGated)
		return
	}
	stop := context.AfterFunc(h.ctx, func() { _ = stream.Reset() })
	defer stop()
	c := h.newConn(stream, channelID(stream.Conn().RemotePeer()))
	if err := c.readInstance(); err != nil {
		h.log.Debug("bad handshake", "peer", c.peer, "addr", c.remote, "err", err)
		_ = stream.ResetWithError(network.StreamProtocolViolation)
		return
	}
	_, _ = c.out.try(h.instance[:]) // leaves before everything else
	if !h.start(c) {
		_ = stream.ResetWithError(network.StreamSupplanted)
	}
}

func (h *Host) newConn(s network.Stream, dialer channel.PeerID) *conn {
	_ = s.SetDeadline(time.Now().Add(h.settings.Limits.HandshakeTimeout))
	return &conn{
		peer:   channelID(s.Conn().RemotePeer()),
		remote: s.Conn().RemoteMultiaddr().String(),
		origin: origin{dialer: dialer},
		limits: h.settings.Limits,
		stream: s,
		out:    newOutbox(h.settings.Limits.QueueBytes),
		in:     bufio.NewReaderSize(s, readBuffer),
		done:   make(chan struct{}),
		left:   h.peers.remove,
	}
}

// readInstance reads the peer's first frame within the handshake's deadline and then lifts that.
func (c *conn) readInstance() error {
	n, err := readHeader(c.in)
	if err != nil {
		return err
	}
	if n != len(c.instance) {
		return errors.New("its first frame is not an instance")
	}
	if _, err := io.ReadFull(c.in, c.instance[:]); err != nil {
		return err
	}
	return c.stream.SetDeadline(time.Time{})
}

// keyedLock is a lock for each peer. It is small: entries live while somebody holds or waits.
type keyedLock struct {
	mu    sync.Mutex
	locks map[peer.ID]*lockEntry
}

type lockEntry struct {
	token chan struct{}
	users int
}

func (k *keyedLock) lock(ctx context.Context, id peer.ID) (unlock func(), err error) {
	e := k.enter(id)
	select {
	case e.token <- struct{}{}:
		return func() { <-e.token; k.leave(id, e) }, nil
	case <-ctx.Done():
		k.leave(id, e)
		return nil, ctx.Err()
	}
}

func (k *keyedLock) enter(id peer.ID) *lockEntry {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.locks[id]
	if e == nil {
		e = &lockEntry{token: make(chan struct{}, 1)}
		if k.locks == nil {
			k.locks = make(map[peer.ID]*lockEntry)
		}
		k.locks[id] = e
	}
	e.users++
	return e
}

func (k *keyedLock) leave(id peer.ID, e *lockEntry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.users--; e.users == 0 {
		delete(k.locks, id)
	}
}

func (k *keyedLock) held(id peer.ID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locks[id] != nil
}
