package wire

import (
	"fmt"
	"slices"
	"strings"
)

// Version is the protocol version that this program speaks.
const Version = 1

// FeatureRoots is the optional bit of feature 0: roots of lane logs are signed (protocol.md 13). A peer without
// it gets no message about them.
const FeatureRoots = 1

// FeatureDraws is the optional bit of feature 1: metered use (protocol.md 14). A peer without it gets no message
// about draws, and nothing is drawn on its lanes.
const FeatureDraws = 3

// FeatureReturns is the optional bit of feature 2: deposits that are not used go back early (protocol.md 9). A
// peer without it gets no message about them.
const FeatureReturns = 5

// Hello is the first message of each side.
//
// Features are numbers of bits, in the pairs of BOLT 9: for feature k, bit 2k says "I refuse peers
// without it" and bit 2k+1 "I can do without". An odd bit that the reader does not know is ignored, an
// even one ends the connection. (It's OK to be odd.)
type Hello struct {
	Versions []uint32 // ascending, at least one
	Genesis  [32]byte // hash of the ledger's first block, internal byte order
	Features []uint32 // bits that are set, ascending
	Agent    string   // program and version, at most MaxAgentBytes; for people
}

// Session is what two hellos agree on.
type Session struct {
	Version  uint32   // the highest that both speak
	Features []uint32 // what both know, as odd bits, ascending
	Agent    string   // of the peer
}

// Has reports whether both sides know the feature with this bit, odd or even.
func (s Session) Has(bit uint32) bool { return slices.Contains(s.Features, bit|1) }

// Negotiate decides whether two nodes can talk. Its errors are ErrNetwork, ErrVersion and ErrFeature
// with a text that says what to do.
func Negotiate(local, remote Hello) (Session, error) {
	if local.Genesis != remote.Genesis {
		return Session{}, fmt.Errorf("%w: our first block is %s, theirs %s; start both nodes with the same --network",
			ErrNetwork, blockHash(local.Genesis), blockHash(remote.Genesis))
	}
	version, ok := highestCommon(local.Versions, remote.Versions)
	if !ok {
		return Session{}, fmt.Errorf("%w: we speak %v, the peer (%s) speaks %v; update the older node",
			ErrVersion, local.Versions, cleanText(remote.Agent), remote.Versions)
	}
	if missing := required(remote.Features, local.Features); len(missing) > 0 {
		return Session{}, fmt.Errorf("%w: the peer requires feature bits %s, which this node does not know; update this node",
			ErrFeature, bitList(missing))
	}
	if missing := required(local.Features, remote.Features); len(missing) > 0 {
		return Session{}, fmt.Errorf("%w: this node requires feature bits %s, which the peer does not know; update the peer",
			ErrFeature, bitList(missing))
	}
	return Session{Version: version, Features: common(local.Features, remote.Features), Agent: remote.Agent}, nil
}

func highestCommon(a, b []uint32) (best uint32, ok bool) {
	for _, v := range a {
		if slices.Contains(b, v) && (!ok || v > best) {
			best, ok = v, true
		}
	}
	return best, ok
}

// required returns the even bits of have whose feature known does not have in either form.
func required(have, known []uint32) []uint32 {
	var missing []uint32
	for _, bit := range have {
		if bit%2 == 0 && !knows(known, bit) {
			missing = append(missing, bit)
		}
	}
	return missing
}

func common(a, b []uint32) []uint32 {
	var both []uint32
	for _, bit := range a {
		if knows(b, bit) {
			both = append(both, bit|1)
		}
	}
	slices.Sort(both)
	return slices.Compact(both)
}

func knows(features []uint32, bit uint32) bool {
	return slices.Contains(features, bit|1) || slices.Contains(features, bit&^1)
}

func bitList(list []uint32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}

// blockHash shows a hash as people know it: reversed.
func blockHash(h [32]byte) string {
	slices.Reverse(h[:])
	return fmt.Sprintf("%x", h)
}
