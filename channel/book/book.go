// Package book is the exported form of what was paid: lines of JSON that anybody can check without a node.
// It writes and checks them and finds the first difference of two; it knows no store and no signatures.
//
//	r := book.NewReader(file, nil)
//	for item, err := r.Next(); err == nil; item, err = r.Next() { ... } // io.EOF: all of it is right
//
// Every line is an object with one key:
//
//	{"book":{...}}     first: version, network, node, time of writing
//	{"lane":{...}}     a lane; lanes come in the order of their ids
//	{"payment":{...}}  a payment on it, in the order of sequence numbers
//	{"missing":{...}}  payments that this book does not have
//	{"end":{...}}      what the lane comes to
//	{"sum":{...}}      last: how much there was, and the SHA-256 of all lines before this one
//
// Ids, hashes, keys and signatures are lower-case hexadecimal, transaction ids as block explorers show
// them, times unix milliseconds. `h` of a payment is the first 8 bytes of the lane hash behind it.
package book

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/runnel/runnel/channel"
)

// Version is that of the format.
const Version = 1

// Header is the first line.
type Header struct {
	Version int    `json:"version"`
	Network string `json:"network"`
	Node    string `json:"node"`
	Time    int64  `json:"time"`
}

// Lane begins a lane. FirstSeq, StartHash and StartSpent say where the book begins: at 1, or at a
// checkpoint below which it was pruned.
type Lane struct {
	Channel    string `json:"channel_id"`
	Peer       string `json:"peer_id"`
	Phase      string `json:"phase"`
	Direction  string `json:"direction"` // out: the node pays on it
	ID         string `json:"lane_id"`
	Genesis    string `json:"genesis"`
	Payer      string `json:"payer_key"`
	Payee      string `json:"payee_key"`
	Refund     string `json:"refund_key"`
	Expiry     uint32 `json:"expiry"`
	Deposit    uint64 `json:"deposit_sat"`
	TxID       string `json:"funding_txid"`
	Index      uint32 `json:"funding_index"`
	FirstSeq   uint64 `json:"first_seq"`
	StartHash  string `json:"start_hash"`
	StartSpent uint64 `json:"start_spent_msat"`
}

// Results of a payment beside the reasons of channel.RefuseReason.
const (
	Accepted = "accepted"
	Pending  = "pending" // no answer is known
)

// Payment is one payment.
type Payment struct {
	Seq    uint64 `json:"seq"`
	Time   int64  `json:"time"`
	ID     string `json:"payment_id"`
	Amount uint64 `json:"amount_msat"`
	Ref    string `json:"ref,omitempty"`
	RefHex string `json:"ref_hex,omitempty"` // instead of ref, if that is no text
	Result string `json:"result"`
	// ByChain is set on an own payment that never had an answer and whose result the chain told. It is not
	// part of the lane hash.
	ByChain bool   `json:"by_chain,omitempty"`
	Hash    string `json:"h,omitempty"` // only of answered payments
}

// Missing says that payments are not in this book.
type Missing struct {
	From uint64 `json:"from_seq"`
	To   uint64 `json:"to_seq"` // inclusive
}

// End ends a lane.
type End struct {
	NextSeq uint64 `json:"next_seq"`
	Total   uint64 `json:"total_msat"` // vouchered
	Spent   uint64 `json:"spent_msat"` // accepted, as far as the lane hash goes
	Hash    string `json:"lane_hash"`
	Voucher string `json:"voucher,omitempty"` // the payer's signature over total
	Frozen  string `json:"frozen,omitempty"`
}

// Sum ends the book.
type Sum struct {
	Lanes    uint64 `json:"lanes"`
	Payments uint64 `json:"payments"`
	SHA256   string `json:"sha256"`
}

// line is one line: one of them is set.
type line struct {
	Book    *Header  `json:"book,omitempty"`
	Lane    *Lane    `json:"lane,omitempty"`
	Payment *Payment `json:"payment,omitempty"`
	Missing *Missing `json:"missing,omitempty"`
	End     *End     `json:"end,omitempty"`
	Sum     *Sum     `json:"sum,omitempty"`
}

// NewLane describes a lane.
func NewLane(st *channel.State, out bool) Lane {
	t, f, direction := &st.Terms.In, &st.InFunding, "in"
	if out {
		t, f, direction = &st.Terms.Out, &st.OutFunding, "out"
	}
	id := t.ID()
	return Lane{Channel: st.Terms.ID.String(), Peer: string(st.Terms.Peer), Phase: st.Phase.String(), Direction: direction, ID: id.String(),
		Genesis: channel.TxIDString(t.Genesis), Payer: hex.EncodeToString(t.Payer[:]), Payee: hex.EncodeToString(t.Payee[:]),
		Refund: hex.EncodeToString(t.Refund[:]), Expiry: t.Expiry, Deposit: uint64(t.Deposit), TxID: channel.TxIDString(f.Claimed.TxID),
		Index: f.Claimed.Index, FirstSeq: 1}
}

// Terms are the lane's, and the output that its vouchers spend.
func (l *Lane) Terms() (t channel.LaneTerms, funding channel.Outpoint, err error) {
	t = channel.LaneTerms{Expiry: l.Expiry, Deposit: channel.Sat(l.Deposit)}
	funding.Index = l.Index
	err = errors.Join(txid(t.Genesis[:], l.Genesis), txid(funding.TxID[:], l.TxID), fromHex(t.Payer[:], l.Payer), fromHex(t.Payee[:], l.Payee), fromHex(t.Refund[:], l.Refund))
	if err == nil && t.ID().String() != l.ID {
		err = errors.New("the lane's id does not follow from its terms")
	}
	return t, funding, err
}

// NewEnd ends a lane.
func NewEnd(l *channel.Lane) End {
	e := End{NextSeq: l.NextSeq, Total: uint64(l.Total), Spent: uint64(l.Spent), Hash: hex.EncodeToString(l.Hash[:]), Frozen: l.Frozen.String()}
	if l.Total > 0 {
		e.Voucher = hex.EncodeToString(l.Voucher[:])
	}
	return e
}

// Signature is the newest voucher's.
func (e *End) Signature() (sig channel.Signature, err error) { return sig, fromHex(sig[:], e.Voucher) }

// NewPayment describes a payment without its result.
func NewPayment(seq uint64, time int64, p channel.Payment) Payment {
	b := Payment{Seq: seq, Time: time, ID: p.ID.String(), Amount: uint64(p.Amount)}
	if utf8.ValidString(p.Ref) {
		b.Ref = p.Ref
	} else {
		b.RefHex = hex.EncodeToString([]byte(p.Ref))
	}
	return b
}

// payment is the opposite of NewPayment, with the result; answered is false while there is none in the
// lane hash.
func (p *Payment) payment() (out channel.Payment, r channel.RefuseReason, answered bool, err error) {
	out = channel.Payment{Amount: channel.Msat(p.Amount), Ref: p.Ref}
	if err := fromHex(out.ID[:], p.ID); err != nil {
		return out, 0, false, err
	}
	if p.RefHex != "" {
		b, err := hex.DecodeString(p.RefHex)
		if err != nil || p.Ref != "" {
			return out, 0, false, errors.New("the reference can't be read")
		}
		out.Ref = string(b)
	}
	if err := channel.CheckPayment(out); err != nil {
		return out, 0, false, err
	}
	if p.Result == Pending {
		return out, 0, false, nil
	}
	r, err = reason(p.Result)
	return out, r, !p.ByChain, err
}

func reason(s string) (channel.RefuseReason, error) {
	for i := range 256 {
		if r := channel.RefuseReason(i); r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%q is no result", s)
}

func fromHex(dst []byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) {
		return fmt.Errorf("%q is not %d bytes in hexadecimal", s, len(dst))
	}
	copy(dst, b)
	return nil
}

// txid reads an id that is written backwards; none is all zeros.
func txid(dst []byte, s string) error {
	if s == "" {
		clear(dst)
		return nil
	}
	if err := fromHex(dst, s); err != nil {
		return err
	}
	for i, j := 0, len(dst)-1; i < j; i, j = i+1, j-1 {
		dst[i], dst[j] = dst[j], dst[i]
	}
	return nil
}

func encode(l line) ([]byte, error) {
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}
