package gatewaytest

import (
	"context"
	"crypto/hmac"

	"github.com/runnel/runnel/channel"
)

type payee struct{ t *Twin }

func (p payee) Status(context.Context) (channel.NodeStatus, error) {
	return channel.NodeStatus{Network: "simnet", PeerID: PayeeID, Addr: "/ip4/127.0.0.1/tcp/9745/p2p/" + string(PayeeID), Synced: true}, nil
}

func (p payee) lane(id channel.ID) (*lane, error) {
	p.t.calls++
	return p.t.find(id)
}

// Charge proves, takes the voucher, and holds.
func (p payee) Charge(ctx context.Context, req channel.ChargeRequest) (c channel.Charge, err error) {
	if err := ctx.Err(); err != nil {
		return c, channel.Faultf(channel.CodePending, "the request ended: %v", err)
	}
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l, err := p.lane(req.Channel)
	if err != nil {
		return c, err
	}
	b := req.Binding
	code := l.code(&b, req.Total)
	switch {
	case p.t.fault != nil:
		return c, p.t.fault
	case !hmac.Equal(code[:], req.MAC[:]):
		return c, channel.Faultf(channel.CodeBadProof, "the binding's code is wrong")
	case b.N == 0:
		return c, channel.Faultf(channel.CodeBadRequest, "n is 0")
	}
	if _, ended := l.used[b.N]; ended || l.running[b.N] != nil {
		c = l.charge(b.N)
		c.Repeated = true
		return c, nil
	}
	if err := l.refuse(&req); err != nil {
		return c, err
	}
	if req.Total > l.total {
		l.total, l.sig = req.Total, req.Signature
	}
	l.high = max(l.high, b.N)
	if d := l.running[b.Raise]; b.Raise != 0 && d != nil {
		d.max = max(d.max, b.Max)
	}
	if req.Amount == 0 {
		l.used[b.N] = 0
	} else {
		l.running[b.N] = &draw{max: b.Max, held: req.Amount}
	}
	return l.charge(b.N), nil
}

// refuse says what is wrong with a charge that is new.
func (l *lane) refuse(req *channel.ChargeRequest) error {
	b, total := &req.Binding, max(l.total, req.Total)
	switch {
	case l.high >= Window && b.N <= l.high-Window:
		return channel.Faultf(channel.CodeIDConflict, "draw %d is too old", b.N)
	case l.closing:
		return channel.Faultf(channel.CodeNotOpen, "the channel is closing")
	case req.Total > l.capacity:
		return channel.Faultf(channel.CodeInsufficient, "a voucher over %d msat is above the channel's %d", req.Total, l.capacity)
	case req.Total > l.total && req.Signature != l.sign(req.Total):
		return channel.Faultf(channel.CodeBadSignature, "the signature over %d msat is wrong", req.Total)
	case b.Raise != 0 && req.Amount > 0:
		return channel.Faultf(channel.CodeBadRequest, "what raises draw %d draws nothing itself", b.Raise)
	case req.Amount > b.Max:
		return channel.Faultf(channel.CodeNoCredit, "%d msat are asked for and %d were authorised", req.Amount, b.Max)
	case req.Amount > total-l.spent-l.held():
		return channel.Faultf(channel.CodeNoCredit, "%d msat are asked for and the credit is %d", req.Amount, total-l.spent-l.held())
	}
	return nil
}

func (l *lane) charge(n uint64) channel.Charge {
	c := channel.Charge{N: n, Lane: l.stand()}
	if d := l.running[n]; d != nil {
		c.Status, c.Held = channel.DrawHeld, d.held
	} else {
		c.Status, c.Used = channel.DrawEnded, l.used[n]
	}
	return c
}

func (p payee) HoldMore(_ context.Context, id channel.ID, n uint64, more, keep channel.Msat) (channel.Charge, error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l, err := p.lane(id)
	if err != nil {
		return channel.Charge{}, err
	}
	d := l.running[n]
	if d == nil {
		return channel.Charge{}, channel.Faultf(channel.CodeBadRequest, "no draw %d runs", n)
	}
	d.keep = max(d.keep, min(keep, d.held))
	switch {
	case l.closing:
		return l.charge(n), channel.Faultf(channel.CodeNotOpen, "the channel is closing")
	case more > d.max-d.held, more > l.total-l.spent-l.held():
		return l.charge(n), channel.Faultf(channel.CodeNoCredit, "%d msat more are asked for", more)
	}
	d.held += more
	return l.charge(n), nil
}

func (p payee) EndDraw(_ context.Context, id channel.ID, n uint64, used channel.Msat) (channel.Charge, error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l, err := p.lane(id)
	if err != nil {
		return channel.Charge{}, err
	}
	d := l.running[n]
	switch _, ended := l.used[n]; {
	case ended:
	case d == nil:
		return channel.Charge{}, channel.Faultf(channel.CodeBadRequest, "no draw %d runs", n)
	case used > d.held:
		return channel.Charge{}, channel.Faultf(channel.CodeBadRequest, "%d msat can't be used of %d", used, d.held)
	default:
		l.end(n, max(used, d.keep))
	}
	return l.charge(n), nil
}

func (p payee) LaneStand(_ context.Context, id channel.ID) (channel.LaneStand, error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l, err := p.t.find(id)
	if err != nil {
		return channel.LaneStand{}, err
	}
	return l.stand(), nil
}

func (p payee) Close(_ context.Context, req channel.CloseRequest) (channel.CloseResult, error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l, err := p.t.named(req.Channel)
	if err != nil {
		return channel.CloseResult{}, err
	}
	l.closing = true
	for n, d := range l.running {
		l.end(n, d.keep)
	}
	return channel.CloseResult{Channel: l.id, Kind: "coop", TxID: "00"}, nil
}
