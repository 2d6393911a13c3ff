package main

import (
	"log/slog"

	"github.com/runnel/runnel/policy"
)

// Config is everything that an owner tells the daemon. Flags, environment and file fill it, see
// settings; nothing else in the daemon reads any of these. It holds no secret, only paths of files that
// do: ReadSecret reads them when they are used.
type Config struct {
	Network string
	DataDir string // absolute
	Socket  string // absolute path of the API's unix socket

	Chain    string // btcd, bitcoind or neutrino
	Btcd     Btcd
	Bitcoind Bitcoind
	Neutrino Neutrino
	FeeURL   string // of fee estimates, where the backend has none

	Listen   []string // multiaddrs
	External []string // multiaddrs that others reach the node at
	NAT      bool     // ask routers for a port, find out how the node is seen, punch holes
	MDNS     bool     // find peers on the local network

	Coalesce bool // waiting payments share a signature

	Replica    string // absolute; empty: none
	JournalMax int64  // bytes above which it is pruned; 0: never

	LogLevel  slog.Level
	LogFormat string // text or json
	Metrics   string // host:port on loopback; empty: off

	Limits policy.Limits

	Gateway Gateway // from the file alone
}

// Btcd is how to reach btcd's RPC, which is always over TLS.
type Btcd struct {
	Host     string // host:port
	User     string
	PassFile string
	Cert     string
}

// Bitcoind is how to reach bitcoind's RPC: with its cookie, or as a user.
type Bitcoind struct {
	Host     string // host:port
	Cookie   string
	User     string
	PassFile string
}

// Neutrino is a light client of its own.
type Neutrino struct {
	Peers []string // host:port; empty: it finds some
}

// Backends lists the chain backends, the best tested first.
func backends() []string { return []string{"btcd", "bitcoind", "neutrino"} }
