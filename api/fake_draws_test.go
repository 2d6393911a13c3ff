package api_test

import (
	"context"

	"github.com/runnel/runnel/channel"
)

func (n *fakeNode) Authorise(_ context.Context, r channel.AuthoriseRequest) (channel.AuthoriseResult, error) {
	return n.granted, n.asked(r)
}

func (n *fakeNode) Charge(_ context.Context, r channel.ChargeRequest) (channel.Charge, error) {
	return n.charged, n.asked(r)
}

func (n *fakeNode) HoldMore(_ context.Context, id channel.ID, number uint64, more, keep channel.Msat) (channel.Charge, error) {
	return n.charged, n.asked(id, number, more, keep)
}

func (n *fakeNode) EndDraw(_ context.Context, id channel.ID, number uint64, used channel.Msat) (channel.Charge, error) {
	return n.charged, n.asked(id, number, used)
}

func (n *fakeNode) LaneStand(_ context.Context, id channel.ID) (channel.LaneStand, error) {
	return n.charged.Lane, n.asked(id)
}
