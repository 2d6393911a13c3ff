package gateway

import (
	"bytes"
	"io"
)

// longestControl is the longest event that can be one of ours; longer ones pass as they come.
const longestControl = 64 << 10

// sseEvent is one event of a stream as it came, with what decides whether it is ours.
type sseEvent struct {
	raw  []byte
	name string
	data []byte
}

// sseReader cuts a stream of server-sent events into events without changing a byte: what next returns,
// concatenated, is the stream. Lines end in LF, CR or CRLF.
type sseReader struct {
	src    io.Reader
	buf    []byte // read and not yet handed out
	scan   int    // of buf, looked at
	bare   bool   // the line has no byte yet
	cr     bool   // the last byte was a CR
	inside bool   // of an event that is too long to be ours, and passes
	err    error
}

func newSSEReader(src io.Reader) *sseReader { return &sseReader{src: src, bare: true} }

// next returns an event, or a piece of one that is too long to be ours, or what is left before the end.
func (r *sseReader) next() (sseEvent, error) {
	for {
		if n, ok := r.eventEnd(); ok {
			return r.cut(n, !r.inside), nil
		}
		if len(r.buf) > longestControl || r.inside && len(r.buf) > 0 {
			e := r.cut(len(r.buf), false)
			r.inside = true
			return e, nil
		}
		if r.err != nil {
			if len(r.buf) > 0 {
				return r.cut(len(r.buf), false), nil
			}
			return sseEvent{}, r.err
		}
		r.fill()
	}
}

func (r *sseReader) fill() {
	var chunk [8 << 10]byte
	n, err := r.src.Read(chunk[:])
	r.buf = append(r.buf, chunk[:n]...)
	r.err = err
}

// eventEnd finds where an event ends: behind an empty line.
func (r *sseReader) eventEnd() (int, bool) {
	for r.scan < len(r.buf) {
		c := r.buf[r.scan]
		r.scan++
		switch {
		case c == '\n' && r.cr: // the second half of a CRLF
			r.cr = false
		case c == '\n' || c == '\r':
			r.cr = c == '\r'
			if r.bare {
				return r.scan, true
			}
			r.bare = true
		default:
			r.cr, r.bare = false, false
		}
	}
	return 0, false
}

// cut hands out the first n bytes.
func (r *sseReader) cut(n int, whole bool) sseEvent {
	e := sseEvent{raw: bytes.Clone(r.buf[:n])}
	r.buf = append(r.buf[:0], r.buf[n:]...)
	r.scan -= n
	if r.scan == 0 && r.bare {
		r.inside = false
	}
	if whole {
		e.parse()
	}
	return e
}

func (e *sseEvent) parse() {
	text := bytes.ReplaceAll(bytes.ReplaceAll(e.raw, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
	}
}
