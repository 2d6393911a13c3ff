package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
)

const (
	// maxAddrs is how many of a payee's addresses are tried.
	maxAddrs = 4
	// dialTime is how long one of them may take.
	dialTime = 10 * time.Second
	// settleTime is how long a channel may take to be usable after its peer was reached.
	settleTime = 10 * time.Second
	// lookEvery is how long to wait between two looks at a channel that opens.
	lookEvery = 500 * time.Millisecond
)

// Opening is a channel that could be opened to pay a server. Its sums are the node's own.
type Opening struct {
	Origin    string // of the server that asks for it
	Recipient channel.PeerID
	Network   string // as the server says
	Price     channel.Msat
	Unit      Unit
	UnitSize  uint64
	Plan      channel.OpenResult // deposit, fees, confirmations, expiry
}

// Opener decides about a channel and hears how it comes along.
type Opener interface {
	// Allow returns nil to open the channel. Nothing was signed yet.
	Allow(ctx context.Context, o Opening) error
	// Progress is called while the channel is not usable yet, again and again.
	Progress(c channel.ChannelInfo)
}

// ask has the node authorise, after it has made sure of a channel and a connection if these are what was missing.
func (p *purchase) ask(ctx context.Context, req channel.AuthoriseRequest, o *offer) (channel.AuthoriseResult, error) {
	res, err := p.t.Payer.Authorise(ctx, req)
	switch code := faultCode(err); code {
	case channel.CodePeerUnreachable, channel.CodeUnknownPeer, channel.CodeNotReady:
		if err := p.reach(ctx, o); err != nil {
			return res, err
		}
		if res, err = p.patiently(ctx, req); err == nil {
			return res, nil
		}
	}
	switch faultCode(err) {
	case channel.CodeNotFound, channel.CodeNotOpen, channel.CodeInsufficient, channel.CodeUnknownPeer, channel.CodeExpiring:
		if req.Raise != 0 {
			return res, err
		}
		id, err := p.open(ctx, o, err)
		if err != nil {
			return res, err
		}
		req.Channel = id.String()
		return p.patiently(ctx, req)
	}
	return res, err
}

func faultCode(err error) channel.Code {
	var f *channel.Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

// patiently asks again while the node only just got its connection or its channel.
func (p *purchase) patiently(ctx context.Context, req channel.AuthoriseRequest) (res channel.AuthoriseResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, lookEvery) {
		res, err = p.t.Payer.Authorise(ctx, req)
		if code := faultCode(err); code != channel.CodePeerUnreachable && code != channel.CodeNotReady && code != channel.CodeNotOpen {
			return res, err
		}
		select {
		case <-ctx.Done():
			return res, err
		case <-time.After(pause):
		}
	}
}

// reach connects the node to the payee, at an address that names the payee itself. It is done only for payees
// with whom there is a channel, or may be one: a server can't send the node to strangers.
func (p *purchase) reach(ctx context.Context, o *offer) error {
	if p.t.Open == nil {
		if known, err := p.knows(ctx, o); err != nil || !known {
			return p.noChannel(o, err)
		}
	}
	err := errors.New("the server names no address of the payee's node")
	for _, addr := range o.Details.Addrs[:min(len(o.Details.Addrs), maxAddrs)] {
		if !strings.HasSuffix(addr, "/p2p/"+string(o.Recipient)) {
			continue
		}
		dial, cancel := context.WithTimeout(ctx, dialTime)
		_, err = p.t.Payer.Connect(dial, addr)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return &Unpaid{Why: WhyNode, Text: "the payee's node can't be reached: " + err.Error(), Err: err}
	}
	return nil
}

// knows reports whether the node has a channel with the payee.
func (p *purchase) knows(ctx context.Context, o *offer) (bool, error) {
	all, err := p.t.Payer.Channels(ctx)
	for _, c := range all {
		if c.PeerID == o.Recipient && !c.Phase.Final() {
			return true, err
		}
	}
	return false, err
}

func (p *purchase) noChannel(o *offer, err error) error {
	text := fmt.Sprintf("there is no channel with %s that could pay", o.Recipient)
	if code := faultCode(err); err != nil && code != channel.CodeNotFound && code != channel.CodeUnknownPeer {
		text += ": " + err.Error()
	}
	return &Unpaid{Why: WhyNoChannel, Text: text, Deposit: o.deposit(0), Err: err}
}

// open opens a channel with the payee, if that is allowed, waits until it can pay, and names it.
func (p *purchase) open(ctx context.Context, o *offer, cause error) (id channel.ID, err error) {
	if p.t.Open == nil {
		return id, p.noChannel(o, cause)
	}
	p.t.opening.Lock()
	defer p.t.opening.Unlock()
	if c, ok, err := p.usable(ctx, o, channel.ID{}); err != nil || ok && c.Spendable >= max(o.Amount, o.least) {
		return c.Channel, err // somebody else has opened one meanwhile
	}
	if err := p.reach(ctx, o); err != nil {
		return id, err
	}
	deposit := o.deposit(p.t.MaxDeposit)
	if limit := p.t.MaxDeposit; limit > 0 && deposit > limit {
		return id, &Unpaid{Why: WhyNoChannel, Text: fmt.Sprintf("a channel for this server locks at least %d sat, and %d are allowed", deposit, limit), Deposit: deposit}
	}
	req := channel.OpenRequest{Peer: string(o.Recipient), Deposit: deposit, DryRun: true}
	plan, err := p.t.Payer.Open(ctx, req)
	if err != nil {
		return id, p.noChannel(o, err)
	}
	plan.Deposit = req.Deposit
	ask := Opening{Origin: p.req.URL.Scheme + "://" + authority(p.req), Recipient: o.Recipient, Network: o.Details.Network, Price: o.Amount, Unit: o.Unit, UnitSize: o.Details.UnitSize, Plan: plan}
	if err := p.t.Open.Allow(ctx, ask); err != nil {
		return id, &Unpaid{Why: WhyNoChannel, Text: "no channel was opened: " + err.Error(), Deposit: o.deposit(0), Err: err}
	}
	req.DryRun = false
	opened, err := p.t.Payer.Open(ctx, req)
	if err != nil {
		return id, p.noChannel(o, err)
	}
	return opened.Channel, p.await(ctx, o, opened.Channel)
}

// await returns when a channel can pay.
func (p *purchase) await(ctx context.Context, o *offer, id channel.ID) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		c, ok, err := p.usable(ctx, o, id)
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		case c.Phase > channel.PhaseOpen:
			return &Unpaid{Why: WhyNoChannel, Text: fmt.Sprintf("the channel that was opened is %s: %s", c.Phase, c.Reason)}
		}
		p.t.Open.Progress(c)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// usable finds a channel with the payee that can pay: the one with the id, or any.
func (p *purchase) usable(ctx context.Context, o *offer, id channel.ID) (channel.ChannelInfo, bool, error) {
	all, err := p.t.Payer.Channels(ctx)
	if err != nil {
		return channel.ChannelInfo{}, false, &Unpaid{Why: WhyNode, Text: err.Error(), Err: err}
	}
	var seen channel.ChannelInfo
	for _, c := range all {
		if c.PeerID != o.Recipient || id != (channel.ID{}) && c.Channel != id {
			continue
		}
		if seen = c; c.Phase == channel.PhaseOpen && c.Spendable > 0 {
			return c, true, nil
		}
	}
	return seen, false, nil
}

// deposit is what a channel for this offer locks: what the server suggests, and at least what it demands and what
// the request itself takes. limit bounds the first and not the others.
func (o *offer) deposit(limit channel.Sat) channel.Sat {
	need := max(o.Details.MinDeposit.SatCeil(), max(o.Amount, o.least).SatCeil()+channel.ReserveSat, channel.MinDeposit)
	suggested := o.SuggestedDeposit.SatCeil()
	if limit > 0 {
		suggested = min(suggested, limit)
	}
	return max(need, suggested)
}
