package wire

import (
	"context"
	"errors"

	"github.com/runnel/runnel/channel"
)

// ErrClosed is returned by Send and Recv after the connection ended.
var ErrClosed = errors.New("wire: connection closed")

// ErrUnknownPeer is returned by Dial for a peer id without a known address.
var ErrUnknownPeer = errors.New("wire: no address known for this peer")

// Transport connects this node to its peers. Connections are encrypted and both ends are
// authenticated: Conn.Peer is proven, not claimed.
type Transport interface {
	Self() channel.PeerID
	// Addrs are full multiaddrs, /p2p/ id included, that another machine may dial, best first.
	Addrs() []string
	// Parse checks a peer id or a multiaddr with /p2p/ and returns the id. It does not connect.
	Parse(addr string) (channel.PeerID, error)
	// Dial connects to a multiaddr, or to a peer id whose address is known, or returns the
	// connection that is there. New connections, dialed or not, also come out of Accept.
	Dial(ctx context.Context, addr string) (Conn, error)
	// Accept returns the next connection that became the one of its peer. At most one lives for a peer.
	Accept(ctx context.Context) (Conn, error)
	Close() error
}

// Conn carries messages to one peer in order. Send may buffer; what is buffered leaves at once when
// nothing else is being written. A peer that does not read makes Send fail after a deadline rather than
// block for ever. Send is safe for concurrent use, Recv has one caller.
type Conn interface {
	Peer() channel.PeerID
	RemoteAddr() string
	Send(msg []byte) error
	// Recv returns the next message, at most MaxMessage bytes; the slice is the caller's.
	Recv() ([]byte, error)
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
	Close() error
}
