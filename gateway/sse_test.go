package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// cutAll cuts a stream and returns its pieces' names and the concatenation of their bytes.
func cutAll(t *testing.T, r io.Reader) (names []string, data []string, raw string) {
	t.Helper()
	var all bytes.Buffer
	for s := newSSEReader(r); ; {
		e, err := s.next()
		if errors.Is(err, io.EOF) {
			return names, data, all.String()
		} else if err != nil {
			t.Fatal(err)
		}
		all.Write(e.raw)
		if e.name != "" {
			names, data = append(names, e.name), append(data, string(e.data))
		}
	}
}

func TestSSEReader(t *testing.T) {
	stream := "data: a\n\n: a comment\n\nevent: x\ndata: 1\ndata:2\n\nevent:y\rdata: 3\r\r\r\nid: 7\r\nevent: z\r\ndata\r\n\r\n\n\ndata: event: w\n\ndata: the end is missing"
	for name, reader := range map[string]io.Reader{
		"whole":            strings.NewReader(stream),
		"byte by byte":     iotest.OneByteReader(strings.NewReader(stream)),
		"half by half":     iotest.HalfReader(strings.NewReader(stream)),
		"with the end":     iotest.DataErrReader(strings.NewReader(stream)),
		"one byte and end": iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(stream))),
	} {
		names, data, raw := cutAll(t, reader)
		if raw != stream {
			t.Errorf("%s: bytes changed:\n%q\n%q", name, stream, raw)
		}
		if got := fmt.Sprintf("%q %q", names, data); got != `["x" "y" "z"] ["1\n2" "3" ""]` {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// An event that is too long to be ours passes in pieces, and what follows it is seen again.
func TestSSELongEvent(t *testing.T) {
	stream := "event: payment-receipt\ndata: " + strings.Repeat("x", 5*longestControl) + "\ndata: y\n\nevent: x\ndata: 1\n\n"
	names, _, raw := cutAll(t, strings.NewReader(stream))
	if raw != stream || fmt.Sprint(names) != "[x]" {
		t.Errorf("%d of %d bytes, events %v", len(raw), len(stream), names)
	}
}

func TestSSEReadError(t *testing.T) {
	s := newSSEReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("data: a\n\n"))))
	if e, err := s.next(); err != nil || string(e.raw) != "d" {
		t.Errorf("%q, %v", e.raw, err)
	}
	if _, err := s.next(); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
}
