package api

import (
	"context"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// PolicyNode is what a Node says of its owner's rules, and how they change.
type PolicyNode interface {
	Limits(ctx context.Context) ([]channel.LimitInfo, error)
	// SetLimit sets a figure in its unit; ResetLimit gives one, or with "" all, back to the configuration.
	SetLimit(ctx context.Context, name string, value uint64) error
	ResetLimit(ctx context.Context, name string) error
	ApplyPreset(ctx context.Context, preset string) error

	Approvals(ctx context.Context) ([]channel.Approval, error)
	// Approve carries out a request that waits, once however often it is called.
	Approve(ctx context.Context, id string) (channel.Approved, error)
	Deny(ctx context.Context, id string) (channel.Approval, error)

	Freezes(ctx context.Context) ([]channel.Freeze, error)
	// Freeze stops what pays out from the moment on at which it is called; target is a channel, a peer or all.
	Freeze(ctx context.Context, target, why string) (channel.Freeze, error)
	Unfreeze(ctx context.Context, target string) (channel.Freeze, error)
}

type policyService struct{ *service }

func (s policyService) ListLimits(ctx context.Context, _ *connect.Request[runnelv1.ListLimitsRequest]) (*connect.Response[runnelv1.ListLimitsResponse], error) {
	limits, err := s.node.Limits(ctx)
	return reply(&runnelv1.ListLimitsResponse{Limits: list(limits, runnelv1.NewLimit)}, err)
}

func (s policyService) SetLimit(ctx context.Context, req *connect.Request[runnelv1.SetLimitRequest]) (*connect.Response[runnelv1.SetLimitResponse], error) {
	if err := given("name", req.Msg.Name); err != nil {
		return nil, err
	}
	return reply(&runnelv1.SetLimitResponse{}, s.node.SetLimit(ctx, req.Msg.Name, req.Msg.Value))
}

func (s policyService) ResetLimit(ctx context.Context, req *connect.Request[runnelv1.ResetLimitRequest]) (*connect.Response[runnelv1.ResetLimitResponse], error) {
	return reply(&runnelv1.ResetLimitResponse{}, s.node.ResetLimit(ctx, req.Msg.Name))
}

func (s policyService) ApplyPreset(ctx context.Context, req *connect.Request[runnelv1.ApplyPresetRequest]) (*connect.Response[runnelv1.ApplyPresetResponse], error) {
	if err := given("preset", req.Msg.Preset); err != nil {
		return nil, err
	}
	return reply(&runnelv1.ApplyPresetResponse{}, s.node.ApplyPreset(ctx, req.Msg.Preset))
}

func (s policyService) ListApprovals(ctx context.Context, _ *connect.Request[runnelv1.ListApprovalsRequest]) (*connect.Response[runnelv1.ListApprovalsResponse], error) {
	approvals, err := s.node.Approvals(ctx)
	return reply(&runnelv1.ListApprovalsResponse{Approvals: list(approvals, runnelv1.NewApproval)}, err)
}

func (s policyService) Approve(ctx context.Context, req *connect.Request[runnelv1.ApproveRequest]) (*connect.Response[runnelv1.ApproveResponse], error) {
	if err := given("id", req.Msg.Id); err != nil {
		return nil, err
	}
	approved, err := s.node.Approve(ctx, req.Msg.Id)
	return reply(runnelv1.NewApproveResponse(approved), err)
}

func (s policyService) Deny(ctx context.Context, req *connect.Request[runnelv1.DenyRequest]) (*connect.Response[runnelv1.DenyResponse], error) {
	if err := given("id", req.Msg.Id); err != nil {
		return nil, err
	}
	denied, err := s.node.Deny(ctx, req.Msg.Id)
	return reply(&runnelv1.DenyResponse{Approval: runnelv1.NewApproval(denied)}, err)
}

func (s policyService) ListFreezes(ctx context.Context, _ *connect.Request[runnelv1.ListFreezesRequest]) (*connect.Response[runnelv1.ListFreezesResponse], error) {
	freezes, err := s.node.Freezes(ctx)
	return reply(&runnelv1.ListFreezesResponse{Freezes: list(freezes, runnelv1.NewFrozen)}, err)
}

func (s policyService) Freeze(ctx context.Context, req *connect.Request[runnelv1.FreezeRequest]) (*connect.Response[runnelv1.FreezeResponse], error) {
	if err := given("target", req.Msg.Target); err != nil {
		return nil, err
	}
	if len(req.Msg.Why) > channel.MaxTextBytes {
		return nil, channel.Faultf(channel.CodeBadRequest, "why has %d bytes, and %d is the most", len(req.Msg.Why), channel.MaxTextBytes)
	}
	f, err := s.node.Freeze(ctx, req.Msg.Target, req.Msg.Why)
	return reply(&runnelv1.FreezeResponse{Freeze: runnelv1.NewFrozen(f)}, err)
}

func (s policyService) Unfreeze(ctx context.Context, req *connect.Request[runnelv1.UnfreezeRequest]) (*connect.Response[runnelv1.UnfreezeResponse], error) {
	if err := given("target", req.Msg.Target); err != nil {
		return nil, err
	}
	f, err := s.node.Unfreeze(ctx, req.Msg.Target)
	return reply(&runnelv1.UnfreezeResponse{Freeze: runnelv1.NewFrozen(f)}, err)
}
