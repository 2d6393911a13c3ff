package channel

// Input is an event of the machine: what happened. Effect is what must be done about it. (Event, the
// name that the owner sees, is an entry of the node's event log.)
type (
	Input  interface{ input() }
	Effect interface{ effect() }
)

// Events from the owner and from effects that were carried out.
type (
	// Pay offers payments for the own lane. The longest prefix that fits is taken into one frame; the
	// error, if none fits, is about the first payment.
	Pay struct{ Payments []Payment }
	// Signed completes Sign. A nil Err comes with the signature. There are no effects, and the payments
	// are not made, when it failed or when the lane stopped taking payments meanwhile.
	Signed struct {
		Signature Signature
		Err       error
	}
	// Verified completes Verify. Refused are the payments that policy does not accept.
	Verified struct {
		OK      bool
		Refused []Refusal
	}
	// FrameFound completes FindFrame: what the store has under the frame's first sequence number.
	FrameFound struct {
		Got    *Frame
		Stored *Frame // nil: nothing
		Ack    *Ack
	}
	// ProofChecked completes CheckProof.
	ProofChecked struct {
		OK     bool
		Report LaneReport
	}
	// NewestChecked completes CheckNewest.
	NewestChecked struct {
		OK     bool
		Report LaneReport
	}
	// FundingBuilt and FundingFailed complete Fund.
	FundingBuilt struct {
		Outpoint Outpoint
		Tx       OwnTx
	}
	FundingFailed struct{}
	// CloseTogether ends vouchers and offers a close; Payout is where our share goes. It also
	// completes AskPayout, with Initiator false.
	CloseTogether struct {
		Payout    []byte
		Initiator bool
	}
	// CloseAlone settles as payee and waits for the refund as payer. To is where the owner wants what is taken
	// alone; empty leaves that as it is.
	CloseAlone struct{ To []byte }
	// ExitBuilt completes Settle (Out false) and Refund (Out true).
	ExitBuilt struct {
		Out bool
		Tx  OwnTx
	}
	// Authorise asks for leave to draw on the own lane. The longest prefix that fits is granted under one
	// signature; the error, if none fits, is about the first.
	Authorise struct{ Wishes []Wish }
	// DrawOps are charges of the lane that pays us, and what follows them; answered by DrawsDone.
	DrawOps struct{ Ops []DrawOp }
	// DrawChecked completes CheckDraw.
	DrawChecked struct{ OK bool }
	// DrawsLost: nobody serves what runs, for the program that did was ended.
	DrawsLost struct{}
	// VoidDraws names own authorisations of which nothing was heard for long.
	VoidDraws struct{ N []uint64 }
	// CloseBuilt: the closing transaction is complete and verified.
	CloseBuilt struct{ Tx OwnTx }
)

// Events from the peer.
type (
	// Connected: Draws says whether the peer's program knows draws.
	Connected    struct{ Draws bool }
	Disconnected struct{}
	// Frames that arrived, oldest first.
	FramesReceived struct{ Frames []*Frame }
	// FramesLost: frames came when none could be stored, and now they can: the payer is asked for them.
	FramesLost struct{}
	Received   struct{ Msg Message } // any message but *Frame
)

// Events from the chain. Heights are block heights of the best chain.
type (
	// Height reports a new tip, also when it is not higher than the last one. Blind means that the chain
	// can't be seen and that Tip is the most that it can be: lanes stop taking payments by it, but nothing
	// confirms, expires or is deep by a guess. Early means that this side sees blocks only, no transactions
	// that wait: its settlement begins sooner, by the blocks in which fees escalate.
	Height struct {
		Tip   uint32
		Blind bool
		Early bool
	}
	// OutputSeen: an output at the funding script of a lane confirmed.
	OutputSeen struct {
		Out    bool // the own lane
		Output Output
	}
	// SpendSeen: the claimed output of a lane was spent in a block.
	SpendSeen struct {
		Out   bool
		Spend Spend
	}
	// ReturnSeen: another output at the own lane's script than the claimed one was spent in a block. Only
	// the payer can do that alone.
	ReturnSeen struct {
		Outpoint Outpoint
		Height   uint32
	}
	// SweepSeen: the refund output of the own lane's settlement was spent in a block.
	SweepSeen struct{ Height uint32 }
	// Ask: the chain is scanned up to Tip, so a record from a copy is as good as it gets without the peer.
	Ask struct{ Tip uint32 }
	// Reorganised: blocks from Height upwards are no longer part of the best chain.
	Reorganised struct{ Height uint32 }
)

func (Pay) input()            {}
func (Authorise) input()      {}
func (DrawOps) input()        {}
func (DrawChecked) input()    {}
func (DrawsLost) input()      {}
func (VoidDraws) input()      {}
func (Signed) input()         {}
func (Verified) input()       {}
func (FrameFound) input()     {}
func (ProofChecked) input()   {}
func (NewestChecked) input()  {}
func (FundingBuilt) input()   {}
func (FundingFailed) input()  {}
func (CloseTogether) input()  {}
func (CloseAlone) input()     {}
func (ExitBuilt) input()      {}
func (CloseBuilt) input()     {}
func (Connected) input()      {}
func (Disconnected) input()   {}
func (FramesReceived) input() {}
func (FramesLost) input()     {}
func (Received) input()       {}
func (Height) input()         {}
func (OutputSeen) input()     {}
func (SpendSeen) input()      {}
func (ReturnSeen) input()     {}
func (SweepSeen) input()      {}
func (Ask) input()            {}
func (Reorganised) input()    {}

// Effects. Those that are stored come before those that are sent, and those before what is told to the
// owner: whoever carries them out keeps that order whatever the order in the slice.
type (
	// Save the state: what a restart needs of it. Cold is everything, otherwise only the lanes.
	Save struct{ Cold bool }
	// SaveFrame stores the payments of a frame; Ack is the payee's answer to it, nil for the payer.
	SaveFrame struct {
		Out   bool
		Frame *Frame
		Ack   *Ack
	}
	// SaveDraws says that the record of the draws on the own lane, or on the other, is to be stored with the Save
	// that follows.
	SaveDraws struct{ Out bool }
	// Send a message to the peer once all that the same step saves is durable.
	Send struct{ Msg Message }

	// Sign the own lane's voucher over Total; answered by Signed.
	Sign struct{ Total Msat }
	// Verify the voucher of the lane that pays us, and decide about the payments; answered by
	// Verified. Known means that this very signature over this total was verified before.
	Verify struct {
		Total     Msat
		Signature Signature
		Frames    []*Frame
		Known     bool
	}
	// FindFrame looks up what was stored for a repeated frame; answered by FrameFound.
	FindFrame struct{ Frame *Frame }
	// CheckProof verifies a voucher of our own that the peer shows; answered by ProofChecked.
	CheckProof struct{ Report LaneReport }
	// CheckNewest verifies a voucher of the lane that pays us, which the payer hands back; answered by
	// NewestChecked.
	CheckNewest struct{ Report LaneReport }

	// CheckDraw verifies a voucher of the lane that pays us; answered by DrawChecked.
	CheckDraw struct {
		Total     Msat
		Signature Signature
	}

	// Authorised tells what was granted of the first Wishes, under one voucher.
	Authorised struct {
		Grants    []Grant
		Total     Msat
		Signature Signature
	}
	// DrawsDone tells what came of each of DrawOps, in their order.
	DrawsDone struct{ Results []DrawResult }
	// Drew tells of draws that ended: on the own lane (Out), where the payee reported them, or on the other.
	Drew struct {
		Out   bool
		First uint64 // number of the first in the chain
		Draws []Draw
		Max   []Msat // Out: what was authorised for each, 0 where that is not known
	}
	// DrawsOver tells of own authorisations of which nothing need be heard any more: Taken if the payee took
	// all that was vouchered or may have drawn for them, otherwise nothing was drawn.
	DrawsOver struct {
		Open  []OpenDraw
		Taken bool
	}

	// Answered tells the fate of own payments of one frame.
	Answered struct {
		Frame   *Frame
		Refused []Refusal
	}
	// Took tells of payments that were decided on, and which of them were refused.
	Took struct {
		Frame   *Frame
		Refused []Refusal
	}
	// Moved tells of a new phase; LaneChanged of a lane that became ready or stopped.
	Moved       struct{ To Phase }
	LaneChanged struct {
		Out   bool
		Ready bool
	}
	// Alert needs the owner's eye; Peers says that the peer can cause it as often as it likes. Misbehaved
	// also counts against the peer.
	Alert struct {
		Text  string
		Peers bool
	}
	Misbehaved struct{ Text string }

	// Fund the own lane from the own wallet; answered by FundingBuilt or FundingFailed.
	Fund struct{}
	// Publish a transaction once all that the same step saves is durable.
	Publish struct{ Tx OwnTx }
	// AskPayout wants a script for our share; answered by CloseTogether.
	AskPayout struct{}
	// OfferClose starts an attempt at a close; both Stops are in the state.
	OfferClose struct{}
	// AnswerClose is a message of the peer's about an attempt at a close.
	AnswerClose struct{ Msg Message }
	// Settle the lane that pays us alone; Refund takes back what the own lane has at the funding
	// script after expiry, or at the refund script after a settlement. Answered by ExitBuilt. They
	// come again with every block until the spend is in one.
	Settle struct{}
	Refund struct{}
)

func (Save) effect()        {}
func (SaveFrame) effect()   {}
func (SaveDraws) effect()   {}
func (CheckDraw) effect()   {}
func (Authorised) effect()  {}
func (DrawsDone) effect()   {}
func (Drew) effect()        {}
func (DrawsOver) effect()   {}
func (Send) effect()        {}
func (Sign) effect()        {}
func (Verify) effect()      {}
func (FindFrame) effect()   {}
func (CheckProof) effect()  {}
func (CheckNewest) effect() {}
func (Answered) effect()    {}
func (Took) effect()        {}
func (Moved) effect()       {}
func (LaneChanged) effect() {}
func (Alert) effect()       {}
func (Misbehaved) effect()  {}
func (Fund) effect()        {}
func (Publish) effect()     {}
func (AskPayout) effect()   {}
func (OfferClose) effect()  {}
func (AnswerClose) effect() {}
func (Settle) effect()      {}
func (Refund) effect()      {}
