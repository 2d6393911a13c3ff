package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// reader takes fields of one protobuf message in the order of their numbers. It accepts nothing but
// what writer.go writes: shortest varints, no zero that could be left out, no field twice. The first
// error sticks and ends the message: there is neither a next field nor input. So callers read like the
// schema.
type reader struct {
	in  []byte
	msg string // for error texts
	num protowire.Number
	typ protowire.Type
	err error
}

func newReader(msg string, in []byte) reader {
	r := reader{in: in, msg: msg}
	r.tag()
	return r
}

// tag reads the next field's tag into num and typ; num is 0 at the end.
func (r *reader) tag() {
	r.num = 0
	if len(r.in) == 0 {
		return
	}
	num, typ := protowire.DecodeTag(r.varint())
	if num < protowire.MinValidNumber { // of those above the largest one nobody asks
		r.fail("bad field number")
		return
	}
	r.num, r.typ = num, typ
}

// varint reads a shortest varint.
func (r *reader) varint() uint64 {
	if len(r.in) > 0 && r.in[0] < 0x80 {
		v := uint64(r.in[0])
		r.in = r.in[1:]
		return v
	}
	v, n := protowire.ConsumeVarint(r.in)
	if n != protowire.SizeVarint(v) {
		r.fail("bad integer")
		return 0
	}
	r.in = r.in[n:]
	return v
}

func (r *reader) fail(text string) {
	r.adopt(malformed("%s: %s", r.msg, text))
}

// adopt ends the message with an error of a nested one.
func (r *reader) adopt(err error) {
	if err == nil {
		return
	}
	if r.err == nil {
		r.err = err
	}
	r.in, r.num = nil, 0
}

// is reports whether the next field is num.
func (r *reader) is(num protowire.Number) bool { return r.num == num }

func (r *reader) uint64(num protowire.Number, name string) uint64 {
	if !r.is(num) {
		return 0
	}
	if r.typ != protowire.VarintType {
		r.fail(name + " has the wrong type")
		return 0
	}
	v := r.varint()
	if v == 0 {
		r.fail(name + " is a bad integer, or a zero that should be left out")
		return 0
	}
	r.tag()
	return v
}

func (r *reader) uint32(num protowire.Number, name string) uint32 {
	return uint32(r.max(num, name, math.MaxUint32))
}

// max reads an integer of at most limit.
func (r *reader) max(num protowire.Number, name string, limit uint64) uint64 {
	v := r.uint64(num, name)
	if v > limit {
		r.fail(name + " is too large")
		return 0
	}
	return v
}

func (r *reader) bool(num protowire.Number, name string) bool { return r.max(num, name, 1) == 1 }

// bytes reads a field of bytes as a part of the input; nil when it is absent.
func (r *reader) bytes(num protowire.Number, name string) []byte {
	if !r.is(num) {
		return nil
	}
	if r.typ != protowire.BytesType {
		r.fail(name + " has the wrong type")
		return nil
	}
	n := r.varint()
	if n > uint64(len(r.in)) {
		r.fail(name + " is longer than the message")
		return nil
	}
	if r.err != nil {
		return nil
	}
	v := r.in[:n:n]
	r.in = r.in[n:]
	r.tag()
	return v
}

// fixed reads bytes that must be there with exactly the length of dst.
func (r *reader) fixed(num protowire.Number, name string, dst []byte) {
	if !r.is(num) {
		r.fail(name + " is missing")
		return
	}
	v := r.bytes(num, name)
	if len(v) != len(dst) {
		r.adopt(malformed("%s: %s has %d bytes, want %d", r.msg, name, len(v), len(dst)))
		return
	}
	copy(dst, v)
}

// optional is fixed for bytes that are absent when they are all zero.
func (r *reader) optional(num protowire.Number, name string, dst []byte) {
	if !r.is(num) {
		return
	}
	r.fixed(num, name, dst)
	if allZero(dst) {
		r.fail(name + " is zero and should be left out")
	}
}

// some reads bytes that are absent when empty, at most limit; the result is a copy.
func (r *reader) some(num protowire.Number, name string, limit int) []byte {
	there := r.is(num)
	v := r.bytes(num, name)
	if there && (len(v) == 0 || len(v) > limit) {
		r.fail(name + " is too long, or empty and should be left out")
	}
	if r.err != nil || len(v) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

func (r *reader) string(num protowire.Number, name string, limit int) string {
	return string(r.some(num, name, limit))
}

// end returns the first error, also when something is left that nobody took: a field that is unknown,
// out of order or there twice.
func (r *reader) end() error {
	if r.num != 0 {
		r.fail("a field is unknown, out of order or there twice")
	}
	return r.err
}
