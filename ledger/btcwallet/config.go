package btcwallet

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
)

// ErrConfig is wrapped by every complaint of Config.Validate.
var ErrConfig = errors.New("btcwallet: settings")

// Config of Open.
type Config struct {
	Network  string // mainnet, testnet3, testnet4, signet, regtest or simnet
	Dir      string // holds the wallet's database and a light client's headers
	Seed     []byte // 64 bytes of BIP 39; not kept after Open
	Birthday Birthday
	// NewSeed says that the seed was made just now, so that a new database need not look for used
	// addresses. It must not be set when a lost database is rebuilt.
	NewSeed bool
	Backend Backend
	FeeURL  string       // of fee estimates where the backend has none; empty: none. See CheckFeeURL
	Log     *slog.Logger // nil is silent
}

// Birthday says since when a seed can have received money, so that a rebuilt wallet does not scan
// from the beginning of the chain. Each part may be zero when it is not known.
type Birthday struct {
	Time   time.Time
	Height uint32
}

// Backend names the source of the chain and its settings; only those of Kind are read.
type Backend struct {
	Kind     string // btcd, bitcoind or neutrino
	Btcd     Btcd
	Bitcoind Bitcoind
	Neutrino Neutrino
}

// Btcd is reached over its websocket.
type Btcd struct {
	Host     string // host:port
	User     string
	Pass     string
	CertFile string // PEM; read at each attempt to connect
	NoTLS    bool   // only for a host on loopback
}

// Bitcoind is reached over HTTP; with ZMQ addresses it announces blocks and transactions, without them
// it is polled.
type Bitcoind struct {
	Host       string // host:port
	User       string
	Pass       string
	CookieFile string // instead of User and Pass; read at each attempt to connect
	ZMQBlock   string // tcp://host:port of zmqpubrawblock
	ZMQTx      string // tcp://host:port of zmqpubrawtx
}

// Neutrino is an embedded light client (BIP 157).
type Neutrino struct {
	Peers []string // host:port; empty finds peers by itself
}

// Params returns the parameters of a network by its name.
func Params(network string) (*chaincfg.Params, error) {
	all := map[string]*chaincfg.Params{
		"mainnet":  &chaincfg.MainNetParams,
		"testnet3": &chaincfg.TestNet3Params,
		"testnet4": &chaincfg.TestNet4Params,
		"signet":   &chaincfg.SigNetParams,
		"regtest":  &chaincfg.RegressionNetParams,
		"simnet":   &chaincfg.SimNetParams,
	}
	if p := all[network]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%w: unknown network %q; use mainnet, testnet3, testnet4, signet, regtest or simnet", ErrConfig, network)
}

// Validate checks everything that can be known without the backend.
func (c *Config) Validate() error {
	if _, err := Params(c.Network); err != nil {
		return err
	}
	if c.Dir == "" {
		return fmt.Errorf("%w: no directory for the wallet", ErrConfig)
	}
	if len(c.Seed) != 64 {
		return fmt.Errorf("%w: the seed has %d bytes, not 64", ErrConfig, len(c.Seed))
	}
	if c.FeeURL != "" {
		if err := CheckFeeURL(c.FeeURL); err != nil {
			return err
		}
	}
	return c.Backend.Validate()
}

// Validate checks the settings of the chosen kind.
func (b *Backend) Validate() error {
	switch b.Kind {
	case "btcd":
		return b.Btcd.validate()
	case "bitcoind":
		return b.Bitcoind.validate()
	case "neutrino":
		for _, p := range b.Neutrino.Peers {
			if err := hostPort("neutrino peer", p); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%w: unknown chain backend %q; use btcd, bitcoind or neutrino", ErrConfig, b.Kind)
}

func (b *Btcd) validate() error {
	if err := hostPort("btcd RPC host", b.Host); err != nil {
		return err
	}
	if b.User == "" || b.Pass == "" {
		return fmt.Errorf("%w: btcd needs an RPC user and password", ErrConfig)
	}
	if b.NoTLS && !onLoopback(b.Host) {
		return fmt.Errorf("%w: without TLS the password would cross the network to %s; name btcd's certificate", ErrConfig, b.Host)
	}
	if !b.NoTLS && b.CertFile == "" {
		return fmt.Errorf("%w: btcd needs its certificate file (rpc.cert)", ErrConfig)
	}
	return nil
}

func (b *Bitcoind) validate() error {
	if err := hostPort("bitcoind RPC host", b.Host); err != nil {
		return err
	}
	if b.CookieFile == "" && (b.User == "" || b.Pass == "") {
		return fmt.Errorf("%w: bitcoind needs a cookie file, or an RPC user and password", ErrConfig)
	}
	if (b.ZMQBlock == "") != (b.ZMQTx == "") {
		return fmt.Errorf("%w: bitcoind's ZMQ addresses of blocks and transactions go together", ErrConfig)
	}
	return nil
}

func hostPort(what, s string) error {
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return fmt.Errorf("%w: %s %q is not host:port", ErrConfig, what, s)
	}
	return nil
}

func onLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	return loopbackHost(strings.Trim(host, "[]"))
}
