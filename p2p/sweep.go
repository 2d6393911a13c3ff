package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// tag marks peers with a stream of ours for libp2p's connection manager.
const tag = "runnel"

// keep holds libp2p's connection manager off a peer while it has a conn.
func (h *Host) keep(c *conn) {
	if s, ok := c.stream.(network.Stream); ok {
		h.host.ConnManager().Protect(s.Conn().RemotePeer(), tag)
	}
}

// release closes the libp2p connection of an ended conn unless somebody still needs it.
func (h *Host) release(c *conn) {
	s, ok := c.stream.(network.Stream)
	if !ok {
		return
	}
	id := s.Conn().RemotePeer()
	if h.peers.get(c.peer) != nil {
		return
	}
	h.host.ConnManager().Unprotect(id, tag)
	if !h.dials.held(id) {
		_ = s.Conn().Close()
	}
}

// sweep closes connections of peers that don't open a stream in time: they are here for something
// else, or to take a place. Relays and others that libp2p protects stay.
func (h *Host) sweep() {
	period := h.settings.Limits.HandshakeTimeout
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-h.ctx.Done():
			return
		}
		for _, c := range h.host.Network().Conns() {
			if time.Since(c.Stat().Opened) > 2*period && h.idle(c.RemotePeer()) {
				_ = c.Close()
			}
		}
	}
}

func (h *Host) idle(id peer.ID) bool {
	return h.peers.get(channelID(id)) == nil && !h.dials.held(id) && !h.host.ConnManager().IsProtected(id, "")
}
