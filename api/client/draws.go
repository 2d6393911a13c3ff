package client

import (
	"context"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// Authorise lets the payee of a channel draw for one request. A *Client is the Payer and the Payee of package
// gateway.
func (c *Client) Authorise(ctx context.Context, req channel.AuthoriseRequest) (channel.AuthoriseResult, error) {
	m, err := call(ctx, c, c.draws.Authorise, runnelv1.NewAuthoriseRequest(req))
	if err != nil {
		return channel.AuthoriseResult{}, err
	}
	r, err := m.Value()
	return r, c.strange(err)
}

// Charge checks an authorisation, accepts its voucher and holds an amount of the credit.
func (c *Client) Charge(ctx context.Context, req channel.ChargeRequest) (channel.Charge, error) {
	m, err := call(ctx, c, c.draws.Charge, runnelv1.NewChargeRequest(req))
	return c.charge(m, err)
}

// HoldMore raises what a running draw holds; keep of it was delivered and stays charged whatever happens.
func (c *Client) HoldMore(ctx context.Context, id channel.ID, n uint64, more, keep channel.Msat) (channel.Charge, error) {
	m, err := call(ctx, c, c.draws.HoldMore, &runnelv1.HoldMoreRequest{ChannelId: id.String(), N: n, MoreMsat: uint64(more), KeepMsat: uint64(keep)})
	return c.charge(m, err)
}

// EndDraw ends a draw with what was used of it.
func (c *Client) EndDraw(ctx context.Context, id channel.ID, n uint64, used channel.Msat) (channel.Charge, error) {
	m, err := call(ctx, c, c.draws.EndDraw, &runnelv1.EndDrawRequest{ChannelId: id.String(), N: n, UsedMsat: uint64(used)})
	return c.charge(m, err)
}

func (c *Client) charge(m *runnelv1.ChargeResponse, err error) (channel.Charge, error) {
	if err != nil {
		return channel.Charge{}, err
	}
	r, err := m.Value()
	return r, c.strange(err)
}

// LaneStand tells where the lane of a channel stands that pays the node.
func (c *Client) LaneStand(ctx context.Context, id channel.ID) (channel.LaneStand, error) {
	m, err := call(ctx, c, c.draws.GetLane, &runnelv1.GetLaneRequest{ChannelId: id.String()})
	if err != nil {
		return channel.LaneStand{}, err
	}
	l, err := m.Value()
	return l, c.strange(err)
}
