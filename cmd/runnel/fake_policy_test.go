package main

import (
	"context"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
)

func (f *fakeNode) Limits(context.Context) (list []channel.LimitInfo, err error) {
	l, err := policy.Defaults("mainnet")
	if err != nil {
		return nil, err
	}
	for _, s := range policy.Settings() {
		v := s.Get(&l)
		list = append(list, channel.LimitInfo{Name: s.Name, Unit: s.Unit.String(), Value: v, Text: s.Show(v), Help: s.Help,
			Own: s.Name == policy.SettingBudget, Used: v / 4, Uses: s.Name == policy.SettingBudget})
	}
	return list, f.ask("limits")
}

func (f *fakeNode) SetLimit(_ context.Context, name string, value uint64) error {
	return f.ask(fmt.Sprintf("set %s %d", name, value))
}
func (f *fakeNode) ResetLimit(_ context.Context, name string) error { return f.ask("reset " + name) }
func (f *fakeNode) ApplyPreset(_ context.Context, preset string) error {
	return f.ask("preset " + preset)
}

func waiting() channel.Approval {
	return channel.Approval{ID: pay1, Kind: "pay", Amount: 30_000_000, Target: bob, Ref: "rent", Status: "waiting",
		Why: "a payment of 30000 sat is above 20000 sat and needs a person's approval", Rule: policy.RuleApproval,
		Made: noon.UnixMilli(), Expires: noon.UnixMilli() + 3_600_000}
}

func (f *fakeNode) Approvals(context.Context) ([]channel.Approval, error) {
	denied := waiting()
	denied.ID, denied.Status = channel.PaymentID{0xbb}, "denied"
	return []channel.Approval{waiting(), denied}, f.ask("approvals")
}

func (f *fakeNode) Approve(_ context.Context, id string) (channel.Approved, error) {
	a := waiting()
	a.Status, a.Result = "done", "acknowledged"
	return channel.Approved{Approval: a, Payment: f.payRes}, f.ask("approve " + id)
}

func (f *fakeNode) Deny(_ context.Context, id string) (channel.Approval, error) {
	a := waiting()
	a.Status = "denied"
	return a, f.ask("deny " + id)
}

func (f *fakeNode) Freezes(context.Context) ([]channel.Freeze, error) {
	return []channel.Freeze{{Kind: "channel", ID: chan1.String(), By: "owner", Why: "odd prices", Since: noon.UnixMilli()}}, f.ask("freezes")
}

func (f *fakeNode) Freeze(_ context.Context, target, why string) (channel.Freeze, error) {
	return channel.Freeze{Kind: "all", By: "owner", Why: why, Since: noon.UnixMilli()}, f.ask("freeze " + target)
}

func (f *fakeNode) Unfreeze(_ context.Context, target string) (channel.Freeze, error) {
	return channel.Freeze{Kind: "channel", ID: chan1.String(), By: "owner"}, f.ask("unfreeze " + target)
}
