// Package budget is the one account of what this node pays out, over all channels. An amount is reserved
// before the channel machine sees the payment and stays counted for 24 hours, unless it is proven that
// nothing was or will be paid. It refuses to know channels, stores and clocks.
//
//	token, err := ledger.Reserve(policy.Payment{Amount: amount}, now)
//	batch.Put(ledger.Record()) // in the commit that makes the voucher durable
package budget

import (
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
)

// Key is where the record stands in the store.
var Key = []byte("b")

// Token is one reservation. It is a plain value: keep it, or make it again with TokenAt. The zero Token
// reserves nothing.
type Token struct {
	Hour   uint32 // as in policy.Window
	Amount channel.Msat
}

// TokenAt is the token of an amount that was reserved at a time that a record tells.
func TokenAt(reserved time.Time, amount channel.Msat) Token {
	return Token{Hour: policy.Hour(reserved), Amount: amount}
}

// Ledger is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex // guards the fields below
	limits policy.Limits
	window policy.Window
}

// New starts an empty ledger, for a node that never paid.
func New(limits policy.Limits) *Ledger { return &Ledger{limits: limits} }

// Load goes on with a record of the store.
func Load(limits policy.Limits, record []byte) (*Ledger, error) {
	w, err := policy.DecodeWindow(record)
	if err != nil {
		return nil, err
	}
	return &Ledger{limits: limits, window: w}, nil
}

// SetLimits decides from now on by other limits. What is used stays used.
func (l *Ledger) SetLimits(limits policy.Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
}

// Reserve decides the payment and counts it in one step, so that no two payments share what is left;
// p.Used is filled in here. A payment that is refused or needs an approval counts nothing, and the error
// is the decision's.
func (l *Ledger) Reserve(p policy.Payment, now time.Time) (Token, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Advance(now)
	p.Used = l.window.Used()
	if err := l.limits.PayOut(p).Err(); err != nil {
		return Token{}, err
	}
	hour, ok := l.window.Add(p.Amount)
	if !ok {
		return Token{}, channel.Faultf(channel.CodeLimit, "more than all the money there is in 24 hours")
	}
	return Token{Hour: hour, Amount: p.Amount}, nil
}

// Release takes a reservation back. Call it once, and only when nothing was signed, when the payee
// refused the payment in an answer, or when the chain proves that it was not paid: an outcome that is
// unknown stays counted.
func (l *Ledger) Release(t Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Release(t.Hour, t.Amount)
}

// Raise counts an amount that was paid without a reservation: proof from a peer above this node's own
// record. It can exceed the budget; what is left is then nothing.
func (l *Ledger) Raise(amount channel.Msat, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Advance(now)
	if _, ok := l.window.Add(amount); !ok {
		l.window.Add(policy.NoLimit - l.window.Used())
	}
}

// Used is what counts at a time.
func (l *Ledger) Used(now time.Time) channel.Msat {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Advance(now)
	return l.window.Used()
}

// Left is what the budget still allows at a time.
func (l *Ledger) Left(now time.Time) channel.Msat {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Advance(now)
	if used := l.window.Used(); used < l.limits.Budget {
		return l.limits.Budget - used
	}
	return 0
}

// Record is what the store must hold before a voucher leaves that was signed for something reserved. It
// covers everything reserved so far. A later record must not be overtaken by an earlier one: take it and
// hand its batch over under one lock.
func (l *Ledger) Record() (key, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Key, l.window.Encode()
}
