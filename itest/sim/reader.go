package sim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/receipt"
)

// Readers ask nodes for what the API shows, while everything goes wrong: each answer must fit what the
// simulation knows.

// inquire asks a node for something.
func (w *World) inquire(p *peer) {
	switch w.rng.IntN(6) {
	case 0:
		w.call(p, "status", func(ctx context.Context, n *daemon.Node) { w.overview(ctx, p, n) })
	case 1:
		w.call(p, "payments", func(ctx context.Context, n *daemon.Node) { w.history(ctx, p, n) })
	case 2:
		w.call(p, "metrics", func(_ context.Context, n *daemon.Node) { w.scrape(n) })
	case 3:
		w.call(p, "verify", func(ctx context.Context, n *daemon.Node) { w.verify(ctx, p, n) })
	case 4:
		if a := w.anyPaid(p); a != nil {
			w.call(p, "receipt", func(ctx context.Context, n *daemon.Node) { w.receipt(ctx, p, n, a) })
		}
	case 5:
		w.prune(p)
	}
}

// overview reads what `runnel status` and its like do.
func (w *World) overview(ctx context.Context, p *peer, n *daemon.Node) {
	l := p.life
	s, err := n.Status(ctx)
	if err != nil || l == nil || l.over {
		return
	}
	if s.PeerID != p.id || s.Height > w.chain.Height() {
		w.broken("P3", "%s says %+v", p.name, s)
	}
	list, err := n.Channels(ctx)
	if err != nil {
		return
	}
	for _, c := range list {
		one, err := n.Channel(ctx, c.Channel.String())
		if !l.over && err == nil && one.Channel != c.Channel {
			w.broken("P3", "%s was asked for channel %s and shows %s", p.name, c.Channel, one.Channel)
		}
	}
	_, _ = n.Peers(ctx)
	_, _ = n.Transactions(ctx)
	_, _ = n.NewAddress(ctx)
}

// history compares the payments that a node lists with what their applications were told.
func (w *World) history(ctx context.Context, p *peer, n *daemon.Node) {
	l := p.life
	f := channel.PaymentFilter{Limit: 100_000}
	if w.rng.IntN(3) == 0 {
		for _, q := range w.order {
			if q != p {
				f.Peer = string(q.id)
			}
		}
	}
	told := map[channel.PaymentID]channel.PayStatus{}
	for _, a := range w.apps {
		if a.from == p && a.known && !a.gone {
			told[a.req.ID] = a.result.Status
		}
	}
	list, err := n.Payments(ctx, f)
	if err != nil || l == nil || l.over {
		return
	}
	for _, i := range list {
		status, ok := told[i.ID]
		if i.Dir == channel.Sending && ok && i.Status != status && i.Status != channel.PayPending { // its answer is stored with the next batch
			w.broken("P4", "%s lists payment %s as %v, and it was called %v", p.name, i.ID, i.Status, status)
		}
	}
}

// scrape reads what Prometheus does.
func (w *World) scrape(n *daemon.Node) {
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		n.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
}

// verify has a node check its own book.
func (w *World) verify(ctx context.Context, p *peer, n *daemon.Node) {
	l := p.life
	r, err := n.VerifyLog(ctx, "")
	if l == nil || l.over {
		return
	}
	if len(r.Problems) > 0 && !p.copied { // what a copy does not hold is missing
		w.broken("P7", "%s finds in its own log: %v", p.name, r.Problems)
	}
	w.trace.note("%s verifies %d payments on %d lanes: %v", p.name, r.Payments, r.Lanes, err)
	_ = n.ExportLog(ctx, "", io.Discard)
}

// anyPaid is one of a peer's payments whose fate is known.
func (w *World) anyPaid(p *peer) *payment {
	var all []*payment
	for _, a := range w.apps {
		if a.from == p && a.known && !a.gone {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[w.rng.IntN(len(all))]
}

// receipt asks for the proof of a payment: it proves that payment and its fate, and no other.
func (w *World) receipt(ctx context.Context, p *peer, n *daemon.Node, a *payment) {
	l := p.life
	r, err := n.Receipt(ctx, channel.ReceiptRequest{ID: a.req.ID})
	w.trace.note("%s gets a receipt: %v", p.name, err)
	var f *channel.Fault
	switch {
	case l == nil || l.over:
	case err != nil:
		if !errors.As(err, &f) && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			w.broken("P4", "%s gets no receipt of payment %s: %v", p.name, a.req.ID, err)
		}
	case receipt.Verify(p.scheme, r) != nil:
		w.broken("P4", "%s gives a receipt of payment %s that proves nothing: %v", p.name, a.req.ID, receipt.Verify(p.scheme, r))
	case r.Payment.ID != a.req.ID || r.Payment.Amount != a.req.Amount || (r.Result == channel.Accepted) != (a.result.Status == channel.PayAcknowledged):
		w.broken("P4", "%s proves %+v of payment %+v, which is %v", p.name, r, a.req, a.result.Status)
	}
}

// prune drops what is below checkpoints, one at a time.
func (w *World) prune(p *peer) {
	l := p.life
	if l == nil || l.pruning {
		return
	}
	l.pruning = true
	req := channel.PruneRequest{Before: 1 << 60, DryRun: w.rng.IntN(4) == 0, Archive: w.rng.IntN(4) == 0}
	w.call(p, "prune", func(ctx context.Context, n *daemon.Node) {
		r, err := n.PruneLog(ctx, req)
		l.pruning = false
		w.trace.note("%s prunes %d payments of %d lanes: %v", p.name, r.Payments, r.Lanes, err)
	})
}

// watches follows a node's events from where the last life's reader was: none is missed, none comes twice.
func (w *World) watches(ctx context.Context, l *life) {
	p := l.p
	w.sched.spawn(l, "watch", func() {
		_ = l.node.Watch(ctx, p.event, func(e channel.Event) error {
			if l.over {
				return context.Canceled
			}
			if e.Seq <= p.event {
				w.broken("P4", "%s tells of event %d after %d", p.name, e.Seq, p.event)
			}
			p.event = e.Seq
			return nil
		})
	})
}
