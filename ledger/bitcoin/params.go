package bitcoin

import (
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/chaincfg/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin/hotkey"
)

// Networks returns the names of the networks that this package knows, test networks first.
func Networks() []string {
	return []string{"simnet", "regtest", "signet", "testnet3", "testnet4", "mainnet"}
}

// Params returns the parameters of a network by the name that Networks lists.
func Params(network string) (*chaincfg.Params, error) {
	switch network {
	case "simnet":
		return &chaincfg.SimNetParams, nil
	case "regtest":
		return &chaincfg.RegressionNetParams, nil
	case "signet":
		return &chaincfg.SigNetParams, nil
	case "testnet3":
		return &chaincfg.TestNet3Params, nil
	case "testnet4":
		return &chaincfg.TestNet4Params, nil
	case "mainnet":
		return &chaincfg.MainNetParams, nil
	}
	return nil, fmt.Errorf("bitcoin: no network is called %q: choose one of %s", network, strings.Join(Networks(), ", "))
}

// maxCachedLanes bounds the scripts kept in memory: one entry is about 1.3 kB and takes two point
// multiplications to make again.
const maxCachedLanes = 2048

// maxHotKeys bounds the tables for verification, at 110 kB each; twice as many may be kept for a while.
const maxHotKeys = 128

// Scheme is the public side of the construction on one network. It implements ledger.Scheme.
type Scheme struct {
	network string
	params  *chaincfg.Params
	lanes   *cache[channel.LaneTerms, *laneScripts]
	hot     *cache[channel.Key, *hotkey.Verifier] // of payers that pay us all the time
}

var _ ledger.Scheme = (*Scheme)(nil)

// NewScheme returns the construction on a network of Networks.
func NewScheme(network string) (*Scheme, error) {
	params, err := Params(network)
	if err != nil {
		return nil, err
	}
	return &Scheme{network: network, params: params, lanes: newCache[channel.LaneTerms, *laneScripts](maxCachedLanes),
		hot: newCache[channel.Key, *hotkey.Verifier](maxHotKeys)}, nil
}

// Network is the name that the scheme was made with.
func (s *Scheme) Network() string { return s.network }

// Genesis is the hash of the network's first block in internal byte order.
func (s *Scheme) Genesis() [32]byte { return *s.params.GenesisHash }
