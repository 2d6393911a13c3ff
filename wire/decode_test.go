package wire

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field for building messages that Encode would not.
type field struct {
	num protowire.Number
	val any // uint64, []byte, string, []field
}

func build(fields ...field) (b []byte) {
	for _, f := range fields {
		switch v := f.val.(type) {
		case uint64:
			b = protowire.AppendVarint(protowire.AppendTag(b, f.num, protowire.VarintType), v)
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, f.num, protowire.VarintType), uint64(v))
		case []byte:
			b = putBytes(b, f.num, v)
		case string:
			b = putBytes(b, f.num, []byte(v))
		case []field:
			b = putBytes(b, f.num, build(v...))
		}
	}
	return b
}

var (
	b16, b32, b33, b64 = bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 33), bytes.Repeat([]byte{3}, 64)
	b66                = bytes.Repeat([]byte{4}, 66)
	payment            = []field{{1, b16}, {2, 5}, {3, "ref"}}
)

func frameOf(payments ...[]field) []field {
	m := []field{{1, b32}, {2, 1}}
	for _, p := range payments {
		m = append(m, field{3, p})
	}
	return append(m, field{4, 10}, field{5, b64})
}

// without leaves out a field, with replaces its value.
func without(m []field, num protowire.Number) (out []field) {
	for _, f := range m {
		if f.num != num {
			out = append(out, f)
		}
	}
	return out
}

func with(m []field, num protowire.Number, val any) (out []field) {
	for _, f := range m {
		if f.num == num {
			f.val = val
		}
		out = append(out, f)
	}
	return out
}

// TestRules breaks one rule at a time; the error must name what is wrong.
func TestRules(t *testing.T) {
	frame, pay := frameOf(payment), func(p []field) []field { return frameOf(payment, p) }
	ack := []field{{1, b32}, {2, 9}, {3, 10}, {4, 8}, {5, []field{{1, 3}, {2, 1}}}, {6, b32}}
	open := []field{{1, b16}, {2, 1}, {4, 1}, {6, b33}, {7, b33}, {8, b33}, {11, 1}}
	accept := []field{{1, b32}, {2, b33}, {3, b33}, {4, b33}, {8, 1}}
	refuse := []field{{1, b32}, {2, "policy"}, {3, "text"}}
	report := []field{{1, 7}, {2, 8}, {3, 7}, {4, b64}, {5, b32}}
	resync := []field{{1, b32}, {2, 2}, {3, report}, {4, []field{{1, b32}, {2, 1}}}, {5, 1}, {6, 4}}
	stop := []field{{1, b32}, {2, report}, {3, "script"}}
	offer := []field{{1, b32}, {2, b16}, {3, 5}, {4, b66}}
	sign := []field{{1, b32}, {2, b16}, {3, b66}, {4, b32}}
	done := []field{{1, b32}, {2, "tx"}}
	log := []field{{1, b32}, {2, 4}, {3, 10}, {4, 9}, {5, b32}, {6, b32}, {7, 1_800_000_000}}
	root := []field{{1, log}, {2, b64}}
	rootAck := []field{{1, log}, {2, b64}, {3, b64}}
	hello := []field{{1, []byte{1, 2}}, {2, b32}, {3, []byte{1, 4}}, {4, "agent"}}
	tests := []struct {
		name string
		num  protowire.Number
		msg  []field
		want string // part of the error, empty for none
	}{
		{"good frame", numFrame, frame, ""},
		{"lane missing", numFrame, without(frame, 1), "lane is missing"},
		{"lane short", numFrame, with(frame, 1, b16), "lane has 16 bytes, want 32"},
		{"lane long", numFrame, with(frame, 1, b33), "lane has 33 bytes, want 32"},
		{"signature short", numFrame, with(frame, 5, b33), "signature has 33 bytes, want 64"},
		{"signature missing", numFrame, without(frame, 5), "signature is missing"},
		{"first_seq 0 written", numFrame, with(frame, 2, 0), "first_seq"},
		{"first_seq 0", numFrame, without(frame, 2), "first_seq 0"},
		{"seq overflows", numFrame, with(frame, 2, uint64(math.MaxUint64)), "out of range"},
		{"no payments", numFrame, without(frame, 3), "frame has 0 payments"},
		{"too many payments", numFrame, frameOf(repeat(payment, channel.MaxFramePayments+1)...), "more payments"},
		{"amount 0", numFrame, pay(without(payment, 2)), "amount of payment 1 is 0"},
		{"amount 0 written", numFrame, pay(with(payment, 2, 0)), "amount"},
		{"sum overflows", numFrame, pay(with(payment, 2, uint64(math.MaxUint64))), "sum overflows"},
		{"payment id short", numFrame, pay(with(payment, 1, b16[:15])), "id has 15 bytes, want 16"},
		{"payment empty", numFrame, pay(nil), "too short"},
		{"ref too long", numFrame, pay(with(payment, 3, strings.Repeat("x", 65))), "65 bytes, at most 64"},
		{"ref longest", numFrame, pay(with(payment, 3, strings.Repeat("x", 64))), ""},
		{"ref not UTF-8", numFrame, pay(with(payment, 3, "a\xff")), "not UTF-8"},
		{"ref with escape", numFrame, pay(with(payment, 3, "\x1b[2J")), "control"},
		{"ref with C1 control", numFrame, pay(with(payment, 3, "a\u009b")), "control"},
		{"ref with newline", numFrame, pay(with(payment, 3, "a\n")), "control"},
		{"ref empty written", numFrame, pay(with(payment, 3, "")), "left out"},
		{"unknown field", numFrame, append(frame[:len(frame):len(frame)], field{6, 1}), "unknown"},
		{"unknown field in payment", numFrame, pay(append(payment[:3:3], field{4, 1})), "unknown"},
		{"field twice", numFrame, append(frame[:len(frame):len(frame)], field{5, b64}), "twice"},
		{"fields out of order", numFrame, []field{{2, 1}, {1, b32}, {3, payment}, {4, 1}, {5, b64}}, "lane is missing"},
		{"wrong type", numFrame, with(frame, 2, b16), "wrong type"},

		{"good ack", numAck, ack, ""},
		{"next_seq 0", numAck, without(without(ack, 2), 5), "next_seq is 0"},
		{"refused at next_seq", numAck, with(ack, 5, []field{{1, 9}, {2, 1}}), "not ascending"},
		{"refused seq 0", numAck, with(ack, 5, []field{{2, 1}}), "not ascending"},
		{"refused twice", numAck, []field{{1, b32}, {2, 9}, {5, []field{{1, 3}, {2, 1}}}, {5, []field{{1, 3}, {2, 1}}}, {6, b32}}, "not ascending"},
		{"reason 0", numAck, with(ack, 5, []field{{1, 3}}), "reason is 0"},
		{"reason too large", numAck, with(ack, 5, []field{{1, 3}, {2, 256}}), "too large"},
		{"hash missing", numAck, without(ack, 6), "hash is missing"},
		{"too many refused", numAck, tooManyRefused(), "more refusals"},

		{"good open", numOpen, open, ""},
		{"nonce long", numOpen, with(open, 1, b32), "nonce has 32 bytes, want 16"},
		{"key short", numOpen, with(open, 6, b32), "payer has 32 bytes, want 33"},
		{"zero key written", numOpen, with(open, 8, make([]byte, 33)), "left out"},
		{"refund missing", numOpen, without(open, 7), "refund is missing"},
		{"expiry too large", numOpen, with(open, 4, uint64(1<<32)), "too large"},

		{"good accept", numAccept, accept, ""},
		{"payee missing", numAccept, without(accept, 2), "payee is missing"},
		{"refund short", numAccept, with(accept, 4, b32), "refund has 32 bytes"},

		{"good refuse", numRefuse, refuse, ""},
		{"code missing", numRefuse, without(refuse, 2), "code has 0 bytes"},
		{"code with space", numRefuse, with(refuse, 2, "a b"), "a-z"},
		{"code too long", numRefuse, with(refuse, 2, strings.Repeat("c", 33)), "too long"},
		{"text too long", numRefuse, with(refuse, 3, strings.Repeat("t", 513)), "too long"},
		{"text with control", numRefuse, with(refuse, 3, "a\tb"), "control"},
		{"good error", numError, []field{{1, "version"}, {2, "text"}}, ""},
		{"error without code", numError, []field{{2, "text"}}, "code"},
		{"error with control", numError, []field{{1, "version"}, {2, "a\x1b"}}, "control"},
		{"error unknown field", numError, []field{{1, "version"}, {3, 1}}, "unknown"},

		{"good funded", numFunded, []field{{1, b32}, {2, []field{{1, b32}, {2, 1}}}}, ""},
		{"funding missing", numFunded, []field{{1, b32}}, "funding is missing"},
		{"txid short", numFunded, []field{{1, b32}, {2, []field{{1, b16}}}}, "txid has 16 bytes"},
		{"index too large", numFunded, []field{{1, b32}, {2, []field{{1, b32}, {2, uint64(1 << 32)}}}}, "too large"},
		{"good ready", numReady, []field{{1, b32}}, ""},
		{"ready empty", numReady, nil, "lane is missing"},

		{"good resync", numResync, resync, ""},
		{"unknown phase", numResync, with(resync, 2, 8), "phase 8"},
		{"phase too large", numResync, with(resync, 2, 300), "too large"},
		{"empty report written", numResync, with(resync, 3, []field{}), "left out"},
		{"report hash short", numResync, with(resync, 3, with(report, 5, b16)), "hash has 16 bytes"},
		{"report zero signature", numResync, with(resync, 3, with(report, 4, make([]byte, 64))), "left out"},
		{"zero funding written", numResync, with(resync, 4, []field{{1, make([]byte, 32)}}), "left out"},
		{"ready 2", numResync, with(resync, 5, 2), "too large"},

		{"good stop", numStop, stop, ""},
		{"payout too long", numStop, with(stop, 3, strings.Repeat("s", 43)), "payout"},
		{"payout empty written", numStop, with(stop, 3, ""), "payout"},
		{"good offer", numCloseOffer, offer, ""},
		{"no nonces", numCloseOffer, without(offer, 4), "0 entries"},
		{"three nonces", numCloseOffer, append(offer[:4:4], field{4, b66}, field{4, b66}), "twice"},
		{"nonce short", numCloseOffer, with(offer, 4, b64), "nonces has 64 bytes, want 66"},
		{"good sign", numCloseSign, sign, ""},
		{"nonces and partials differ", numCloseSign, append(sign[:4:4], field{4, b32}), "1 nonces and 2 partials"},
		{"partial short", numCloseSign, with(sign, 4, b16), "partials has 16 bytes"},
		{"good done", numCloseDone, done, ""},
		{"tx missing", numCloseDone, without(done, 2), "tx has 0 bytes"},
		{"good root", numRoot, root, ""},
		{"log missing", numRoot, without(root, 1), "log is missing"},
		{"size 0", numRoot, with(root, 1, without(log, 2)), "log.size 0"},
		{"size at the end of numbers", numRoot, with(root, 1, with(log, 2, uint64(math.MaxUint64))), "out of range"},
		{"spent above total", numRoot, with(root, 1, with(log, 4, 11)), "above log.total"},
		{"root hash short", numRoot, with(root, 1, with(log, 6, b16)), "root has 16 bytes, want 32"},
		{"lane hash missing", numRoot, with(root, 1, without(log, 5)), "hash is missing"},
		{"time in the year 10000", numRoot, with(root, 1, with(log, 7, MaxTime+1)), "log.time"},
		{"root signature short", numRoot, with(root, 2, b32), "signature has 32 bytes, want 64"},
		{"unknown field in log", numRoot, with(root, 1, append(log[:7:7], field{8, 1})), "unknown"},
		{"good root_ack", numRootAck, rootAck, ""},
		{"payer's signature missing", numRootAck, without(rootAck, 3), "payer is missing"},
		{"payee's signature long", numRootAck, with(rootAck, 2, b66), "payee has 66 bytes, want 64"},
		{"good root_request", numRootRequest, []field{{1, b32}}, ""},
		{"root_request without a lane", numRootRequest, nil, "lane is missing"},

		{"tx too long", numCloseDone, with(done, 2, make([]byte, MaxCloseTx+1)), "too long"},

		{"good hello", numHello, hello, ""},
		{"unknown field in hello", numHello, append(hello[:4:4], field{9, "new"}), ""},
		{"unknown field first", numHello, append([]field{{9, "new"}}, hello...), "canonical"},
		{"versions not packed", numHello, append([]field{{1, 1}}, hello[1:]...), "canonical"},
		{"versions missing", numHello, without(hello, 1), "0 versions"},
		{"versions descend", numHello, with(hello, 1, []byte{2, 1}), "not ascending"},
		{"genesis short", numHello, with(hello, 2, b16), "genesis has 16 bytes"},
		{"features twice", numHello, with(hello, 3, []byte{4, 4}), "features"},
		{"feature too large", numHello, with(hello, 3, []byte{0x80, 0x08}), "features"},
		{"agent with control", numHello, with(hello, 4, "\a"), "control"},
		{"agent not UTF-8", numHello, with(hello, 4, "\xff"), "UTF-8"},
		{"hello too long", numHello, append(hello[:4:4], field{9, make([]byte, MaxHello)}), "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Decode(build(field{tt.num, tt.msg}))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && err == nil:
				t.Errorf("accepted as %+v", m)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("error %q does not say %q", err, tt.want)
			case tt.want != "" && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLong):
				t.Errorf("error %v has no type", err)
			case err != nil && m != nil:
				t.Error("a message came with the error")
			}
		})
	}
}

func repeat(p []field, n int) (list [][]field) {
	for range n {
		list = append(list, p)
	}
	return list
}

func tooManyRefused() []field {
	m := []field{{1, b32}, {2, uint64(math.MaxUint64)}}
	for i := range MaxAckRefused + 1 {
		m = append(m, field{5, []field{{1, i + 1}, {2, 1}}})
	}
	return append(m, field{6, b32})
}

func TestEnvelope(t *testing.T) {
	good := build(field{numReady, []field{{1, b32}}})
	for name, b := range map[string][]byte{
		"empty":           {},
		"unknown message": build(field{17, []field{{1, b32}}}),
		"a known message under an unknown number": build(field{numNewest + 1, []field{{1, b32}, {2, "tx"}}}),
		"field 0":            {0x02, 0x00},
		"two messages":       append(bytes.Clone(good), good...),
		"trailing byte":      append(bytes.Clone(good), 0),
		"truncated":          good[:len(good)-1],
		"not a message":      build(field{numReady, 7}),
		"long tag":           append([]byte{0xc2, 0x00}, good[1:]...),
		"long length":        append([]byte{good[0], 0xa2, 0x00}, good[2:]...),
		"endless varint":     bytes.Repeat([]byte{0xff}, 20),
		"group":              {0x0b, 0x0c},
		"length beyond end":  {good[0], 0xff, 0xff, 0xff, 0xff, 0x0f},
		"cold message, long": build(field{numReady, []field{{1, b32}, {9, make([]byte, MaxCold)}}}),
	} {
		if m, err := Decode(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
	if _, err := Decode(nil); err == nil || !strings.Contains(err.Error(), "unknown message") {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Decode(make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
}

// TestEncodeRefusesWhatDecodeWould: no node sends what its peer must refuse.
func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	bad := []Message{
		&channel.Frame{FirstSeq: 1}, &channel.Frame{FirstSeq: 1, Payments: make([]channel.Payment, 1)},
		&channel.Frame{FirstSeq: 1, Payments: []channel.Payment{{Amount: 1, Ref: "\x00"}}},
		&channel.Ack{}, &channel.Refuse{}, &channel.Refuse{Code: "a", Text: "\n"}, &channel.CloseOffer{},
		&channel.Resync{Phase: 99}, &channel.Stop{Payout: make([]byte, 99)}, &channel.CloseDone{},
		&channel.CloseSign{Nonces: make([][66]byte, 1)}, &channel.ReturnOffer{Value: 5, Fee: 5, Payout: []byte{1}}, &channel.ReturnOffer{Value: 5}, &Hello{}, &Error{}, nil, channel.Ready{}, "text",
	}
	for _, m := range bad {
		if b, err := Encode(m); err == nil || b != nil {
			t.Errorf("%T %+v: encoded to %x, error %v", m, m, b, err)
		}
	}
}

// TestMalleability changes every sample in every small way: whatever is still accepted must be the
// encoding of what it was decoded to.
func TestMalleability(t *testing.T) {
	for _, s := range samples() {
		b, err := Encode(s.msg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			for bit := range 8 {
				changed := bytes.Clone(b)
				changed[i] ^= 1 << bit
				mustBeCanonical(t, changed)
			}
			mustBeCanonical(t, b[:i])
			mustBeCanonical(t, append(bytes.Clone(b[:i]), b[i+1:]...))
			for _, extra := range []byte{0, 1, 0x80, 0xff, b[i]} {
				mustBeCanonical(t, append(append(bytes.Clone(b[:i]), extra), b[i:]...))
			}
		}
	}
}

func mustBeCanonical(t *testing.T, b []byte) {
	t.Helper()
	m, err := Decode(b)
	if err != nil {
		return
	}
	again, err := Encode(m)
	if err != nil {
		t.Fatalf("%x decodes to %+v, which does not encode: %v", b, m, err)
	}
	if _, hello := m.(*Hello); hello {
		if !bytes.HasPrefix(helloBody(t, b), helloBody(t, again)) {
			t.Fatalf("%x\nre-encodes to\n%x", b, again)
		}
		return
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("%x\nre-encodes to\n%x", b, again)
	}
}

// helloBody is what the envelope holds: unknown fields, which are not kept, change its length.
func helloBody(t *testing.T, b []byte) []byte {
	t.Helper()
	body, n := protowire.ConsumeBytes(b[1:])
	if n < 0 {
		t.Fatalf("%x has no body", b)
	}
	return body
}

// TestMemoryIsBoundedByInput: what a peer makes us allocate is a small multiple of what it sent.
func TestMemoryIsBoundedByInput(t *testing.T) {
	frame, err := Encode(fullFrame())
	if err != nil {
		t.Fatal(err)
	}
	ack, err := Encode(fullAck())
	if err != nil {
		t.Fatal(err)
	}
	short := make([][]field, channel.MaxFramePayments)
	for i := range short {
		short[i] = []field{{1, b16}, {2, 1}}
	}
	for name, b := range map[string][]byte{
		"full frame":           frame,
		"full ack":             ack,
		"short payments":       build(field{numFrame, frameOf(short...)}),
		"empty payments":       build(field{numFrame, bytes.Repeat([]byte{0x1a, 0}, MaxMessage/2-8)}),
		"empty refusals":       build(field{numAck, append(build(field{1, b32}, field{2, 9}), bytes.Repeat([]byte{0x2a, 0}, MaxMessage/2-40)...)}),
		"hello full of nested": build(field{numHello, bytes.Repeat([]byte{0x4a, 0}, MaxHello/2)}),
		"hello versions":       build(field{numHello, []field{{1, bytes.Repeat([]byte{1}, MaxHello-8)}}}),
		"garbage":              bytes.Repeat([]byte{0xff}, MaxMessage),
	} {
		if got, limit := allocated(b), uint64(3*len(b)+16<<10); got > limit {
			t.Errorf("%s: %d bytes made us allocate %d", name, len(b), got)
		}
	}
	if len(frame) > MaxMessage || len(ack) > MaxMessage {
		t.Errorf("longest frame %d, longest ack %d do not fit MaxMessage", len(frame), len(ack))
	}
}

func allocated(b []byte) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		m, err := Decode(b)
		runtime.KeepAlive(m)
		runtime.KeepAlive(err)
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / 10
}

// TestHotPathAllocations: one for the message, one for payments, one for all references.
func TestHotPathAllocations(t *testing.T) {
	frame := fullFrame()
	b, err := Encode(frame)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = Decode(b) }); n > 3 {
		t.Errorf("decoding a frame takes %v allocations", n)
	}
	buf := make([]byte, 0, MaxMessage)
	if n := testing.AllocsPerRun(10, func() { buf = AppendFrame(buf[:0], frame) }); n > 0 {
		t.Errorf("appending a frame takes %v allocations", n)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = Encode(frame) }); n > 1 {
		t.Errorf("encoding a frame takes %v allocations", n)
	}
}

// TestDecodeSharesNothing: the caller may reuse its buffer.
func TestDecodeSharesNothing(t *testing.T) {
	for _, s := range samples() {
		b, err := Encode(s.msg)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Clone(b)
		m, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		again, err := Encode(m)
		if err != nil || !bytes.Equal(again, want) {
			t.Errorf("%s changed with the buffer it was decoded from (%v)", s.name, err)
		}
	}
}
