package api_test

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

// drawRoundTrip: every field of what draws are asked for and answered with arrives.
func drawRoundTrip(ctx context.Context, t *rapid.T, node *fakeNode, c *client.Client) {
	node.granted, node.charged = fill[channel.AuthoriseResult](t, "granted"), fill[channel.Charge](t, "charged")
	ask := fill[channel.AuthoriseRequest](t, "ask")
	ask.Peer += "peer"
	ask.Binding.N, ask.Binding.Max, ask.Binding.Raise = 0, 0, 0
	if ask.Raise == 0 || ask.RaiseBy == 0 {
		ask.Raise, ask.RaiseBy = 0, 0
	} else {
		ask.Max = 0
	}
	granted, err := c.Authorise(ctx, ask)
	same(t, "Authorise", granted, node.granted, err)
	same(t, "Authorise", node.last(), []any{ask}, nil)
	charge := fill[channel.ChargeRequest](t, "charge")
	charged, err := c.Charge(ctx, charge)
	same(t, "Charge", charged, node.charged, err)
	same(t, "Charge", node.last(), []any{charge}, nil)
	id, n := fill[channel.ID](t, "channel"), rapid.Uint64().Draw(t, "n")
	more, keep := fill[channel.Msat](t, "more"), fill[channel.Msat](t, "keep")
	charged, err = c.HoldMore(ctx, id, n, more, keep)
	same(t, "HoldMore", charged, node.charged, err)
	same(t, "HoldMore", node.last(), []any{id, n, more, keep}, nil)
	charged, err = c.EndDraw(ctx, id, n, more)
	same(t, "EndDraw", charged, node.charged, err)
	same(t, "EndDraw", node.last(), []any{id, n, more}, nil)
	lane, err := c.LaneStand(ctx, id)
	same(t, "LaneStand", lane, node.charged.Lane, err)
	same(t, "LaneStand", node.last(), []any{id}, nil)
}

// What makes no sense whatever the node's state is refused before the node is asked.
func TestDrawsThatMakeNoSense(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	for name, r := range map[string]channel.AuthoriseRequest{
		"no channel":          {Max: 1},
		"a raise of nothing":  {Channel: "abcd", Raise: 3},
		"a raise by nothing":  {Channel: "abcd", RaiseBy: 3},
		"a raise with a max":  {Channel: "abcd", Raise: 3, RaiseBy: 3, Max: 1},
		"a number of its own": {Channel: "abcd", Max: 1, Binding: channel.Binding{N: 4}},
	} {
		if _, err := c.Authorise(ctx, r); err == nil {
			t.Errorf("%s was authorised", name)
		}
	}
}
