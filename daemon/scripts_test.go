package daemon

import (
	"bytes"
	"testing"

	"github.com/runnel/runnel/channel"
)

// A changed bit in the record of scripts is noticed: a wrong script would hide a funding.
func TestScriptsRecord(t *testing.T) {
	terms := channel.Terms{Out: channel.LaneTerms{Deposit: 1, Expiry: 7}, In: channel.LaneTerms{Deposit: 2}}
	for _, l := range []laneScripts{{[]byte("one"), []byte("another")}, {[]byte("one"), nil}, {nil, []byte("another")}} {
		terms := terms
		if l[0] == nil {
			terms.Out = channel.LaneTerms{}
		}
		if l[1] == nil {
			terms.In = channel.LaneTerms{}
		}
		b := l.encode(&terms)
		if got, ok := decodeScripts(&terms, b); !ok || !bytes.Equal(got[0], l[0]) || !bytes.Equal(got[1], l[1]) {
			t.Errorf("%q became %q, %v", l, got, ok)
		}
		for i := range 8 * len(b) {
			bad := bytes.Clone(b)
			bad[i/8] ^= 1 << (i % 8)
			if _, ok := decodeScripts(&terms, bad); ok {
				t.Errorf("bit %d changed and taken", i)
			}
		}
		other := terms
		other.Out.Expiry++
		if _, ok := decodeScripts(&other, b); ok {
			t.Error("taken for other terms")
		}
		for n := range len(b) {
			if _, ok := decodeScripts(&terms, b[:n]); ok {
				t.Errorf("taken with %d bytes", n)
			}
		}
	}
}
