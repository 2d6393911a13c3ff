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

// Key is where the record stands in the store; that of a peer stands under Key and the peer's id.
var Key = []byte("b")

// Token is one reservation. It is a plain value: keep it, or make it again with TokenAt. The zero Token
// reserves nothing.
type Token struct {
	Hour   uint32 // as in policy.Window
	Slot   uint32 // as in policy.Minute
	Peer   channel.PeerID
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
	minute policy.Minute // not stored: a restart begins a new one
	peers  map[channel.PeerID]*policy.Window
}

// New starts an empty ledger, for a node that never paid.
func New(limits policy.Limits) *Ledger {
	return &Ledger{limits: limits, peers: map[channel.PeerID]*policy.Window{}}
}

// Load goes on with a record of the store.
func Load(limits policy.Limits, record []byte) (*Ledger, error) {
	w, err := policy.DecodeWindow(record)
	if err != nil {
		return nil, err
	}
	l := New(limits)
	l.window = w
	return l, nil
}

// LoadPeer adds what a record says of one peer.
func (l *Ledger) LoadPeer(peer channel.PeerID, record []byte) error {
	w, err := policy.DecodeWindow(record)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers[peer] = &w
	return nil
}

// peer is the account of one peer, at a time.
func (l *Ledger) peer(id channel.PeerID, now time.Time) *policy.Window {
	w := l.peers[id]
	if w == nil {
		if len(l.peers) >= maxPeers {
			l.forgetIdle(now)
		}
		w = new(policy.Window)
		l.peers[id] = w
	}
	w.Advance(now)
	return w
}

// maxPeers is how many accounts are kept before those that count nothing any more are dropped.
const maxPeers = 4096

func (l *Ledger) forgetIdle(now time.Time) {
	for id, w := range l.peers {
		if w.Advance(now); w.Used() == 0 {
			delete(l.peers, id)
		}
	}
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
	t, d, err := l.ReserveTo("", p, now)
	if err == nil {
		err = d.Err()
	}
	return t, err
}

// ReserveTo is Reserve for a payment to one peer, whose account counts too. The decision stands beside the
// error, which is of another kind.
func (l *Ledger) ReserveTo(peer channel.PeerID, p policy.Payment, now time.Time) (Token, policy.Decision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Advance(now)
	l.minute.Advance(now)
	p.Used, p.Minute = l.window.Used(), l.minute.Used()
	var account *policy.Window
	if peer != "" {
		account = l.peer(peer, now)
		p.ToPeer = account.Used()
	}
	if d := l.limits.PayOut(p); d.Verdict != policy.Allow {
		return Token{}, d, nil
	}
	hour, ok := l.window.Add(p.Amount)
	if !ok {
		return Token{}, policy.Decision{}, channel.Faultf(channel.CodeLimit, "more than all the money there is in 24 hours")
	}
	t := Token{Hour: hour, Peer: peer, Amount: p.Amount}
	t.Slot, _ = l.minute.Add(p.Amount)
	if account != nil {
		account.Add(p.Amount)
	}
	return t, policy.Decision{}, nil
}

// Release takes a reservation back. Call it once, and only when nothing was signed, when the payee
// refused the payment in an answer, or when the chain proves that it was not paid: an outcome that is
// unknown stays counted.
func (l *Ledger) Release(t Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.Release(t.Hour, t.Amount)
	l.minute.Release(t.Slot, t.Amount)
	if w := l.peers[t.Peer]; w != nil {
		w.Release(t.Hour, t.Amount)
	}
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

// Spent tells what counts at a time: in the last minute, and to the peer that got most, in 24 hours.
func (l *Ledger) Spent(now time.Time) (minute, mostToOne channel.Msat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.minute.Advance(now)
	for _, w := range l.peers {
		w.Advance(now)
		mostToOne = max(mostToOne, w.Used())
	}
	return l.minute.Used(), mostToOne
}

// RecordOf is Record for one peer's account. It reports false while no limit asks for it.
func (l *Ledger) RecordOf(peer channel.PeerID) (key, value []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.peers[peer]
	if w == nil || l.limits.PeerBudget >= policy.NoLimit {
		return nil, nil, false
	}
	return append(append([]byte(nil), Key...), peer...), w.Encode(), true
}

// Record is what the store must hold before a voucher leaves that was signed for something reserved. It
// covers everything reserved so far. A later record must not be overtaken by an earlier one: take it and
// hand its batch over under one lock.
func (l *Ledger) Record() (key, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Key, l.window.Encode()
}
