package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

func addressCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "address",
		Short:             "A fresh address to fund the wallet",
		Example:           "  runnel address",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			addr, err := c.node.NewAddress(c.ctx)
			if err != nil {
				return err
			}
			return c.show(addressView{addr}, func(u *ui) { u.line("%s", addr) })
		}),
	}
}

func balanceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "balance",
		Short: "Money on the chain and in channels",
		Long: `Money on the chain and in channels.

In channels it is what a close would pay to each side, before fees. Not all of
it can be paid: each side pays from its own deposit, 1,000 sat of which stay,
and what was received can't be spent in the same channel. ` + "`runnel channels`" + `
shows what is spendable.`,
		Example:           "  runnel balance",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			b, err := c.node.Balance(c.ctx)
			if err != nil {
				return err
			}
			return c.show(viewBalance(b), func(u *ui) { printBalance(u, b) })
		}),
	}
}

func printBalance(u *ui, b channel.Balance) {
	rows := [][2]string{
		{"on chain", amount.Sat(b.Onchain)},
		{"  pending", amount.Sat(b.Pending)},
		{"  locked", amount.Sat(b.Locked)},
		{"in channels", ""},
		{"  yours", amount.Msat(b.ChannelLocal)},
		{"  peers'", amount.Msat(b.ChannelRemote)},
	}
	width := 0
	for _, r := range rows {
		width = max(width, len(r[1]))
	}
	for _, r := range rows {
		if r[1] == "" {
			u.line("%s", u.dim(r[0]))
			continue
		}
		u.line("%s  %s", u.dim(pad(r[0], 12, false)), pad(r[1], width, true))
	}
}

func sendCommand(a *app) *cobra.Command {
	var (
		rate uint64
		sat  channel.Sat
		all  bool
	)
	cmd := &cobra.Command{
		Use:   "send ADDRESS AMOUNT|all",
		Short: "Pay on the chain",
		Example: `  runnel send bc1q... 50_000sat
  runnel send bc1q... all --fee-rate 1.5`,
		Args: takes(2, 2, func(args []string) (err error) {
			if all = args[1] == "all"; !all {
				sat, err = amount.ParseSat(args[1])
			}
			return err
		}),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"all"}, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.verb(func(c *call) error {
			sent, err := c.node.Send(c.ctx, c.args[0], sat, all, rate)
			if err != nil {
				return err
			}
			return c.showSent(sent, "sent "+amount.Sat(sent.Amount))
		}),
	}
	feeRateFlag(cmd, &rate)
	return cmd
}

func (c *call) showSent(s channel.Sent, what string) error {
	return c.show(sentView{s.TxID, uint64(s.Fee)}, func(u *ui) {
		u.line("%s, fee %s", what, amount.Sat(s.Fee))
		u.line("%s %s", u.dim("transaction"), s.TxID)
	})
}

func bumpCommand(a *app) *cobra.Command {
	var rate uint64
	cmd := &cobra.Command{
		Use:               "bump TXID",
		Short:             "Raise the fee of a transaction that does not confirm",
		Example:           "  runnel bump 4f1c... --fee-rate 12",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeTxs,
		RunE: a.verb(func(c *call) error {
			sent, err := c.node.Bump(c.ctx, c.args[0], rate)
			if err != nil {
				return err
			}
			return c.showSent(sent, "bumped")
		}),
	}
	feeRateFlag(cmd, &rate)
	return cmd
}

func txsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "txs",
		Short:             "On-chain history, newest first",
		Example:           "  runnel txs\n  runnel txs --json | jq 'select(.confirmations == 0)'",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			txs, err := c.node.Transactions(c.ctx)
			if err != nil {
				return err
			}
			return showAll(c.app, each(txs, viewTx), func(u *ui) { printTxs(u, txs) })
		}),
	}
}

func printTxs(u *ui, txs []channel.WalletTx) {
	if len(txs) == 0 {
		u.line("no transactions yet: runnel address")
		return
	}
	t := table{head: []string{"TIME", ">AMOUNT", ">FEE", ">BLOCK", "FOR"}}
	for _, tx := range txs {
		block := "waiting"
		if tx.Confirmations > 0 {
			block = count(tx.Height)
		}
		fee := "-"
		if tx.Fee > 0 {
			fee = amount.Sat(tx.Fee)
		}
		t.add(tx.TxID, u.ago(time.Unix(tx.Time, 0)), amount.SignedSat(tx.Amount), fee, block, printable(tx.Label))
	}
	t.print(u)
}
