package api

import (
	"context"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// DrawNode is what a Node does for metered use; package gateway says what each call promises.
type DrawNode interface {
	Authorise(ctx context.Context, req channel.AuthoriseRequest) (channel.AuthoriseResult, error)
	Charge(ctx context.Context, req channel.ChargeRequest) (channel.Charge, error)
	HoldMore(ctx context.Context, id channel.ID, n uint64, more, keep channel.Msat) (channel.Charge, error)
	EndDraw(ctx context.Context, id channel.ID, n uint64, used channel.Msat) (channel.Charge, error)
	LaneStand(ctx context.Context, id channel.ID) (channel.LaneStand, error)
}

type drawService struct{ *service }

func (s drawService) Authorise(ctx context.Context, req *connect.Request[runnelv1.AuthoriseRequest]) (*connect.Response[runnelv1.AuthoriseResponse], error) {
	r, err := req.Msg.Value()
	if err != nil {
		return nil, err
	}
	switch {
	case r.Channel == "" && r.Peer == "":
		return nil, channel.Faultf(channel.CodeBadRequest, "channel_id and peer_id are empty: give one of them")
	case (r.Raise == 0) != (r.RaiseBy == 0) || r.Raise != 0 && r.Max != 0:
		return nil, channel.Faultf(channel.CodeBadRequest, "raise and raise_by_msat go together, and without max_msat")
	case r.Binding.N != 0 || r.Binding.Max != 0 || r.Binding.Raise != 0:
		return nil, channel.Faultf(channel.CodeBadRequest, "n, max_msat and raise of the binding are filled in by the node: leave them out")
	}
	result, err := s.node.Authorise(ctx, r)
	return reply(runnelv1.NewAuthoriseResponse(result), err)
}

func (s drawService) Charge(ctx context.Context, req *connect.Request[runnelv1.ChargeRequest]) (*connect.Response[runnelv1.ChargeResponse], error) {
	r, err := req.Msg.Value()
	if err != nil {
		return nil, err
	}
	if err := given("authorisation.channel_id", req.Msg.GetAuthorisation().GetChannelId()); err != nil {
		return nil, err
	}
	charge, err := s.node.Charge(ctx, r)
	return reply(runnelv1.NewCharge(charge), err)
}

func (s drawService) HoldMore(ctx context.Context, req *connect.Request[runnelv1.HoldMoreRequest]) (*connect.Response[runnelv1.ChargeResponse], error) {
	id, err := req.Msg.ChannelValue()
	if err != nil {
		return nil, err
	}
	charge, err := s.node.HoldMore(ctx, id, req.Msg.N, channel.Msat(req.Msg.MoreMsat), channel.Msat(req.Msg.KeepMsat))
	return reply(runnelv1.NewCharge(charge), err)
}

func (s drawService) EndDraw(ctx context.Context, req *connect.Request[runnelv1.EndDrawRequest]) (*connect.Response[runnelv1.ChargeResponse], error) {
	id, err := req.Msg.ChannelValue()
	if err != nil {
		return nil, err
	}
	charge, err := s.node.EndDraw(ctx, id, req.Msg.N, channel.Msat(req.Msg.UsedMsat))
	return reply(runnelv1.NewCharge(charge), err)
}

func (s drawService) GetLane(ctx context.Context, req *connect.Request[runnelv1.GetLaneRequest]) (*connect.Response[runnelv1.LaneStand], error) {
	id, err := req.Msg.ChannelValue()
	if err != nil {
		return nil, err
	}
	lane, err := s.node.LaneStand(ctx, id)
	return reply(runnelv1.NewLaneStand(lane), err)
}
