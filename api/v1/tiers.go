package runnelv1

import "github.com/runnel/runnel/channel"

// NewLimit makes the message of a limit.
func NewLimit(l channel.LimitInfo) *Limit {
	return &Limit{Name: l.Name, Unit: l.Unit, Figure: l.Value, Text: l.Text, Own: l.Own, Used: l.Used, Counts: l.Uses, Help: l.Help}
}

// Value is NewLimit backwards.
func (m *Limit) Value() channel.LimitInfo {
	return channel.LimitInfo{Name: m.GetName(), Unit: m.GetUnit(), Value: m.GetFigure(), Text: m.GetText(), Own: m.GetOwn(), Used: m.GetUsed(),
		Uses: m.GetCounts(), Help: m.GetHelp()}
}

// NewApproval makes the message of a request that waits or waited.
func NewApproval(a channel.Approval) *Approval {
	return &Approval{Id: a.ID.String(), Kind: a.Kind, AmountMsat: uint64(a.Amount), Target: a.Target, Ref: a.Ref, Status: a.Status, Why: a.Why,
		Rule: a.Rule, Time: a.Made, Expires: a.Expires, Result: a.Result}
}

// Value is NewApproval backwards.
func (m *Approval) Value() (channel.Approval, error) {
	var p parser
	a := channel.Approval{ID: p.payment(m.GetId()), Kind: m.GetKind(), Amount: channel.Msat(m.GetAmountMsat()), Target: m.GetTarget(),
		Ref: m.GetRef(), Status: m.GetStatus(), Why: m.GetWhy(), Rule: m.GetRule(), Made: m.GetTime(), Expires: m.GetExpires(), Result: m.GetResult()}
	return a, p.err
}

// NewApproveResponse makes the answer to Approve.
func NewApproveResponse(a channel.Approved) *ApproveResponse {
	return &ApproveResponse{Approval: NewApproval(a.Approval), Payment: NewPayResponse(a.Payment, nil), Channel: NewOpenResponse(a.Channel), Sent: NewSent(a.Sent)}
}

// Value is NewApproveResponse backwards.
func (m *ApproveResponse) Value() (a channel.Approved, err error) {
	if a.Approval, err = m.GetApproval().Value(); err != nil {
		return a, err
	}
	if a.Payment, err = m.GetPayment().Value(); err != nil {
		return a, err
	}
	a.Sent = m.GetSent().Value()
	a.Channel, err = m.GetChannel().Value()
	return a, err
}

// NewFrozen makes the message of a freeze.
func NewFrozen(f channel.Freeze) *Frozen {
	return &Frozen{Kind: f.Kind, Id: f.ID, By: f.By, Why: f.Why, Time: f.Since}
}

// Value is NewFrozen backwards.
func (m *Frozen) Value() channel.Freeze {
	return channel.Freeze{Kind: m.GetKind(), ID: m.GetId(), By: m.GetBy(), Why: m.GetWhy(), Since: m.GetTime()}
}
