package channel

import "fmt"

// Plain values in which a node tells its owner what it knows and what it did. They stand here, in the
// room that every other one may import, so that the daemon can give them and the API, the gateway and
// embedding programs can take them without importing each other.

// Code is the closed set of reasons for which a node refuses or fails a request.
type Code string

const (
	CodeBadRequest        Code = "invalid_argument"      // the request makes no sense as it stands
	CodeNotFound          Code = "not_found"             // no such channel, payment, transaction
	CodeAmbiguous         Code = "ambiguous"             // a prefix that matches several
	CodeUnknownPeer       Code = "unknown_peer"          // no address known for this peer
	CodePeerUnreachable   Code = "peer_unreachable"      // could not connect, or cut off
	CodePeerRefused       Code = "peer_refused"          // the peer said no; Text has its words
	CodeIncompatible      Code = "incompatible_peer"     // other network, version or required feature
	CodeNotOpen           Code = "channel_not_open"      // not confirmed, closing or closed
	CodeExpiring          Code = "channel_expiring"      // too near the lane's expiry
	CodeInsufficient      Code = "insufficient_capacity" // more than is spendable on the channel
	CodeNoCredit          Code = "insufficient_credit"   // vouchers do not cover it, or the draw was authorised for less
	CodeBadProof          Code = "bad_proof"             // a binding's code is wrong
	CodeBadSignature      Code = "bad_signature"         // a voucher's signature is wrong
	CodeInsufficientFunds Code = "insufficient_funds"    // more than the on-chain wallet has
	CodeIDConflict        Code = "id_conflict"           // the payment id was used for something else
	CodeLimit             Code = "limit"                 // the node's own policy says no
	CodeApproval          Code = "approval_required"     // waits for the owner's yes; nothing was signed
	CodeFrozen            Code = "frozen"                // the owner, or an alarm, stopped what pays out
	CodeRefused           Code = "payment_refused"       // the payee did not take the payment
	CodeChainUnreachable  Code = "chain_unreachable"     // the chain backend is away
	CodeNotReady          Code = "not_ready"             // starting, or recovering
	CodePending           Code = "pending"               // outcome not known yet; ask again with the same id
	CodeDiskFull          Code = "disk_full"
	CodeRejected          Code = "tx_rejected" // the chain backend did not take a transaction
	CodeUnsupported       Code = "unsupported"
	CodeStopping          Code = "stopping"
	CodeFailure           Code = "internal"
)

// Retryable reports whether the same request can succeed later without a change.
func (c Code) Retryable() bool {
	switch c {
	case CodePeerUnreachable, CodeChainUnreachable, CodeNotReady, CodePending, CodeStopping, CodeDiskFull:
		return true
	}
	return false
}

// Fault is an error that the owner sees.
type Fault struct {
	Code Code
	Text string // what is wrong, with figures
	Hint string // what to do; may be empty
}

func (f *Fault) Error() string { return f.Text }

// Faultf makes a Fault without a hint.
func Faultf(c Code, format string, args ...any) *Fault {
	return &Fault{Code: c, Text: fmt.Sprintf(format, args...)}
}

// WithHint returns the fault with advice.
func (f *Fault) WithHint(format string, args ...any) *Fault {
	g := *f
	g.Hint = fmt.Sprintf(format, args...)
	return &g
}

// NodeStatus is the node's health.
type NodeStatus struct {
	Version   string
	Network   string
	Backend   string
	PeerID    PeerID
	Addr      string // one shareable multiaddr
	Height    uint32
	Synced    bool
	FeeSource string
	FeeRate   uint64 // sat per 1000 vB, for 6 blocks
	Channels  int    // not final
	Wallet    Balance
	Attention []string // what needs the owner, most urgent first
}

// Backup is a copy of what a node can't make again from its seed, encrypted under a key from the seed.
type Backup struct {
	Data     []byte
	Channels int   // that are in it: those that are not over
	Made     int64 // unix seconds
}

// Balance is all money of the node.
type Balance struct {
	Onchain       Sat // confirmed, spendable
	Pending       Sat
	Locked        Sat // reserved for transactions that were not published
	ChannelLocal  Msat
	ChannelRemote Msat
}

// Sent is the result of an on-chain transaction.
type Sent struct {
	TxID   string
	Amount Sat
	Fee    Sat
}

// WalletTx is one line of on-chain history.
type WalletTx struct {
	TxID          string
	Amount        int64 // sat gained or lost, fee included
	Fee           Sat
	Confirmations uint32
	Height        uint32
	Time          int64 // unix seconds
	Label         string
}

// PeerInfo is a peer that is or was connected.
type PeerInfo struct {
	PeerID    PeerID
	Addrs     []string
	Connected bool
	Agent     string
	Channels  int
}

// OpenRequest asks for a channel.
type OpenRequest struct {
	Peer        string // id, unique prefix or multiaddr
	Deposit     Sat
	PeerDeposit Sat
	Expiry      uint32 // blocks from now; 0: the network's default
	FeeRate     uint64 // sat per 1000 vB; 0: estimate
	DryRun      bool   // only say what it would cost
	External    bool   // don't fund from the own wallet: return the address
}

// OpenResult describes a channel that was, or would be, opened.
type OpenResult struct {
	Channel        ID
	PeerID         PeerID
	Phase          Phase
	Deposit        Sat
	PeerDeposit    Sat
	FundingTxID    string
	FundingAddress string
	OpenFee        Sat
	CloseFee       Sat    // estimate
	Expiry         uint32 // block height at which the deposit returns if the peer vanishes
	ExpiresAt      int64  // about, unix seconds; 0 where blocks come when somebody mines them
	Confirmations  uint32 // that the peer asks for; 0 while it was not asked
}

// ChannelInfo is one channel as its owner sees it.
type ChannelInfo struct {
	Channel       ID
	PeerID        PeerID
	Connected     bool
	Phase         Phase
	Reason        string // why it can't pay or receive now; empty when it can
	Deposit       Sat
	PeerDeposit   Sat
	Sent          Msat // spent on the own lane
	Received      Msat
	Spendable     Msat
	Receivable    Msat
	Credit        Msat  // own vouchers above what was spent
	Net           int64 // msat: received minus sent
	Recoverable   Sat   // that returns to the own wallet if the channel ended now
	Expiry        uint32
	ExpiresAt     int64 // about, unix seconds; 0 where blocks come when somebody mines them
	Confirmations uint32
	Required      uint32
	FundingTxID   string
	PeerFundingTx string
	FundingAddr   string
	CloseTxID     string
}

// PayRequest is one payment. Zero ID: the node draws one.
type PayRequest struct {
	Target string // channel id, peer id, or a unique prefix
	Amount Msat
	Ref    string
	ID     PaymentID
	HasID  bool
}

// PayStatus is the fate of a payment.
type PayStatus uint8

const (
	PayPending      PayStatus = iota // signed; the answer is not known
	PayAcknowledged                  // durable at the payee
	PayRefused                       // the payee did not take it; the amount is credit on the lane
)

func (s PayStatus) String() string { return [...]string{"pending", "acknowledged", "refused"}[s%3] }

// PayResult is the fate of a payment as far as it is known.
type PayResult struct {
	ID      PaymentID
	Channel ID
	Amount  Msat
	Total   Msat // vouchered on the lane up to this payment
	Status  PayStatus
	Reason  RefuseReason
}

// Direction of a payment.
type Direction uint8

const (
	Sending Direction = iota
	Receiving
)

func (d Direction) String() string { return [...]string{"out", "in"}[d&1] }

// PaymentInfo is one payment in the history.
type PaymentInfo struct {
	Seq     uint64 // on its lane
	Time    int64  // unix milliseconds
	Dir     Direction
	Channel ID
	PeerID  PeerID
	ID      PaymentID
	Amount  Msat
	Total   Msat
	Ref     string
	Status  PayStatus
	Reason  RefuseReason
}

// PaymentFilter selects history, newest first. Zero values select all.
type PaymentFilter struct {
	Channel string
	Peer    string
	ID      PaymentID
	HasID   bool
	Since   int64 // unix milliseconds
	Limit   int   // 0: 100
}

// EventKind says what an Event tells.
type EventKind uint8

const (
	EventPayment EventKind = iota + 1 // Payment is set: answered (out) or accepted (in)
	EventPhase                        // Channel moved to Phase
	EventLane                         // a lane of Channel became ready, or stopped; Text says which
	EventAlert                        // Text needs the owner's eye
)

func (k EventKind) String() string {
	return [...]string{"none", "payment", "phase", "lane", "alert"}[k%5]
}

// Event is one entry of the node's event log. Seq grows by at least one and survives restarts.
type Event struct {
	Seq     uint64
	Time    int64 // unix milliseconds
	Kind    EventKind
	Channel ID
	PeerID  PeerID
	Phase   Phase
	Payment PaymentInfo
	TxID    string
	Text    string
}

// CloseRequest ends a channel.
type CloseRequest struct {
	Channel string // id or unique prefix
	Force   bool   // alone: settle as payee, wait for the refund as payer
	FeeRate uint64 // sat per 1000 vB; 0: estimate
	To      string // address for the own share; empty: own wallet
}

// CloseResult tells how a channel ends.
type CloseResult struct {
	Channel      ID
	Kind         string // coop, settle, refund_wait
	TxID         string
	Local        Sat
	Remote       Sat
	Fee          Sat
	RefundHeight uint32 // of refund_wait
}

// SettleRequest takes alone what lanes earned; their channels end by it.
type SettleRequest struct {
	Channels []string // ids or unique prefixes; empty with All
	All      bool     // every lane that is worth its fee
	BelowFee uint64   // sat per 1000 vB: do nothing while fees are higher; 0: at any fee
	FeeRate  uint64   // sat per 1000 vB; 0: estimate
	DryRun   bool     // only say what would be done
}

// What becomes of a lane that could be settled.
const (
	SettleNow        = "settled"    // or would be, of a dry run
	SettleUnderway   = "underway"   // its settlement was built before and waits for a block
	SettleUneconomic = "uneconomic" // the fee is too much of it now
	SettleLeft       = "left"       // Reason says why
)

// SettledLane is one lane in the answer to a SettleRequest.
type SettledLane struct {
	Channel      ID
	PeerID       PeerID
	Status       string // one of the Settle constants
	Reason       string // why it is not settled now
	Value        Sat    // what it earned
	Fee          Sat    // its share of it, or what it would be
	TxID         string
	Deposit      Sat    // own deposit in the channel, which returns
	RefundHeight uint32 // from this block on, if the peer does not settle earlier
}

// SettleResult lists the lanes, the largest first, and adds up those that are settled now.
type SettleResult struct {
	Lanes   []SettledLane
	Value   Sat
	Fee     Sat
	FeeRate uint64 // sat per 1000 vB
	// LogReport is what came of checking a node's own book.
}
type LogReport struct {
	Records  uint64 // of the journal; 0 if there is none
	Bytes    int64  // that it takes on the disk
	Lanes    uint64
	Payments uint64
	Problems []string // empty: all of it is right
}

// PruneRequest drops payments from the book that are older than a time or a height, and below a checkpoint
// that both sides signed.
type PruneRequest struct {
	Before  int64  // unix milliseconds
	Height  uint32 // instead: of about the time of this block
	Archive bool   // keep the journal's old segments beside the new ones
	DryRun  bool   // only say what would be dropped
}

// PruneResult is what was dropped.
type PruneResult struct {
	Lanes       uint64
	Payments    uint64
	BytesBefore int64 // of the journal
	BytesAfter  int64
}
