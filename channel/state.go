package channel

// Terms are what two peers agreed at open. They never change.
type Terms struct {
	ID      ID
	Nonce   [16]byte
	Self    PeerID
	Peer    PeerID
	Opener  bool // we asked for the channel
	Out     LaneTerms
	In      LaneTerms
	OutKey  uint32 // index of our payer and refund keys; only passed on
	InKey   uint32 // index of our payee key; only passed on
	Heights Heights
	// MaxUnacked and Window bound what a payer can lose to a payee that takes and does not serve.
	MaxUnacked Msat
	Window     uint32
	OutConfs   uint32 // confirmations that the peer asks of the lane we pay on
	InConfs    uint32 // that we ask of the lane that pays us
	External   bool   // the own lane is funded by some other wallet
	OpenedAt   uint32 // height at which the terms were agreed
}

// FreezeReason says why a lane takes no more payments although its channel is open. Only a close ends it.
type FreezeReason uint8

const (
	NotFrozen      FreezeReason = iota
	FrozenAltered               // a used sequence number came with other content
	FrozenHash                  // the two books differ
	FrozenRegress               // the payee forgot payments that it had acknowledged
	FrozenUnproven              // our own record is older than the peer's
	FrozenDraw                  // the payee drew what was not authorised
)

var freezeNames = [...]string{"", "a used sequence number came with other content", "the two books differ",
	"the peer forgot acknowledged payments", "our record is older than the peer's", "the peer drew what was not authorised"}

func (r FreezeReason) String() string {
	if int(r) < len(freezeNames) {
		return freezeNames[r]
	}
	return "frozen"
}

// Lane is the part of a lane that changes with every payment. It has a fixed size so that the hot path
// stores it without thinking.
type Lane struct {
	Total   Msat
	Spent   Msat
	NextSeq uint64    // payer: of the next payment; payee: expected next
	Acked   uint64    // payer: first sequence number without an answer; payee: equals NextSeq
	Voucher Signature // over Total
	Hash    [32]byte  // lane hash of all answered payments
	Frozen  FreezeReason
}

// Credit is what was vouchered and not spent.
func (l *Lane) Credit() Msat { return l.Total - l.Spent }

// Output is a confirmed output at a lane's funding script.
type Output struct {
	Outpoint Outpoint
	Value    Sat
	Height   uint32
	Returned uint32 `json:",omitempty"` // height at which the payer took it back; never of the claimed output
	Return   *OwnTx `json:",omitempty"` // payer: that both signed, before the expiry
}

// SpendKind says how a funding output was spent.
type SpendKind uint8

const (
	SpentTogether SpendKind = iota // key path: both sides signed
	SpentSettled                   // by the payee alone
	SpentRefunded                  // by the payer after expiry
)

// Spend is a confirmed spend of the funding output.
type Spend struct {
	TxID        [32]byte
	Height      uint32
	Kind        SpendKind
	Total       Msat // of SpentSettled
	RefundIndex uint32
	RefundValue Sat    // of SpentSettled: what went back to the payer's refund script
	Swept       uint32 // height at which the payer's refund output was spent; 0: not
}

// OwnTx is a transaction of ours that must confirm. It is kept and published again until deep.
type OwnTx struct {
	TxID   [32]byte
	Raw    []byte
	Rate   uint64 // sat per 1000 vB
	Fee    Sat
	Height uint32 // tip when it was made
	Shared uint32 `json:",omitempty"` // a settlement of so many lanes: Raw and Fee are kept with the others of it
}

// Funding is what is known of a lane on the chain.
type Funding struct {
	Claimed Outpoint // the output that the vouchers spend, as the payer says
	Seen    []Output // confirmed outputs at the script, at most maxSeen
	Ready   bool     // payee: takes vouchers. payer: the payee said so
	Tx      *OwnTx   // payer: the funding transaction
	Spend   *Spend
	Away    []Outpoint `json:",omitempty"` // payee: outputs that it may have signed back to the payer, and never serves
	Exit    *OwnTx     // payee: the settlement. payer: the refund, or the sweep of a settlement's refund output
}

const maxSeen = 8

// Claim returns the confirmed output that the vouchers spend.
func (f *Funding) Claim() (Output, bool) {
	for _, o := range f.Seen {
		if o.Outpoint == f.Claimed && f.Claimed != (Outpoint{}) {
			return o, true
		}
	}
	return Output{}, false
}

// returns are the outputs at the own lane's script that the payer can have back after expiry: the claimed
// one, unless it is spent, and what came beside it.
func (f *Funding) returns() (list []Output) {
	for _, o := range f.Seen {
		claimed := o.Outpoint == f.Claimed
		if o.Returned == 0 && !(claimed && f.Spend != nil) && (claimed || o.Value >= MinReturn) {
			list = append(list, o)
		}
	}
	return list
}

// unused reports whether no money ever went, or is on its way, to the lane. A reorganisation takes
// outputs away from Seen; what was claimed stays claimed, for its transaction will be back.
func (f *Funding) unused() bool {
	return f.Tx == nil && f.Claimed == (Outpoint{}) && len(f.Seen) == 0
}

// Closing is what is known of a close together.
type Closing struct {
	At        uint32 // height at which closing began
	Initiator bool   // our owner asked
	Mine      *Stop
	Peers     *Stop
	Tx        *OwnTx // complete
	To        []byte `json:",omitempty"` // where the owner wants what is taken alone
}

// PayTo is where what is taken alone goes, nil for anywhere in the own wallet. An owner who named a script for
// a close together means the same when it comes to nothing.
func (c *Closing) PayTo() []byte {
	if len(c.To) > 0 {
		return c.To
	}
	if c.Mine != nil {
		return c.Mine.Payout
	}
	return nil
}

// State is one side of a channel. It is a value: Step never changes the one it was given.
type State struct {
	Terms      Terms
	Phase      Phase
	Out, In    Lane // hot, stored with every payment
	OutFunding Funding
	InFunding  Funding
	Closing    Closing
	Notice     Notice    // what the owner was told of the end of time
	Asking     *Asking   // nil unless the record comes from a copy and the peer was not asked yet
	OutDraws   *OutDraws `json:",omitempty"` // stored by themselves; nil while there was no draw; never changed in place
	InDraws    *InDraws  `json:",omitempty"`

	// The rest is not stored: it is known again after a start from the store (Unacked), the chain
	// (Tip) and the peer (Synced).
	Tip      uint32
	Unacked  []*Frame // own frames without an answer, oldest first
	Synced   bool     // resync on the living connection is done
	blind    uint32   // guessed height while the chain can't be seen, or 0
	there    Phase    // of the channel at the peer, as its resync said
	signing  *Frame
	checking []*Frame
	funding  bool   // a funding transaction is being built
	fresh    bool   // agreed in this run of the program
	asked    uint64 // sequence number from which the peer was asked to send again
	again    uint64 // sequence number from which own frames were sent again
	againTo  uint64 // sequence number before which they were
	payout   bool   // asked for a payout script

	knows       peerKnows // whether the peer's program knows draws
	proved      bool      // a resync was done in this run of the program
	authorising *authorising
	charging    *charging
	askedDraws  uint64 // number of the draw from which the payee was asked to report again
	early       *Stop  // the peer's stop, which tells of draws that were not reported yet
}

// peerKnows is what was last heard of the peer's program.
type peerKnows uint8

const (
	knowsUnheard peerKnows = iota
	knowsNone
	knowsDraws
)

// New is a channel whose terms were just agreed.
func New(t Terms) State {
	return State{Terms: t, Phase: PhaseAgreed, Out: Lane{NextSeq: 1, Acked: 1}, In: Lane{NextSeq: 1, Acked: 1}, Tip: t.OpenedAt, fresh: true}
}

// UnackedSum is what own unanswered payments add up to.
func (s *State) UnackedSum() (sum Msat) {
	for _, f := range s.Unacked {
		for _, p := range f.Payments {
			sum += p.Amount
		}
	}
	return sum
}

// Spendable is what can be paid on the own lane: capacity minus all that was or may be spent.
func (s *State) Spendable() Msat {
	used := s.Out.Spent + s.UnackedSum() + s.OutDraws.taken()
	if c := s.Terms.Out.Capacity(); c > used {
		return c - used
	}
	return 0
}

// Receivable is what the peer can still pay us.
func (s *State) Receivable() Msat {
	used := s.SpentIn() + s.InDraws.held()
	if c := s.Terms.In.Capacity(); c > used {
		return c - used
	}
	return 0
}

// StopHeight is the height of the lane's stop: no vouchers from here, settlement starts.
func (t *Terms) StopHeight(l LaneTerms) uint32 { return sub(l.Expiry, t.Heights.Stop) }

func sub(a, b uint32) uint32 {
	if a < b {
		return 0
	}
	return a - b
}
