package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/policy"
)

// setting is one thing that can be set. Its key is the flag, the key in the file (a point starts a
// section), and with RUNNEL_, upper case and _ the environment variable.
type setting struct {
	key    string
	help   string // the word in backquotes is its value
	kind   kind
	reload bool // takes effect on SIGHUP
	def    func(w where) []string
	set    func(c *Config, values []string) error
}

type kind uint8

const (
	kindText kind = iota
	kindList      // may be given several times, or with commas
	kindBool
)

// where is what defaults depend on.
type where struct {
	network string
	home    home.Home
	user    string // home directory of the user, for other programs' files
	limits  policy.Limits
}

// settings is the one table of all of them, in the order in which people read it.
func settings() []setting {
	return slices.Concat(mainSettings(), chainSettings(), peerSettings(), limitSettings(), outputSettings())
}

// choices are the words of those settings that have few.
func choices() map[string][]string {
	return map[string][]string{
		"network": home.Networks(), "chain": backends(), "log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"},
	}
}

func fixed(values ...string) func(where) []string { return func(where) []string { return values } }

func text(dst func(*Config) *string) func(*Config, []string) error {
	return func(c *Config, v []string) error { *dst(c) = v[0]; return nil }
}

func mainSettings() []setting {
	return []setting{
		{key: "network", help: "`NETWORK` to run on: " + strings.Join(home.Networks(), ", ") + " (no default)",
			set: text(func(c *Config) *string { return &c.Network })},
		{key: "data-dir", help: "`DIR` for all data (default ~/.runnel/NETWORK)",
			def: func(w where) []string { return []string{w.home.DataDir(w.network)} },
			set: setPath(func(c *Config) *string { return &c.DataDir })},
		{key: "replica", help: "`DIR` on another disk for a continuous second copy of phase and newest voucher of every lane, or off", def: fixed("off"),
			set: func(c *Config, v []string) error {
				if c.Replica = ""; v[0] == "off" {
					return nil
				}
				return setPath(func(c *Config) *string { return &c.Replica })(c, v)
			}},
		{key: "api", help: "`unix:PATH` of the API's socket (default unix:DIR/" + home.SocketName + ")",
			set: func(c *Config, v []string) (err error) { c.Socket, err = home.ParseAPI(v[0]); return err }},
	}
}

func chainSettings() []setting {
	return []setting{
		{key: "chain", help: "`BACKEND` that shows the chain: btcd, bitcoind or neutrino", def: fixed("btcd"),
			set: text(func(c *Config) *string { return &c.Chain })},
		{key: "btcd.rpc-host", help: "btcd's RPC, `HOST:PORT` (default: the network's on this machine)",
			def: rpcHost(btcdPorts()), set: text(func(c *Config) *string { return &c.Btcd.Host })},
		{key: "btcd.rpc-user", help: "btcd's RPC user `NAME`", set: text(func(c *Config) *string { return &c.Btcd.User })},
		{key: "btcd.rpc-pass-file", help: "`FILE` with btcd's RPC password", set: setPath(func(c *Config) *string { return &c.Btcd.PassFile })},
		{key: "btcd.rpc-cert", help: "`FILE` with btcd's certificate (default ~/.btcd/rpc.cert)",
			def: func(w where) []string { return []string{filepath.Join(w.user, ".btcd", "rpc.cert")} },
			set: setPath(func(c *Config) *string { return &c.Btcd.Cert })},
		{key: "bitcoind.rpc-host", help: "bitcoind's RPC, `HOST:PORT` (default: the network's on this machine)",
			def: rpcHost(bitcoindPorts()), set: text(func(c *Config) *string { return &c.Bitcoind.Host })},
		{key: "bitcoind.cookie", help: "bitcoind's cookie `FILE` (default: the network's below ~/.bitcoin, unless rpc-user is set)",
			set: setPath(func(c *Config) *string { return &c.Bitcoind.Cookie })},
		{key: "bitcoind.rpc-user", help: "bitcoind's RPC user `NAME`, instead of the cookie", set: text(func(c *Config) *string { return &c.Bitcoind.User })},
		{key: "bitcoind.rpc-pass-file", help: "`FILE` with bitcoind's RPC password", set: setPath(func(c *Config) *string { return &c.Bitcoind.PassFile })},
		{key: "neutrino.peer", kind: kindList, help: "`HOST:PORT` of a Bitcoin node to use (default: neutrino finds some)",
			set: func(c *Config, v []string) error { c.Neutrino.Peers = v; return nil }},
		{key: "fee-url", help: "`URL` to ask for fee rates when the backend has no estimate of its own, as neutrino never has (default: recent blocks tell)",
			set: text(func(c *Config) *string { return &c.FeeURL })},
	}
}

func peerSettings() []setting {
	return []setting{
		{key: "listen", kind: kindList, help: "`MULTIADDR` to listen on for peers (default: TCP and QUIC on the network's port; loopback only on simnet and regtest)",
			def: func(w where) []string { return defaultListen(w.network) },
			set: func(c *Config, v []string) error { c.Listen = v; return nil }},
		{key: "external-addr", kind: kindList, help: "`MULTIADDR` at which others reach this node, if it can't find out",
			set: func(c *Config, v []string) error { c.External = v; return nil }},
		{key: "mdns", kind: kindBool, help: "find peers on the local network", def: fixed("false"),
			set: setBool(func(c *Config, b bool) { c.MDNS = b })},
		{key: "coalesce", kind: kindBool, help: "payments that wait for a lane travel under one signature; false signs and verifies each alone", def: fixed("true"),
			set: setBool(func(c *Config, b bool) { c.Coalesce = b })},
		{key: "no-nat", kind: kindBool, help: "ask no router for a port and punch no holes", def: fixed("false"),
			set: setBool(func(c *Config, b bool) { c.NAT = !b })},
	}
}

func limitSettings() []setting {
	return []setting{
		{key: policy.SettingMaxPayment, reload: true, help: "largest payment out, an `AMOUNT` or none (default: 100_000sat on mainnet)",
			def: limitDefault(func(l policy.Limits) channel.Msat { return l.MaxPayment }),
			set: setLimit(func(l *policy.Limits) *channel.Msat { return &l.MaxPayment })},
		{key: policy.SettingBudget, reload: true, help: "all payments out in any 24 hours, an `AMOUNT` or none (default: 1_000_000sat on mainnet)",
			def: limitDefault(func(l policy.Limits) channel.Msat { return l.Budget }),
			set: setLimit(func(l *policy.Limits) *channel.Msat { return &l.Budget })},
		{key: policy.SettingAcceptPeerDeposit, reload: true, help: "most that this node adds when a peer asks, an `AMOUNT` (default 0sat: nothing)",
			def: satDefault(func(l policy.Limits) channel.Sat { return l.AcceptPeerDeposit }),
			set: setSat(func(l *policy.Limits) *channel.Sat { return &l.AcceptPeerDeposit })},
		{key: policy.SettingMinDeposit, reload: true, help: "least that a peer must put into a channel, an `AMOUNT`",
			def: satDefault(func(l policy.Limits) channel.Sat { return l.MinDeposit }),
			set: setSat(func(l *policy.Limits) *channel.Sat { return &l.MinDeposit })},
		{key: policy.SettingMaxChannels, reload: true, help: "channels with one peer, a `NUMBER`",
			def: numberDefault(func(l policy.Limits) int { return l.MaxChannels }),
			set: setNumber(func(l *policy.Limits) *int { return &l.MaxChannels })},
		{key: policy.SettingMaxPending, reload: true, help: "channels with one peer that wait for funding, a `NUMBER`",
			def: numberDefault(func(l policy.Limits) int { return l.MaxPending }),
			set: setNumber(func(l *policy.Limits) *int { return &l.MaxPending })},
		{key: policy.SettingMaxPendingTotal, reload: true, help: "channels that wait for funding, all peers together, a `NUMBER`",
			def: numberDefault(func(l policy.Limits) int { return l.MaxPendingTotal }),
			set: setNumber(func(l *policy.Limits) *int { return &l.MaxPendingTotal })},
		{key: policy.SettingConfirmations, reload: true, kind: kindList, help: "confirmations for a peer's deposit, `AMOUNT=N` up to each amount, a plain N above",
			def: func(w where) []string { return showTiers(w.limits.Tiers) },
			set: func(c *Config, v []string) (err error) { c.Limits.Tiers, err = parseTiers(v); return err }},
		{key: policy.SettingBlindCap, reload: true, help: "taken on one channel while the chain can't be seen, an `AMOUNT` or none",
			def: limitDefault(func(l policy.Limits) channel.Msat { return l.BlindCap }),
			set: setLimit(func(l *policy.Limits) *channel.Msat { return &l.BlindCap })},
		{key: policy.SettingMinFreeDisk, reload: true, help: "`SIZE` of free disk below which no new payment and channel is taken, such as 256MB or 2GB",
			def: func(w where) []string { return []string{showSize(w.limits.MinFreeDisk)} },
			set: func(c *Config, v []string) (err error) { c.Limits.MinFreeDisk, err = parseSize(v[0]); return err }},
	}
}

// sizes are the units of space, as powers of two.
func sizes() map[string]int { return map[string]int{"MB": 20, "GB": 30} }

func parseSize(s string) (int64, error) {
	number, unit := s, ""
	if len(s) > 2 {
		number, unit = s[:len(s)-2], strings.ToUpper(s[len(s)-2:])
	}
	shift, ok := sizes()[unit]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 0 || n > 1<<20 {
		return 0, fmt.Errorf("%q is not a size: write a whole number of MB or GB, such as 256MB", s)
	}
	return n << shift, nil
}

func showSize(n int64) string {
	if n > 0 && n%(1<<30) == 0 {
		return fmt.Sprintf("%dGB", n>>30)
	}
	return fmt.Sprintf("%dMB", n>>20)
}

func outputSettings() []setting {
	return []setting{
		{key: "log-level", reload: true, help: "`LEVEL`: debug, info, warn or error", def: fixed("info"), set: setLevel},
		{key: "log-format", help: "`FORMAT`: text or json", def: fixed("text"), set: text(func(c *Config) *string { return &c.LogFormat })},
		{key: "journal-max", help: "`MEGABYTES` of journal above which payments below signed checkpoints are dropped, or none", def: fixed(none), set: setJournalMax},
		{key: "metrics", help: "/metrics, /healthz and /readyz at this loopback `HOST:PORT`, or off: they have no password, so they are never served to other machines",
			def: fixed("off"), set: func(c *Config, v []string) error {
				if c.Metrics = v[0]; v[0] == "off" {
					c.Metrics = ""
				}
				return nil
			}},
	}
}

func setBool(set func(*Config, bool)) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		b, err := strconv.ParseBool(v[0])
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", v[0])
		}
		set(c, b)
		return nil
	}
}

func setJournalMax(c *Config, v []string) error {
	if c.JournalMax = 0; v[0] == none {
		return nil
	}
	n, err := strconv.ParseInt(v[0], 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is neither a number of megabytes nor none", v[0])
	}
	c.JournalMax = n << 20
	return nil
}

func setPath(dst func(*Config) *string) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		abs, err := filepath.Abs(v[0])
		*dst(c) = abs
		return err
	}
}

func setLevel(c *Config, v []string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[v[0]]
	if !ok {
		return fmt.Errorf("%q is not a level: choose debug, info, warn or error", v[0])
	}
	c.LogLevel = level
	return nil
}

// none is how a limit is switched off.
const none = "none"

func setLimit(dst func(*policy.Limits) *channel.Msat) func(*Config, []string) error {
	return func(c *Config, v []string) (err error) {
		if v[0] == none {
			*dst(&c.Limits) = policy.NoLimit
			return nil
		}
		*dst(&c.Limits), err = amount.ParseOrZero(v[0])
		return err
	}
}

func limitDefault(get func(policy.Limits) channel.Msat) func(where) []string {
	return func(w where) []string {
		if m := get(w.limits); m < policy.NoLimit {
			return []string{amount.String(m)}
		}
		return []string{none}
	}
}

func setSat(dst func(*policy.Limits) *channel.Sat) func(*Config, []string) error {
	return func(c *Config, v []string) (err error) {
		*dst(&c.Limits), err = amount.ParseSatOrZero(v[0])
		return err
	}
}

func satDefault(get func(policy.Limits) channel.Sat) func(where) []string {
	return func(w where) []string { return []string{fmt.Sprintf("%dsat", get(w.limits))} }
}

func setNumber(dst func(*policy.Limits) *int) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		n, err := strconv.Atoi(v[0])
		if err != nil {
			return fmt.Errorf("%q is not a whole number", v[0])
		}
		*dst(&c.Limits) = n
		return nil
	}
}

func numberDefault(get func(policy.Limits) int) func(where) []string {
	return func(w where) []string { return []string{strconv.Itoa(get(w.limits))} }
}

// parseTiers reads 100_000sat=1 10_000_000sat=3 6.
func parseTiers(values []string) ([]policy.Tier, error) {
	var tiers []policy.Tier
	for _, v := range values {
		up, confirmations, bounded := strings.Cut(v, "=")
		tier := policy.Tier{UpTo: channel.MaxMoney}
		if !bounded {
			confirmations = up
		} else {
			var err error
			if tier.UpTo, err = amount.ParseSat(up); err != nil {
				return nil, err
			}
		}
		n, err := strconv.ParseUint(confirmations, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q: write AMOUNT=N, such as 100_000sat=1, or a plain N for all above", v)
		}
		tier.Confirmations = uint32(n)
		tiers = append(tiers, tier)
	}
	return tiers, nil
}

func showTiers(tiers []policy.Tier) []string {
	var out []string
	for _, t := range tiers {
		if t.UpTo >= channel.MaxMoney {
			out = append(out, strconv.Itoa(int(t.Confirmations)))
		} else {
			out = append(out, fmt.Sprintf("%dsat=%d", t.UpTo, t.Confirmations))
		}
	}
	return out
}

// peerPort differs by network, so that daemons of two networks share a machine.
func peerPort(network string) int {
	return map[string]int{"mainnet": 9745, "testnet3": 19745, "testnet4": 29745, "signet": 39745, "regtest": 49745, "simnet": 59745}[network]
}

func defaultListen(network string) []string {
	port := peerPort(network)
	hosts := []string{"/ip4/0.0.0.0", "/ip6/::"}
	if network == "simnet" || network == "regtest" {
		hosts = []string{"/ip4/127.0.0.1"}
	}
	var out []string
	for _, h := range hosts {
		out = append(out, fmt.Sprintf("%s/tcp/%d", h, port), fmt.Sprintf("%s/udp/%d/quic-v1", h, port))
	}
	return out
}

// btcdPorts and bitcoindPorts are the RPC ports that these programs choose.
func btcdPorts() map[string]int {
	return map[string]int{"mainnet": 8334, "testnet3": 18334, "testnet4": 48334, "signet": 38332, "regtest": 18334, "simnet": 18556}
}

func bitcoindPorts() map[string]int {
	return map[string]int{"mainnet": 8332, "testnet3": 18332, "testnet4": 48332, "signet": 38332, "regtest": 18443}
}

func rpcHost(ports map[string]int) func(where) []string {
	return func(w where) []string {
		if port, ok := ports[w.network]; ok {
			return []string{fmt.Sprintf("127.0.0.1:%d", port)}
		}
		return nil
	}
}

// bitcoindCookie is where bitcoind writes its cookie.
func bitcoindCookie(user, network string) string {
	sub := map[string]string{"mainnet": "", "testnet3": "testnet3", "testnet4": "testnet4", "signet": "signet", "regtest": "regtest"}[network]
	return filepath.Join(user, ".bitcoin", sub, ".cookie")
}
