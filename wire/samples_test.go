package wire

import (
	"math"
	"strings"

	"github.com/runnel/runnel/channel"
)

// fill makes recognisable bytes: the first is first, each next one larger.
func fill[A ~[16]byte | ~[32]byte | ~[33]byte | ~[64]byte | ~[66]byte](first byte) (a A) {
	for i := range len(a) {
		setByte(&a, i, first+byte(i))
	}
	return a
}

func setByte[A ~[16]byte | ~[32]byte | ~[33]byte | ~[64]byte | ~[66]byte](a *A, i int, v byte) {
	switch p := any(a).(type) {
	case *[16]byte:
		p[i] = v
	case *[32]byte:
		p[i] = v
	case *[66]byte:
		p[i] = v
	case *channel.Key:
		p[i] = v
	case *channel.Signature:
		p[i] = v
	case *channel.ID:
		p[i] = v
	case *channel.LaneID:
		p[i] = v
	case *channel.PaymentID:
		p[i] = v
	}
}

type sample struct {
	name string
	kind string // the message's type, for choosing samples
	msg  Message
}

func samples() []sample {
	report := channel.LaneReport{NextSeq: 7, Total: 1234, Spent: 1200, Signature: fill[channel.Signature](9), Hash: fill[[32]byte](3)}
	drawn := report
	drawn.Draws, drawn.Drawn, drawn.DrawHash = 12, 34, fill[[32]byte](7)
	funding := channel.Outpoint{TxID: fill[[32]byte](0xa0), Index: 1}
	id, lane := fill[channel.ID](1), fill[channel.LaneID](2)
	log := channel.LogRoot{Lane: lane, Size: 300, Total: 1026, Spent: 1000, Hash: fill[[32]byte](8), Root: fill[[32]byte](6), Time: 1_800_000_000}
	return []sample{
		{"hello", "hello", &Hello{Versions: []uint32{1, 2}, Genesis: fill[[32]byte](5), Features: []uint32{0, 3, 300}, Agent: "runneld/0.1.0"}},
		{"hello_bare", "hello", &Hello{Versions: []uint32{1}}},
		{"error", "error", &Error{Code: CodeVersion, Text: "no common protocol version"}},
		{"open", "open", &channel.Open{Nonce: fill[[16]byte](1), Deposit: 1_000_000, PeerDeposit: 200_000, Expiry: 5000, PeerExpiry: 5001,
			Payer: fill[channel.Key](2), Refund: fill[channel.Key](3), Payee: fill[channel.Key](4), Tip: 900, MaxUnacked: 5_000_000, Window: 256, Confirmations: 2}},
		{"open_one_lane", "open", &channel.Open{Deposit: 20_000, Expiry: math.MaxUint32, Payer: fill[channel.Key](2), Refund: fill[channel.Key](3)}},
		{"accept", "accept", &channel.Accept{Channel: id, Payee: fill[channel.Key](2), Payer: fill[channel.Key](3), Refund: fill[channel.Key](4),
			PeerDeposit: 200_000, Confirmations: 3, MaxUnacked: 1, Window: 4096}},
		{"accept_one_lane", "accept", &channel.Accept{Channel: id, Payee: fill[channel.Key](2), Window: 1}},
		{"refuse", "refuse", &channel.Refuse{Channel: id, Code: channel.DenyPolicy, Text: "deposit below 20,000 sat – größer bitte"}},
		{"funded", "funded", &channel.Funded{Lane: lane, Funding: funding}},
		{"ready", "ready", &channel.Ready{Lane: lane}},
		{"frame", "frame", &channel.Frame{Lane: lane, FirstSeq: 1, Total: 1026, Signature: fill[channel.Signature](7), Payments: []channel.Payment{
			{ID: fill[channel.PaymentID](1), Amount: 1, Ref: "token 1"}, {ID: fill[channel.PaymentID](2), Amount: 1000}, {Amount: 25, Ref: "π"}}}},
		{"frame_lone", "frame", &channel.Frame{FirstSeq: math.MaxUint64 - 1, Total: math.MaxUint64, Payments: []channel.Payment{{Amount: math.MaxUint64}}}},
		{"ack", "ack", &channel.Ack{Lane: lane, NextSeq: 300, Total: 1026, Spent: 1000, Hash: fill[[32]byte](8), Refused: []channel.Refusal{
			{Seq: 1, Reason: channel.RefusedPolicy}, {Seq: 299, Reason: channel.RefusedDisk}}}},
		{"ack_plain", "ack", &channel.Ack{Lane: lane, NextSeq: 1}},
		{"resync", "resync", &channel.Resync{Channel: id, Phase: channel.PhaseOpen, In: report, Funding: funding, Ready: true, Acked: 44}},
		{"resync_bare", "resync", &channel.Resync{Channel: id, Phase: channel.PhaseAgreed, In: channel.LaneReport{NextSeq: 1}}},
		{"newest", "newest", &channel.Newest{Lane: lane, Out: report}},
		{"stop", "stop", &channel.Stop{Channel: id, In: report, Payout: []byte{0x51, 0x20, 1, 2, 3}}},
		{"stop_bare", "stop", &channel.Stop{Channel: id}},
		{"close_offer", "close_offer", &channel.CloseOffer{Channel: id, Attempt: fill[[16]byte](1), Fee: 1540, Nonces: [][66]byte{fill[[66]byte](1), fill[[66]byte](2)}}},
		{"close_sign", "close_sign", &channel.CloseSign{Channel: id, Attempt: fill[[16]byte](1), Nonces: [][66]byte{fill[[66]byte](1)}, Partials: [][32]byte{fill[[32]byte](2)}}},
		{"close_done", "close_done", &channel.CloseDone{Channel: id, Tx: []byte{2, 0, 0, 0, 1}}},
		{"root", "root", &channel.Root{Log: log, Signature: fill[channel.Signature](4)}},
		{"root_bare", "root", &channel.Root{Log: channel.LogRoot{Size: 1}}},
		{"root_ack", "root_ack", &channel.RootAck{Log: log, Payee: fill[channel.Signature](4), Payer: fill[channel.Signature](5)}},
		{"resync_draws", "resync", &channel.Resync{Channel: id, Phase: channel.PhaseOpen, In: drawn, Acked: 44, Draws: 12}},
		{"draws", "draws", &channel.Draws{Lane: lane, FirstSeq: 7, Draws: []channel.Draw{{N: 9, Amount: 25}, {N: 300}}, Hash: fill[[32]byte](4)}},
		{"draws_one", "draws", &channel.Draws{Lane: lane, FirstSeq: 1, Draws: []channel.Draw{{N: math.MaxUint64, Amount: math.MaxUint64}}}},
		{"draws_ack", "draws_ack", &channel.DrawsAck{Lane: lane, Count: 8}},
		{"draws_ack_none", "draws_ack", &channel.DrawsAck{Lane: lane}},
		{"draws_void", "draws_void", &channel.DrawsVoid{Lane: lane, N: []uint64{3, 200, math.MaxUint64}}},
		{"return_offer", "return_offer", &channel.ReturnOffer{Channel: id, Attempt: fill[[16]byte](1), Output: funding, Value: 77_000, Fee: 300, Payout: []byte{0x51, 0x20, 1, 2, 3}, Nonce: fill[[66]byte](3)}},
		{"return_sign", "return_sign", &channel.ReturnSign{Channel: id, Attempt: fill[[16]byte](1), Nonce: fill[[66]byte](3), Partial: fill[[32]byte](2)}},
		{"root_request", "root_request", &channel.RootRequest{Lane: lane}},
	}
}

// fullFrame is the longest frame that is allowed.
func fullFrame() *channel.Frame {
	m := &channel.Frame{Lane: fill[channel.LaneID](2), FirstSeq: math.MaxUint64 - 2000, Total: math.MaxUint64, Signature: fill[channel.Signature](7)}
	for i := range channel.MaxFramePayments {
		m.Payments = append(m.Payments, channel.Payment{ID: fill[channel.PaymentID](byte(i)), Amount: 1 << 52, Ref: strings.Repeat("r", channel.MaxRefBytes)})
	}
	return m
}

// fullAck is the longest ack that is allowed.
func fullAck() *channel.Ack {
	m := &channel.Ack{NextSeq: math.MaxUint64, Total: math.MaxUint64, Spent: math.MaxUint64}
	for i := range MaxAckRefused {
		m.Refused = append(m.Refused, channel.Refusal{Seq: math.MaxUint64 - MaxAckRefused + uint64(i), Reason: 255})
	}
	return m
}
