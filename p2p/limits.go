package p2p

import (
	"fmt"
	"time"

	"github.com/runnel/runnel/wire"
)

// Limits bound what peers can take. A zero field takes its value from DefaultLimits.
type Limits struct {
	// MaxPeers is the number of strangers (peers that are not protected) that may be connected to us.
	MaxPeers int
	// PerIP is the number of connections from one address. Loopback is bounded by MaxPeers alone.
	PerIP int
	// QueueBytes may wait for being written to one peer; then Send blocks.
	QueueBytes int

	DialTimeout      time.Duration // of one Dial in all
	HandshakeTimeout time.Duration // from a connection to a peer that may send messages
	WriteTimeout     time.Duration // for each 64 KiB that a peer must take, and for a blocked Send
	MessageTimeout   time.Duration // for the rest of a message that has begun
	KeepAlive        time.Duration // of silence until we send a keep-alive
	IdleTimeout      time.Duration // of silence until the peer counts as dead
	Linger           time.Duration // that Close waits for the peer to take what was sent
}

// DefaultLimits returns the limits of a node on the open internet.
func DefaultLimits() Limits {
	return Limits{
		MaxPeers:   256, // with 64 KiB of read buffer and a window of 256 KiB each: 80 MiB at worst
		PerIP:      8,   // a household or an office behind one address
		QueueBytes: 1 << 20,

		DialTimeout:      20 * time.Second, // two round trips over a bad mobile network, and DNS
		HandshakeTimeout: 10 * time.Second,
		WriteTimeout:     10 * time.Second, // 64 KiB in that time is a very slow modem
		MessageTimeout:   20 * time.Second, // 256 KiB on a slow link
		KeepAlive:        10 * time.Second, // well below the 30 s after which NATs forget UDP flows
		IdleTimeout:      30 * time.Second, // three keep-alives may be lost
		Linger:           2 * time.Second,  // a last error message should arrive, a stop should be quick
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ value, standard *int }{
		{&l.MaxPeers, &d.MaxPeers}, {&l.PerIP, &d.PerIP}, {&l.QueueBytes, &d.QueueBytes},
	} {
		if *f.value == 0 {
			*f.value = *f.standard
		}
	}
	for _, f := range []struct{ value, standard *time.Duration }{
		{&l.DialTimeout, &d.DialTimeout}, {&l.HandshakeTimeout, &d.HandshakeTimeout}, {&l.WriteTimeout, &d.WriteTimeout},
		{&l.MessageTimeout, &d.MessageTimeout}, {&l.KeepAlive, &d.KeepAlive}, {&l.IdleTimeout, &d.IdleTimeout}, {&l.Linger, &d.Linger},
	} {
		if *f.value == 0 {
			*f.value = *f.standard
		}
	}
	return l
}

func (l Limits) validate() error {
	if l.MaxPeers < 1 || l.MaxPeers > 1<<16 || l.PerIP < 1 {
		return fmt.Errorf("p2p: MaxPeers %d and PerIP %d must be positive, MaxPeers at most 65536", l.MaxPeers, l.PerIP)
	}
	if l.QueueBytes < wire.MaxMessage {
		return fmt.Errorf("p2p: QueueBytes %d must hold a message of %d", l.QueueBytes, wire.MaxMessage)
	}
	for _, d := range []time.Duration{l.DialTimeout, l.HandshakeTimeout, l.WriteTimeout, l.MessageTimeout, l.KeepAlive, l.Linger} {
		if d <= 0 {
			return fmt.Errorf("p2p: a deadline of %v is not positive", d)
		}
	}
	if l.IdleTimeout <= l.KeepAlive {
		return fmt.Errorf("p2p: IdleTimeout %v must be longer than KeepAlive %v", l.IdleTimeout, l.KeepAlive)
	}
	return nil
}

const (
	// writeSize is what one write carries at most: as much as a yamux frame.
	writeSize = 64 << 10

	// readBuffer takes what came in one such write.
	readBuffer = 64 << 10

	// keepBuffer is the queue buffer that a quiet connection may keep.
	keepBuffer = 64 << 10

	// streamWindow is what a peer may send before we read it: enough for 100 Mbit/s over 80 ms.
	streamWindow = 1 << 20

	// peerMemory is what one peer may reserve of libp2p's buffers: a few streams' windows.
	peerMemory = 8 << 20

	// systemMemory is what all peers together may reserve.
	systemMemory = 192 << 20

	// handshakes is how many connections may be between accepted and authenticated.
	handshakes = 128

	// maxRefused is how many peers can be refused by name; the oldest make room.
	maxRefused = 4096
)
