package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

// What a node says of its owner's rules arrives whole.
func TestRulesArriveWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	rapid.Check(t, func(t *rapid.T) {
		node.ruled = ruled{limits: fill[[]channel.LimitInfo](t, "limits"), approvals: fill[[]channel.Approval](t, "approvals"),
			approved: fill[channel.Approved](t, "approved"), freezes: fill[[]channel.Freeze](t, "freezes"), frozen: fill[channel.Freeze](t, "frozen")}
		limits, err := c.Limits(ctx)
		same(t, "Limits", limits, orEmpty(node.limits), err)
		approvals, err := c.Approvals(ctx)
		same(t, "Approvals", approvals, orEmpty(node.approvals), err)
		approved, err := c.Approve(ctx, "1234")
		same(t, "Approve", approved, node.approved, err)
		denied, err := c.Deny(ctx, "1234")
		same(t, "Deny", denied, node.approved.Approval, err)
		freezes, err := c.Freezes(ctx)
		same(t, "Freezes", freezes, orEmpty(node.freezes), err)
		frozen, err := c.Freeze(ctx, "all", "")
		same(t, "Freeze", frozen, node.frozen, err)
		frozen, err = c.Unfreeze(ctx, "all")
		same(t, "Unfreeze", frozen, node.frozen, err)
	})
}

func TestRulesAreAskedForWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	for what, call := range map[string]func() error{
		"budget-per-day 18446744073709551615": func() error { return c.SetLimit(ctx, "budget-per-day", 1<<64-1) },
		"max-payment":                         func() error { return c.ResetLimit(ctx, "max-payment") },
		"strict":                              func() error { return c.ApplyPreset(ctx, "strict") },
		"abcd":                                func() error { _, err := c.Approve(ctx, "abcd"); return err },
		"3fa9 it is odd":                      func() error { _, err := c.Freeze(ctx, "3fa9", "it is odd"); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", what, err)
		} else if asked := strings.TrimSuffix(fmt.Sprintln(node.last()...), "\n"); asked != what {
			t.Errorf("asked for %q, want %q", asked, what)
		}
	}
	for what, call := range map[string]func() error{
		"no name":   func() error { return c.SetLimit(ctx, "", 1) },
		"no preset": func() error { return c.ApplyPreset(ctx, "") },
		"no id":     func() error { _, err := c.Approve(ctx, ""); return err },
		"no target": func() error { _, err := c.Freeze(ctx, "", ""); return err },
		"long why":  func() error { _, err := c.Freeze(ctx, "all", strings.Repeat("x", 1000)); return err },
	} {
		var f *channel.Fault
		if err := call(); !errors.As(err, &f) || f.Code != channel.CodeBadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
}
