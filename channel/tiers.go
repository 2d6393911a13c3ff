package channel

// What a node tells of its owner's rules. Ids of approvals are those of payments: a payment that waits
// has its own.

// LimitInfo is one figure of the owner's limits.
type LimitInfo struct {
	Name  string
	Unit  string // msat, sat, count, blocks or bytes
	Value uint64
	Text  string // the value as one writes it
	Own   bool   // set with SetLimit or a preset, not by the configuration
	Used  uint64 // of it, now; in the same unit
	Uses  bool   // Used says something
	Help  string
}

// Approval is a request that waits for the owner, or waited.
type Approval struct {
	ID      PaymentID
	Kind    string // pay, draw, open or send
	Amount  Msat
	Target  string // peer or address
	Ref     string
	Status  string // waiting, approved, denied, expired, done or unclear
	Why     string // the rule's words
	Rule    string
	Made    int64 // unix milliseconds
	Expires int64
	Result  string // what became of it: a status, a channel, a transaction
}

// Approved is what came of a yes.
type Approved struct {
	Approval Approval
	Payment  PayResult  // of a payment
	Channel  OpenResult // of a channel
	Sent     Sent       // of a transaction
}

// Freeze is a stop of everything that pays out.
type Freeze struct {
	Kind  string // channel, peer or all
	ID    string // empty for all
	By    string // owner or alarm
	Why   string
	Since int64 // unix milliseconds
}
