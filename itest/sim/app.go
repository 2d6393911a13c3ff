package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// payment is one payment as the application that asked for it sees it.
type payment struct {
	from   *peer
	req    channel.PayRequest
	asking bool
	asked  int
	open   int // calls without an answer
	result channel.PayResult
	known  bool // its fate
	denied bool // the node said that nothing was signed
	gone   bool // the node that it was asked of goes on from a copy without history
	doubt  bool // a call beside the denied one did not say so: it may have signed
}

// call runs an application's call to a node, beside everything else.
func (w *World) call(p *peer, what string, f func(context.Context, *daemon.Node)) {
	l := p.life
	if l == nil {
		return
	}
	w.sched.spawn(l, what, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		f(ctx, l.node)
	})
}

// pay asks for a new payment on a channel, or to a peer.
func (w *World) pay(from *peer, target string, amount channel.Msat) *payment {
	a := &payment{from: from, req: channel.PayRequest{Target: target, Amount: amount, HasID: true, Ref: "sim"}}
	binary.BigEndian.PutUint64(a.req.ID[8:], uint64(len(w.apps)+1))
	a.req.ID[0] = from.name[0]
	w.apps = append(w.apps, a)
	w.ask(a)
	return a
}

// ask asks for a payment, again if its fate is not known.
func (w *World) ask(a *payment) {
	l := a.from.life
	if l == nil || a.asking || a.known || a.gone {
		return
	}
	a.asking = true
	a.asked++
	a.doubt = a.doubt && a.open > 0
	a.denied = false
	asked := a.asked
	a.open++
	w.sched.spawn(l, "pay", func() {
		l.node.PayAsync(a.req, func(r channel.PayResult, err error) {
			if l.over {
				return
			}
			if a.open--; a.asked == asked {
				w.told(a, r, err)
			} else {
				a.doubt = a.doubt || !denial(err)
			}
		})
	})
}

// told is what an application hears of a payment.
func (w *World) told(a *payment, r channel.PayResult, err error) {
	a.asking = false
	if a.gone {
		return
	}
	w.trace.note("%s hears of payment %s: %v %v", a.from.name, a.req.ID, r.Status, err)
	var f *channel.Fault
	switch {
	case err == nil && r.Status == channel.PayPending:
	case err == nil:
		if r.Amount != a.req.Amount || r.ID != a.req.ID {
			w.broken("P4", "%s asked for %+v and hears of %+v", a.from.name, a.req, r)
		}
		if a.known && a.result.Status != r.Status {
			w.broken("P4", "%s hears of payment %s: %v, and before: %v", a.from.name, a.req.ID, r.Status, a.result.Status)
		}
		a.known, a.result = true, r
		w.owned(a, r)
	case !errors.As(err, &f):
		w.broken("P4", "%s hears of payment %s: %v", a.from.name, a.req.ID, err)
	case f.Code == channel.CodeIDConflict:
		w.broken("P4", "payment %s is refused as another one's: %v", a.req.ID, err)
	default:
		a.denied = denial(err)
	}
}

// denial: the node says that nothing was signed.
func denial(err error) bool {
	var f *channel.Fault
	return errors.As(err, &f) && f.Code != channel.CodePending && f.Code != channel.CodeStopping
}

// owned: what a node calls acknowledged is in an answer of the payee, and the other way round.
func (w *World) owned(a *payment, r channel.PayResult) {
	b := w.paying(a.from, r.Channel)
	if b == nil {
		w.broken("P4", "%s paid %s on a channel that it does not pay on", a.from.name, a.req.ID)
		return
	}
	_, taken := b.taken[a.req.ID]
	st := b.state(a.from)
	if b.copied {
		return
	}
	if st != nil && st.Phase > channel.PhaseOpen {
		return // the chain may have told
	}
	if !b.payee.hostile && !b.payer.hostile && taken != (r.Status == channel.PayAcknowledged) {
		w.broken("P4", "%s calls payment %s %v, and the payee answered: taken %v", a.from.name, a.req.ID, r.Status, taken)
	}
}

// paying is the lane of a channel on which a peer pays.
func (w *World) paying(p *peer, id channel.ID) *book {
	for _, b := range w.laneOrder {
		if b.id == id && b.payer == p {
			return b
		}
	}
	return nil
}

// leaves: a payment that leaves is one that somebody asked for and was not told to be off.
func (w *World) leaves(p *peer, id channel.PaymentID) {
	for _, a := range w.apps {
		if a.req.ID == id && !a.gone && a.denied && !a.doubt && a.open <= 0 {
			w.broken("P4", "%s said that nothing was signed for payment %s, and pays it", p.name, id)
		}
	}
}

// relaunch starts those programs that do not run.
func (w *World) relaunch() {
	for _, p := range w.order {
		if p.life == nil {
			p.boot()
		}
	}
}

// forget gives up what was asked of a program that ended.
func (w *World) forget(p *peer) {
	for _, a := range w.apps {
		if a.from == p {
			a.doubt = a.doubt || a.open > 0
			a.asking, a.open = false, 0
			a.asked++
		}
	}
}
