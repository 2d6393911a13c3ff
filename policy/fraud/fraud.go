// Package fraud scores what happens with one peer against that peer's own history: streaming, in constant
// memory, without allocation. It refuses to know clocks, stores and keys, and it decides nothing about
// money: limits do (package policy). It says when a person should look.
//
//	verdict, score, why := state.Observe(fraud.Event{Time: now, Kind: fraud.Paid, Amount: amount}, fraud.DefaultTuning())
package fraud

import (
	"fmt"
	"math"

	"github.com/runnel/runnel/channel"
)

// Kind is what happened.
type Kind uint8

const (
	Paid        Kind = iota // a payment out was asked for
	BadVoucher              // a voucher with a wrong signature, or beyond the capacity
	LowVoucher              // a voucher below the newest
	Replay                  // other content under a number that was used
	BadResync               // a claim about the books that is not proven
	DeadOpen                // an open that was never funded
	DoubleSpend             // a funding output that was spent elsewhere
	Denied                  // the owner denied a request
)

var kindNames = [...]string{"paid", "bad_voucher", "low_voucher", "replay", "bad_resync", "dead_open", "double_spend", "denied"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind_%d", uint8(k))
}

// weights of what no honest peer does often. 1 is an alert.
var weights = [...]float64{BadVoucher: 2, LowVoucher: 1, Replay: 2, BadResync: 1, DeadOpen: 0.4, DoubleSpend: 4, Denied: 0.5}

// Event is one thing that happened with a peer.
type Event struct {
	Time   int64 // unix milliseconds
	Kind   Kind
	Amount channel.Msat
}

// Verdict is what a score comes to.
type Verdict uint8

const (
	Allow Verdict = iota
	Alert
	Approve // payments that are not tiny wait for the owner
	Freeze
)

var verdictNames = [...]string{"allow", "alert", "approve", "freeze"}

func (v Verdict) String() string { return verdictNames[v&3] }

// Tuning are the two figures that the judge chooses on its own seeds, apart from those it reports on.
type Tuning struct {
	Slack float64 // how many standard deviations, or doublings, are still ordinary
	Scale float64 // of all that is not hard evidence
}

// DefaultTuning is what the judge chose on seeds 1 to 100.
func DefaultTuning() Tuning { return Tuning{Slack: 4, Scale: 1.5} }

// State is what is remembered of one peer. The zero value knows nothing and is lenient until it has seen
// learn payments.
type State struct {
	first   int64 // time of the first payment
	last    int64
	seen    uint32
	mean    float64 // of log2 of the amount
	spread  float64 // mean square distance from it
	anchor  float64 // the mean, a hundred times slower: what prices were
	minute  float64 // payments of the last minute, decaying
	spent   float64 // msat of the last minute, decaying
	peak    float64 // the most that spent came to, decaying over a day
	busiest float64 // the most that minute came to, decaying over a day
	strikes float64 // hard evidence, decaying over an hour
}

const (
	learn      = 20
	minuteMs   = 60_000
	hourMs     = 60 * minuteMs
	dayMs      = 24 * hourMs
	learnMs    = 10 * minuteMs // until then every pace is taken as ordinary
	leastDev   = 0.5           // doublings: prices that differ by less are the same
	leastBurst = 10            // payments a minute that are never a burst
)

// Observe takes an event and returns what it comes to, with the strongest reason. A clock that is back
// is taken as standing still.
func (s *State) Observe(e Event, t Tuning) (v Verdict, score float64, why Reason) {
	s.pass(e.Time)
	if e.Kind != Paid {
		if int(e.Kind) < len(weights) {
			s.strikes += weights[e.Kind]
		}
		return verdict(s.strikes), s.strikes, Evidence
	}
	amount := math.Log2(float64(max(e.Amount, 1)))
	score, why = s.strikes, Evidence
	if s.seen >= learn {
		dev := math.Sqrt(max(s.spread, leastDev*leastDev))
		add := func(excess float64, r Reason) {
			if excess = t.Scale * excess; excess > 0 {
				if excess > score {
					why = r
				}
				score += excess
			}
		}
		add((amount-s.mean)/dev-t.Slack, Amount)
		add(math.Log2((s.minute+1)/(leastBurst+2*s.busiest))*2, Burst)
		add(math.Log2((s.spent+float64(e.Amount))/(1000+4*s.peak))*2, Spending)
		add((s.mean-s.anchor)/max(dev, 1)*t.Slack/4-1, Drift)
	}
	s.learn(e, amount)
	return verdict(score), score, why
}

// pass lets time go by.
func (s *State) pass(now int64) {
	gap := float64(now - s.last)
	if s.last == 0 || gap <= 0 {
		s.last = max(s.last, now)
		return
	}
	s.last = now
	catch := 1 - math.Exp2(-gap/hourMs)
	s.peak += catch * max(0, s.spent-s.peak)
	s.busiest += catch * max(0, s.minute-s.busiest)
	m := math.Exp2(-gap / minuteMs)
	s.minute *= m
	s.spent *= m
	day := math.Exp2(-gap / dayMs)
	s.peak *= day
	s.busiest *= day
	s.strikes *= math.Exp2(-gap / hourMs)
}

// learn adds a payment to the history. Once something is known, peaks follow with time and not with payments, so
// that a burst does not excuse itself.
func (s *State) learn(e Event, amount float64) {
	s.seen++
	k := max(0.02, 1/float64(s.seen))
	if s.seen == 1 {
		s.first = s.last
		s.mean, s.anchor = amount, amount
	}
	d := amount - s.mean
	s.mean += k * d
	s.spread += k * (d*d - s.spread)
	s.anchor += max(0.0005, 1/float64(s.seen)) * (amount - s.anchor)
	s.minute++
	s.spent += float64(e.Amount)
	if s.seen <= 5*learn || s.last-s.first < learnMs {
		s.peak, s.busiest = max(s.peak, s.spent), max(s.busiest, s.minute)
	}
}

func verdict(score float64) Verdict {
	switch {
	case score >= 4:
		return Freeze
	case score >= 2:
		return Approve
	case score >= 1:
		return Alert
	}
	return Allow
}

// Reason is what speaks loudest in a score.
type Reason uint8

const (
	Evidence Reason = iota
	Amount
	Burst
	Spending
	Drift
)

var reasons = [...]string{"the peer broke the protocol, or was denied before", "this payment is much larger than those to this peer were",
	"payments to this peer come much faster than they did", "much more is paid to this peer than in its busiest minutes", "this peer's prices rise step by step"}

func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}
