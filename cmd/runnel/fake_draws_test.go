package main

import (
	"context"

	"github.com/runnel/runnel/channel"
)

func (f *fakeNode) Authorise(context.Context, channel.AuthoriseRequest) (channel.AuthoriseResult, error) {
	return channel.AuthoriseResult{}, f.err
}

func (f *fakeNode) Charge(context.Context, channel.ChargeRequest) (channel.Charge, error) {
	return channel.Charge{}, f.err
}

func (f *fakeNode) HoldMore(context.Context, channel.ID, uint64, channel.Msat, channel.Msat) (channel.Charge, error) {
	return channel.Charge{}, f.err
}

func (f *fakeNode) EndDraw(context.Context, channel.ID, uint64, channel.Msat) (channel.Charge, error) {
	return channel.Charge{}, f.err
}

func (f *fakeNode) LaneStand(context.Context, channel.ID) (channel.LaneStand, error) {
	return channel.LaneStand{}, f.err
}
