package p2p

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// Protocol is the libp2p protocol id.
const Protocol protocol.ID = "/runnel/1.0.0"

// mdnsName keeps Runnel nodes apart from other libp2p programs.
const mdnsName = "_runnel._udp"

// Host is a node in the libp2p network. It implements wire.Transport.
type Host struct {
	host     host.Host
	settings *settings
	log      *slog.Logger
	gater    *gater
	peers    *peers
	instance instance
	mdns     mdns.Service

	ctx   context.Context // ends when the host stops
	stop  context.CancelFunc
	dials keyedLock

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // writers, handshakes, dials and the sweeper; grows only while not closed
}

var _ wire.Transport = (*Host)(nil)

// New opens the node's listeners.
func New(config Config) (*Host, error) {
	s, err := config.parse()
	if err != nil {
		return nil, err
	}
	g := newGater(s.Limits.MaxPeers, s.Limits.HandshakeTimeout)
	libp2pHost, err := newHost(s, g)
	if err != nil {
		return nil, err
	}
	h := &Host{host: libp2pHost, settings: s, log: s.Log, gater: g, peers: newPeers(channelID(s.self))}
	_, _ = rand.Read(h.instance[:]) // never fails
	h.ctx, h.stop = context.WithCancel(context.Background())
	libp2pHost.Network().Notify(h.notifiee())
	libp2pHost.SetStreamHandler(Protocol, h.handle)
	h.work.Go(h.sweep)
	if s.MDNS {
		h.mdns = mdns.NewMdnsService(libp2pHost, mdnsName, found{h})
		if err := h.mdns.Start(); err != nil {
			return nil, errors.Join(fmt.Errorf("p2p: mDNS: %w", err), h.Close())
		}
	}
	return h, nil
}

func (h *Host) Self() channel.PeerID { return h.peers.self }

func (h *Host) Addrs() []string {
	return fullAddrs(h.settings.self, h.settings.external, h.host.Addrs())
}

func (h *Host) Parse(addr string) (channel.PeerID, error) {
	info, err := parsePeer(addr)
	return channelID(info.ID), err
}

// Accept returns the next connection that became the one of its peer.
func (h *Host) Accept(ctx context.Context) (wire.Conn, error) {
	c, err := h.peers.accept(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Protect lets a peer connect however many strangers are here: one with whom there are channels.
func (h *Host) Protect(id channel.PeerID, on bool) error {
	info, err := parsePeer(string(id))
	if err != nil {
		return err
	}
	h.gater.protect(info.ID, on)
	return nil
}

// Refuse ends the connection to a peer, letting out what was sent, and refuses new ones for some time.
func (h *Host) Refuse(id channel.PeerID, d time.Duration) error {
	info, err := parsePeer(string(id))
	if err != nil {
		return err
	}
	h.gater.refuse(info.ID, time.Now().Add(d))
	if c := h.peers.get(channelID(info.ID)); c != nil {
		c.end(errors.New("refused by this node"), network.StreamNoError)
	}
	return nil
}

// Close ends all connections, letting out what was sent for Limits.Linger, and stops listening.
func (h *Host) Close() error {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	h.mu.Unlock()
	if again {
		return nil
	}
	h.stop()
	h.peers.close()
	for _, c := range h.peers.all() {
		c.end(errors.New("this node stops"), network.StreamNoError)
	}
	h.work.Wait()
	var err error
	if h.mdns != nil {
		err = h.mdns.Close()
	}
	return errors.Join(err, h.host.Close())
}

// enter counts work that Close waits for; the caller calls work.Done. It is false after Close.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.work.Add(1)
	}
	return !h.closed
}

// start makes a stream that has passed the handshake the connection of its peer.
func (h *Host) start(c *conn) bool {
	replaced, ok := h.peers.offer(c)
	if !ok {
		return false
	}
	if replaced != nil {
		replaced.end(errors.New("replaced by a newer connection"), network.StreamSupplanted)
	}
	h.keep(c)
	h.log.Debug("peer connected", "peer", c.peer, "addr", c.remote, "dialed", c.dialer == h.peers.self)
	h.work.Go(func() {
		c.write()
		h.release(c)
		h.log.Debug("peer disconnected", "peer", c.peer, "cause", c.cause)
	})
	return true
}

// notifiee keeps the gater's count.
func (h *Host) notifiee() network.Notifiee {
	return &network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { h.gater.connected(c.RemotePeer()) },
		DisconnectedF: func(_ network.Network, c network.Conn) { h.gater.disconnected(c.RemotePeer()) },
	}
}

// found learns addresses from mDNS.
type found struct{ *Host }

func (f found) HandlePeerFound(info peer.AddrInfo) {
	if info.ID == f.settings.self || !allowedKey(info.ID) {
		return
	}
	f.host.Peerstore().AddAddrs(info.ID, info.Addrs, time.Hour)
	f.log.Info("found a node in the local network", "peer", info.ID.String())
}
