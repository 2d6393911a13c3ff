package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/ledger/btcwallet"
)

// Problem is one thing that is wrong with the settings.
type Problem struct {
	Key    string
	Source string
	Text   string
	Hint   string // what to do
}

func (p Problem) String() string {
	s := p.Text
	if p.Key != "" {
		s = p.Key + ": " + s
	}
	if p.Source != "" && p.Source != "flag" && p.Source != "default" {
		s += " (in " + p.Source + ")"
	}
	return s
}

// Problems is all that is wrong, so that an owner mends it in one go.
type Problems []Problem

func (p Problems) Error() string {
	var lines []string
	for _, one := range p {
		lines = append(lines, one.String())
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) add(key, hint, format string, args ...any) {
	*p = append(*p, Problem{Key: key, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// named fills in where each setting came from.
func (p Problems) named(effects []Effect) Problems {
	for i := range p {
		for _, e := range effects {
			if e.Key == p[i].Key {
				p[i].Source = e.Source
			}
		}
	}
	return p
}

// except leaves away settings that other problems name already.
func (p Problems) except(others Problems) Problems {
	return slices.DeleteFunc(p, func(one Problem) bool {
		return slices.ContainsFunc(others, func(o Problem) bool { return o.Key == one.Key })
	})
}

func checkNetwork(values []string, source string) *Problem {
	choices := "choose one: --network " + strings.Join(home.Networks(), "|")
	switch {
	case len(values) == 0:
		return &Problem{Text: "no network is chosen, and there is no default since a wrong one costs money", Hint: choices}
	case !slices.Contains(home.Networks(), values[0]):
		return &Problem{Key: "network", Source: source, Text: fmt.Sprintf("there is no network %q", values[0]), Hint: choices}
	}
	return nil
}

// Validate reports everything that can be known to be wrong before the daemon starts.
func (c Config) Validate() Problems {
	var p Problems
	c.checkDataDir(&p)
	c.checkReplica(&p)
	c.checkChain(&p)
	c.checkAddrs(&p)
	c.checkOutput(&p)
	if err := c.Limits.Validate(); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			key, text, _ := strings.Cut(line, ": ")
			p.add(key, "", "%s", text)
		}
	}
	return p
}

func (c Config) checkDataDir(p *Problems) {
	info, err := os.Stat(c.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		p.add("data-dir", "choose a directory that this user may use", "%v", err)
	case !info.IsDir():
		p.add("data-dir", "choose a directory", "%s is a file", c.DataDir)
	case info.Mode().Perm()&0o077 != 0:
		p.add("data-dir", "chmod 700 "+c.DataDir, "other users can look into %s (mode %04o)", c.DataDir, info.Mode().Perm())
	}
}

func (c Config) checkReplica(p *Problems) {
	if c.Replica == "" {
		return
	}
	const hint = "choose a directory on another disk"
	if rel, err := filepath.Rel(c.DataDir, c.Replica); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		p.add("replica", hint, "%s is in the data directory, and would be lost with it", c.Replica)
	}
	if info, err := os.Stat(c.Replica); err == nil && !info.IsDir() {
		p.add("replica", hint, "%s is a file", c.Replica)
	} // a disk that is not there now may come later, and stops no node
}

func (c Config) checkChain(p *Problems) {
	switch c.Chain {
	case "btcd":
		c.checkBtcd(p)
	case "bitcoind":
		c.checkBitcoind(p)
	case "neutrino":
		c.checkNeutrino(p)
	default:
		p.add("chain", "choose one: "+strings.Join(backends(), ", "), "there is no backend %q", c.Chain)
	}
	if c.FeeURL == "" {
		return
	}
	if err := btcwallet.CheckFeeURL(c.FeeURL); err != nil {
		_, text, _ := strings.Cut(err.Error(), "fee URL: ")
		p.add("fee-url", "such as https://mempool.space/api/v1/fees/recommended", "%s", text)
	}
}

func (c Config) checkBtcd(p *Problems) {
	p.checkHost("btcd.rpc-host", c.Btcd.Host)
	if c.Btcd.User == "" {
		p.add("btcd.rpc-user", "set it to btcd's rpcuser", "is not set")
	}
	if c.Btcd.PassFile == "" {
		p.add("btcd.rpc-pass-file", "write btcd's rpcpass into a file that only you can read, and name it here", "is not set")
	} else {
		p.checkSecret("btcd.rpc-pass-file", c.Btcd.PassFile)
	}
	if _, err := os.ReadFile(c.Btcd.Cert); err != nil {
		p.add("btcd.rpc-cert", "name btcd's rpc.cert, which btcd makes at its first start", "%v", err)
	}
}

func (c Config) checkBitcoind(p *Problems) {
	if c.Network == "simnet" {
		p.add("chain", "use btcd on simnet, or regtest with bitcoind", "bitcoind has no simnet")
		return
	}
	p.checkHost("bitcoind.rpc-host", c.Bitcoind.Host)
	b := c.Bitcoind
	switch {
	case b.Cookie != "" && (b.User != "" || b.PassFile != ""):
		p.add("bitcoind.cookie", "leave either the cookie or user and password away", "is set together with a user or password")
	case b.Cookie != "":
		p.checkSecret("bitcoind.cookie", b.Cookie)
	case b.User == "":
		p.add("bitcoind.rpc-user", "set it, or use bitcoind.cookie", "is not set, but rpc-pass-file is")
	case b.PassFile == "":
		p.add("bitcoind.rpc-pass-file", "write the password into a file that only you can read, and name it here", "is not set, but rpc-user is")
	default:
		p.checkSecret("bitcoind.rpc-pass-file", b.PassFile)
	}
}

func (c Config) checkNeutrino(p *Problems) {
	if len(c.Neutrino.Peers) == 0 && (c.Network == "simnet" || c.Network == "regtest") {
		p.add("neutrino.peer", "name a node that serves compact filters", "%s has no public nodes to find", c.Network)
	}
	for _, peer := range c.Neutrino.Peers {
		p.checkHost("neutrino.peer", peer)
	}
}

func (p *Problems) checkHost(key, hostport string) {
	host, port, err := net.SplitHostPort(hostport)
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || host == "" || n == 0 {
		p.add(key, "write HOST:PORT, such as 127.0.0.1:8334", "%q is not a host and port", hostport)
	}
}

func (p *Problems) checkSecret(key, path string) {
	if _, err := ReadSecret(path); err != nil {
		p.add(key, "the file holds the secret on one line, and only you can read it: chmod 600 "+path, "%v", err)
	}
}

func (c Config) checkAddrs(p *Problems) {
	if len(c.Listen) == 0 {
		p.add("listen", "such as /ip4/0.0.0.0/tcp/9745", "is empty")
	}
	for _, addr := range c.Listen {
		m, err := ma.NewMultiaddr(addr)
		if err != nil {
			p.add("listen", "write a multiaddr, such as /ip4/0.0.0.0/tcp/9745", "%q: %v", addr, err)
		} else if !transport(m) {
			p.add("listen", "end it in /tcp/PORT or /udp/PORT/quic-v1", "%s is neither TCP nor QUIC", addr)
		}
	}
	for _, addr := range c.External {
		if _, err := ma.NewMultiaddr(addr); err != nil {
			p.add("external-addr", "write a multiaddr, such as /dns4/node.example.com/tcp/9745", "%q: %v", addr, err)
		}
	}
}

// transport reports whether m ends where the node can listen.
func transport(m ma.Multiaddr) bool {
	if len(m) == 0 {
		return false
	}
	last := m[len(m)-1].Protocol().Code
	return last == ma.P_TCP || last == ma.P_QUIC_V1
}

func (c Config) checkOutput(p *Problems) {
	if c.LogFormat != "text" && c.LogFormat != "json" {
		p.add("log-format", "choose text or json", "there is no format %q", c.LogFormat)
	}
	if c.Metrics == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.Metrics)
	if _, numErr := strconv.ParseUint(port, 10, 16); err != nil || numErr != nil || host == "" {
		p.add("metrics", "write 127.0.0.1:PORT, or off", "%q is not a host and port", c.Metrics)
	} else if !loopback(c.Metrics) {
		p.add("metrics", "write 127.0.0.1:PORT and let a proxy or a tunnel reach it", "%s can be reached from other machines, and metrics have no password", c.Metrics)
	}
}

// loopback reports whether a host:port stays on this machine. Names other than localhost may not.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// maxSecret is far above every password, and keeps a wrong path from filling memory.
const maxSecret = 4096

// ReadSecret reads a password or cookie from a file that others can't read or change. Reading by the
// file's group is accepted: service managers hand out credentials that way.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o037 != 0:
		return "", fmt.Errorf("other users can read or change %s (mode %04o)", path, info.Mode().Perm())
	case info.Size() > maxSecret:
		return "", fmt.Errorf("%s has %d bytes, too many for a password", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("%s does not hold exactly one line", path)
	}
	return secret, nil
}
