package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// gater decides who may connect. Before a peer is authenticated only addresses count (the resource
// manager's part); then its key, whether it is refused, and how many strangers are here.
type gater struct {
	max  int
	hold time.Duration // that an admitted peer may take until it is connected

	mu        sync.Mutex
	here      map[peer.ID]*presence
	protected map[peer.ID]bool
	refused   map[peer.ID]time.Time // until when
}

// presence is a peer that was admitted: it has connections, or is expected to.
type presence struct {
	conns int
	until time.Time
}

func newGater(max int, hold time.Duration) *gater {
	return &gater{max: max, hold: hold, here: make(map[peer.ID]*presence),
		protected: make(map[peer.ID]bool), refused: make(map[peer.ID]time.Time)}
}

// allowedKey: large RSA keys are an attack (CVE-2023-39533), and every peer id that is not the key
// itself would have to be looked up.
func allowedKey(id peer.ID) bool {
	key, err := id.ExtractPublicKey()
	if err != nil {
		return false
	}
	return key.Type() == pb.KeyType_Secp256k1 || key.Type() == pb.KeyType_Ed25519
}

func (g *gater) InterceptPeerDial(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return allowedKey(id) && !g.isRefused(id)
}

func (g *gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// InterceptSecured is the first call at which the peer's id is proven.
func (g *gater) InterceptSecured(dir network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !allowedKey(id) || g.isRefused(id) {
		return false
	}
	now := time.Now()
	p := g.here[id]
	if p == nil {
		if dir == network.DirInbound && !g.protected[id] && g.strangers(now) >= g.max {
			return false
		}
		p = new(presence)
		g.here[id] = p
	}
	p.until = now.Add(g.hold)
	return true
}

// strangers counts the peers here that are not protected, and forgets those that never came.
func (g *gater) strangers(now time.Time) int {
	n := 0
	for id, p := range g.here {
		switch {
		case p.conns == 0 && now.After(p.until):
			delete(g.here, id)
		case !g.protected[id]:
			n++
		}
	}
	return n
}

func (g *gater) connected(id peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.here[id]
	if p == nil {
		p = new(presence)
		g.here[id] = p
	}
	p.conns++
}

func (g *gater) disconnected(id peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.here[id]; p != nil {
		if p.conns--; p.conns <= 0 {
			delete(g.here, id)
		}
	}
}

func (g *gater) protect(id peer.ID, on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if on {
		g.protected[id] = true
	} else {
		delete(g.protected, id)
	}
}

func (g *gater) refuse(id peer.ID, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.refused) >= maxRefused {
		g.forgetOldest()
	}
	g.refused[id] = until
}

func (g *gater) forgetOldest() {
	var oldest peer.ID
	for id, until := range g.refused {
		if oldest == "" || until.Before(g.refused[oldest]) {
			oldest = id
		}
	}
	delete(g.refused, oldest)
}

// refusedFor is how long a peer will still be refused; 0 when it is not.
func (g *gater) refusedFor(id peer.ID) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isRefused(id) {
		return 0
	}
	return time.Until(g.refused[id])
}

// isRefused is called with the lock held.
func (g *gater) isRefused(id peer.ID) bool {
	until, ok := g.refused[id]
	if ok && time.Now().After(until) {
		delete(g.refused, id)
		return false
	}
	return ok
}
