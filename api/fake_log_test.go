package api_test

import (
	"context"
	"io"

	"github.com/runnel/runnel/channel"
)

func (n *fakeNode) ExportLog(_ context.Context, filter string, w io.Writer) error {
	for range 5000 {
		if _, err := io.WriteString(w, `{"line":"of the book of `+n.text+`"}`+"\n"); err != nil {
			return err
		}
	}
	return n.asked(filter)
}

func (n *fakeNode) VerifyLog(_ context.Context, filter string) (channel.LogReport, error) {
	return channel.LogReport{Records: 1, Bytes: 2, Lanes: 3, Payments: 4, Problems: []string{"five"}}, n.asked(filter)
}

func (n *fakeNode) PruneLog(_ context.Context, r channel.PruneRequest) (channel.PruneResult, error) {
	return channel.PruneResult{Lanes: 1, Payments: 2, BytesBefore: 3, BytesAfter: 4}, n.asked(r)
}
