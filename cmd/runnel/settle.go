package main

import (
	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const settleHelp = `Take home what channels earned, without their peers, and end them.

Many lanes share one transaction, so that each costs less. Lanes of which the
fee would take more than a quarter are left out of --all; name such a channel
to settle it all the same. Your own deposit in these channels returns after
their expiry, or earlier if the peer settles.

Shows what it brings and asks, on a terminal; elsewhere -y says that it need
not ask. A close together is cheaper and ends at once: runnel close ID.`

type settleFlags struct {
	req channel.SettleRequest
	yes bool
}

func settleCommand(a *app) *cobra.Command {
	var f settleFlags
	cmd := &cobra.Command{
		Use:   "settle ID...|--all",
		Short: "Take home what channels earned, alone",
		Long:  settleHelp,
		Example: `  runnel settle --all --dry-run
  runnel settle --all --below-fee 5 -y   # does nothing while fees are higher
  runnel settle 3fa9c1d2 71c0aa5e`,
		Args: takes(0, 1000, func(args []string) error {
			switch {
			case f.req.All && len(args) > 0:
				return usage("leave one of them away", "--all settles every channel, and %q names one", args[0])
			case !f.req.All && len(args) == 0:
				return usage("runnel settle --all, or runnel settle ID", "settle needs channels, or --all")
			}
			f.req.Channels = args
			return nil
		}),
		ValidArgsFunction: a.completeManyChannels,
		RunE:              a.verb(func(c *call) error { return c.settle(f) }),
	}
	cmd.Flags().BoolVar(&f.req.All, "all", false, "every lane that is worth its fee")
	addFlag(cmd, &f.req.BelowFee, "below-fee", "only if the fee is at most `SAT/VB`", amount.ParseFeeRate)
	feeRateFlag(cmd, &f.req.FeeRate)
	cmd.Flags().BoolVar(&f.req.DryRun, "dry-run", false, "only tell what it would bring and cost")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "settle without a question")
	return cmd
}

func (c *call) settle(f settleFlags) error {
	ask := !f.yes && !f.req.DryRun
	if ask && !(c.inTTY && c.errTTY) {
		return usage("add -y to settle without a question, or --dry-run to see what it brings",
			"settle ends channels and there is no terminal to ask on")
	}
	status, err := c.node.Status(c.ctx)
	if err != nil {
		return err
	}
	if ask || f.req.DryRun {
		req := f.req
		req.DryRun = true
		plan, err := c.node.Settle(c.ctx, req)
		if err != nil {
			return err
		}
		if f.req.DryRun {
			return c.showSettle(status, plan, true)
		}
		c.printSettle(c.notes(), status, plan, true)
		if plan.Value == 0 {
			return nil
		}
		if err := c.confirm("Settle, and end these channels?", "nothing was settled"); err != nil {
			return err
		}
	}
	r, err := c.node.Settle(c.ctx, f.req)
	if err != nil {
		return err
	}
	return c.showSettle(status, r, false)
}

func (c *call) showSettle(s channel.NodeStatus, r channel.SettleResult, plan bool) error {
	return showAll(c.app, each(r.Lanes, viewSettled), func(u *ui) { c.printSettle(u, s, r, plan) })
}

func (c *call) printSettle(u *ui, s channel.NodeStatus, r channel.SettleResult, plan bool) {
	if len(r.Lanes) == 0 {
		u.line("no channel has earned anything that is not settled")
		return
	}
	short := shortIDs(each(r.Lanes, func(l channel.SettledLane) channel.ID { return l.Channel }))
	t := table{head: []string{"CHANNEL", "PEER", ">EARNED", ">FEE", ""}}
	var deposits channel.Sat
	var until uint32
	for _, l := range r.Lanes {
		word := l.Status
		if plan && l.Status == channel.SettleNow {
			word = "now"
		}
		if l.Status == channel.SettleNow {
			deposits, until = deposits+l.Deposit, max(until, l.RefundHeight)
		}
		t.add(printable(l.Reason), short[l.Channel], shortPeer(l.PeerID), amount.Sat(l.Value), amount.Sat(l.Fee), word)
	}
	t.print(u)
	verb := "on its way home"
	if plan {
		verb = "brings home"
	}
	u.line("%s: %s, less a fee of %s at %s", verb, u.bold(amount.Sat(r.Value)), amount.Sat(r.Fee), amount.FeeRate(r.FeeRate))
	if deposits > 0 {
		u.line("your deposits there, %s, return %s", amount.Sat(deposits), c.when(s, until))
	}
	for _, id := range settlements(r) {
		u.line("%s %s", u.dim("transaction"), id)
	}
}

// settlements are the transactions of a result, each once.
func settlements(r channel.SettleResult) (ids []string) {
	seen := map[string]bool{}
	for _, l := range r.Lanes {
		if l.Status == channel.SettleNow && l.TxID != "" && !seen[l.TxID] {
			seen[l.TxID] = true
			ids = append(ids, l.TxID)
		}
	}
	return ids
}

// settledView is one lane of a settlement.
type settledView struct {
	Channel      string `json:"channel_id"`
	PeerID       string `json:"peer_id"`
	Status       string `json:"status"`
	Reason       string `json:"reason"`
	Value        uint64 `json:"value_sat"`
	Fee          uint64 `json:"fee_sat"`
	TxID         string `json:"txid"`
	Deposit      uint64 `json:"deposit_sat"`
	RefundHeight uint32 `json:"refund_height"`
}

func viewSettled(l channel.SettledLane) settledView {
	return settledView{id(l.Channel), string(l.PeerID), l.Status, l.Reason, uint64(l.Value), uint64(l.Fee), l.TxID, uint64(l.Deposit), l.RefundHeight}
}

// completeManyChannels offers channels for every argument.
func (a *app) completeManyChannels(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.ask(channelWords)(cmd, nil, typed)
}
