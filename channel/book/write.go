package book

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/runnel/runnel/channel"
)

// Writer writes a book. The first error stays.
type Writer struct {
	w     io.Writer
	sum   hash.Hash
	count Sum
	err   error

	id    channel.LaneID // of the lane that is written
	hash  [32]byte
	final [32]byte // up to where answers go
	done  bool     // hash has come to final
	next  uint64
}

// NewWriter begins a book.
func NewWriter(w io.Writer, h Header) *Writer {
	h.Version = Version
	b := &Writer{w: w, sum: sha256.New()}
	b.put(line{Book: &h})
	return b
}

func (w *Writer) put(l line) {
	if w.err != nil {
		return
	}
	b, err := encode(l)
	if err == nil {
		w.sum.Write(b)
		_, err = w.w.Write(b)
	}
	w.err = err
}

// Lane begins a lane. hash is the lane hash that its answered payments come to.
func (w *Writer) Lane(l Lane, id channel.LaneID, hash [32]byte) {
	w.count.Lanes++
	w.id, w.final, w.next = id, hash, l.FirstSeq
	w.hash = [32]byte{}
	if l.StartHash != "" && w.err == nil {
		w.err = fromHex(w.hash[:], l.StartHash)
	}
	w.done = w.hash == w.final
	w.put(line{Lane: &l})
}

// Payment adds a payment with its result; one that has no answer is pending. What comes after the lane
// hash was reached is the chain's answer.
func (w *Writer) Payment(seq uint64, time int64, p channel.Payment, r channel.RefuseReason, pending bool) {
	if seq > w.next {
		w.put(line{Missing: &Missing{From: w.next, To: seq - 1}})
	}
	w.next = seq + 1
	w.count.Payments++
	b := NewPayment(seq, time, p)
	switch {
	case pending:
		b.Result = Pending
	case w.done:
		b.Result, b.ByChain = r.String(), true
	default:
		w.hash = channel.LaneHash(w.hash, w.id, seq, p, r)
		w.done = w.hash == w.final
		b.Result, b.Hash = r.String(), hex.EncodeToString(w.hash[:8])
	}
	w.put(line{Payment: &b})
}

// EndLane ends the lane.
func (w *Writer) EndLane(e End) {
	if e.NextSeq > w.next {
		w.put(line{Missing: &Missing{From: w.next, To: e.NextSeq - 1}})
	}
	w.put(line{End: &e})
}

// Close ends the book. It returns the first error of all.
func (w *Writer) Close() error {
	w.count.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	w.put(line{Sum: &w.count})
	return w.err
}
