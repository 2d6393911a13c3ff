package gateway

import (
	"bytes"
	"io"
)

// longestControl is the longest event that can be one of ours; longer ones pass as they come.
const longestControl = 64 << 10

// sseEvent is one event of a stream as it came, with what decides whether it is ours.
type sseEvent struct {
	raw     []byte
	name    string
	data    []byte
	hasData bool
}

// eventScan finds where events end in bytes that come bit by bit: behind an empty line. Lines end in LF, CR or CRLF.
type eventScan struct {
	at   int  // bytes that were looked at
	line bool // the line has a byte
	cr   bool // the last byte was a CR
}

// end looks on in buf and reports whether an event ends at s.at.
func (s *eventScan) end(buf []byte) bool {
	for s.at < len(buf) {
		c := buf[s.at]
		s.at++
		switch {
		case c == '\n' && s.cr: // the second half of a CRLF
			s.cr = false
		case c == '\n' || c == '\r':
			s.cr = c == '\r'
			if !s.line {
				return true
			}
			s.line = false
		default:
			s.cr, s.line = false, true
		}
	}
	return false
}

// eventFields reads the name and the data of an event; hasData tells empty data from none.
func eventFields(event []byte) (name string, data []byte, hasData bool) {
	for line := range bytes.FieldsFuncSeq(event, func(r rune) bool { return r == '\n' || r == '\r' }) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "data":
			if hasData {
				data = append(data, '\n')
			}
			data, hasData = append(data, value...), true
		}
	}
	return name, data, hasData
}

// sseReader cuts a stream of server-sent events into events without changing a byte: what next returns,
// concatenated, is the stream.
type sseReader struct {
	src    io.Reader
	buf    []byte // read and not yet handed out
	scan   eventScan
	inside bool // of an event that is too long to be ours, and passes
	err    error
}

func newSSEReader(src io.Reader) *sseReader { return &sseReader{src: src} }

// next returns an event, or a piece of one that is too long to be ours, or what is left before the end.
func (r *sseReader) next() (sseEvent, error) {
	for {
		if r.scan.end(r.buf) {
			long := r.inside
			e := r.cut(r.scan.at, !long)
			e.hasData = e.hasData || long // nobody writes so long a comment
			return e, nil
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

// cut hands out the first n bytes.
func (r *sseReader) cut(n int, whole bool) sseEvent {
	e := sseEvent{raw: bytes.Clone(r.buf[:n])}
	r.buf = append(r.buf[:0], r.buf[n:]...)
	r.scan.at -= n
	if r.scan.at == 0 && !r.scan.line {
		r.inside = false
	}
	if whole {
		e.name, e.data, e.hasData = eventFields(e.raw)
	}
	return e
}
