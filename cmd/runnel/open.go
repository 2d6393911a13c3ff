package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const openHelp = `Open a channel that pays PEER from your deposit, and you from the peer's if it
adds one.

Shows what it costs and asks, on a terminal; elsewhere -y says that it need
not ask. If the peer vanishes your deposit returns by itself after the expiry.

--external prints an address instead, for any wallet that can send exactly the
deposit there. Such a funding leaves no trace for the seed: keep the data
directory until the channel is closed.`

type openFlags struct {
	req       channel.OpenRequest
	yes, wait bool
}

func openCommand(a *app) *cobra.Command {
	var f openFlags
	cmd := &cobra.Command{
		Use:   "open PEER --deposit AMOUNT",
		Short: "Open a channel",
		Long:  openHelp,
		Example: `  runnel open 16Uiu2HAm9x --deposit 1_000_000sat
  runnel open 16Uiu2HAm9x --deposit 0.01btc --peer-deposit 200_000sat --wait
  runnel open 16Uiu2HAm9x --deposit 500_000sat --dry-run
  runnel open 16Uiu2HAm9x --deposit 500_000sat -y --wait --json`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completePeers,
		RunE:              a.verb(func(c *call) error { return c.open(f) }),
	}
	addFlag(cmd, &f.req.Deposit, "deposit", "your `AMOUNT`, such as 1_000_000sat; payments to the peer come out of it", amount.ParseSat)
	addFlag(cmd, &f.req.PeerDeposit, "peer-deposit", "`AMOUNT` that the peer is asked to add, to pay you", amount.ParseSatOrZero)
	addFlag(cmd, &f.req.Expiry, "expiry", "life of the channel, as `30d` or in blocks (default: the network's, about 4 weeks)", amount.ParseExpiry)
	feeRateFlag(cmd, &f.req.FeeRate)
	cmd.Flags().BoolVar(&f.req.DryRun, "dry-run", false, "only tell what it would cost")
	cmd.Flags().BoolVar(&f.req.External, "external", false, "print an address to fund from any wallet")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "open it without a question")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the channel is open")
	cmd.MarkFlagRequired("deposit")
	return cmd
}

func (c *call) open(f openFlags) error {
	ask := !f.yes && !f.req.External && !f.req.DryRun
	if ask && !(c.inTTY && c.errTTY) {
		return usage("add -y to open it without a question, or --dry-run to see what it costs",
			"open moves %s and there is no terminal to ask on", amount.Sat(f.req.Deposit))
	}
	peer, err := c.peer(c.args[0])
	if err != nil {
		return err
	}
	f.req.Peer = peer
	status, err := c.node.Status(c.ctx)
	if err != nil {
		return err
	}
	if ask || f.req.DryRun {
		plan, err := c.plan(f.req)
		if err != nil {
			return err
		}
		if f.req.DryRun {
			return c.show(viewPlan(plan), func(u *ui) { c.printPlan(u, status, plan) })
		}
		c.printPlan(c.notes(), status, plan)
		if err := c.confirm("Open it?", "not opened"); err != nil {
			return err
		}
	}
	return c.openNow(f, status)
}

func (c *call) plan(req channel.OpenRequest) (channel.OpenResult, error) {
	req.DryRun = true
	return c.node.Open(c.ctx, req)
}

func (c *call) openNow(f openFlags, status channel.NodeStatus) error {
	r, err := c.node.Open(c.ctx, f.req)
	if err != nil {
		return err
	}
	if !c.json {
		c.printOpened(c.ui(), status, r, f)
	}
	if f.wait {
		info, err := c.waitOpen(r.Channel.String(), status)
		if err != nil {
			return err
		}
		r.Phase, r.FundingTxID = info.Phase, info.FundingTxID
		if !c.json {
			c.ui().line("%s, spendable %s", c.ui().word("open"), amount.Msat(info.Spendable))
		}
	}
	if c.json {
		return writeJSON(c.out, viewOpen(r))
	}
	return nil
}

func (c *call) printPlan(u *ui, s channel.NodeStatus, r channel.OpenResult) {
	u.line("A channel with %s", r.PeerID)
	rows := [][2]string{
		{"your deposit", amount.Sat(r.Deposit)},
		{"the peer adds", amount.Sat(r.PeerDeposit)},
		{"opening fee", amount.Sat(r.OpenFee)},
		{"closing fee, about", amount.Sat(r.CloseFee)},
	}
	width := 0
	for _, row := range rows {
		width = max(width, len(row[1]))
	}
	for _, row := range rows {
		u.line("  %s  %s", pad(row[0], 18, false), pad(row[1], width, true))
	}
	if r.Confirmations > 0 {
		u.line("  usable after %s", plural(int(r.Confirmations), "confirmation", "confirmations"))
	} else {
		u.line("  usable after as many confirmations as the peer asks for")
	}
	u.line("If the peer vanishes your deposit returns %s.", c.when(s, r.Expiry))
}

func (c *call) printOpened(u *ui, s channel.NodeStatus, r channel.OpenResult, f openFlags) {
	u.fields(
		[2]string{"channel", r.Channel.String()},
		[2]string{"phase", u.word(r.Phase.String())},
		[2]string{"funding", r.FundingTxID},
	)
	if f.req.External {
		u.line("\nSend exactly %s to\n  %s", u.bold(amount.Sat(r.Deposit)), u.bold(r.FundingAddress))
		u.line("The seed alone can't find this deposit again: keep the data directory until")
		u.line("the channel is closed.")
	}
	if !f.wait {
		u.line("If the peer vanishes your deposit returns %s.", c.when(s, r.Expiry))
		u.line("%s", u.dim("follow it with: runnel channel "+cut(r.Channel.String(), 8)))
	}
}

// confirm asks on the terminal; everything but y is no, and then says what was not done.
func (c *call) confirm(question, declined string) error {
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.in).ReadString('\n')
		answer <- line
	}()
	select {
	case <-c.ctx.Done():
		fmt.Fprintln(c.err)
		return &interruption{text: "interrupted, nothing was done"}
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return channel.Faultf(codeDeclined, "%s", declined)
	}
}

// codeDeclined: the person said no.
const codeDeclined channel.Code = "declined"

// waitOpen returns when the channel takes payments.
func (c *call) waitOpen(id string, s channel.NodeStatus) (channel.ChannelInfo, error) {
	var info channel.ChannelInfo
	err := c.wait(id, func(now channel.ChannelInfo) (bool, string, error) {
		info = now
		switch now.Phase {
		case channel.PhaseNone, channel.PhaseAgreed:
			return false, confirmationLine(now, realTime(s.Network)), nil
		case channel.PhaseOpen:
			ready := now.Spendable > 0 && (now.PeerDeposit == 0 || now.Receivable > 0)
			return ready, confirmationLine(now, realTime(s.Network)), nil
		}
		return false, "", channel.Faultf(channel.CodeNotOpen, "channel %s is %s: %s", cut(id, 8), now.Phase, now.Reason)
	})
	return info, err
}

// confirmationLine is like 1/3 confirmations, ~20 min.
func confirmationLine(c channel.ChannelInfo, timed bool) string {
	line := fmt.Sprintf("%d/%d confirmations", c.Confirmations, c.Required)
	if c.Confirmations >= c.Required {
		return line + ", waiting for the peer"
	}
	if left := c.Required - c.Confirmations; timed {
		line += fmt.Sprintf(", ~%d min", int(time.Duration(left)*blockTime/time.Minute))
	}
	return line
}

// wait looks at a channel until done says so, and shows what it waits for whenever that changes.
func (c *call) wait(id string, done func(channel.ChannelInfo) (ok bool, line string, err error)) error {
	tick := time.NewTicker(c.poll)
	defer tick.Stop()
	shown := ""
	for {
		info, err := c.node.Channel(c.ctx, id)
		if err != nil && c.ctx.Err() == nil {
			return err
		}
		if err == nil {
			ok, line, err := done(info)
			if err != nil || ok {
				c.progress(shown, "")
				return err
			}
			c.progress(shown, line)
			shown = line
		}
		select {
		case <-c.ctx.Done():
			c.progress(shown, "")
			return &interruption{text: "stopped waiting; the channel goes on", hint: "look at it with: runnel channel " + cut(id, 8)}
		case <-tick.C:
		}
	}
}

// progress replaces the line of progress on a terminal, and writes a new one elsewhere.
func (c *call) progress(old, line string) {
	switch {
	case c.json || old == line:
	case c.errTTY && line == "":
		fmt.Fprintf(c.err, "\r%s\r", strings.Repeat(" ", len(old)))
	case c.errTTY:
		fmt.Fprintf(c.err, "\r%s", pad(line, len(old), false))
	case line != "":
		fmt.Fprintln(c.err, line)
	}
}
