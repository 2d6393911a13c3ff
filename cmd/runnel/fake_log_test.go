package main

import (
	"context"
	"io"

	"github.com/runnel/runnel/channel"
)

func (f *fakeNode) ExportLog(_ context.Context, filter string, w io.Writer) error {
	if err := f.ask("export " + filter); err != nil {
		return err
	}
	_, err := w.Write(f.book)
	return err
}

func (f *fakeNode) VerifyLog(_ context.Context, filter string) (channel.LogReport, error) {
	return f.log, f.ask("verify " + filter)
}

func (f *fakeNode) PruneLog(_ context.Context, r channel.PruneRequest) (channel.PruneResult, error) {
	f.prune = r
	return channel.PruneResult{Lanes: 2, Payments: 1200, BytesBefore: 9_000_000, BytesAfter: 4_000_000}, f.ask("prune")
}
