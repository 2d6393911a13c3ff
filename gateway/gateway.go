// Package gateway sells over HTTP: the Payment authentication scheme (intent "session", method "runnel"), a
// middleware and a reverse proxy that ask for payment, and a transport that pays. It knows HTTP and nothing of
// lanes, keys or stores: a node takes and gives the money through Payee and Payer.
//
//	client := &http.Client{Transport: &gateway.Transport{Payer: node, Max: 1000}}
package gateway

import (
	"context"

	"github.com/runnel/runnel/channel"
)

// Payee is the node of one who charges. Errors are *channel.Fault. Safe for concurrent use: charges of one
// channel happen one after another in some order, each durable before the call returns.
type Payee interface {
	// Status names the node: peer id, addresses, network.
	Status(ctx context.Context) (channel.NodeStatus, error)
	// Charge checks the authorisation, accepts its voucher and holds an amount of the credit. A draw that is
	// never ended ends with what was kept, when the node starts again.
	Charge(ctx context.Context, req channel.ChargeRequest) (channel.Charge, error)
	// HoldMore raises what a running draw holds, by what the credit allows or not at all; keep of it was delivered
	// and stays charged whatever happens.
	HoldMore(ctx context.Context, id channel.ID, n uint64, more, keep channel.Msat) (channel.Charge, error)
	// EndDraw ends a draw with what was used of it; the rest is the payer's credit again.
	EndDraw(ctx context.Context, id channel.ID, n uint64, used channel.Msat) (channel.Charge, error)
	// LaneStand is the newest state of the lane that pays us: what a challenge's snapshot says.
	LaneStand(ctx context.Context, id channel.ID) (channel.LaneStand, error)
	// Close asks for a cooperative close.
	Close(ctx context.Context, req channel.CloseRequest) (channel.CloseResult, error)
}

// Payer is the node of one who pays. Errors are *channel.Fault.
type Payer interface {
	// Authorise signs, counts the highest amount in the budgets and makes both durable before it returns.
	Authorise(ctx context.Context, req channel.AuthoriseRequest) (channel.AuthoriseResult, error)
	// Channels lists the channels with their balances.
	Channels(ctx context.Context) ([]channel.ChannelInfo, error)
	// Connect reaches the payee's node at a multiaddress.
	Connect(ctx context.Context, addr string) (channel.PeerInfo, error)
	// Open opens a channel.
	Open(ctx context.Context, req channel.OpenRequest) (channel.OpenResult, error)
}
