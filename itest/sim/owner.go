package sim

import (
	"context"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// An owner pays from the wallet, raises fees, and settles all that lanes earned.

// owner does one of the things that owners do.
func (w *World) owner(p *peer) {
	switch w.rng.IntN(4) {
	case 0:
		w.send(p)
	case 1:
		w.bump(p)
	case 2:
		w.backUp(p)
	case 3:
		w.call(p, "estimate", func(ctx context.Context, n *daemon.Node) {
			_, err := n.Settle(ctx, channel.SettleRequest{All: true, DryRun: true})
			w.trace.note("%s asks what a settlement would bring: %v", p.name, err)
		})
	}
}

// send pays from a wallet to itself, so that only the fee is gone.
func (w *World) send(p *peer) {
	amount, all := channel.Sat(10_000+w.rng.IntN(100_000)), w.rng.IntN(8) == 0
	w.call(p, "send", func(ctx context.Context, n *daemon.Node) {
		a, err := n.NewAddress(ctx)
		if err != nil {
			return
		}
		s, err := n.Send(ctx, a, amount, all, 0)
		w.trace.note("%s sends %d sat to itself: %v", p.name, s.Amount, err)
		if err == nil {
			p.sent = s.TxID
		}
	})
}

// bump raises the fee of the last transaction that a wallet sent.
func (w *World) bump(p *peer) {
	if p.sent == "" {
		return
	}
	rate := uint64(2_000 + w.rng.IntN(20_000))
	w.call(p, "bump", func(ctx context.Context, n *daemon.Node) {
		s, err := n.Bump(ctx, p.sent, rate)
		w.trace.note("%s bumps: %d sat, %v", p.name, s.Fee, err)
		if err == nil {
			p.sent = s.TxID
		}
	})
}

// settleAll takes alone what all lanes of a peer earned, many in one transaction.
func (w *World) settleAll(p *peer) {
	req := channel.SettleRequest{All: true}
	if w.rng.IntN(4) == 0 {
		req.BelowFee = 20_000
	}
	if w.rng.IntN(4) == 0 {
		req.FeeRate = uint64(1_000 + w.rng.IntN(5_000))
	}
	w.trace.note("%s settles all", p.name)
	w.call(p, "settle", func(ctx context.Context, n *daemon.Node) {
		r, err := n.Settle(ctx, req)
		w.trace.note("%s settles %d lanes: %d sat for %d: %v", p.name, len(r.Lanes), r.Value, r.Fee, err)
	})
}
