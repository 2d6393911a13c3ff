package p2p

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/runnel/runnel/channel"
)

// Config says who the node is and where it listens.
type Config struct {
	// PrivateKey is the secp256k1 secret of the node's identity. It must never sign or hold money.
	PrivateKey [32]byte
	// Listen are multiaddrs like /ip4/0.0.0.0/tcp/9735 or /ip4/0.0.0.0/udp/9735/quic-v1. None: the
	// node only dials. Port 0 takes a free one.
	Listen []string
	// ExternalAddrs are multiaddrs at which others reach the node, for instance behind a forwarded port.
	ExternalAddrs []string
	// Relays are multiaddrs with /p2p/ of libp2p relays, used for being reachable when NAT hides us.
	Relays []string
	// NAT turns on port mapping, AutoNAT, hole punching and the relay client. It sends traffic to the
	// router and to peers.
	NAT bool
	// MDNS announces the node in the local network and learns addresses there.
	MDNS bool
	// UserAgent is what libp2p's identify tells everybody.
	UserAgent string
	Log       *slog.Logger // nil: slog.Default()
	Limits    Limits
}

// settings is a Config that was checked and parsed.
type settings struct {
	Config
	key      crypto.PrivKey
	self     peer.ID
	listen   []ma.Multiaddr
	external []ma.Multiaddr
	relays   []peer.AddrInfo
}

// Validate reports what is wrong with a config, without opening anything.
func (c Config) Validate() error {
	_, err := c.parse()
	return err
}

func (c Config) parse() (*settings, error) {
	s := &settings{Config: c}
	s.Limits = c.Limits.withDefaults()
	if s.Log == nil {
		s.Log = slog.Default()
	}
	if err := s.Limits.validate(); err != nil {
		return nil, err
	}
	if err := s.identity(); err != nil {
		return nil, err
	}
	for _, text := range c.Listen {
		a, err := parseListen(text)
		if err != nil {
			return nil, err
		}
		s.listen = append(s.listen, a)
	}
	for _, text := range c.ExternalAddrs {
		a, err := s.parseExternal(text)
		if err != nil {
			return nil, err
		}
		s.external = append(s.external, a)
	}
	return s, s.parseRelays()
}

// PeerID is the id of the node with this private key.
func PeerID(private [32]byte) (channel.PeerID, error) {
	s := settings{Config: Config{PrivateKey: private}}
	err := s.identity()
	return channel.PeerID(s.self.String()), err
}

func (s *settings) identity() error {
	if s.PrivateKey == [32]byte{} {
		return errors.New("p2p: the private key is missing")
	}
	key, err := crypto.UnmarshalSecp256k1PrivateKey(s.PrivateKey[:])
	if err != nil {
		return errors.New("p2p: the private key is not a secp256k1 secret") // the cause might show it
	}
	s.key = key
	s.self, err = peer.IDFromPrivateKey(key)
	return err
}

// parseExternal takes a multiaddr with or without our own /p2p/ id.
func (s *settings) parseExternal(text string) (ma.Multiaddr, error) {
	a, err := ma.NewMultiaddr(text)
	if err != nil {
		return nil, fmt.Errorf("p2p: external address %q is no multiaddr like /ip4/203.0.113.7/tcp/9735: %w", text, err)
	}
	a, id := peer.SplitAddr(a)
	if id != "" && id != s.self {
		return nil, fmt.Errorf("p2p: external address %q is of another node, this one is %s", text, s.self)
	}
	if a == nil {
		return nil, fmt.Errorf("p2p: external address %q has no host and port", text)
	}
	return a, nil
}

func (s *settings) parseRelays() error {
	for _, text := range s.Config.Relays {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return fmt.Errorf("p2p: relay %q is no multiaddr with /p2p/: %w", text, err)
		}
		s.relays = append(s.relays, *info)
	}
	if len(s.relays) > 0 && !s.NAT {
		return errors.New("p2p: relays need NAT traversal on")
	}
	return nil
}

// parseListen takes what the transports can listen at: IP with TCP, or with UDP and QUIC.
func parseListen(text string) (ma.Multiaddr, error) {
	a, err := ma.NewMultiaddr(text)
	if err != nil {
		return nil, fmt.Errorf("p2p: listen address %q is no multiaddr: %w; try /ip4/0.0.0.0/tcp/9735", text, err)
	}
	codes := make([]int, 0, len(a))
	for _, c := range a {
		codes = append(codes, c.Code())
	}
	ip := len(codes) > 0 && (codes[0] == ma.P_IP4 || codes[0] == ma.P_IP6)
	tcp := len(codes) == 2 && codes[1] == ma.P_TCP
	quic := len(codes) == 3 && codes[1] == ma.P_UDP && codes[2] == ma.P_QUIC_V1
	if !ip || (!tcp && !quic) {
		return nil, fmt.Errorf("p2p: can't listen at %q; use /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1, or ip6", text)
	}
	return a, nil
}
