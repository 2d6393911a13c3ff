package p2p

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// parsePeer reads a peer id or a multiaddr that ends in /p2p/.
func parsePeer(text string) (peer.AddrInfo, error) {
	info, err := splitPeer(text)
	if err != nil {
		return peer.AddrInfo{}, err
	}
	if !allowedKey(info.ID) {
		return peer.AddrInfo{}, fmt.Errorf("%w: %q is not the id of an ed25519 or secp256k1 key", wire.ErrAddress, text)
	}
	return info, nil
}

func splitPeer(text string) (peer.AddrInfo, error) {
	if !strings.HasPrefix(text, "/") {
		id, err := peer.Decode(text)
		if err != nil {
			return peer.AddrInfo{}, fmt.Errorf("%w: %q is neither a peer id nor a multiaddr like /ip4/203.0.113.7/tcp/9735/p2p/ID", wire.ErrAddress, text)
		}
		return peer.AddrInfo{ID: id}, nil
	}
	info, err := peer.AddrInfoFromString(text)
	if errors.Is(err, peer.ErrInvalidAddr) {
		return peer.AddrInfo{}, fmt.Errorf("%w: %q does not end in /p2p/ and the peer's id", wire.ErrAddress, text)
	}
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("%w: %q: %w", wire.ErrAddress, text, err)
	}
	return *info, nil
}

// fullAddrs orders addresses for sharing and completes them with the peer id.
func fullAddrs(self peer.ID, external, all []ma.Multiaddr) []string {
	all = slices.DeleteFunc(slices.Clone(all), manet.IsIPUnspecified)
	rank := func(a ma.Multiaddr) int {
		switch {
		case slices.ContainsFunc(external, a.Equal):
			return 0
		case isRelayed(a):
			return 3
		case manet.IsIPLoopback(a):
			return 4
		case manet.IsPublicAddr(a):
			return 1
		}
		return 2 // private networks, link-local
	}
	slices.SortStableFunc(all, func(a, b ma.Multiaddr) int { return rank(a) - rank(b) })
	var out []string
	for _, a := range all {
		if full := a.String() + "/p2p/" + self.String(); !slices.Contains(out, full) {
			out = append(out, full)
		}
	}
	return out
}

func isRelayed(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// oneLine makes libp2p's list of failed dials fit a log and a terminal.
func oneLine(err error) error {
	if err == nil {
		return nil
	}
	return &flat{err}
}

type flat struct{ error }

func (f *flat) Error() string {
	return strings.Join(strings.FieldsFunc(f.error.Error(), func(r rune) bool { return r == '\n' }), ";")
}

func (f *flat) Unwrap() error { return f.error }

func channelID(id peer.ID) channel.PeerID { return channel.PeerID(id.String()) }
