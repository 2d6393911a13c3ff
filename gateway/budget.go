package gateway

import (
	"sync"

	"github.com/runnel/runnel/channel"
)

// Budget bounds what all requests of a Transport, or of several, may cost together. It is asked before anything
// is signed, and counts what payees can still take: all that was authorised while a request runs, and when it is
// over what its receipt says. A receipt that says too little gains a payee nothing: as soon as vouchers went
// further than receipts admit, it is the vouchers that count. Safe for concurrent use.
type Budget struct {
	limit channel.Msat

	mu      sync.Mutex
	pending channel.Msat // reserved and not vouchered yet
	open    channel.Msat // reserved for requests that run; what is pending is part of it
	used    channel.Msat // of requests that are over, by their receipts
	granted channel.Msat // all that was ever authorised
	lanes   map[channel.ID]growth
}

// growth is how far the vouchers on a channel went since the budget saw it first.
type growth struct{ from, to channel.Msat }

// NewBudget makes a budget of limit.
func NewBudget(limit channel.Msat) *Budget {
	return &Budget{limit: min(limit, maxAmount), lanes: map[channel.ID]growth{}}
}

// Limit is what the budget was made with.
func (b *Budget) Limit() channel.Msat { return b.limit }

// Used is what counts of it now.
func (b *Budget) Used() channel.Msat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count()
}

// count is the larger of what receipts say and what vouchers prove. Vouchers on a channel that other programs pay
// on too prove less: then it is at most what was authorised here.
func (b *Budget) count() channel.Msat {
	var grown channel.Msat
	for _, g := range b.lanes {
		grown = min(grown+g.to-g.from, maxAmount)
	}
	return max(b.used+b.open, min(b.granted+b.pending, grown+b.pending))
}

// reserve takes amount out of the budget, or says what is left. A nil budget has no limit.
func (b *Budget) reserve(amount channel.Msat) (left channel.Msat, ok bool) {
	if b == nil {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left = b.limit - min(b.limit, b.count())
	if amount > left {
		return left, false
	}
	b.open += amount
	b.pending += amount
	return left - amount, true
}

// cancel gives back what was reserved: nothing was signed.
func (b *Budget) cancel(amount channel.Msat) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open -= amount
	b.pending -= amount
}

// vouchered notes that amount, which was reserved, was authorised by a voucher of total.
func (b *Budget) vouchered(amount channel.Msat, id channel.ID, total channel.Msat) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending -= amount
	b.granted = min(b.granted+amount, maxAmount)
	total = min(total, maxAmount)
	g, known := b.lanes[id]
	if !known {
		g.from = total - min(total, amount)
	}
	g.from, g.to = min(g.from, total), max(g.to, total)
	b.lanes[id] = g
}

// settle ends a request: of all that was authorised for it, used was taken.
func (b *Budget) settle(authorised, used channel.Msat) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open -= authorised
	b.used = min(b.used+min(used, authorised), maxAmount)
}
