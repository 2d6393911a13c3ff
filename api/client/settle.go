package client

import (
	"context"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// Settle takes alone what lanes earned. Their channels end by it.
func (c *Client) Settle(ctx context.Context, req channel.SettleRequest) (channel.SettleResult, error) {
	m, err := call(ctx, c, c.channels.Settle, runnelv1.NewSettleRequest(req))
	if err != nil {
		return channel.SettleResult{}, err
	}
	result, err := m.Value()
	return result, c.strange(err)
}
