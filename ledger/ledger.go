// Package ledger says what Runnel needs of a settlement ledger, in types of its own: 32-byte ids, raw
// transactions, heights. Scheme and Signer are the construction of lanes and vouchers; Wallet holds the
// operator's on-chain money; Chain sees blocks and publishes transactions.
//
//	if err := scheme.VerifyVoucher(lane, total, sig); err != nil { ... }
package ledger

import (
	"context"
	"errors"

	"github.com/runnel/runnel/channel"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrInsufficientFunds = errors.New("ledger: not enough funds")
	ErrUnreachable       = errors.New("ledger: chain backend not reachable")
	ErrUnsupported       = errors.New("ledger: this chain backend can't do that")
	ErrRejected          = errors.New("ledger: transaction rejected")
	ErrConflict          = errors.New("ledger: an input is already spent")
	ErrNotFound          = errors.New("ledger: not found")
	ErrBadAddress        = errors.New("ledger: not an address of this network")
	ErrBadVoucher        = errors.New("ledger: voucher signature is wrong")
	ErrBadRoot           = errors.New("ledger: signature of a log root is wrong")
	ErrBadTerms          = errors.New("ledger: lane terms are wrong")
	ErrTooSmall          = errors.New("ledger: output too small to relay")
	ErrUneconomic        = errors.New("ledger: fee would exceed the value")
	ErrNoBump            = errors.New("ledger: this transaction's fee can't be raised")
)

// Tx is a signed transaction in the ledger's own serialisation.
type Tx struct {
	ID  [32]byte // internal byte order
	Raw []byte
	Fee channel.Sat // 0 when unknown
}

// Output is a transaction output.
type Output struct {
	Script []byte
	Value  channel.Sat
}

// FeeRate is in satoshis for a thousand virtual bytes, so 1 sat/vB is 1000.
type FeeRate uint64

// Fee is the fee of so many virtual bytes, rounded up.
func (r FeeRate) Fee(vbytes int) channel.Sat {
	return channel.Sat((uint64(r)*uint64(vbytes) + 999) / 1000)
}

// Lane is a lane with its funding output.
type Lane struct {
	Terms   channel.LaneTerms
	Funding channel.Outpoint
}

// SpendKind says in which of the ways of the construction a funding output was spent.
type SpendKind uint8

const (
	SpendUnknown SpendKind = iota // key path: a close together, or a return of the deposit
	SpendSettle                   // voucher leaf: the payee took Total
	SpendRefund                   // refund leaf: the payer took all back
)

// Spend is what a transaction did to a funding output.
type Spend struct {
	Kind        SpendKind
	Total       channel.Msat // of SpendSettle: exactly what was vouchered
	RefundIndex uint32       // of SpendSettle: output that pays the refund script
	RefundValue channel.Sat
}

// Scheme is the public side of the construction (protocol.md 2 to 7). It is pure and safe for
// concurrent use.
type Scheme interface {
	Network() string
	Genesis() [32]byte
	// CheckTerms validates keys (curve points, all different), expiry and deposit of a lane.
	CheckTerms(channel.LaneTerms) error
	FundingScript(channel.LaneTerms) ([]byte, error)
	RefundScript(channel.LaneTerms) ([]byte, error)
	Address(script []byte) (string, error)
	Script(address string) ([]byte, error)
	// VerifyVoucher checks the payer's signature over a total (protocol.md 3).
	VerifyVoucher(Lane, channel.Msat, channel.Signature) error
	// VerifyRoot checks the signature of the lane's payer, or of its payee, over a root of its log
	// (protocol.md 13).
	VerifyRoot(t channel.LaneTerms, payer bool, r channel.LogRoot, sig channel.Signature) error
	// ParseSpend classifies raw, a transaction that spends the lane's funding output.
	ParseSpend(lane Lane, raw []byte) (Spend, error)
	// CloseTx is the unsigned closing transaction of both sides: inputs and outputs sorted by BIP 69.
	// Outputs below channel.DustSat are left to the fee.
	CloseTx(lanes []Lane, outputs []Output) (raw []byte, txid [32]byte, err error)
	// VerifyClose checks that raw is the close of these lanes and outputs with valid signatures.
	VerifyClose(raw []byte, lanes []Lane, outputs []Output) error
	TxID(raw []byte) ([32]byte, error)
	// Parts lists what a transaction spends and what it pays.
	Parts(raw []byte) ([]channel.Outpoint, []Output, error)
	CloseVSize(lanes int) int
	SettleVSize(lanes int) int
	RefundVSize(inputs int) int
}

// LaneKeys says which of our keys take part in a lane. Indexes are never used twice.
type LaneKeys struct {
	Lane  uint32 // index of our payer key (outgoing) or payee key (incoming)
	Payer bool   // we pay on this lane
}

// NonceSource gives 32 fresh bytes, unguessable outside tests.
type NonceSource func() [32]byte

// SettleLane is one lane of a settlement by its payee.
type SettleLane struct {
	Lane
	Index     uint32 // of our payee key
	Total     channel.Msat
	Signature channel.Signature
}

// RefundInput is one output that returns to the payer: the funding output after expiry (Settled
// false), or the refund output of a settlement (Settled true), one block after it.
type RefundInput struct {
	Terms    channel.LaneTerms
	Index    uint32 // key index of our payer key (funding) and refund key
	Outpoint channel.Outpoint
	Value    channel.Sat
	Settled  bool
}

// CloseSession holds the secret nonces of one attempt at a close together, in memory only. Each session
// signs once.
type CloseSession interface {
	// Nonces has one public nonce for each input of the transaction.
	Nonces() [][66]byte
	// Sign makes our partial signatures once the peer's nonces are known.
	Sign(peer [][66]byte) ([][32]byte, error)
	// Combine verifies the peer's partial signatures and returns the finished transaction.
	Combine(peer [][32]byte) (Tx, error)
}

// CloseLane is one lane of a close together.
type CloseLane struct {
	Lane
	Keys LaneKeys
}

// Recovery is what finds a lane again from the seed and the chain alone.
type Recovery struct {
	Payee  channel.Key
	Expiry uint32
	Index  uint32 // of our payer and refund keys
}

// Signer holds the lane keys. Safe for concurrent use. It never returns a secret key.
type Signer interface {
	PayerKey(index uint32) (channel.Key, error)
	PayeeKey(index uint32) (channel.Key, error)
	RefundKey(index uint32) (channel.Key, error)
	// SignVoucher signs a total on a lane that we pay on (protocol.md 3).
	SignVoucher(lane Lane, index uint32, total channel.Msat) (channel.Signature, error)
	// SignRoot signs a root of the log of a lane that we have a part in (protocol.md 13).
	SignRoot(t channel.LaneTerms, keys LaneKeys, r channel.LogRoot) (channel.Signature, error)
	// Settle takes the totals of lanes that pay us to script, minus the fee at rate (protocol.md 7).
	Settle(lanes []SettleLane, script []byte, rate FeeRate) (Tx, error)
	// Refund sweeps outputs that returned to us to script, minus the fee at rate. All inputs are
	// either funding outputs or refund outputs of settlements, of lanes of any expiry <= height.
	Refund(inputs []RefundInput, script []byte, rate FeeRate) (Tx, error)
	NewClose(lanes []CloseLane, outputs []Output) (CloseSession, error)
	// NewReturn spends one output at a lane's address, Funding, which is worth value, to its payer.
	NewReturn(lane CloseLane, value channel.Sat, to Output) (CloseSession, error)
	// LaneSecret is the key shared by both ends of a lane for a purpose (protocol.md 2).
	LaneSecret(lane channel.LaneTerms, keys LaneKeys, purpose string) ([32]byte, error)
	// SealRecovery makes the script of an unspendable output from which OpenRecovery reads r again.
	// anchor is the first input of the funding transaction: it makes the seal unique.
	SealRecovery(r Recovery, anchor channel.Outpoint) ([]byte, error)
	OpenRecovery(script []byte, anchor channel.Outpoint) (Recovery, error)
}

// Balance of the on-chain wallet.
type Balance struct {
	Confirmed channel.Sat // spendable now
	Pending   channel.Sat // incoming or change, not confirmed
	Locked    channel.Sat // reserved for transactions that were built and not published
}

// WalletTx is one line of the wallet's history.
type WalletTx struct {
	ID            [32]byte
	Amount        int64 // sat that the wallet gained or, negative, lost; fee included
	Fee           channel.Sat
	Confirmations uint32
	Height        uint32 // 0 while not confirmed
	Time          int64  // unix seconds
	Label         string
}

// Wallet is the operator's on-chain money. Every transaction that it makes signals replacement.
type Wallet interface {
	// NewAddress returns a fresh address and its output script.
	NewAddress(ctx context.Context) (address string, script []byte, err error)
	Balance(ctx context.Context) (Balance, error)
	// Fund builds and signs a transaction with outputs in the given order (the change may stand
	// anywhere after them) and locks its inputs; it does not publish. seal, when not nil, makes the
	// script of one more output of value 0 from the first input.
	Fund(ctx context.Context, outputs []Output, rate FeeRate, seal func(first channel.Outpoint) ([]byte, error)) (Tx, error)
	// Release unlocks the inputs of a transaction from Fund that will not be published.
	Release(ctx context.Context, tx Tx) error
	// Record tells the wallet of a transaction of ours that it did not make or that was published
	// through Chain, so that its balance and history know it at once.
	Record(ctx context.Context, tx Tx, label string) error
	// Send pays value to script; SendAll pays all that can be spent. Both publish.
	Send(ctx context.Context, script []byte, value channel.Sat, rate FeeRate) (Tx, error)
	SendAll(ctx context.Context, script []byte, rate FeeRate) (Tx, error)
	// Bump replaces an unconfirmed transaction of this wallet by one at a higher rate, or spends an
	// output of it by a child where it can't be replaced.
	Bump(ctx context.Context, txid [32]byte, rate FeeRate) (Tx, error)
	Transactions(ctx context.Context) ([]WalletTx, error)
	// History calls fn for every transaction that the wallet knows, raw, with the height of its block or 0,
	// until fn fails.
	History(ctx context.Context, fn func(raw []byte, height uint32) error) error
	// Synced reports the height up to which the wallet knows its money.
	Synced(ctx context.Context) (height uint32, synced bool)
	Close() error
}

// Block is a block's place in the chain.
type Block struct {
	Height uint32
	Hash   [32]byte
	Prev   [32]byte
	Time   int64 // unix seconds
}

// Match is a transaction that concerns a Watch.
type Match struct {
	TxID [32]byte
	Raw  []byte
}

// Watch is what to look for in blocks.
type Watch struct {
	Scripts   map[string]bool           // output scripts, as string(script)
	Outpoints map[channel.Outpoint]bool // outputs whose spend matters
	// OutScripts are the scripts of Outpoints: compact filters (BIP 158) need them.
	OutScripts map[channel.Outpoint][]byte
}

// Capabilities says what a backend can do beyond following blocks.
type Capabilities struct {
	Name          string // btcd, bitcoind, neutrino, memory
	MempoolAccept bool   // can test a transaction before publishing
	MempoolWatch  bool   // sees unconfirmed spends
	FeeEstimate   bool   // has an estimate of its own
	Unspent       bool   // can look up any unspent output
}

// Chain follows the best chain. Methods return ErrUnreachable (wrapped) while the backend is away.
type Chain interface {
	Capabilities() Capabilities
	Tip(ctx context.Context) (Block, error)
	// BlockAt returns the block of the best chain at a height.
	BlockAt(ctx context.Context, height uint32) (Block, error)
	// Matches returns the transactions of a block that pay a watched script or spend a watched
	// outpoint, in block order. Outputs created in the block count for later transactions in it.
	Matches(ctx context.Context, block [32]byte, w *Watch) ([]Match, error)
	// Publish hands a transaction to the network. Already known or already mined is no error.
	Publish(ctx context.Context, tx Tx) error
	// TestAccept asks whether the mempool would take a transaction; ErrUnsupported where it can't.
	TestAccept(ctx context.Context, tx Tx) error
	// Unspent looks up an output that is unspent in the chain or mempool; ErrNotFound when there is none.
	Unspent(ctx context.Context, o channel.Outpoint) (out Output, confirmations uint32, err error)
	// EstimateFee returns a rate for confirmation within so many blocks and where it comes from.
	EstimateFee(ctx context.Context, blocks uint32) (rate FeeRate, source string, err error)
	// Changed yields a value when the tip may have changed; polling remains the caller's fallback.
	Changed() <-chan struct{}
	Close() error
}
