package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

func approvalsCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List requests that wait for your approval",
		Long: `Lists the payments, channels and on-chain sends that wait for your approval,
newest first; with --all those that were decided too.`,
		Example:           "  runnel approvals\n  runnel approve 0c1d2e3f",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			list, err := c.node.Approvals(c.ctx)
			if err != nil {
				return err
			}
			var shown []channel.Approval
			for _, r := range list {
				if all || r.Status == "waiting" || r.Status == "approved" || r.Status == "unclear" {
					shown = append(shown, r)
				}
			}
			return showAll(c.app, each(shown, viewApproval), func(u *ui) { c.printApprovals(u, shown) })
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "those that were decided or expired, too")
	return cmd
}

const approveHelp = `Carry out a request that waits for you: the payment is made, the channel opened,
the coins sent. Nothing is done twice, however often it is approved. Budgets
hold all the same; a payment that they refuse now stays approved, and is made
when it is asked for again before it expires.`

func approveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "approve ID",
		Short:             "Carry out a request that waits for you",
		Long:              approveHelp,
		Example:           "  runnel approve 0c1d2e3f",
		Args:              takes(1, 1),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			r, err := c.node.Approve(c.ctx, c.args[0])
			if err != nil {
				return err
			}
			if err := c.show(viewApproval(r.Approval), func(u *ui) { printApproved(u, r) }); err != nil {
				return err
			}
			if r.Approval.Kind != "pay" {
				return nil
			}
			return fate(r.Approval.Target, r.Payment, nil)
		}),
	}
}

func denyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "deny ID",
		Short:             "Refuse a request that waits for you",
		Long:              "Ends a request that waits for you. Whoever made it and asks again is refused;\nnothing was signed.",
		Example:           "  runnel deny 0c1d2e3f",
		Args:              takes(1, 1),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			r, err := c.node.Deny(c.ctx, c.args[0])
			if err != nil {
				return err
			}
			return c.show(viewApproval(r), func(u *ui) { u.line("denied: %s", printable(aboutRequest(r))) })
		}),
	}
}

// aboutRequest says in a few words what is asked for.
func aboutRequest(r channel.Approval) string {
	switch r.Kind {
	case "pay":
		return "pay " + amount.Msat(r.Amount) + " to " + shortTarget(r.Target)
	case "draw":
		return "let " + shortTarget(r.Target) + " draw up to " + amount.Msat(r.Amount)
	case "open":
		return "open a channel with " + shortTarget(r.Target) + ", deposit " + amount.Msat(r.Amount)
	}
	return "send " + amount.Msat(r.Amount) + " to " + r.Target
}

func shortTarget(s string) string {
	if len(s) > 20 {
		return cut(s, 12) + "…"
	}
	return s
}

func (c *call) printApprovals(u *ui, list []channel.Approval) {
	if len(list) == 0 {
		u.line("nothing waits for your approval")
		return
	}
	t := table{head: []string{"ID", "REQUEST", ">LEFT", "STATUS"}, style: func(u *ui, column int, s string) string {
		if column == 3 {
			return u.word(s)
		}
		return s
	}}
	for _, r := range list {
		left := ""
		if d := time.UnixMilli(r.Expires).Sub(c.now()); d > 0 && (r.Status == "waiting" || r.Status == "approved") {
			left = d.Round(time.Minute).String()
		}
		t.add(printable(r.Why), r.ID.String()[:8], printable(aboutRequest(r)), left, r.Status)
	}
	t.print(u)
	u.line("%s", u.dim("decide with: runnel approve ID, or: runnel deny ID"))
}

func printApproved(u *ui, r channel.Approved) {
	if r.Approval.Kind == "draw" {
		u.line("%s: %s; the program gets it when it asks again", u.green("approved"), printable(aboutRequest(r.Approval)))
		return
	}
	u.line("%s: %s", u.green("done"), printable(aboutRequest(r.Approval)))
	u.line("%s", u.dim(printable(r.Approval.Result)))
}

type approvalView struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Amount  uint64 `json:"amount_msat"`
	Target  string `json:"target"`
	Ref     string `json:"ref"`
	Status  string `json:"status"`
	Why     string `json:"why"`
	Rule    string `json:"rule"`
	Time    int64  `json:"time"`
	Expires int64  `json:"expires"`
	Result  string `json:"result"`
}

func viewApproval(r channel.Approval) approvalView {
	return approvalView{r.ID.String(), r.Kind, uint64(r.Amount), r.Target, r.Ref, r.Status, r.Why, r.Rule, r.Made, r.Expires, r.Result}
}
