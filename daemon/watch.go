package daemon

import (
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// watchlist is what to look for in blocks, and whom it concerns. Node.mu guards it.
type watchlist struct {
	scripts  map[string]watched
	outputs  map[channel.Outpoint]watched
	live     map[channel.PeerID]int // channels that are not final
	channels map[*driver]bool
}

type watched struct {
	d      *driver
	out    bool   // the own lane
	sweep  bool   // the refund output of its settlement
	script []byte // of the output
}

func newWatchlist() watchlist {
	return watchlist{scripts: map[string]watched{}, outputs: map[channel.Outpoint]watched{}, live: map[channel.PeerID]int{}, channels: map[*driver]bool{}}
}

// add watches all that a channel's state names. Adding again after a change is right.
func (w *watchlist) add(scheme ledger.Scheme, d *driver, st *channel.State) {
	if !w.channels[d] {
		w.channels[d] = true
		if w.live[d.peer]++; w.live[d.peer] == 1 {
			d.n.protect(d.peer, true)
		}
	}
	for _, l := range []struct {
		terms   channel.LaneTerms
		funding *channel.Funding
		out     bool
	}{{st.Terms.Out, &st.OutFunding, true}, {st.Terms.In, &st.InFunding, false}} {
		if !l.terms.Exists() {
			continue
		}
		script := d.scripts.of(l.out)
		at := watched{d: d, out: l.out, script: script}
		w.scripts[string(script)] = at
		for _, o := range l.funding.Seen {
			w.outputs[o.Outpoint] = at
		}
		if sp := l.funding.Spend; sp != nil && l.out && sp.Kind == channel.SpentSettled {
			if refund, err := scheme.RefundScript(l.terms); err == nil {
				w.outputs[channel.Outpoint{TxID: sp.TxID, Index: sp.RefundIndex}] = watched{d: d, out: true, sweep: true, script: refund}
			}
		}
	}
}

// remove forgets a channel that is final.
func (w *watchlist) remove(d *driver) {
	if !w.channels[d] {
		return
	}
	delete(w.channels, d)
	if w.live[d.peer]--; w.live[d.peer] == 0 {
		delete(w.live, d.peer)
		d.n.protect(d.peer, false)
	}
	for k, v := range w.scripts {
		if v.d == d {
			delete(w.scripts, k)
		}
	}
	for k, v := range w.outputs {
		if v.d == d {
			delete(w.outputs, k)
		}
	}
}

// query is the list as a backend wants it.
func (w *watchlist) query() *ledger.Watch {
	q := &ledger.Watch{Scripts: make(map[string]bool, len(w.scripts)), Outpoints: make(map[channel.Outpoint]bool, len(w.outputs)),
		OutScripts: make(map[channel.Outpoint][]byte, len(w.outputs))}
	for s := range w.scripts {
		q.Scripts[s] = true
	}
	for o, at := range w.outputs {
		q.Outpoints[o] = true
		q.OutScripts[o] = at.script
	}
	return q
}
