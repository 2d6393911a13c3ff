package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

func TestLogThroughTheAPI(t *testing.T) {
	node := &fakeNode{text: "älice"}
	_, c, _ := serve(t, node)
	var got, want bytes.Buffer
	if err := c.ExportLog(context.Background(), "3fa9", &got); err != nil {
		t.Fatal(err)
	}
	if asked := fmt.Sprint(node.last()...); asked != "3fa9" {
		t.Errorf("asked for %q", asked)
	}
	_ = node.ExportLog(context.Background(), "", &want)
	if !bytes.Equal(got.Bytes(), want.Bytes()) || strings.Count(got.String(), "\n") != 5000 {
		t.Errorf("%d bytes came, want %d", got.Len(), want.Len())
	}
	r, err := c.VerifyLog(context.Background(), "")
	if err != nil || fmt.Sprint(r) != fmt.Sprint(channel.LogReport{Records: 1, Bytes: 2, Lanes: 3, Payments: 4, Problems: []string{"five"}}) {
		t.Errorf("%+v, %v", r, err)
	}
	pruned := channel.PruneResult{Lanes: 1, Payments: 2, BytesBefore: 3, BytesAfter: 4}
	req := channel.PruneRequest{Height: 7, Archive: true, DryRun: true}
	if p, err := c.PruneLog(context.Background(), req); err != nil || p != pruned || node.last()[0] != any(req) {
		t.Errorf("%+v, %v, asked for %v", p, err, node.last())
	}
	if _, err := c.PruneLog(context.Background(), channel.PruneRequest{}); err == nil {
		t.Error("pruned without a bound")
	}
	node.err = channel.Faultf(channel.CodeNotFound, "no channel 3fa9")
	var f *channel.Fault
	if err := c.ExportLog(context.Background(), "3fa9", &got); !errors.As(err, &f) || f.Code != channel.CodeNotFound {
		t.Errorf("%v", err)
	}
}
