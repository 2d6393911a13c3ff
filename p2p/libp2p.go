package p2p

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
)

// newHost builds the libp2p host. Everything that libp2p would choose by itself is chosen here; DHT,
// pubsub, relay service, TLS, WebSocket, WebTransport and WebRTC are not there.
func newHost(s *settings, g *gater) (host.Host, error) {
	resources, err := newResources(s.Limits)
	if err != nil {
		return nil, fmt.Errorf("p2p: limits: %w", err)
	}
	// Connections without a stream of ours are the only ones that the manager may close: peers are
	// protected while they have one.
	conns, err := connmgr.NewConnManager(s.Limits.MaxPeers, 2*s.Limits.MaxPeers, connmgr.WithGracePeriod(time.Minute))
	if err != nil {
		return nil, fmt.Errorf("p2p: connection manager: %w", err)
	}
	options := []libp2p.Option{
		libp2p.Identity(s.key),
		libp2p.NoListenAddrs, // listened at one by one, so that each failure is seen
		// Without SO_REUSEPORT: with it a second node could listen at our port unnoticed, and two nodes
		// that dial each other at once could meet in one TCP connection that both think to have opened.
		// The price is that holes are punched through NATs for QUIC only.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Transport(quic.NewTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, muxer()),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(g),
		libp2p.UserAgent(s.UserAgent),
		libp2p.AddrsFactory(func(addrs []ma.Multiaddr) []ma.Multiaddr { return ma.Unique(append(addrs, s.external...)) }),
		libp2p.WithDialTimeout(s.Limits.DialTimeout),
		libp2p.Ping(false),
		libp2p.DisableMetrics(),
	}
	h, err := libp2p.New(append(options, natOptions(s)...)...)
	if err != nil {
		return nil, fmt.Errorf("p2p: libp2p: %w", err)
	}
	return h, listen(h, s.listen)
}

func natOptions(s *settings) []libp2p.Option {
	if !s.NAT {
		return []libp2p.Option{libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery()}
	}
	options := []libp2p.Option{
		libp2p.NATPortMap(),
		libp2p.EnableAutoNATv2(),
		libp2p.EnableRelay(), // the client only; the service is another option
		libp2p.EnableHolePunching(),
	}
	if len(s.relays) > 0 {
		options = append(options, libp2p.EnableAutoRelayWithStaticRelays(s.relays))
	}
	return options
}

// listen opens every address or none: libp2p itself is content with one of them.
func listen(h host.Host, addrs []ma.Multiaddr) error {
	for _, a := range addrs {
		if err := h.Network().Listen(a); err != nil {
			_ = h.Close()
			return fmt.Errorf("p2p: can't listen at %s (does another program use the port?): %w", a, oneLine(err))
		}
	}
	return nil
}

// muxer is libp2p's yamux with a window that bounds memory.
func muxer() *yamux.Transport {
	config := *yamux.DefaultTransport.Config()
	config.MaxStreamWindowSize = streamWindow
	return (*yamux.Transport)(&config)
}

// newResources makes limits that hold on loopback too, where libp2p by default has none.
func newResources(l Limits) (network.ResourceManager, error) {
	all := 2*l.MaxPeers + 64 // both ends may dial; protected peers come on top
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(2 * all), ConnsInbound: rcmgr.LimitVal(all), ConnsOutbound: rcmgr.LimitVal(all),
			FD: rcmgr.LimitVal(2 * all), Memory: systemMemory,
			Streams: rcmgr.LimitVal(16 * all), StreamsInbound: rcmgr.LimitVal(8 * all), StreamsOutbound: rcmgr.LimitVal(8 * all),
		},
		Transient: rcmgr.ResourceLimits{
			Conns: 2 * handshakes, ConnsInbound: handshakes, ConnsOutbound: handshakes, FD: 2 * handshakes, Memory: systemMemory / 4,
			Streams: 4 * handshakes, StreamsInbound: 2 * handshakes, StreamsOutbound: 2 * handshakes,
		},
		// Nothing is on the allow list, and if something were it would get nothing extra.
		AllowlistedSystem:    blocked(),
		AllowlistedTransient: blocked(),
		PeerDefault: rcmgr.ResourceLimits{
			Conns: 8, ConnsInbound: 4, ConnsOutbound: 8, FD: 8, Memory: peerMemory,
			Streams: 32, StreamsInbound: 16, StreamsOutbound: 16,
		},
	}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(limits.Build(rcmgr.DefaultLimits.AutoScale())),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: l.PerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: l.PerIP}, {PrefixLength: 48, ConnCount: 8 * l.PerIP}}),
		rcmgr.WithNetworkPrefixLimit(loopback(all)),
		rcmgr.WithConnRateLimiters(rates(l.PerIP)),
	)
}

func blocked() rcmgr.ResourceLimits {
	return rcmgr.ResourceLimits{
		Conns: rcmgr.BlockAllLimit, ConnsInbound: rcmgr.BlockAllLimit, ConnsOutbound: rcmgr.BlockAllLimit, FD: rcmgr.BlockAllLimit,
		Streams: rcmgr.BlockAllLimit, StreamsInbound: rcmgr.BlockAllLimit, StreamsOutbound: rcmgr.BlockAllLimit,
		Memory: rcmgr.BlockAllLimit64,
	}
}

// loopback: all programs of this machine share one address, so it gets what the node has.
func loopback(conns int) (v4, v6 []rcmgr.NetworkPrefixLimit) {
	return []rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("127.0.0.0/8"), ConnCount: conns}},
		[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("::1/128"), ConnCount: conns}}
}

// rates bounds new connections from one network: a peer that reconnects with back-off stays far below,
// a flood costs one small packet each.
func rates(perIP int) *rate.Limiter {
	burst := 4 * perIP
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Limit: rate.Limit{RPS: math.MaxInt32, Burst: math.MaxInt32}},
			{Prefix: netip.MustParsePrefix("::1/128"), Limit: rate.Limit{RPS: math.MaxInt32, Burst: math.MaxInt32}},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: 1, Burst: burst}}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: 1, Burst: burst}},
				{PrefixLength: 48, Limit: rate.Limit{RPS: 4, Burst: 4 * burst}}},
			GracePeriod: time.Minute,
		},
	}
}
