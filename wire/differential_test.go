package wire

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire/wirepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"
)

// The codec is written by hand for speed and strictness. These tests hold it to the schema: the
// generated code must produce the same bytes from the same values.

func TestSameAsGeneratedCode(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) { sameAsGenerated(t, s.kind, s.msg) })
	}
	t.Run("full frame", func(t *testing.T) { sameAsGenerated(t, "frame", fullFrame()) })
	t.Run("full ack", func(t *testing.T) { sameAsGenerated(t, "ack", fullAck()) })
}

func TestRandomFramesAndAcks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sameAsGenerated(t, "frame", randomFrame(t))
		sameAsGenerated(t, "ack", randomAck(t))
	})
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func sameAsGenerated(t failer, kind string, m Message) {
	t.Helper()
	ours, err := Encode(m)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(generated(kind, m))
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Fatalf("%s: ours\n%x\ngenerated code's\n%x", kind, ours, theirs)
	}
	back, err := Decode(theirs)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	if !reflect.DeepEqual(back, m) {
		t.Fatalf("decoded\n%+v\nwant\n%+v", back, m)
	}
}

// generated converts by reflection: the nth field of each struct is field n of the schema.
func generated(kind string, m Message) *wirepb.Envelope {
	e := new(wirepb.Envelope)
	field := e.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(kind))
	toProto(e.ProtoReflect().Mutable(field).Message(), reflect.ValueOf(m).Elem())
	return e
}

func toProto(dst protoreflect.Message, src reflect.Value) {
	fields := dst.Descriptor().Fields()
	if fields.Len() != src.NumField() {
		panic(fmt.Sprintf("%v has %d fields, the schema %d", src.Type(), src.NumField(), fields.Len()))
	}
	for i := range src.NumField() {
		field, v := fields.ByNumber(protoreflect.FieldNumber(i+1)), src.Field(i)
		switch {
		case field.IsList():
			list := dst.Mutable(field).List()
			for j := range v.Len() {
				if field.Message() != nil {
					toProto(list.AppendMutable().Message(), v.Index(j))
				} else {
					list.Append(toValue(field, v.Index(j)))
				}
			}
		case field.Message() != nil:
			if field.ContainingMessage().Name() == "Funded" || !v.IsZero() {
				toProto(dst.Mutable(field).Message(), v)
			}
		case mayBeAbsent[field.FullName()] && v.IsZero():
		default:
			dst.Set(field, toValue(field, v))
		}
	}
}

var mayBeAbsent = map[protoreflect.FullName]bool{
	"runnel.wire.v1.Open.payee":           true,
	"runnel.wire.v1.Accept.payer":         true,
	"runnel.wire.v1.Accept.refund":        true,
	"runnel.wire.v1.LaneReport.signature": true,
	"runnel.wire.v1.LaneReport.hash":      true,
	"runnel.wire.v1.LaneReport.draw_hash": true,
}

func toValue(field protoreflect.FieldDescriptor, v reflect.Value) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(v.Bool())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String())
	}
	b := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(b), v)
	return protoreflect.ValueOfBytes(b)
}

func randomFrame(t *rapid.T) *channel.Frame {
	m := &channel.Frame{
		Lane:      channel.LaneID(randomBytes(t, 32)),
		Total:     channel.Msat(rapid.Uint64().Draw(t, "total")),
		Signature: channel.Signature(randomBytes(t, 64)),
	}
	n := rapid.IntRange(1, 40).Draw(t, "n")
	m.FirstSeq = rapid.Uint64Range(1, math.MaxUint64-uint64(n)).Draw(t, "first")
	for range n {
		m.Payments = append(m.Payments, channel.Payment{
			ID:     channel.PaymentID(randomBytes(t, 16)),
			Amount: channel.Msat(rapid.Uint64Range(1, math.MaxUint64/64).Draw(t, "amount")),
			Ref:    rapid.StringMatching(`[ -~äπ✓]{0,20}`).Draw(t, "ref"),
		})
	}
	return m
}

func randomAck(t *rapid.T) *channel.Ack {
	m := &channel.Ack{
		Lane:  channel.LaneID(randomBytes(t, 32)),
		Total: channel.Msat(rapid.Uint64().Draw(t, "total")),
		Spent: channel.Msat(rapid.Uint64().Draw(t, "spent")),
		Hash:  [32]byte(randomBytes(t, 32)),
	}
	seq := uint64(0)
	for range rapid.IntRange(0, 40).Draw(t, "n") {
		seq += rapid.Uint64Range(1, 1<<40).Draw(t, "step")
		m.Refused = append(m.Refused, channel.Refusal{Seq: seq, Reason: channel.RefuseReason(rapid.IntRange(1, 255).Draw(t, "reason"))})
	}
	m.NextSeq = rapid.Uint64Range(seq+1, math.MaxUint64).Draw(t, "next")
	return m
}

func randomBytes(t *rapid.T, n int) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "bytes")
}

// TestParsePaymentBothWays: the quick way accepts nothing that the general one would refuse.
func TestParsePaymentBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte{0x0a, 16}, randomBytes(t, 16)...)
		b = append(b, rapid.SliceOfN(rapid.SampledFrom([]byte{0x10, 0x1a, 0, 1, 2, 3, 0x7f, 0x80, 0x81, 0xff}), 0, 14).Draw(t, "rest")...)
		quick, quickRef, quickErr := parsePayment(b)
		p, ref, err := readPayment(b)
		if (quickErr == nil) != (err == nil) || (err == nil && (quick != p || !bytes.Equal(quickRef, ref))) {
			t.Fatalf("%x: %v %q %v, and in general %v %q %v", b, quick, quickRef, quickErr, p, ref, err)
		}
	})
}
