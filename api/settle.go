package api

import (
	"context"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

func (s channelService) Settle(ctx context.Context, req *connect.Request[runnelv1.SettleRequest]) (*connect.Response[runnelv1.SettleResponse], error) {
	r := req.Msg.Value()
	switch {
	case r.All && len(r.Channels) > 0:
		return nil, channel.Faultf(channel.CodeBadRequest, "all is set and channel_ids has %d: give one of them", len(r.Channels))
	case !r.All && len(r.Channels) == 0:
		return nil, channel.Faultf(channel.CodeBadRequest, "channel_ids is empty").WithHint("Give channel ids, or set all.")
	}
	for _, id := range r.Channels {
		if err := given("channel_ids", id); err != nil {
			return nil, err
		}
	}
	result, err := s.node.Settle(ctx, r)
	return reply(runnelv1.NewSettleResponse(result), err)
}
