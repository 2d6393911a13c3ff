package channel

import "encoding/binary"

// The log of a lane is all its payments with their results, in the order of their sequence numbers. Its
// Merkle root (RFC 6962) is what both sides sign now and then, so that one payment can be proven to somebody
// who has nothing of the log (protocol.md 13).

// LeafSize is the length of one entry of the log.
const LeafSize = 32 + 8 + 8 + 16 + 32 + 1

// LogLeaf is one entry of a lane's log: lane || u64 seq || u64 amount || id || SHA256(ref) || u8 result, the
// same content that the lane hash chains.
func LogLeaf(lane LaneID, seq uint64, p Payment, r RefuseReason) (b [LeafSize]byte) {
	ref := refHash(p.Ref)
	n := copy(b[:], lane[:])
	binary.BigEndian.PutUint64(b[n:], seq)
	binary.BigEndian.PutUint64(b[n+8:], uint64(p.Amount))
	n += 16
	n += copy(b[n:], p.ID[:])
	n += copy(b[n:], ref[:])
	b[n] = byte(r)
	return b
}

// LogRoot says what a lane's log is up to one of its payments.
type LogRoot struct {
	Lane  LaneID
	Size  uint64 // entries: the payments 1 to Size
	Total Msat   // vouchered on the lane with the last of them
	Spent Msat
	Hash  [32]byte // lane hash after the last of them
	Root  [32]byte // Merkle root of the entries
	Time  uint64   // when the payee signed, unix seconds by its clock
}

// Digest is what payer and payee sign, each with its own lane key:
// TaggedHash("runnel/root", lane || u64 size || u64 total || u64 spent || lane hash || root || u64 time).
func (r *LogRoot) Digest() [32]byte {
	b := make([]byte, 0, 3*32+4*8)
	b = append(b, r.Lane[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Size)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Total))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Spent))
	b = append(b, r.Hash[:]...)
	b = append(b, r.Root[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Time)
	return TaggedHash("runnel/root", b)
}

// Same reports whether two roots say the same of the log, whenever they were signed.
func (r LogRoot) Same(o LogRoot) bool {
	r.Time, o.Time = 0, 0
	return r == o
}

// Checkpoint is a root that both sides signed: neither can deny what is below it.
type Checkpoint struct {
	LogRoot
	Payee Signature
	Payer Signature
}

// Root is the payee's signature over its log of a lane.
type Root struct {
	Log       LogRoot
	Signature Signature
}

// RootAck answers Root once the payer found the same in its own book and stored it: with the payee's
// signature again, so that a payee that lost its record has all of it, and the payer's own.
type RootAck struct {
	Log   LogRoot
	Payee Signature
	Payer Signature
}

// RootRequest asks the payee of a lane for a root over all that it has answered.
type RootRequest struct{ Lane LaneID }

func (*Root) message()        {}
func (*RootAck) message()     {}
func (*RootRequest) message() {}

// BooksDiffer is an event: the payee signed a root of the own lane's log that is not what we have.
type BooksDiffer struct{}

func (BooksDiffer) input() {}

// booksDiffer freezes the lane, unless the chain has ended it: then nothing is left to freeze.
func (s *State) booksDiffer() []Effect {
	if s.OutFunding.Spend != nil {
		return nil
	}
	return s.freezeOut(FrozenHash)
}

// ReceiptFormat and ReceiptVersion are the first two fields of a receipt's file.
const (
	ReceiptFormat  = "runnel-receipt"
	ReceiptVersion = 1
)

// Receipt proves one payment, or its refusal, to anybody: its entry in a log whose root both sides signed.
type Receipt struct {
	Network    string
	Terms      LaneTerms
	Seq        uint64
	Payment    Payment
	Result     RefuseReason
	Path       [][32]byte // from the entry up to the root, RFC 6962
	Checkpoint Checkpoint
}

// ReceiptRequest names a payment. Channel, an id or a unique prefix, says which one when peers chose the same
// id; it may be empty.
type ReceiptRequest struct {
	ID      PaymentID
	Channel string
}
