package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const paymentsHelp = `Payments that were made and received, newest first.

--csv writes a header and a row a payment, times in UTC; a reference that a
spreadsheet would take for a formula gets a ' in front.`

func paymentsCommand(a *app) *cobra.Command {
	var (
		f     channel.PaymentFilter
		since time.Time
		asCSV bool
	)
	cmd := &cobra.Command{
		Use:   "payments",
		Short: "History of payments, newest first",
		Long:  paymentsHelp,
		Example: `  runnel payments --limit 20
  runnel payments --peer 16Uiu2HAm9x --since 24h
  runnel payments --since 2026-01-01 --limit 100000 --csv > payments.csv`,
		ValidArgsFunction: noCompletion,
		Args: takes(0, 0, func([]string) error {
			if asCSV && a.json {
				return usage("choose one", "--csv and --json don't go together")
			}
			return nil
		}),
		RunE: a.verb(func(c *call) error {
			if !since.IsZero() {
				f.Since = since.UnixMilli()
			}
			payments, err := c.node.Payments(c.ctx, f)
			if err != nil {
				return err
			}
			if asCSV {
				return c.writeCSV(payments)
			}
			return showAll(c.app, each(payments, viewPayment), func(u *ui) { printPayments(u, payments) })
		}),
	}
	cmd.Flags().StringVar(&f.Channel, "channel", "", "only of the channel with this `ID`")
	cmd.Flags().StringVar(&f.Peer, "peer", "", "only with this `PEER`")
	addFlag(cmd, &since, "since", "only from this `TIME` on: 2026-01-31, 2026-01-31T08:00:00Z, or 24h, 7d ago", a.parseSince)
	addFlag(cmd, &f.Limit, "limit", "at most `N` (default 100)", parseCount)
	cmd.Flags().BoolVar(&asCSV, "csv", false, "write CSV")
	cmd.RegisterFlagCompletionFunc("channel", a.completeChannels)
	cmd.RegisterFlagCompletionFunc("peer", a.completePeers)
	return cmd
}

// parseSince reads a date, a time, or how long ago.
func (a *app) parseSince(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 36500 {
			return a.now().AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return a.now().Add(-d), nil
	}
	return time.Time{}, usage("write 2026-01-31, 2026-01-31T08:00:00Z, or how long ago: 24h, 7d", "%q is not a time", s)
}

func printPayments(u *ui, payments []channel.PaymentInfo) {
	if len(payments) == 0 {
		u.line("no payments")
		return
	}
	short := shortIDs(each(payments, func(p channel.PaymentInfo) channel.ID { return p.Channel }))
	t := table{head: []string{"TIME", "", ">AMOUNT", "", "CHANNEL", "PEER", "REF"}}
	t.style = func(u *ui, column int, s string) string {
		if column == 3 {
			return u.word(s)
		}
		return s
	}
	for _, p := range payments {
		t.add("", u.ago(time.UnixMilli(p.Time)), p.Dir.String(), amount.Msat(p.Amount), p.Status.String(),
			short[p.Channel], shortPeer(p.PeerID), printable(p.Ref))
	}
	t.print(u)
}

func (c *call) writeCSV(payments []channel.PaymentInfo) error {
	w := csv.NewWriter(c.out)
	w.Write([]string{"seq", "time", "direction", "channel_id", "peer_id", "payment_id", "amount_msat", "total_msat", "ref", "status"})
	for _, p := range payments {
		v := viewPayment(p)
		w.Write([]string{
			strconv.FormatUint(v.Seq, 10), time.UnixMilli(v.Time).UTC().Format("2006-01-02T15:04:05.000Z"), v.Direction,
			v.Channel, v.PeerID, v.Payment, strconv.FormatUint(v.Amount, 10), strconv.FormatUint(v.Total, 10), cell(v.Ref), v.Status,
		})
	}
	w.Flush()
	return w.Error()
}

// cell keeps a text that a peer chose from running as a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

const watchHelp = `Events as they happen: payments, phases of channels, alerts.

Every event has a number, seq, that survives restarts. --since SEQ first shows
the stored events after that one, so that a program that remembers the last
seq it saw loses nothing and gets nothing twice; --since 0 shows all of them.
Without --since only new events are shown.`

func watchCommand(a *app) *cobra.Command {
	var since uint64
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Events as they happen",
		Long:  watchHelp,
		Example: `  runnel watch
  runnel watch --since 4711 --json | jq 'select(.direction == "in")'`,
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			from := c.now().UnixMilli()
			if c.cmd.Flags().Changed("since") {
				from = 0
			}
			return c.watch(since, from)
		}),
	}
	addFlag(cmd, &since, "since", "start after the event with this number, `SEQ`", parseSeq)
	return cmd
}

func parseSeq(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, usage("it is the seq of the last event that was seen", "%q is not the number of an event", s)
	}
	return n, nil
}

// watch shows the events after since that are not older than from, in unix milliseconds.
func (c *call) watch(since uint64, from int64) error {
	last := since
	err := c.node.Watch(c.ctx, since, func(e channel.Event) error {
		if last = e.Seq; e.Time < from {
			return nil
		}
		return c.show(viewEvent(e), func(u *ui) { printEvent(u, e) })
	})
	resume := fmt.Sprintf("go on with: runnel watch --since %d", last)
	switch {
	case c.ctx.Err() != nil:
		return &interruption{text: "stopped watching", hint: resume}
	case errors.Is(err, client.ErrUnreachable):
		return &hinted{err, resume}
	}
	return err
}

func printEvent(u *ui, e channel.Event) {
	at := time.UnixMilli(e.Time).Local().Format("15:04:05")
	var what string
	switch e.Kind {
	case channel.EventPayment:
		p := e.Payment
		what = fmt.Sprintf("%s %s %s %s", pad(p.Dir.String(), 3, false), pad(amount.Msat(p.Amount), 14, true), u.word(p.Status.String()), shortPeer(p.PeerID))
		if p.Ref != "" {
			what += " " + printable(p.Ref)
		}
	case channel.EventPhase:
		what = fmt.Sprintf("channel %s is %s", cut(e.Channel.String(), 8), u.word(e.Phase.String()))
	case channel.EventAlert:
		what = u.red("alert") + " " + printable(e.Text)
	default:
		what = fmt.Sprintf("%s %s %s", e.Kind, cut(id(e.Channel), 8), printable(e.Text))
	}
	u.line("%s  %s", u.dim(fmt.Sprintf("%6d  %s", e.Seq, at)), what)
}
