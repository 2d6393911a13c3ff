package journal

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/runnel/runnel/store"
)

// Group is what was made durable together. Its writes are only valid during the call that shows it.
type Group struct {
	Segment uint64
	Number  uint64
	Time    int64 // unix milliseconds
	Base    bool  // of a base: part of a state, not of what happened
	Ops     []store.Op
}

// Finding is a place that is not as it was written, and can't come from a write that was cut short.
type Finding struct {
	Segment uint64
	Group   uint64 // the first that is missing or wrong
	Offset  int64  // in the segment's file
	Text    string
}

func (f Finding) Error() string {
	return fmt.Sprintf("journal segment %d, record %d, byte %d: %s", f.Segment, f.Group, f.Offset, f.Text)
}

// End is where a segment's groups end.
type End struct {
	Header Header
	Offset int64    // behind the last good group
	Next   uint64   // number of the next group; of a base: where the log goes on
	Chain  [32]byte // before it
	Torn   int64    // bytes behind Offset that are no group: a write that did not finish
	Whole  bool     // of a base: its last group is there
}

// Walk opens and checks one segment and shows its groups. What is damaged is passed over and reported;
// groups behind it are shown all the same. Behind the last group there may be one that was never
// finished: it is counted in End.Torn and no finding, for only the caller knows whether it can be.
//
// The error is ErrHeader, store.ErrNewer, store.ErrWrongKey, one of reading, or fn's.
func Walk(key [32]byte, r io.ReaderAt, size int64, fn func(*Group) error) (End, []Finding, error) {
	var head [HeaderSize]byte
	if n, err := r.ReadAt(head[:], 0); n < HeaderSize {
		if err != nil && !errors.Is(err, io.EOF) {
			return End{}, nil, err
		}
		return End{}, nil, ErrHeader
	}
	h, aead, err := decodeHeader(key, head[:])
	if err != nil {
		return End{}, nil, err
	}
	w := &walk{r: r, size: size, h: h, aead: aead, fn: fn, pos: HeaderSize, known: true}
	w.next, w.chain = h.start()
	if err := w.run(); err != nil {
		return End{}, w.findings, err
	}
	end := End{Header: h, Offset: w.pos, Next: w.next, Chain: w.chain, Torn: w.torn, Whole: w.last}
	if h.Kind == KindBase {
		end.Next, end.Chain = h.First, h.Chain
	}
	return end, w.findings, nil
}

type walk struct {
	r        io.ReaderAt
	size     int64
	h        Header
	aead     cipher.AEAD
	fn       func(*Group) error
	pos      int64
	next     uint64
	chain    [32]byte
	known    bool // chain is that of the group before, which was good
	last     bool
	torn     int64
	findings []Finding

	window []byte // of the file, from windowAt
	at     int64
	group  Group
}

// maxFrame is the longest group on the disk, and the most that one unfinished write can leave behind.
const maxFrame = frameSize + MaxBody + tagSize

const readSize = 256 << 10

// view returns n bytes at off, or fewer at the end of the segment. They are valid until the next call.
func (w *walk) view(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-off))
	if off >= w.at && off+int64(n) <= w.at+int64(len(w.window)) {
		return w.window[off-w.at:][:n], nil
	}
	want := int(min(int64(max(n, readSize)), w.size-off))
	if cap(w.window) < want {
		w.window = make([]byte, want)
	}
	w.window, w.at = w.window[:want], off
	got, err := w.r.ReadAt(w.window, off)
	if got < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		w.window = w.window[:0]
		return nil, fmt.Errorf("journal: reading segment %d: %w", w.h.Segment, err)
	}
	return w.window[:n], nil
}

func (w *walk) run() error {
	for {
		text, err := w.step()
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		more, err := w.skip(text)
		if err != nil || !more {
			return err
		}
	}
}

// step takes one group. The text says why there is none at this place.
func (w *walk) step() (text string, err error) {
	head, err := w.view(w.pos, frameSize)
	if err != nil {
		return "", err
	}
	if len(head) < frameSize {
		return "the segment ends", nil
	}
	size, number, ok := parseFrame(head)
	switch {
	case !ok:
		return "no record begins here", nil
	case number != w.next:
		return fmt.Sprintf("record %d stands where %d belongs", number, w.next), nil
	case w.pos+frameSize+int64(size) > w.size:
		return "the record is cut short", nil
	}
	b, err := w.view(w.pos, frameSize+size)
	if err != nil {
		return "", err
	}
	chain := link(w.chain, b)
	nonce := nonceOf(number)
	body, err := w.aead.Open(b[frameSize:frameSize], nonce[:], b[frameSize:], b[:12])
	if err != nil {
		w.window = w.window[:0] // Open clears what it can't prove
		return "the record's seal is broken", nil
	}
	return w.take(body, chain, int64(len(b)))
}

func (w *walk) take(body []byte, chain [32]byte, length int64) (text string, err error) {
	g := &w.group
	before, flags, ok := g.decode(body)
	number, known := w.next, w.known
	w.last = flags&flagLast != 0
	// What carries a seal was written by this program: whatever is wrong with it is no write that was cut.
	switch {
	case !ok:
		w.find("the record can't be read")
	case known && before != w.chain:
		w.find("the record does not follow the one before it")
		known = false
	}
	if ok && !known { // the group itself says what its chain was
		if chain, err = w.relink(before, length); err != nil {
			return "", err
		}
	}
	w.chain, w.known = chain, ok
	w.next++
	w.pos += length
	if !ok {
		return "", nil
	}
	g.Segment, g.Number, g.Base = w.h.Segment, number, w.h.Kind == KindBase
	return "", w.fn(g)
}

// relink is the chain behind a group whose predecessor is not at hand.
func (w *walk) relink(before [32]byte, length int64) ([32]byte, error) {
	b := make([]byte, length)
	if n, err := w.r.ReadAt(b, w.pos); n < len(b) {
		return before, fmt.Errorf("journal: reading segment %d: %w", w.h.Segment, err)
	}
	return link(before, b), nil
}

// skip looks for the next group behind a bad place. There is none behind a write that did not finish, for
// each is synced before the next one begins; so a later one makes the place a finding.
func (w *walk) skip(text string) (more bool, err error) {
	rest := make([]byte, w.size-w.pos)
	if n, err := w.r.ReadAt(rest, w.pos); n < len(rest) {
		return false, fmt.Errorf("journal: reading segment %d: %w", w.h.Segment, err)
	}
	rest = bytes.TrimRight(rest, "\x00")
	for i := 0; i+frameSize <= len(rest); i++ {
		if rest[i] != 0 { // every size begins with a zero
			continue
		}
		if _, number, ok := parseFrame(rest[i : i+frameSize]); ok && number > w.next && number-w.next < 1<<40 {
			w.find(text)
			w.pos, w.next, w.known = w.pos+int64(i), number, false
			return true, nil
		}
	}
	w.torn = int64(len(rest))
	if w.torn > maxFrame {
		w.find(text + ", and more follows than one write could have left")
	}
	return false, nil
}

func (w *walk) find(text string) {
	w.findings = append(w.findings, Finding{Segment: w.h.Segment, Group: w.next, Offset: w.pos, Text: text})
}

// decode reads a body. It accepts exactly what Encoder writes.
func (g *Group) decode(b []byte) (before [32]byte, flags byte, ok bool) {
	if len(b) < 33 || b[0]&^knownFlags != 0 {
		return before, 0, false
	}
	flags = b[0]
	copy(before[:], b[1:])
	t, n := uvarint(b[33:])
	if n <= 0 {
		return before, 0, false
	}
	g.Time = int64(t)
	g.Ops = g.Ops[:0]
	for b = b[33+n:]; len(b) > 0; {
		var op store.Op
		if op, b, ok = cutOp(b); !ok {
			return before, 0, false
		}
		g.Ops = append(g.Ops, op)
	}
	return before, flags, true
}

func cutOp(b []byte) (op store.Op, rest []byte, ok bool) {
	head, n := uvarint(b)
	if n <= 0 || head>>1 == 0 || head>>1 > uint64(len(b)-n) {
		return op, nil, false
	}
	end := n + int(head>>1)
	op.Key, op.Delete = b[n:end:end], head&1 == 1
	if b = b[end:]; op.Delete {
		return op, b, true
	}
	size, n := uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return op, nil, false
	}
	end = n + int(size)
	op.Value = b[n:end:end]
	return op, b[end:], true
}

// uvarint accepts only the shortest form.
func uvarint(b []byte) (uint64, int) {
	v, n := binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, 0
	}
	return v, n
}

// Unfinished reports whether a last segment without a good header can be what a crash left of creating
// it: there is at most one group in it, next, for a second one is only written when header and first are
// synced. If not, last is the highest number of a group that can still be seen.
func Unfinished(r io.ReaderAt, size int64, next uint64) (unfinished bool, last uint64, err error) {
	b := make([]byte, size)
	if n, err := r.ReadAt(b, 0); n < len(b) {
		return false, 0, fmt.Errorf("journal: reading: %w", err)
	}
	b = bytes.TrimRight(b, "\x00")
	for i := 0; i+frameSize <= len(b); i++ {
		if b[i] != 0 {
			continue
		}
		if _, number, ok := parseFrame(b[i : i+frameSize]); ok {
			last = max(last, number)
		}
	}
	return last <= next && len(b) <= HeaderSize+maxFrame, last, nil
}
