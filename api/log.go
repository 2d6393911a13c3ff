package api

import (
	"bytes"
	"context"
	"io"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// LogNode is what a Node says of its book of payments.
type LogNode interface {
	// ExportLog writes the book of one channel (an id or a unique prefix), or with "" of all, in the format
	// of channel/book.
	ExportLog(ctx context.Context, filter string, w io.Writer) error
	// VerifyLog checks the node's own book, of one channel or of all. What is wrong stands in the report.
	VerifyLog(ctx context.Context, filter string) (channel.LogReport, error)
	// PruneLog drops old payments below checkpoints that both sides signed.
	PruneLog(ctx context.Context, req channel.PruneRequest) (channel.PruneResult, error)
}

type logService struct{ *service }

// exportPiece is about how much of a book goes into one message.
const exportPiece = 64 << 10

func (s logService) Export(ctx context.Context, req *connect.Request[runnelv1.ExportLogRequest], stream *connect.ServerStream[runnelv1.ExportLogResponse]) error {
	if err := knownFields(req.Msg); err != nil {
		return err
	}
	w := &pieces{send: func(b []byte) error { return stream.Send(&runnelv1.ExportLogResponse{Lines: string(b)}) }}
	if err := s.node.ExportLog(ctx, req.Msg.ChannelId, w); err != nil {
		return err
	}
	return w.flush()
}

func (s logService) Verify(ctx context.Context, req *connect.Request[runnelv1.VerifyLogRequest]) (*connect.Response[runnelv1.VerifyLogResponse], error) {
	r, err := s.node.VerifyLog(ctx, req.Msg.ChannelId)
	return reply(runnelv1.NewLogReport(r), err)
}

func (s logService) Prune(ctx context.Context, req *connect.Request[runnelv1.PruneLogRequest]) (*connect.Response[runnelv1.PruneLogResponse], error) {
	if (req.Msg.Before > 0) == (req.Msg.BeforeHeight > 0) || req.Msg.Before < 0 {
		return nil, channel.Faultf(channel.CodeBadRequest, "give one of before and before_height")
	}
	r, err := s.node.PruneLog(ctx, req.Msg.Value())
	return reply(runnelv1.NewPruneResult(r), err)
}

// pieces gathers lines to messages of a good size.
type pieces struct {
	send func([]byte) error
	buf  []byte
}

func (p *pieces) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	end := bytes.LastIndexByte(p.buf, '\n') + 1
	if end < exportPiece {
		return len(b), nil
	}
	err := p.send(p.buf[:end])
	p.buf = append(p.buf[:0], p.buf[end:]...)
	return len(b), err
}

func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	return p.send(p.buf)
}
