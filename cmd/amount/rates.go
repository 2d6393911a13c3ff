package amount

import (
	"strconv"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
)

// maxFeeRate is in sat per 1000 vB: ten thousand sat/vB is far above everything that ever was paid, so
// more is a typing error that would cost real money.
const maxFeeRate = 10_000 * 1000

// ParseFeeRate reads sat/vB, with up to three decimals, and returns sat per 1000 vB.
func ParseFeeRate(s string) (uint64, error) {
	const hint = "fee rates are in sat/vB, such as 2 or 1.5"
	whole, frac, hasPoint := strings.Cut(s, ".")
	if !allDigits(whole) || hasPoint && !allDigits(frac) {
		return 0, bad(hint, "%q is not a fee rate", s)
	}
	if frac = strings.TrimRight(frac, "0"); len(frac) > 3 {
		return 0, bad("three decimals at most", "fee rate %s is finer than a node can use", s)
	}
	v, err := strconv.ParseUint(whole+frac+strings.Repeat("0", 3-len(frac)), 10, 64)
	switch {
	case err != nil || v > maxFeeRate:
		return 0, bad(hint, "fee rate %s is above 10,000 sat/vB", s)
	case v == 0:
		return 0, bad("leave --fee-rate away to let the node choose", "a fee rate must be more than zero")
	}
	return v, nil
}

// FeeRate shows sat per 1000 vB as sat/vB.
func FeeRate(rate uint64) string {
	return strings.TrimSuffix(Msat(channel.Msat(rate)), " sat") + " sat/vB"
}

// BlocksPerDay: a block in ten minutes.
const BlocksPerDay = 144

// BlockTime is the mean time between two blocks of every network that mines by itself.
const BlockTime = 10 * time.Minute

// maxExpiry is in blocks, about ten years; the node has a tighter limit and says which.
const maxExpiry = 3650 * BlocksPerDay

// ParseExpiry reads a life in blocks, or in days (30d), weeks (6w) or hours (12h) at ten minutes a block.
func ParseExpiry(s string) (uint32, error) {
	const hint = "write days such as 30d, or a number of blocks such as 4320"
	number, per := s, uint64(1)
	for suffix, blocks := range map[string]uint64{"h": BlocksPerDay / 24, "d": BlocksPerDay, "w": 7 * BlocksPerDay} {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			number, per = cut, blocks
		}
	}
	if !allDigits(number) {
		return 0, bad(hint, "%q is not an expiry", s)
	}
	v, err := strconv.ParseUint(number, 10, 64)
	switch {
	case err != nil || v > maxExpiry/per:
		return 0, bad(hint, "expiry %s is more than ten years away", s)
	case v == 0:
		return 0, bad("leave --expiry away for the network's usual life", "an expiry must be more than zero")
	}
	return uint32(v * per), nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
