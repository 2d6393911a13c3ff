package channeltest

import (
	"fmt"

	"github.com/runnel/runnel/channel"
)

// Twin is one lane as a bookkeeper would keep it who knows nothing of sequence numbers, vouchers or
// messages: a list of payments with what became of each, and plain sums.
type Twin struct {
	Payments []*Entry // in the order in which the payer signed them
	byID     map[channel.PaymentID]*Entry
}

// Entry is one payment. Taken and Told are set once, by what the payee and the payer made durable.
type Entry struct {
	channel.Payment
	Taken, Told *channel.RefuseReason
	ByChain     bool // the payer was told by the chain, not by the payee
}

// NewTwin returns an empty lane.
func NewTwin() *Twin { return &Twin{byID: map[channel.PaymentID]*Entry{}} }

// Signed notes a payment for which a voucher is durable at the payer.
func (t *Twin) Signed(p channel.Payment) error {
	if t.byID[p.ID] != nil {
		return fmt.Errorf("payment %s was signed twice", p.ID)
	}
	e := &Entry{Payment: p}
	t.byID[p.ID], t.Payments = e, append(t.Payments, e)
	return nil
}

// Took notes what the payee decided.
func (t *Twin) Took(p channel.Payment, r channel.RefuseReason) error {
	e := t.byID[p.ID]
	if e == nil || e.Payment != p {
		return fmt.Errorf("payment %s of %d msat was taken and never signed", p.ID, p.Amount)
	}
	if e.Taken != nil {
		return fmt.Errorf("payment %s was taken twice", p.ID)
	}
	e.Taken = &r
	return nil
}

// Answered notes what the payer was told. Without an answer of the payee's the chain tells: it can't tell
// a refused payment from an accepted one, but never calls an accepted one refused.
func (t *Twin) Answered(p channel.Payment, r channel.RefuseReason, byChain bool) error {
	e := t.byID[p.ID]
	switch {
	case e == nil:
		return fmt.Errorf("payment %s was answered and never signed", p.ID)
	case e.Told != nil:
		return fmt.Errorf("payment %s was answered twice", p.ID)
	case !byChain && (e.Taken == nil || *e.Taken != r):
		return fmt.Errorf("payment %s: the payer was told %s, the payee decided %v", p.ID, r, e.Taken)
	}
	e.Told, e.ByChain = &r, byChain
	return nil
}

func (t *Twin) sum(counts func(*Entry) bool) (sum channel.Msat) {
	for _, e := range t.Payments {
		if counts(e) {
			sum += e.Amount
		}
	}
	return sum
}

// Signable is the sum of all that was signed, Spent of what the payee accepted, Refused of what it did
// not.
func (t *Twin) Signable() channel.Msat { return t.sum(func(*Entry) bool { return true }) }
func (t *Twin) Spent() channel.Msat {
	return t.sum(func(e *Entry) bool { return e.Taken != nil && *e.Taken == channel.Accepted })
}
func (t *Twin) Refused() channel.Msat {
	return t.sum(func(e *Entry) bool { return e.Taken != nil && *e.Taken != channel.Accepted })
}

// Open is the number of signed payments that nobody told the payer about.
func (t *Twin) Open() (n int) {
	for _, e := range t.Payments {
		if e.Told == nil {
			n++
		}
	}
	return n
}
