package daemon

import (
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
)

// Config is everything about a node that is not one of its parts.
type Config struct {
	Network    string
	Version    string // of the program, told to peers
	Heights    channel.Heights
	Limits     policy.Limits
	MaxUnacked channel.Msat // that may wait for an answer on one lane
	SignEach   bool         // one signature, one frame and one verification for each payment
	FreeDisk   func() int64 // bytes free for the store; nil when unknown
	Ballast    Ballast      // nil: there is none
}

// DefaultMaxUnacked is 10,000 sat: what a payee could take without serving, bounded at a size that
// nobody opens a channel to steal.
const DefaultMaxUnacked channel.Msat = 10_000_000

// DefaultConfig is a network's configuration before an owner changed anything.
func DefaultConfig(network string) (Config, error) {
	limits, err := policy.Defaults(network)
	if err != nil {
		return Config{}, err
	}
	c := Config{Network: network, Heights: channel.RealHeights, Limits: limits, MaxUnacked: DefaultMaxUnacked}
	if network == "simnet" || network == "regtest" {
		c.Heights = channel.TestHeights
	}
	return c, nil
}

// Validate collects all that is wrong with a configuration.
func (c *Config) Validate() error {
	var errs []error
	h := c.Heights
	if h.MinLife <= h.Stop+h.PayerStop || h.Life < h.MinLife || h.MaxLife < h.Life || h.Escalate >= h.Stop || h.CloseStop < h.Stop {
		errs = append(errs, fmt.Errorf("daemon: the block distances do not fit together: %+v", h))
	}
	if c.MaxUnacked == 0 {
		errs = append(errs, errors.New("daemon: max-unacked is 0: nothing could be paid"))
	}
	return errors.Join(append(errs, c.Limits.Validate())...)
}
