package api_test

import (
	"context"

	"github.com/runnel/runnel/channel"
)

func (n *fakeNode) Limits(context.Context) ([]channel.LimitInfo, error) { return n.limits, n.asked() }
func (n *fakeNode) SetLimit(_ context.Context, name string, value uint64) error {
	return n.asked(name, value)
}
func (n *fakeNode) ResetLimit(_ context.Context, name string) error    { return n.asked(name) }
func (n *fakeNode) ApplyPreset(_ context.Context, preset string) error { return n.asked(preset) }

func (n *fakeNode) Approvals(context.Context) ([]channel.Approval, error) {
	return n.approvals, n.asked()
}
func (n *fakeNode) Approve(_ context.Context, id string) (channel.Approved, error) {
	return n.approved, n.asked(id)
}
func (n *fakeNode) Deny(_ context.Context, id string) (channel.Approval, error) {
	return n.approved.Approval, n.asked(id)
}

func (n *fakeNode) Freezes(context.Context) ([]channel.Freeze, error) { return n.freezes, n.asked() }
func (n *fakeNode) Freeze(_ context.Context, target, why string) (channel.Freeze, error) {
	return n.frozen, n.asked(target, why)
}
func (n *fakeNode) Unfreeze(_ context.Context, target string) (channel.Freeze, error) {
	return n.frozen, n.asked(target)
}

// ruled is what a node answers about its owner's rules.
type ruled struct {
	limits    []channel.LimitInfo
	approvals []channel.Approval
	approved  channel.Approved
	freezes   []channel.Freeze
	frozen    channel.Freeze
}
