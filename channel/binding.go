package channel

import "encoding/binary"

// Plain values of metered use: what an application carries from a payer's node to a payee's node when a request
// and not a frame is what pays (protocol.md 4, draws).

// Binding ties an authorisation to one request. Whoever sees the voucher can't draw on its credit without the lane
// secret, and who knows the secret draws once for each N.
type Binding struct {
	Challenge      string // id of the payee's challenge
	Method         string // of the request
	Authority      string // host, with a port that is not the scheme's own
	Target         string // path and query as they were sent
	Body           [32]byte
	IdempotencyKey string
	N              uint64 // used once on a lane
	Max            Msat   // the most that may be drawn for N, or for Raise if that is set
	Raise          uint64 // N of a running draw that may take up to Max from now on; N itself then takes nothing
}

// Bytes is what the binding's code is computed over: every text behind its u32 length, integers big-endian.
func (b *Binding) Bytes(lane LaneID, total Msat) []byte {
	var buf []byte
	text := func(s string) {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	text(b.Challenge)
	text(string(lane[:]))
	buf = binary.BigEndian.AppendUint64(buf, uint64(total))
	text(b.Method)
	text(b.Authority)
	text(b.Target)
	text(string(b.Body[:]))
	text(b.IdempotencyKey)
	for _, n := range []uint64{b.N, uint64(b.Max), b.Raise} {
		buf = binary.BigEndian.AppendUint64(buf, n)
	}
	return buf
}

// Authorisation lets the payee draw for one request. It travels through the application.
type Authorisation struct {
	Channel   ID
	Total     Msat // vouchered on the lane, cumulative
	Signature Signature
	Binding   Binding
	MAC       [32]byte // HMAC-SHA256 of Binding.Bytes under the lane secret
}

// AuthoriseRequest asks the payer's node for an authorisation.
type AuthoriseRequest struct {
	Channel string    // hex id, or empty for the best channel with Peer
	Peer    string    // peer id of the payee; checked when Channel is named too
	ID      PaymentID // of the payment in the history; zero for a random one. The same id and request give the same answer
	Max     Msat      // the most that may be drawn for it; 0 for a request that only tops up
	Binding Binding   // N, Max and Raise are filled in by the node
	Raise   uint64    // N of a running draw whose highest amount grows by RaiseBy; Max is 0 then
	RaiseBy Msat
	Ref     string // for the history, at most MaxRefBytes
}

// AuthoriseResult is the authorisation and where the lane stands.
type AuthoriseResult struct {
	Authorisation
	Lane LaneStand
	ID   PaymentID
}

// LaneStand is where a lane stands for those who charge on it.
type LaneStand struct {
	Channel   ID
	Peer      PeerID
	Capacity  Msat
	Total     Msat // vouchered: acceptedCumulative
	Spent     Msat // pushed, drawn and held
	Signature Signature
	Closing   bool // takes nothing any more
}

// Credit is what is vouchered and not spent.
func (l LaneStand) Credit() Msat { return l.Total - l.Spent }

// DrawStatus says how far a draw is.
type DrawStatus uint8

const (
	DrawHeld  DrawStatus = iota // charged, not served yet
	DrawEnded                   // in the books of the payee
)

func (s DrawStatus) String() string { return [...]string{"held", "ended"}[s&1] }

// ChargeRequest opens a draw at the payee's node.
type ChargeRequest struct {
	Authorisation
	Amount Msat   // held for it; 0 only raises the voucher (a top-up)
	Ref    string // for the history
}

// Charge is a draw and where its lane stands.
type Charge struct {
	N        uint64
	Held     Msat // while it runs
	Used     Msat // when it has ended
	Status   DrawStatus
	Repeated bool // N was used before: this is how that draw stands, and nothing was charged now
	Lane     LaneStand
}
