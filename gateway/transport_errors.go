package gateway

import (
	"fmt"

	"github.com/runnel/runnel/channel"
)

// Unpaid says why a request was not paid. Except where Authorised says otherwise, nothing was signed for it.
type Unpaid struct {
	Why        Why
	Text       string       // what is wrong, with figures
	Price      channel.Msat // of a unit; 0 when no offer could be read
	Unit       Unit
	Recipient  channel.PeerID
	Deposit    channel.Sat  // with WhyNoChannel: what a channel for this server would lock
	Authorised channel.Msat // signed for this request before, which the payee may still take
	Err        error        // the node's fault, or another cause; may be nil
}

func (e *Unpaid) Error() string { return "not paid: " + e.Text }
func (e *Unpaid) Unwrap() error { return e.Err }

// Is makes errors.Is(err, WhyBudget) work.
func (e *Unpaid) Is(target error) bool { w, ok := target.(Why); return ok && w == e.Why }

// Why is the closed set of reasons not to pay.
type Why string

const (
	WhyOffer     Why = "offer"     // the server's offer makes no sense, or is in another currency
	WhyMax       Why = "max"       // more than one request may cost
	WhyBudget    Why = "budget"    // more than the budget has left
	WhyRise      Why = "rise"      // the price rose since the last request
	WhyRecipient Why = "recipient" // another payee than for the last request
	WhyNoChannel Why = "channel"   // there is no channel that could pay, and none was opened
	WhySnapshot  Why = "snapshot"  // the server shows a voucher that the node did not sign
	WhyBody      Why = "body"      // the body can't be sent twice
	WhyNode      Why = "node"      // the own node refused or was not reached
	WhyDistrust  Why = "distrust"  // a receipt of this server claimed what was not authorised
	WhyStream    Why = "stream"    // the server asks for something that does not belong to the stream
)

func (w Why) Error() string { return "not paid: " + string(w) }

// Rejected says that the server has the payment and refuses it. It may still take what was authorised.
type Rejected struct {
	Status     int
	Problem    *Problem
	Authorised channel.Msat
}

func (e *Rejected) Error() string {
	return fmt.Sprintf("the server rejected the payment (%d): %s", e.Status, e.Problem.Error())
}

func (e *Rejected) Unwrap() error { return e.Problem }

// BadReceipt says that a receipt claims what was not authorised. Its server is paid nothing more.
type BadReceipt struct{ Text string }

func (e *BadReceipt) Error() string { return "the receipt is wrong: " + e.Text }
