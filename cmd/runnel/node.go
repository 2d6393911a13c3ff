package main

import (
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "What needs attention, then how the node is",
		Example: `  runnel status
  runnel status --json | jq -r .addr      # the address to give to others`,
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			s, err := c.node.Status(c.ctx)
			if err != nil {
				return err
			}
			return c.show(viewStatus(s), func(u *ui) { printStatus(u, s) })
		}),
	}
}

func printStatus(u *ui, s channel.NodeStatus) {
	for _, text := range s.Attention {
		u.line("%s %s", u.yellow("!"), printable(text))
	}
	if len(s.Attention) > 0 {
		u.line("")
	}
	sync := u.green("synced")
	if !s.Synced {
		sync = u.yellow("not synced")
	}
	chain := strings.Join([]string{s.Network, s.Backend, "block " + count(s.Height), sync}, ", ")
	fees := s.FeeSource
	if s.FeeRate > 0 {
		fees = amount.FeeRate(s.FeeRate) + " (" + s.FeeSource + ")"
	}
	u.fields(
		[2]string{"version", s.Version},
		[2]string{"peer id", string(s.PeerID)},
		[2]string{"chain", chain},
		[2]string{"fees", fees},
		[2]string{"channels", count(s.Channels)},
		[2]string{"wallet", walletLine(s.Wallet)},
		[2]string{"in channels", channelsLine(s.Wallet)},
	)
	if s.Addr != "" {
		u.line("\n%s\n  %s", u.dim("give this address to others"), s.Addr)
	}
}

// channelsLine is whose the money in channels is. What of it can be paid now, `runnel channels` tells.
func channelsLine(b channel.Balance) string {
	return amount.Msat(b.ChannelLocal) + ", peers have " + amount.Msat(b.ChannelRemote)
}

func walletLine(b channel.Balance) string {
	line := amount.Sat(b.Onchain)
	if b.Pending > 0 {
		line += ", " + amount.Sat(b.Pending) + " pending"
	}
	if b.Locked > 0 {
		line += ", " + amount.Sat(b.Locked) + " locked"
	}
	return line
}

func stopCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "stop",
		Short:             "Stop the daemon in good order",
		Example:           "  runnel stop\n  runnel --node alice stop",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			if err := c.node.Stop(c.ctx); err != nil {
				return err
			}
			return c.show(stopView{true}, func(u *ui) { u.line("stopping") })
		}),
	}
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Version of this program; `runnel status` has the daemon's",
		Example:           "  runnel version",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.local(func(c *call) error {
			v := buildVersion()
			return c.show(v, func(u *ui) { u.line("runnel %s (%s)", v.Version, v.Go) })
		}),
	}
}

// buildVersion is what the Go toolchain wrote into the binary.
func buildVersion() versionView {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versionView{Version: "unknown"}
	}
	return versionView{Version: info.Main.Version, Go: info.GoVersion}
}

func connectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "connect MULTIADDR",
		Short: "Connect to a peer and remember its address",
		Example: `  runnel connect /ip4/203.0.113.7/tcp/9745/p2p/16Uiu2HAm...
  runnel connect 16Uiu2HAm9x      # a peer whose address is known`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completePeers,
		RunE: a.verb(func(c *call) error {
			p, err := c.node.Connect(c.ctx, c.args[0])
			if err != nil {
				return err
			}
			return c.show(viewPeer(p), func(u *ui) { u.line("%s to %s", u.word("connected"), p.PeerID) })
		}),
	}
}

func disconnectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "disconnect PEER",
		Short:             "Cut the connection to a peer",
		Example:           "  runnel disconnect 16Uiu2HAm9x",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completePeers,
		RunE: a.verb(func(c *call) error {
			peer := c.args[0]
			if i := strings.LastIndex(peer, "/p2p/"); i >= 0 {
				peer = peer[i+len("/p2p/"):]
			}
			// Look first: afterwards the node may have forgotten a peer without channels.
			known, err := c.node.Peers(c.ctx)
			if err != nil {
				return err
			}
			if err := c.node.Disconnect(c.ctx, peer); err != nil {
				return err
			}
			p := findPeer(known, peer)
			p.Connected = false
			return c.show(viewPeer(p), func(u *ui) { u.line("disconnected from %s", p.PeerID) })
		}),
	}
}

func findPeer(peers []channel.PeerInfo, prefix string) channel.PeerInfo {
	for _, p := range peers {
		if strings.HasPrefix(string(p.PeerID), prefix) {
			return p
		}
	}
	return channel.PeerInfo{PeerID: channel.PeerID(prefix)}
}

func peersCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "peers",
		Short:             "Peers that are or were connected",
		Example:           "  runnel peers\n  runnel peers --json | jq -r 'select(.connected).peer_id'",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			peers, err := c.node.Peers(c.ctx)
			if err != nil {
				return err
			}
			return showAll(c.app, each(peers, viewPeer), func(u *ui) { printPeers(u, peers) })
		}),
	}
}

func printPeers(u *ui, peers []channel.PeerInfo) {
	if len(peers) == 0 {
		u.line("no peers yet: runnel connect MULTIADDR")
		return
	}
	for _, p := range peers {
		state := u.dim("away")
		if p.Connected {
			state = u.word("connected")
		}
		u.line("%s  %s, %s", p.PeerID, state, plural(p.Channels, "channel", "channels"))
		for _, addr := range p.Addrs {
			u.line("  %s", u.dim(printable(addr)))
		}
	}
}

// each maps a list.
func each[T, V any](items []T, view func(T) V) []V {
	out := make([]V, len(items))
	for i, v := range items {
		out[i] = view(v)
	}
	return out
}
