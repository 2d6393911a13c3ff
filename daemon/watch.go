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
	bound    map[channel.PeerID]int // of these, channels that are more than a peer's wish
	channels map[*driver]bool       // not final; true for those that count in bound
}

type watched struct {
	d      *driver
	out    bool   // the own lane
	sweep  bool   // the refund output of its settlement
	script []byte // of the output
}

func newWatchlist() watchlist {
	return watchlist{scripts: map[string]watched{}, outputs: map[channel.Outpoint]watched{}, live: map[channel.PeerID]int{}, bound: map[channel.PeerID]int{}, channels: map[*driver]bool{}}
}

// add watches all that a channel's state names. Adding again after a change is right.
func (w *watchlist) add(scheme ledger.Scheme, d *driver, st *channel.State) {
	counts, known := w.channels[d]
	if !known {
		w.channels[d] = false
		w.live[d.peer]++
	}
	// Asking for a channel costs nothing: before there is money in it, a peer gets no room and is not dialled.
	if !counts && d.peer != "" && (st.Terms.Opener || st.Phase != channel.PhaseAgreed || len(st.InFunding.Seen) > 0) {
		w.channels[d] = true
		if w.bound[d.peer]++; w.bound[d.peer] == 1 {
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
	counts, known := w.channels[d]
	if !known {
		return
	}
	delete(w.channels, d)
	if w.live[d.peer]--; w.live[d.peer] == 0 {
		delete(w.live, d.peer)
	}
	if counts {
		if w.bound[d.peer]--; w.bound[d.peer] == 0 {
			delete(w.bound, d.peer)
			d.n.protect(d.peer, false)
		}
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

// query is the list as a backend wants it, of all channels or of some.
func (w *watchlist) query(only map[*driver]bool) *ledger.Watch {
	q := &ledger.Watch{Scripts: make(map[string]bool, len(w.scripts)), Outpoints: make(map[channel.Outpoint]bool, len(w.outputs)),
		OutScripts: make(map[channel.Outpoint][]byte, len(w.outputs))}
	for s, at := range w.scripts {
		if only == nil || only[at.d] {
			q.Scripts[s] = true
		}
	}
	for o, at := range w.outputs {
		if only != nil && !only[at.d] {
			continue
		}
		q.Outpoints[o] = true
		q.OutScripts[o] = at.script
	}
	return q
}
