package client

import (
	"context"
	"io"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// ExportLog writes the node's book of one channel, or with "" of all. What was written before an error is
// no whole book, and does not read as one.
func (c *Client) ExportLog(ctx context.Context, filter string, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.log.Export(ctx, connect.NewRequest(&runnelv1.ExportLogRequest{ChannelId: filter}))
	if err != nil {
		return c.failure(ctx, err)
	}
	defer stream.Close()
	for stream.Receive() {
		if _, err := io.WriteString(w, stream.Msg().Lines); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil {
		return c.failure(ctx, err)
	}
	return nil
}

// VerifyLog has the node check its own book.
func (c *Client) VerifyLog(ctx context.Context, filter string) (channel.LogReport, error) {
	m, err := call(ctx, c, c.log.Verify, &runnelv1.VerifyLogRequest{ChannelId: filter})
	if err != nil {
		return channel.LogReport{}, err
	}
	return m.Value(), nil
}

// PruneLog drops old payments below checkpoints that both sides signed.
func (c *Client) PruneLog(ctx context.Context, req channel.PruneRequest) (channel.PruneResult, error) {
	m, err := call(ctx, c, c.log.Prune, runnelv1.NewPruneRequest(req))
	if err != nil {
		return channel.PruneResult{}, err
	}
	return m.Value(), nil
}
