package channel

// Every limit of the channel protocol, each with its reason.
const (
	// MaxMoney is the number of satoshis that can ever exist; amounts above it are nonsense, and
	// MaxMoney*1000 still fits a uint64 with room for sums.
	MaxMoney Sat = 2_100_000_000_000_000

	// ReserveSat of each deposit can't be vouchered: the refund output stays far from dust.
	ReserveSat Sat = 1_000

	// MinDeposit keeps a settlement economic at moderate fees (205 vB at 50 sat/vB is 10,250 sat).
	MinDeposit Sat = 20_000

	// DustSat is the smallest output that nodes relay for every script we pay to; below it a share
	// of a close is left to the fee.
	DustSat Sat = 330

	// MinReturn is the least for which a channel goes to the chain without need: what somebody sends to the
	// own lane's address beside the funding, or what a payee settles while a close together can still come.
	// Either transaction costs some hundred satoshis.
	MinReturn Sat = 1_000

	// MaxRefBytes bounds the reference of a payment.
	MaxRefBytes = 64

	// MaxTextBytes bounds what a peer may tell a person.
	MaxTextBytes = 512

	// MaxFramePayments bounds one frame: 1,024 payments with references are about 96 KiB.
	MaxFramePayments = 1024

	// maxAckRefused bounds the refusals of one answer: they take at most 15 bytes each, and a message of
	// 256 KiB must hold them.
	maxAckRefused = 8 * MaxFramePayments

	// DefaultWindow is the number of frames that may wait for an answer: enough to keep a
	// connection of 100 ms busy at several thousand frames a second, small enough to resend at once.
	DefaultWindow = 256

	// MaxWindow bounds what a peer may ask for: it is memory and resend work.
	MaxWindow = 4096

	// DrawWindow is how many of the newest draws of a lane are told apart: an n below it is refused, one in it
	// is good once. It bounds what a payee keeps, and how far requests may overtake each other.
	DrawWindow = 1024

	// MaxOpenDraws bounds authorisations whose end the payer does not know, and with it what a payee that is
	// not heard of keeps for it.
	MaxOpenDraws = 1024

	// MaxReportDraws bounds one report of draws: 64 of them take at most 1.5 KiB.
	MaxReportDraws = 64

	// MaxPayoutScript is the longest standard output script that we pay a close to (P2TR and P2WSH
	// are 34 bytes; witness programs end at 42).
	MaxPayoutScript = 42

	// MaxCloseInputs: a channel has at most two lanes.
	MaxCloseInputs = 2

	// DeepConfirmations: a spend this deep is taken as final (incidents of deeper reorganisations on
	// mainnet were bugs of consensus, not of chance).
	DeepConfirmations = 6

	// AskBlocks is how many blocks a peer is asked for what a restored record may have lost, before the
	// owner may settle by that record without an answer: an hour, in which the peer is dialled again and
	// again.
	AskBlocks = 6

	// MaxAway bounds how many outputs of a lane are signed back to its payer: each stays in the record for
	// good. Beyond it they return at the expiry.
	MaxAway = 64

	// CloseTimeout is how many blocks a close together may take before the payee settles alone.
	CloseTimeout = 6
)

// Heights holds the block distances of a network (protocol.md 8).
type Heights struct {
	Life       uint32 // expiry - open height, without the random part
	LifeRandom uint32 // 0..LifeRandom is added so that many channels don't expire in one block
	Stop       uint32 // before expiry: no vouchers, settlement starts
	PayerStop  uint32 // before stop: the payer signs no more, so that it never races the payee
	Escalate   uint32 // before expiry: settlement fees rise steeply (policy.Exit)
	CloseStop  uint32 // before the earliest expiry: no close together is signed any more
	Abandon    uint32 // after the open: a peer's funding that is not in the chain by then is not waited for
	MinLife    uint32 // the shortest life that a peer is offered
	MaxLife    uint32 // the longest: deposits must not be locked for years by a typing error
}

// RealHeights are for networks with a block in ten minutes; TestHeights for simnet and regtest.
var (
	RealHeights = Heights{Life: 4032, LifeRandom: 288, Stop: 288, PayerStop: 6, Escalate: 144, CloseStop: 432, Abandon: 432, MinLife: 720, MaxLife: 52_560}
	TestHeights = Heights{Life: 144, LifeRandom: 12, Stop: 24, PayerStop: 2, Escalate: 12, CloseStop: 36, Abandon: 72, MinLife: 48, MaxLife: 52_560}
)
