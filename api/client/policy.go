package client

import (
	"context"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// Limits lists the owner's limits with what is used of them.
func (c *Client) Limits(ctx context.Context) ([]channel.LimitInfo, error) {
	m, err := call(ctx, c, c.policy.ListLimits, &runnelv1.ListLimitsRequest{})
	if err != nil {
		return nil, err
	}
	return values(c, m.GetLimits(), sure((*runnelv1.Limit).Value))
}

// SetLimit sets one figure, in the limit's unit.
func (c *Client) SetLimit(ctx context.Context, name string, value uint64) error {
	_, err := call(ctx, c, c.policy.SetLimit, &runnelv1.SetLimitRequest{Name: name, Value: value})
	return err
}

// ResetLimit gives one figure, or with "" all, back to the configuration.
func (c *Client) ResetLimit(ctx context.Context, name string) error {
	_, err := call(ctx, c, c.policy.ResetLimit, &runnelv1.ResetLimitRequest{Name: name})
	return err
}

// ApplyPreset sets all figures about spending at once.
func (c *Client) ApplyPreset(ctx context.Context, preset string) error {
	_, err := call(ctx, c, c.policy.ApplyPreset, &runnelv1.ApplyPresetRequest{Preset: preset})
	return err
}

// Approvals lists requests that wait for the owner or waited, newest first.
func (c *Client) Approvals(ctx context.Context) ([]channel.Approval, error) {
	m, err := call(ctx, c, c.policy.ListApprovals, &runnelv1.ListApprovalsRequest{})
	if err != nil {
		return nil, err
	}
	return values(c, m.GetApprovals(), (*runnelv1.Approval).Value)
}

// Approve carries out a request that waits. When no answer comes, ask again: nothing is carried out twice.
func (c *Client) Approve(ctx context.Context, id string) (channel.Approved, error) {
	m, err := call(ctx, c, c.policy.Approve, &runnelv1.ApproveRequest{Id: id})
	if err != nil {
		return channel.Approved{}, err
	}
	a, err := m.Value()
	return a, c.strange(err)
}

// Deny ends a request that waits.
func (c *Client) Deny(ctx context.Context, id string) (channel.Approval, error) {
	m, err := call(ctx, c, c.policy.Deny, &runnelv1.DenyRequest{Id: id})
	if err != nil {
		return channel.Approval{}, err
	}
	a, err := m.GetApproval().Value()
	return a, c.strange(err)
}

// Freezes lists what is frozen.
func (c *Client) Freezes(ctx context.Context) ([]channel.Freeze, error) {
	m, err := call(ctx, c, c.policy.ListFreezes, &runnelv1.ListFreezesRequest{})
	if err != nil {
		return nil, err
	}
	return values(c, m.GetFreezes(), sure((*runnelv1.Frozen).Value))
}

// Freeze stops everything that pays out on a channel, to a peer, or at all.
func (c *Client) Freeze(ctx context.Context, target, why string) (channel.Freeze, error) {
	m, err := call(ctx, c, c.policy.Freeze, &runnelv1.FreezeRequest{Target: target, Why: why})
	return m.GetFreeze().Value(), err
}

// Unfreeze ends a freeze.
func (c *Client) Unfreeze(ctx context.Context, target string) (channel.Freeze, error) {
	m, err := call(ctx, c, c.policy.Unfreeze, &runnelv1.UnfreezeRequest{Target: target})
	return m.GetFreeze().Value(), err
}
