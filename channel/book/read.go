package book

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/runnel/runnel/channel"
)

// maxLine is far above the longest line.
const maxLine = 64 << 10

// Wrong is the first thing in a book that is not right.
type Wrong struct {
	Line int
	Lane string // id; empty outside of lanes
	Seq  uint64 // of a payment; 0: of none
	Text string
}

func (w *Wrong) Error() string {
	s := fmt.Sprintf("line %d", w.Line)
	if w.Lane != "" {
		s += fmt.Sprintf(", lane %.16s", w.Lane)
	}
	if w.Seq > 0 {
		s += fmt.Sprintf(", payment %d", w.Seq)
	}
	return s + ": " + w.Text
}

// Voucher checks the payer's signature over a lane's total.
type Voucher func(network string, terms channel.LaneTerms, funding channel.Outpoint, total channel.Msat, sig channel.Signature) error

// Reader reads a book and checks it on the way. It needs no more memory for a long one.
type Reader struct {
	r       *bufio.Reader
	voucher Voucher
	line    int
	sum     hash.Hash
	count   Sum
	header  *Header
	lane    *Lane
	last    string // lane id
	id      channel.LaneID
	hash    [32]byte
	spent   uint64
	next    uint64
	tail    bool // a payment without a part in the hash came
	over    bool
}

// NewReader checks vouchers with voucher, or not at all if it is nil.
func NewReader(r io.Reader, voucher Voucher) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, maxLine), voucher: voucher, sum: sha256.New()}
}

// Header is known after the first call of Next.
func (r *Reader) Header() *Header { return r.header }

// Lane is the one that the newest item belongs to.
func (r *Reader) Lane() *Lane { return r.lane }

// Count is what was read so far.
func (r *Reader) Count() Sum { return r.count }

func (r *Reader) wrong(format string, args ...any) error {
	w := &Wrong{Line: r.line, Text: fmt.Sprintf(format, args...)}
	if r.lane != nil {
		w.Lane = r.lane.ID
	}
	return w
}

// Next returns *Lane, *Payment or *End, in the book's order, each after it was found right. The error is
// io.EOF after a whole book, a *Wrong, or one of reading.
func (r *Reader) Next() (any, error) {
	for {
		l, raw, err := r.read()
		if err != nil {
			return nil, err
		}
		if l.Sum == nil {
			r.sum.Write(raw)
		}
		switch {
		case r.header == nil:
			err = r.begin(l)
		case l.Lane != nil:
			if err = r.beginLane(l.Lane); err == nil {
				return l.Lane, nil
			}
		case l.Payment != nil:
			if err = r.payment(l.Payment); err == nil {
				return l.Payment, nil
			}
		case l.Missing != nil:
			err = r.wrong("payments %d to %d are missing", l.Missing.From, l.Missing.To)
		case l.End != nil:
			if err = r.end(l.End); err == nil {
				return l.End, nil
			}
		case l.Sum != nil:
			if err = r.finish(l.Sum); err == nil {
				return nil, io.EOF
			}
		default:
			err = r.wrong("the line is nothing that a book has")
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *Reader) read() (l line, raw []byte, err error) {
	if r.over {
		return l, nil, io.EOF
	}
	r.line++
	raw, err = r.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return l, nil, r.wrong("the line is longer than any of a book")
	case errors.Is(err, io.EOF):
		return l, nil, r.wrong("the book is cut off here: its last line is missing")
	case err != nil:
		return l, nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, nil, r.wrong("no line of a book: %v", err)
	}
	return l, raw, nil
}

func (r *Reader) begin(l line) error {
	switch {
	case l.Book == nil:
		return r.wrong("this is no exported book: write one with runnel log export")
	case l.Book.Version > Version:
		return r.wrong("the book has version %d, this program knows %d", l.Book.Version, Version)
	}
	r.header = l.Book
	return nil
}

func (r *Reader) beginLane(l *Lane) error {
	if r.lane != nil {
		return r.wrong("the lane has no end")
	}
	r.lane = l
	t, _, err := l.Terms()
	switch {
	case err != nil:
		return r.wrong("%v", err)
	case l.ID <= r.last:
		return r.wrong("lanes are not in order")
	case l.FirstSeq == 0:
		return r.wrong("a lane begins with payment 1 or later")
	}
	r.last, r.id, r.next, r.spent, r.hash, r.tail = l.ID, t.ID(), l.FirstSeq, l.StartSpent, [32]byte{}, false
	r.count.Lanes++
	if l.StartHash == "" && l.FirstSeq > 1 {
		return r.wrong("the lane begins with payment %d and no hash", l.FirstSeq)
	}
	if l.StartHash != "" {
		if err := fromHex(r.hash[:], l.StartHash); err != nil {
			return r.wrong("%v", err)
		}
	}
	return nil
}

func (r *Reader) payment(p *Payment) error {
	wrong := func(format string, args ...any) error {
		w := r.wrong(format, args...).(*Wrong)
		w.Seq = p.Seq
		return w
	}
	if r.lane == nil {
		return wrong("a payment outside of a lane")
	}
	out, reason, answered, err := p.payment()
	switch {
	case err != nil:
		return wrong("%v", err)
	case p.Seq != r.next:
		return wrong("payment %d belongs here", r.next)
	case answered && r.tail:
		return wrong("an answer follows payments without one")
	}
	r.next++
	r.count.Payments++
	if !answered {
		r.tail = true
		return nil
	}
	r.hash = channel.LaneHash(r.hash, r.id, p.Seq, out, reason)
	if hex.EncodeToString(r.hash[:8]) != p.Hash {
		return wrong("the payment is not what the lane hash covers: it was changed, or one before it")
	}
	if reason == channel.Accepted {
		r.spent += p.Amount
	}
	return nil
}

func (r *Reader) end(e *End) error {
	if r.lane == nil {
		return r.wrong("an end without a lane")
	}
	switch {
	case e.NextSeq != r.next:
		return r.wrong("the lane has payments up to %d, the book up to %d", e.NextSeq-1, r.next-1)
	case e.Hash != hex.EncodeToString(r.hash[:]):
		return r.wrong("the payments don't come to the lane hash")
	case e.Spent != r.spent:
		return r.wrong("the payments add up to %d msat, the lane says %d", r.spent, e.Spent)
	case e.Spent > e.Total:
		return r.wrong("%d msat are spent, and vouchers cover %d", e.Spent, e.Total)
	}
	if err := r.check(e); err != nil {
		return r.wrong("the voucher over %d msat is not valid: %v", e.Total, err)
	}
	r.lane = nil
	return nil
}

func (r *Reader) check(e *End) error {
	if e.Total == 0 {
		return nil
	}
	sig, err := e.Signature()
	if err != nil || r.voucher == nil {
		return err
	}
	terms, funding, err := r.lane.Terms()
	if err != nil {
		return err
	}
	return r.voucher(r.header.Network, terms, funding, channel.Msat(e.Total), sig)
}

func (r *Reader) finish(s *Sum) error {
	switch {
	case r.lane != nil:
		return r.wrong("the lane has no end")
	case s.Lanes != r.count.Lanes || s.Payments != r.count.Payments:
		return r.wrong("the book says %d lanes with %d payments and has %d with %d", s.Lanes, s.Payments, r.count.Lanes, r.count.Payments)
	case s.SHA256 != hex.EncodeToString(r.sum.Sum(nil)):
		return r.wrong("the lines were changed after the book was written")
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		r.line++
		return r.wrong("something follows the end of the book")
	}
	r.over = true
	return nil
}

// Verify reads a whole book.
func (r *Reader) Verify() error {
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
