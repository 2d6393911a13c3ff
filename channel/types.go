package channel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sort"
)

// Msat is an off-chain amount in thousandths of a satoshi.
type Msat uint64

// Sat is an on-chain amount in satoshis.
type Sat uint64

// Sat rounds up: on the chain a part of a satoshi costs a whole one.
func (m Msat) SatCeil() Sat { return Sat(m/1000) + Sat((m%1000+999)/1000) }

// Msat converts; ok is false when the result would not fit.
func (s Sat) Msat() (m Msat, ok bool) {
	if s > MaxMoney {
		return 0, false
	}
	return Msat(s) * 1000, true
}

// PeerID is the text form of a node's identity. This package only compares it.
type PeerID string

// ID names a channel, LaneID one of its lanes, PaymentID one payment on a lane.
type (
	ID        [32]byte
	LaneID    [32]byte
	PaymentID [16]byte
)

func (id ID) String() string        { return hex.EncodeToString(id[:]) }
func (id LaneID) String() string    { return hex.EncodeToString(id[:]) }
func (id PaymentID) String() string { return hex.EncodeToString(id[:]) }

// Key is a compressed secp256k1 public key.
type Key [33]byte

// Signature is a BIP 340 signature.
type Signature [64]byte

// Outpoint names a transaction output. TxID is in internal byte order.
type Outpoint struct {
	TxID  [32]byte
	Index uint32
}

// LaneTerms is all that defines a lane. Each side derives scripts and ids from it alone.
type LaneTerms struct {
	Genesis [32]byte // hash of the ledger's first block, internal byte order
	Payer   Key      // signs vouchers
	Payee   Key      // takes settlements
	Refund  Key      // receives what a settlement leaves to the payer
	Expiry  uint32   // block height from which the payer can refund alone
	Deposit Sat      // value of the funding output; 0 means that there is no such lane
}

// Exists reports whether the lane was agreed at all.
func (t LaneTerms) Exists() bool { return t.Deposit > 0 }

// Capacity is the most that can ever be vouchered on the lane.
func (t LaneTerms) Capacity() Msat {
	if t.Deposit <= ReserveSat || t.Deposit > MaxMoney {
		return 0
	}
	return Msat(t.Deposit-ReserveSat) * 1000
}

// ID is TaggedHash("runnel/lane", genesis || payer || payee || refund || u32 expiry || u64 deposit),
// integers big-endian.
func (t LaneTerms) ID() LaneID {
	var b []byte
	b = append(b, t.Genesis[:]...)
	b = append(b, t.Payer[:]...)
	b = append(b, t.Payee[:]...)
	b = append(b, t.Refund[:]...)
	b = binary.BigEndian.AppendUint32(b, t.Expiry)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Deposit))
	return LaneID(TaggedHash("runnel/lane", b))
}

// NewID is TaggedHash("runnel/channel", sorted peer ids || 16-byte nonce of the opener). Each peer id
// is preceded by its u16 length so that no two pairs share an encoding.
func NewID(a, b PeerID, nonce [16]byte) ID {
	ids := [][]byte{[]byte(a), []byte(b)}
	sort.Slice(ids, func(i, j int) bool { return bytes.Compare(ids[i], ids[j]) < 0 })
	var buf []byte
	for _, id := range ids {
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(id)))
		buf = append(buf, id...)
	}
	return ID(TaggedHash("runnel/channel", append(buf, nonce[:]...)))
}

// TaggedHash is BIP 340's SHA256(SHA256(tag) || SHA256(tag) || data).
func TaggedHash(tag string, data []byte) [32]byte {
	t := sha256.Sum256([]byte(tag))
	h := sha256.New()
	h.Write(t[:])
	h.Write(t[:])
	h.Write(data)
	return [32]byte(h.Sum(nil))
}

// Payment is one payment as it travels on a lane.
type Payment struct {
	ID     PaymentID
	Amount Msat
	Ref    string // at most MaxRefBytes; shown to people, bound into the lane hash
}

// Frame carries payments with consecutive sequence numbers under one cumulative voucher.
type Frame struct {
	Lane      LaneID
	FirstSeq  uint64 // sequence numbers of a lane start at 1
	Payments  []Payment
	Total     Msat // vouchered on the lane, this frame included
	Signature Signature
}

// NextSeq is the sequence number after the frame's last payment.
func (f *Frame) NextSeq() uint64 { return f.FirstSeq + uint64(len(f.Payments)) }

// Refusal is one payment that a payee did not accept. Its amount stays with the payer as credit.
type Refusal struct {
	Seq    uint64
	Reason RefuseReason
}

// Ack is the payee's durable answer to every payment below NextSeq.
type Ack struct {
	Lane    LaneID
	NextSeq uint64
	Total   Msat // of the last answered frame
	Spent   Msat
	Refused []Refusal // those of the answered frames, ascending
	Hash    [32]byte  // lane hash after NextSeq-1
}

// Open asks a peer for a channel. Lane keys of the opener come with it; the peer answers with its own.
type Open struct {
	Nonce       [16]byte
	Deposit     Sat // opener's lane
	PeerDeposit Sat // lane that the peer is asked to add; 0 for none
	Expiry      uint32
	PeerExpiry  uint32
	Payer       Key // opener's lane
	Refund      Key
	Payee       Key // for the peer's lane
	Tip         uint32
	MaxUnacked  Msat
	Window      uint32

	Confirmations uint32 // that the opener asks of the peer's lane
}

// Accept answers Open. The peer's terms are binding as soon as it was sent.
type Accept struct {
	Channel       ID
	Payee         Key // for the opener's lane
	Payer         Key // for the peer's own lane; zero when there is none
	Refund        Key
	PeerDeposit   Sat // what the peer really adds: 0, or what was asked
	Confirmations uint32
	MaxUnacked    Msat
	Window        uint32
}

// Refuse answers a request that names a channel (or an Open by its future channel id).
type Refuse struct {
	Channel ID
	Code    string // one of the Deny* constants; unknown codes are shown as they are
	Text    string // at most MaxTextBytes, for people
}

// Funded tells the payee which output the payer's vouchers spend.
type Funded struct {
	Lane    LaneID
	Funding Outpoint
}

// Ready tells the payer that the payee takes vouchers on the lane.
type Ready struct{ Lane LaneID }

// LaneReport is what a payee knows about a lane that pays it.
type LaneReport struct {
	NextSeq   uint64
	Total     Msat
	Spent     Msat
	Signature Signature // newest voucher; zero while Total is 0
	Hash      [32]byte

	Draws    uint64   `json:",omitempty"` // that ended
	Drawn    Msat     `json:",omitempty"` // their sum, which is not in Spent
	DrawHash [32]byte `json:",omitzero"`
}

// Resync opens every connection, for each channel, before anything is signed.
type Resync struct {
	Channel ID
	Phase   Phase
	In      LaneReport // the lane that pays the sender; zero when there is none
	Funding Outpoint   // of the lane that the sender pays on; zero when not funded
	Ready   bool       // the sender takes vouchers on the lane that pays it
	Acked   uint64     // on the lane that the sender pays on: first sequence number without an answer
	Draws   uint64     // on the same lane: draws that the sender accepted
}

// Stop ends vouchers: the sender has made closing durable.
type Stop struct {
	Channel ID
	In      LaneReport // final: its Spent and Drawn are what a close pays
	Payout  []byte     // output script to which the sender wants its share
}

// CloseOffer proposes a closing transaction in which the sender pays the whole fee. Inputs, outputs and
// their order follow from both Stops and Fee; there is one public nonce for each input.
type CloseOffer struct {
	Channel ID
	Attempt [16]byte
	Fee     Sat
	Nonces  [][66]byte
}

// CloseSign answers CloseOffer with the responder's nonces and partial signatures.
type CloseSign struct {
	Channel  ID
	Attempt  [16]byte
	Nonces   [][66]byte
	Partials [][32]byte
}

// Newest is a payer's newest voucher, for a payee whose record has become older than its own answers. NextSeq,
// Spent and Hash of the report are those of the last answer that the payer has.
type Newest struct {
	Lane LaneID
	Out  LaneReport
}

// Draws reports draws that ended, in the order of their chain. Their payer accepts each if it authorised that N
// for at least that amount, and once.
type Draws struct {
	Lane     LaneID
	FirstSeq uint64   // of the first; from 1
	Draws    []Draw   // 1 to MaxReportDraws
	Hash     [32]byte // of the chain after the last
}

// DrawsAck is the payer's durable answer: as many draws it has accepted.
type DrawsAck struct {
	Lane  LaneID
	Count uint64
}

// DrawsVoid names authorisations that perhaps never reached the payee. Those that it does not know end with nothing.
type DrawsVoid struct {
	Lane LaneID
	N    []uint64 // 1 to MaxReportDraws
}

// CloseDone hands the finished transaction to the responder.
type CloseDone struct {
	Channel ID
	Tx      []byte
}

// Message is anything that one peer tells another about a channel.
type Message interface{ message() }

func (*Open) message()       {}
func (*Accept) message()     {}
func (*Refuse) message()     {}
func (*Funded) message()     {}
func (*Ready) message()      {}
func (*Frame) message()      {}
func (*Ack) message()        {}
func (*Resync) message()     {}
func (*Stop) message()       {}
func (*CloseOffer) message() {}
func (*CloseSign) message()  {}
func (*CloseDone) message()  {}
func (*Newest) message()     {}
func (*Draws) message()      {}
func (*DrawsAck) message()   {}
func (*DrawsVoid) message()  {}
