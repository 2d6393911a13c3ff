package channel

import (
	"errors"
	"fmt"
)

// Kind is the closed set of reasons for which Step refuses an event. Kinds work with errors.Is.
type Kind uint8

const (
	KindInvalid      Kind = iota + 1 // the event makes no sense: amount 0, too long, overflow
	KindNotOpen                      // the channel or lane does not take payments
	KindCapacity                     // more than is spendable
	KindWindow                       // too much waits for an answer; try again after the next ack
	KindExpiring                     // too close to the lane's expiry
	KindWrongSeq                     // a frame that does not continue the lane
	KindBadVoucher                   // total or signature wrong
	KindConflict                     // other content under a sequence number that was used, or books differ
	KindForbidden                    // the phase does not allow the event
	KindWrongFunding                 // script, amount or outpoint is not what was agreed
	KindCredit                       // a draw of more than was authorised or vouchered
	KindUnknown                      // a draw that does not run
	KindUnsupported                  // the peer's program can't do it
)

var kindNames = [...]string{"", "invalid", "not_open", "insufficient_capacity", "window_full", "expiring",
	"wrong_sequence", "bad_voucher", "conflict", "forbidden", "wrong_funding", "insufficient_credit", "unknown_draw", "unsupported"}

// String is the kind's name in the API.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind_%d", uint8(k))
}

func (k Kind) Error() string { return k.String() }

// Error is what Step returns: state unchanged, no effects.
type Error struct {
	Kind Kind
	Text string
}

func (e *Error) Error() string        { return e.Text }
func (e *Error) Is(target error) bool { k, ok := target.(Kind); return ok && k == e.Kind }

func fail(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of an error from this package, or 0.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

// RefuseReason is why a payee did not accept one payment. It is bound into the lane hash.
type RefuseReason uint8

const (
	Accepted      RefuseReason = iota
	RefusedPolicy              // the payee's limits say no
	RefusedClosed              // the lane stops: closing, or too near expiry
	RefusedBlind               // the payee can't see the chain and takes no more until it does
	RefusedDisk                // the payee's disk is nearly full
)

var refuseNames = [...]string{"accepted", "policy", "closed", "blind", "disk_full"}

func (r RefuseReason) String() string {
	if int(r) < len(refuseNames) {
		return refuseNames[r]
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}

// Codes of Refuse.
const (
	DenyPolicy         = "policy"          // the peer's limits say no
	DenyUnknownChannel = "unknown_channel" // the peer has no such channel
	DenyInvalid        = "invalid"         // the request is malformed
	DenyBusy           = "busy"            // try again later
	DenyNotReady       = "not_ready"       // the peer is starting, can't see the chain, or its disk is nearly full
	DenyFee            = "fee_too_low"     // the closing fee is below the peer's estimate
	DenyLate           = "too_late"        // too near expiry for a close together
	DenyInternal       = "internal"        // the peer failed; nothing was done
)
