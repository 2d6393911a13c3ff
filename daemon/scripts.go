package daemon

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
)

// laneScripts are the funding scripts of the own lane and the peer's; nil for a lane that does not exist.
// They follow from the terms, at the price of some curve operations: ten thousand channels would take
// seconds of a start. So they are kept beside the channel, with a checksum, because a wrong one would hide
// a funding.
type laneScripts [2][]byte

func (l *laneScripts) of(out bool) []byte {
	if out {
		return l[0]
	}
	return l[1]
}

func deriveScripts(scheme ledger.Scheme, t *channel.Terms) (l laneScripts, err error) {
	for i, terms := range []channel.LaneTerms{t.Out, t.In} {
		if !terms.Exists() {
			continue
		}
		var one error
		l[i], one = scheme.FundingScript(terms)
		err = errors.Join(err, one)
	}
	return l, err
}

const scriptSum = 8

// encode is both scripts, each behind its length, and the checksum.
func (l *laneScripts) encode(t *channel.Terms) []byte {
	var b []byte
	for _, s := range l {
		b = append(append(b, byte(len(s))), s...)
	}
	return append(b, sumScripts(t, b)...)
}

func sumScripts(t *channel.Terms, b []byte) []byte {
	out, in := t.Out.ID(), t.In.ID()
	sum := sha256.Sum256(append(append(out[:], in[:]...), b...))
	return sum[:scriptSum]
}

func decodeScripts(t *channel.Terms, b []byte) (l laneScripts, ok bool) {
	if len(b) < scriptSum {
		return l, false
	}
	body, sum := b[:len(b)-scriptSum], b[len(b)-scriptSum:]
	if !bytes.Equal(sumScripts(t, body), sum) {
		return l, false
	}
	for i := range l {
		if len(body) == 0 || len(body) < 1+int(body[0]) {
			return l, false
		}
		if n := int(body[0]); n > 0 {
			l[i] = body[1 : 1+n]
		}
		body = body[1+int(body[0]):]
	}
	return l, len(body) == 0 && (l[0] != nil) == t.Out.Exists() && (l[1] != nil) == t.In.Exists()
}

// loadScripts reads a channel's scripts, or derives them where the store has none that are right.
func loadScripts(s store.Store, scheme ledger.Scheme, t *channel.Terms) (laneScripts, error) {
	b, err := s.Get(scriptsKey(t.ID))
	if err == nil {
		if l, ok := decodeScripts(t, b); ok {
			return l, nil
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return laneScripts{}, err
	}
	return deriveScripts(scheme, t)
}
