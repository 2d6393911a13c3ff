package main

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
)

// book is the demo's own record of every payment from alice to bob: what it sent, under which id, and what
// came back.
type book struct {
	mu      sync.Mutex
	entries map[channel.PaymentID]*entry
	order   []*entry
}

// entry is one payment.
type entry struct {
	id       channel.PaymentID
	amount   channel.Msat
	sent     time.Time
	answered time.Time // zero while its fate is unknown
	result   channel.PayStatus
	err      error // nothing was signed
}

func newBook() *book { return &book{entries: map[channel.PaymentID]*entry{}} }

// write enters a payment that is about to be sent.
func (b *book) write(amount channel.Msat) *entry {
	e := &entry{amount: amount, sent: time.Now()}
	rand.Read(e.id[:]) // never fails
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[e.id] = e
	b.order = append(b.order, e)
	return e
}

// answer enters what is known of a payment now.
func (b *book) answer(e *entry, r channel.PayResult, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var f *channel.Fault
	switch {
	case errors.As(err, &f) && f.Code == channel.CodePending:
		return
	case err != nil:
		e.err = err
	default:
		e.result = r.Status
	}
	e.answered = time.Now()
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.order)
}

// open lists the payments whose fate is unknown.
func (b *book) open() (list []*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.order {
		if e.answered.IsZero() {
			list = append(list, e)
		}
	}
	return list
}

// paid lists the payments that bob took, and their sum.
func (b *book) paid() (list []*entry, sum channel.Msat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.order {
		if !e.answered.IsZero() && e.err == nil && e.result == channel.PayAcknowledged {
			list, sum = append(list, e), sum+e.amount
		}
	}
	return list, sum
}

// agree compares the book with the history that a daemon shows, one way only. It returns how many of the
// book's payments are not there with their amount, how many are there more than once, and how many are
// there that are not in the book.
func (b *book) agree(history []paymentView, direction string) (lost, twice, foreign int) {
	seen := map[string]int{}
	amounts := map[string]channel.Msat{}
	for _, p := range history {
		if p.Direction == direction {
			seen[p.ID]++
			amounts[p.ID] = channel.Msat(p.Amount)
		}
	}
	paid, _ := b.paid()
	known := map[string]bool{}
	for _, e := range paid {
		id := e.id.String()
		known[id] = true
		if seen[id] == 0 || amounts[id] != e.amount {
			lost++
		}
		twice += max(0, seen[id]-1)
	}
	for id := range seen {
		if !known[id] {
			foreign++
		}
	}
	return lost, twice, foreign
}
