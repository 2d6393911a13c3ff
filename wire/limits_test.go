package wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

// TestLimitsAreExact: the longest and largest that is allowed goes both ways, one more goes neither way.
func TestLimitsAreExact(t *testing.T) {
	bits := func(n int) (list []uint32) {
		for i := range n {
			list = append(list, uint32(MaxFeatureBit-n+1+i))
		}
		return list
	}
	hello := func(change func(*Hello)) *Hello {
		m := &Hello{Versions: []uint32{1}}
		change(m)
		return m
	}
	payments := func(n int) []channel.Payment {
		list := make([]channel.Payment, n)
		for i := range list {
			list[i].Amount = 1
		}
		return list
	}
	refused := func(n int) (list []channel.Refusal) {
		for i := range n {
			list = append(list, channel.Refusal{Seq: uint64(i + 1), Reason: 1})
		}
		return list
	}
	for name, pair := range map[string][2]Message{
		"payments":     {&channel.Frame{FirstSeq: 1, Payments: payments(channel.MaxFramePayments)}, &channel.Frame{FirstSeq: 1, Payments: payments(channel.MaxFramePayments + 1)}},
		"refusals":     {&channel.Ack{NextSeq: 1 << 20, Refused: refused(MaxAckRefused)}, &channel.Ack{NextSeq: 1 << 20, Refused: refused(MaxAckRefused + 1)}},
		"code":         {&Error{Code: strings.Repeat("z", MaxCodeBytes)}, &Error{Code: strings.Repeat("z", MaxCodeBytes+1)}},
		"code's a":     {&Error{Code: "a"}, &Error{Code: "`"}},
		"code's z":     {&Error{Code: "z"}, &Error{Code: "{"}},
		"code's 0":     {&Error{Code: "0"}, &Error{Code: "/"}},
		"code's 9":     {&Error{Code: "9"}, &Error{Code: ":"}},
		"text":         {&Error{Code: "a", Text: strings.Repeat("t", channel.MaxTextBytes)}, &Error{Code: "a", Text: strings.Repeat("t", channel.MaxTextBytes+1)}},
		"text's words": {&Error{Code: "a", Text: "a b~"}, &Error{Code: "a", Text: "a\x7f"}},
		"phase":        {&channel.Resync{Phase: channel.PhaseAbandoned}, &channel.Resync{Phase: channel.PhaseAbandoned + 1}},
		"payout":       {&channel.Stop{Payout: make([]byte, channel.MaxPayoutScript)}, &channel.Stop{Payout: make([]byte, channel.MaxPayoutScript+1)}},
		"nonces": {&channel.CloseOffer{Nonces: make([][66]byte, channel.MaxCloseInputs)},
			&channel.CloseOffer{Nonces: make([][66]byte, channel.MaxCloseInputs+1)}},
		"signatures": {&channel.CloseSign{Nonces: make([][66]byte, channel.MaxCloseInputs), Partials: make([][32]byte, channel.MaxCloseInputs)},
			&channel.CloseSign{Nonces: make([][66]byte, channel.MaxCloseInputs+1), Partials: make([][32]byte, channel.MaxCloseInputs+1)}},
		"no signatures": {&channel.CloseSign{Nonces: make([][66]byte, 1), Partials: make([][32]byte, 1)}, &channel.CloseSign{}},
		"transaction":   {&channel.CloseDone{Tx: make([]byte, MaxCloseTx)}, &channel.CloseDone{Tx: make([]byte, MaxCloseTx+1)}},
		"versions": {hello(func(h *Hello) { h.Versions = bits(MaxVersions) }),
			hello(func(h *Hello) { h.Versions = bits(MaxVersions + 1) })},
		"features": {hello(func(h *Hello) { h.Features = bits(MaxFeatures) }),
			hello(func(h *Hello) { h.Features = bits(MaxFeatures + 1) })},
		"feature": {hello(func(h *Hello) { h.Features = []uint32{MaxFeatureBit} }), hello(func(h *Hello) { h.Features = []uint32{MaxFeatureBit + 1} })},
		"agent": {hello(func(h *Hello) { h.Agent = strings.Repeat("a", MaxAgentBytes) }),
			hello(func(h *Hello) { h.Agent = strings.Repeat("a", MaxAgentBytes+1) })},
	} {
		b, err := Encode(pair[0])
		if err == nil {
			_, err = Decode(b)
		}
		if err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		if b, err := Encode(pair[1]); err == nil {
			t.Errorf("%s above the limit is encoded to %d bytes", name, len(b))
		}
	}
}

// TestCheckRef: what this node would send is judged by the rule for what it receives.
func TestCheckRef(t *testing.T) {
	for ref, ok := range map[string]bool{"": true, "invoice 7": true, strings.Repeat("r", channel.MaxRefBytes): true,
		strings.Repeat("r", channel.MaxRefBytes+1): false, "a\x1bb": false, "a\x7f": false, "a\xff": false} {
		if err := CheckRef(ref); (err == nil) != ok {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// TestLengthsOfMessages: the limit is judged before the message, and the longest is still read.
func TestLengthsOfMessages(t *testing.T) {
	if _, err := Decode(make([]byte, MaxMessage)); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d bytes: %v", MaxMessage, err)
	}
	body := []field{{1, []byte{1, 2}}, {2, b32}}
	fill := MaxHello - len(build(body...)) - 3 // tag and length of the unknown field
	for more, ok := range map[int]bool{0: true, 1: false} {
		b := build(field{numHello, append(body[:2:2], field{9, make([]byte, fill+more)})})
		if _, err := Decode(b); (err == nil) != ok || !ok && !errors.Is(err, ErrTooLong) {
			t.Errorf("a hello of %d bytes: %v", MaxHello+more, err)
		}
	}
}
