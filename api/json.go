package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonCodec is JSON as a person at a shell wants it: names as in the .proto file, zeros written, 64-bit
// integers as numbers (protobuf's own JSON mapping makes them strings). It reads numbers and strings, and
// refuses fields that do not exist: a misspelled limit must not be ignored where money moves.
type jsonCodec struct{ name string }

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

func (c jsonCodec) MarshalAppend(b []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return appendMessage(b, m.ProtoReflect())
}

func (c jsonCodec) Unmarshal(b []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a protobuf message", message)
	}
	if len(b) == 0 {
		return errors.New("the body is empty: send at least {}")
	}
	return protojson.Unmarshal(b, m)
}

func appendMessage(b []byte, m protoreflect.Message) ([]byte, error) {
	b = append(b, '{')
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, string(field.Name()))
		b = append(b, ':')
		var err error
		if b, err = appendField(b, m, field); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendField(b []byte, m protoreflect.Message, field protoreflect.FieldDescriptor) ([]byte, error) {
	switch {
	case field.IsMap():
		return nil, fmt.Errorf("%s: maps have no JSON here", field.FullName())
	case field.IsList():
		return appendList(b, m.Get(field).List(), field)
	case field.HasPresence() && !m.Has(field):
		return append(b, "null"...), nil
	}
	return appendValue(b, m.Get(field), field)
}

func appendList(b []byte, list protoreflect.List, field protoreflect.FieldDescriptor) ([]byte, error) {
	b = append(b, '[')
	for i := range list.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, list.Get(i), field); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendValue(b []byte, v protoreflect.Value, field protoreflect.FieldDescriptor) ([]byte, error) {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool()), nil
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case protoreflect.StringKind:
		return appendString(b, v.String())
	case protoreflect.BytesKind: // as protobuf's own JSON
		return strconv.AppendQuote(b, base64.StdEncoding.EncodeToString(v.Bytes())), nil
	case protoreflect.EnumKind:
		if name := field.Enum().Values().ByNumber(v.Enum()); name != nil {
			return strconv.AppendQuote(b, string(name.Name())), nil
		}
		return strconv.AppendInt(b, int64(v.Enum()), 10), nil
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message())
	}
	return nil, fmt.Errorf("%s: fields of kind %s have no JSON here", field.FullName(), field.Kind())
}

// appendString leaves quoting to encoding/json: Go's quoting is not JSON's.
func appendString(b []byte, s string) ([]byte, error) {
	quoted, err := json.Marshal(s)
	return append(b, quoted...), err
}
