package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

func channelsCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "channels",
		Short: "Channels, with what each can pay and receive",
		Long: `Channels, with what each can pay and receive.

Spendable and receivable are apart: each side pays from its own deposit, and a
close pays the difference. The text leaves closed channels away unless --all
is given; --json always has all of them.`,
		Example:           "  runnel channels\n  runnel channels --json | jq 'select(.phase == \"open\")'",
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			channels, err := c.node.Channels(c.ctx)
			if err != nil {
				return err
			}
			return showAll(c.app, each(channels, viewChannel), func(u *ui) { printChannels(u, channels, all) })
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "closed and abandoned channels too")
	return cmd
}

func printChannels(u *ui, channels []channel.ChannelInfo, all bool) {
	short := shortIDs(each(channels, func(c channel.ChannelInfo) channel.ID { return c.Channel }))
	t := table{head: []string{"CHANNEL", "PEER", "PHASE", ">SPENDABLE", ">RECEIVABLE", ">EXPIRES"}}
	t.style = func(u *ui, column int, s string) string {
		if column == 2 {
			return u.word(s)
		}
		return s
	}
	hidden := 0
	for _, c := range channels {
		if c.Phase.Final() && !all {
			hidden++
			continue
		}
		t.add(reason(c), short[c.Channel], shortPeer(c.PeerID), c.Phase.String(),
			amount.Msat(c.Spendable), amount.Msat(c.Receivable), expires(u, c))
	}
	switch {
	case len(t.rows) > 0:
		t.print(u)
	case hidden == 0:
		u.line("no channels yet: runnel open PEER --deposit AMOUNT")
	}
	if hidden > 0 {
		u.line("%s", u.dim(plural(hidden, "closed channel is", "closed channels are")+" not shown: runnel channels --all"))
	}
}

func expires(u *ui, c channel.ChannelInfo) string {
	switch {
	case c.Phase.Final():
		return "-"
	case c.ExpiresAt == 0:
		return "block " + count(c.Expiry)
	}
	return strings.TrimPrefix(u.until(time.Unix(c.ExpiresAt, 0)), "in ")
}

// reason is why a channel can't pay or what it waits for, unless its phase says that already.
func reason(c channel.ChannelInfo) string {
	if c.Reason == "the channel is "+c.Phase.String() {
		return ""
	}
	return printable(c.Reason)
}

func channelCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "channel ID",
		Short:             "Everything about one channel",
		Example:           "  runnel channel 3fa9c1d2\n  runnel channel 3fa9c1d2 --json | jq .net_msat",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeChannels,
		RunE: a.verb(func(c *call) error {
			info, err := c.node.Channel(c.ctx, c.args[0])
			if err != nil {
				return err
			}
			return c.show(viewChannel(info), func(u *ui) { printChannel(u, info) })
		}),
	}
}

func printChannel(u *ui, c channel.ChannelInfo) {
	state := u.word(c.Phase.String())
	if why := reason(c); why != "" {
		state += ", " + u.yellow(why)
	}
	link := "away"
	if c.Connected {
		link = "connected"
	}
	u.fields(
		[2]string{"channel", c.Channel.String()},
		[2]string{"peer", string(c.PeerID)},
		[2]string{"", u.word(link)},
		[2]string{"phase", state},
		[2]string{"deposit", amount.Sat(c.Deposit)},
		[2]string{"peer's deposit", amount.Sat(c.PeerDeposit)},
		[2]string{"sent", amount.Msat(c.Sent)},
		[2]string{"received", amount.Msat(c.Received)},
		[2]string{"net", amount.SignedMsat(c.Net)},
		[2]string{"spendable", amount.Msat(c.Spendable)},
		[2]string{"receivable", amount.Msat(c.Receivable)},
		[2]string{"credit", unlessZero(c.Credit)},
		[2]string{"recoverable", amount.Sat(c.Recoverable) + u.dim(" (if it ended now)")},
		[2]string{"expires", expiryLine(u, c)},
		[2]string{"confirmations", confirmations(c)},
		[2]string{"funding", c.FundingTxID},
		[2]string{"peer's funding", c.PeerFundingTx},
		[2]string{"address", c.FundingAddr},
		[2]string{"closed by", c.CloseTxID},
	)
}

func confirmations(c channel.ChannelInfo) string {
	if c.Confirmations >= c.Required {
		return count(c.Confirmations)
	}
	return fmt.Sprintf("%d of %d", c.Confirmations, c.Required)
}

func unlessZero(m channel.Msat) string {
	if m == 0 {
		return ""
	}
	return amount.Msat(m)
}

func expiryLine(u *ui, c channel.ChannelInfo) string {
	line := "block " + count(c.Expiry)
	if c.ExpiresAt > 0 {
		line += ", " + u.until(time.Unix(c.ExpiresAt, 0))
	}
	return line
}
