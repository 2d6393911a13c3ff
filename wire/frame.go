package wire

import (
	"strings"

	"github.com/runnel/runnel/channel"
	"google.golang.org/protobuf/encoding/protowire"
)

// Frames and acks are most of what two peers say. They take one allocation for the payments and one
// for all references together.

// AppendFrame appends an encoded frame to dst. The caller vouches for the frame's values, which
// package channel made; Encode checks them.
func AppendFrame(dst []byte, m *channel.Frame) []byte {
	dst, outer := begin(dst, numFrame)
	dst = putBytes(dst, 1, m.Lane[:])
	dst = putUint(dst, 2, m.FirstSeq)
	for i := range m.Payments {
		p := &m.Payments[i]
		var at int
		dst, at = begin(dst, 3)
		dst = putBytes(dst, 1, p.ID[:])
		dst = putUint(dst, 2, uint64(p.Amount))
		dst = putString(dst, 3, p.Ref)
		dst = end(dst, at)
	}
	dst = putUint(dst, 4, uint64(m.Total))
	dst = putBytes(dst, 5, m.Signature[:])
	return end(dst, outer)
}

// frameSize is at least the length of the encoded frame.
func frameSize(m *channel.Frame) int {
	n := 160 + 31*len(m.Payments)
	for i := range m.Payments {
		if len(m.Payments[i].Ref) > 0 {
			n += 2 + len(m.Payments[i].Ref)
		}
	}
	return n
}

func decodeFrame(b []byte) (*channel.Frame, error) {
	m := new(channel.Frame)
	r := newReader("frame", b)
	r.fixed(1, "lane", m.Lane[:])
	m.FirstSeq = r.uint64(2, "first_seq")
	m.Payments = r.payments(3)
	m.Total = channel.Msat(r.uint64(4, "total"))
	r.fixed(5, "signature", m.Signature[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkFrame(m)
}

// payments reads the repeated field num. Memory is taken only for payments that are there.
func (r *reader) payments(num protowire.Number) []channel.Payment {
	count, refs := r.measure(num)
	if r.err != nil || count == 0 {
		return nil
	}
	list := make([]channel.Payment, 0, count)
	var text strings.Builder
	text.Grow(refs)
	for r.is(num) {
		body := r.bytes(num, "payments")
		p, ref, err := parsePayment(body)
		if err != nil {
			r.adopt(err)
			return nil
		}
		text.Write(ref)
		p.Ref = text.String()[text.Len()-len(ref):]
		list = append(list, p)
	}
	return list
}

// parsePayment reads one payment; ref is a part of the input. The usual form, whose lengths and tags
// take a byte each, is read by position; readPayment judges everything else.
func parsePayment(b []byte) (p channel.Payment, ref []byte, err error) {
	const (
		idAt     = 2             // after tag and length
		amountAt = idAt + 16 + 1 // after id and tag
		tagID    = 1<<3 | byte(protowire.BytesType)
		tagSum   = 2<<3 | byte(protowire.VarintType)
		tagRef   = 3<<3 | byte(protowire.BytesType)
	)
	if len(b) <= amountAt || b[0] != tagID || b[1] != 16 || b[amountAt-1] != tagSum {
		return readPayment(b)
	}
	amount, n := protowire.ConsumeVarint(b[amountAt:])
	if n <= 0 || b[amountAt+n-1] == 0 { // a zero at its end: zero, or longer than it must be
		return readPayment(b)
	}
	p.ID, p.Amount = channel.PaymentID(b[idAt:]), channel.Msat(amount)
	rest := b[amountAt+n:]
	if len(rest) == 0 {
		return p, nil, nil
	}
	if len(rest) < 3 || rest[0] != tagRef || int(rest[1]) != len(rest)-2 || rest[1] >= 0x80 {
		return readPayment(b)
	}
	return p, rest[2:], nil
}

func readPayment(b []byte) (p channel.Payment, ref []byte, err error) {
	r := newReader("frame.payments", b)
	r.fixed(1, "id", p.ID[:])
	p.Amount = channel.Msat(r.uint64(2, "amount"))
	there := r.is(3)
	ref = r.bytes(3, "ref")
	if there && len(ref) == 0 {
		r.fail("ref is empty and should be left out")
	}
	return p, ref, r.end()
}

// measure counts the payments ahead and the bytes of their references, at most, without taking them.
func (r *reader) measure(num protowire.Number) (count, refs int) {
	ahead := *r
	for ahead.is(num) {
		body := ahead.bytes(num, "payments")
		if count++; count > channel.MaxFramePayments {
			r.fail("more payments than a frame may have")
			return 0, 0
		}
		if ahead.err == nil && len(body)+2 < minPaymentBytes {
			r.fail("a payment is too short")
			return 0, 0
		}
		refs += max(0, len(body)+2-minPaymentBytes-2)
	}
	if ahead.err != nil {
		*r = ahead
		return 0, 0
	}
	return count, refs
}

// AppendAck appends an encoded ack to dst, with values that the caller vouches for.
func AppendAck(dst []byte, m *channel.Ack) []byte {
	dst, outer := begin(dst, numAck)
	dst = putBytes(dst, 1, m.Lane[:])
	dst = putUint(dst, 2, m.NextSeq)
	dst = putUint(dst, 3, uint64(m.Total))
	dst = putUint(dst, 4, uint64(m.Spent))
	for _, refusal := range m.Refused {
		var at int
		dst, at = begin(dst, 5)
		dst = putUint(dst, 1, refusal.Seq)
		dst = putUint(dst, 2, uint64(refusal.Reason))
		dst = end(dst, at)
	}
	dst = putBytes(dst, 6, m.Hash[:])
	return end(dst, outer)
}

// ackSize is at least the length of the encoded ack.
func ackSize(m *channel.Ack) int { return 120 + 16*len(m.Refused) }

func decodeAck(b []byte) (*channel.Ack, error) {
	m := new(channel.Ack)
	r := newReader("ack", b)
	r.fixed(1, "lane", m.Lane[:])
	m.NextSeq = r.uint64(2, "next_seq")
	m.Total = channel.Msat(r.uint64(3, "total"))
	m.Spent = channel.Msat(r.uint64(4, "spent"))
	m.Refused = r.refusals(5)
	r.fixed(6, "hash", m.Hash[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkAck(m)
}

func (r *reader) refusals(num protowire.Number) []channel.Refusal {
	if !r.is(num) {
		return nil
	}
	var list []channel.Refusal
	for r.is(num) {
		if list == nil { // no more can be there than the bytes left hold
			list = make([]channel.Refusal, 0, min(MaxAckRefused, 1+len(r.in)/minRefusalBytes))
		}
		if len(list) == MaxAckRefused {
			r.fail("more refusals than an ack may have")
			return nil
		}
		in := newReader("ack.refused", r.bytes(num, "refused"))
		refusal := channel.Refusal{Seq: in.uint64(1, "seq"), Reason: channel.RefuseReason(in.max(2, "reason", 255))}
		if err := in.end(); err != nil {
			r.adopt(err)
			return nil
		}
		list = append(list, refusal)
	}
	return list
}
