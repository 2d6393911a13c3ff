// Package p2p is wire.Transport over libp2p: TCP with Noise, and QUIC, between nodes that prove a
// secp256k1 or ed25519 key. It keeps one connection to each peer, frames messages, and bounds what
// strangers can take. It does not know what a message says and never reconnects by itself.
//
//	host, err := p2p.New(p2p.Config{PrivateKey: key, Listen: []string{"/ip4/0.0.0.0/tcp/9735"}, NAT: true})
//
// # One connection to each peer
//
// Each process draws a random instance number at its start, and the two ends of a stream exchange them
// before anything else. A new stream then replaces the old one of the same peer if the peer's instance
// differs (it was restarted, the old stream is dead), or if the same side dialed both (it had lost the
// old one). Else both sides dialed at once, and both keep the stream that the smaller peer id dialed.
// Both ends decide alike, so they end up with the same stream.
//
// # Frames
//
// A frame is a big-endian uint32 length and that many bytes. Length 0 is a keep-alive and is skipped.
// The first frame of each side holds its 16-byte instance. A lone message leaves at once; messages that
// come while one is being written leave together.
package p2p
