package main

import (
	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const closeHelp = `End a channel and pay out what both sides own.

Together with the peer it is one small transaction. --force does it alone:
what was received is settled at once, and the own deposit returns after the
channel's expiry; the answer says at which block. --wait returns when it is
final, six blocks deep.`

func closeCommand(a *app) *cobra.Command {
	var (
		req  channel.CloseRequest
		wait bool
	)
	cmd := &cobra.Command{
		Use:   "close ID",
		Short: "End a channel",
		Long:  closeHelp,
		Example: `  runnel close 3fa9c1d2
  runnel close 3fa9c1d2 --to bc1q... --fee-rate 2 --wait
  runnel close 3fa9c1d2 --force       # the peer is gone`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeChannels,
		RunE:              a.verb(func(c *call) error { return c.close(req, wait) }),
	}
	cmd.Flags().BoolVar(&req.Force, "force", false, "alone, without the peer")
	feeRateFlag(cmd, &req.FeeRate)
	cmd.Flags().StringVar(&req.To, "to", "", "pay your share to this `ADDRESS` instead of the node's wallet")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the channel is closed for good")
	cmd.RegisterFlagCompletionFunc("to", noCompletion)
	return cmd
}

func (c *call) close(req channel.CloseRequest, wait bool) error {
	req.Channel = c.args[0]
	status, err := c.node.Status(c.ctx)
	if err != nil {
		return err
	}
	r, err := c.node.Close(c.ctx, req)
	if err != nil {
		return err
	}
	if !c.json {
		c.printClose(c.ui(), status, r)
	}
	if wait {
		if err := c.waitClosed(r.Channel.String()); err != nil {
			return err
		}
	}
	if c.json {
		return writeJSON(c.out, viewClose(r))
	}
	if wait {
		c.ui().line("closed for good")
	}
	return nil
}

func (c *call) printClose(u *ui, s channel.NodeStatus, r channel.CloseResult) {
	what := map[string]string{"coop": "closing together", "settle": "settling alone", "refund_wait": "waiting for the refund"}[r.Kind]
	if what == "" {
		what = r.Kind
	}
	refund := ""
	if r.RefundHeight > 0 {
		refund = "your deposit returns " + c.when(s, r.RefundHeight)
	}
	if r.TxID == "" && r.RefundHeight == 0 {
		u.line("channel %s is given up: no money was in it", cut(r.Channel.String(), 8))
		return
	}
	rows := [][2]string{{"channel", r.Channel.String()}, {"how", what}, {"you get", amount.Sat(r.Local)}}
	if r.TxID != "" { // until there is a transaction nobody knows the rest
		rows = append(rows, [2]string{"peer gets", amount.Sat(r.Remote)}, [2]string{"fee", amount.Sat(r.Fee)}, [2]string{"transaction", r.TxID})
	}
	u.fields(append(rows, [2]string{"refund", refund})...)
}

func (c *call) waitClosed(id string) error {
	return c.wait(id, func(now channel.ChannelInfo) (bool, string, error) {
		line := now.Phase.String()
		if now.Reason != "" {
			line += ": " + printable(now.Reason)
		}
		return now.Phase.Final(), line, nil
	})
}
