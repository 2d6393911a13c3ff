package daemon

import (
	"time"

	"github.com/runnel/runnel/policy"
)

// allowance bounds what others can make happen: as often as burst at once, then once in every interval.
type allowance struct {
	burst int
	every time.Duration

	used int
	from time.Time // one more is given back an interval after this
}

// take reports whether it may happen once more.
func (a *allowance) take(now time.Time) bool {
	if back := now.Sub(a.from) / a.every; a.used == 0 || back >= time.Duration(a.used) {
		a.used, a.from = 0, now
	} else if back > 0 {
		a.used -= int(back)
		a.from = a.from.Add(back * a.every)
	}
	if a.used >= a.burst {
		return false
	}
	a.used++
	return true
}

// openings bounds the channels that peers make this node agree to: each leaves records behind, and costs
// a peer nothing before it is funded. An owner who lets more channels wait for funding lets as many be
// agreed at once. Node.mu guards it.
type openings struct {
	all  allowance
	each map[string]*allowance // by peer
}

const (
	openBurst     = 1000
	openEvery     = time.Second
	peerOpenBurst = 100
	peerOpenEvery = 10 * time.Second
	maxOpenPeers  = 1024 // whose allowance is known; beyond it all begin anew, and openBurst still holds
)

func newOpenings() openings {
	return openings{all: allowance{every: openEvery}, each: map[string]*allowance{}}
}

func (o *openings) take(peer string, now time.Time, l *policy.Limits) bool {
	a := o.each[peer]
	if a == nil {
		if len(o.each) >= maxOpenPeers {
			clear(o.each)
		}
		a = &allowance{every: peerOpenEvery}
		o.each[peer] = a
	}
	a.burst, o.all.burst = max(peerOpenBurst, l.MaxPending), max(openBurst, l.MaxPendingTotal)
	return a.take(now) && o.all.take(now)
}
