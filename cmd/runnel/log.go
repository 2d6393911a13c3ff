package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/book"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
)

const logHelp = `The node's book of payments: what was paid on each lane, under a hash that
covers every payment, result and order, and the newest voucher. Two honest
nodes come to the same hash of a lane.`

func logCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Check the book of payments, export it, compare it with the peer's",
		Long:  logHelp,
		Example: `  runnel log verify
  runnel log export --channel 7f3a > book.jsonl
  runnel log verify --against book-of-the-peer.jsonl
  runnel log prune --before 90d`,
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(logVerifyCommand(a), logExportCommand(a), logPruneCommand(a))
	return cmd
}

const logVerifyHelp = `Proves that the node's own book is whole, or names the first wrong record: the
seals and the chain of the journal, that the database holds what the journal
does, and that the payments of each lane come to its hash, its sums and a valid
voucher.

--against compares it with the book that the peer exported, payment by payment,
and names the first difference. --file checks an exported book alone, without a
daemon.

Exit code 1 if something is wrong.`

func logVerifyCommand(a *app) *cobra.Command {
	var filter, against, file string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove the book whole, or name the first wrong record",
		Long:  logVerifyHelp,
		Example: `  runnel log verify
  runnel log verify --channel 7f3a --against book-of-the-peer.jsonl
  runnel log verify --file book.jsonl`,
		ValidArgsFunction: noCompletion,
		Args: takes(0, 0, func([]string) error {
			if file != "" && (against != "" || filter != "") {
				return usage("--file checks that file alone", "--file goes neither with --against nor with --channel")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return a.local(func(c *call) error { return c.verifyFile(file) })(cmd, args)
			}
			return a.verb(func(c *call) error { return c.verifyLog(filter, against) })(cmd, args)
		},
	}
	cmd.Flags().StringVar(&filter, "channel", "", "only the channel with this `ID`")
	cmd.Flags().StringVar(&against, "against", "", "compare with the peer's exported book in this `FILE`")
	cmd.Flags().StringVar(&file, "file", "", "check the exported book in this `FILE`, without a daemon")
	cmd.MarkFlagFilename("against")
	cmd.MarkFlagFilename("file")
	cmd.RegisterFlagCompletionFunc("channel", a.completeChannels)
	return cmd
}

func logExportCommand(a *app) *cobra.Command {
	var filter string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the book to standard output, one JSON object a line",
		Long: `Writes the book to standard output, one JSON object a line. Anybody can check it
with ` + "`runnel log verify --file`" + `, without a daemon; the peer compares it with its
own. It names payments, references and peers: give it only to whom they concern.`,
		Example: `  runnel log export > book.jsonl
  runnel log export --channel 7f3a > book.jsonl`,
		ValidArgsFunction: noCompletion,
		Args:              takes(0, 0),
		RunE:              a.verb(func(c *call) error { return c.node.ExportLog(c.ctx, filter, c.out) }),
	}
	cmd.Flags().StringVar(&filter, "channel", "", "only the channel with this `ID`")
	cmd.RegisterFlagCompletionFunc("channel", a.completeChannels)
	return cmd
}

const logPruneHelp = `Drops payments that are older than --before and below a checkpoint that both
sides signed; the book begins there afterwards, and verification too. Payments
that this node made stay until nobody can ask for their ids any more: six blocks
and 30 days after the end of their channel. Receipts for what is dropped can't
be made any more: make them before.`

func logPruneCommand(a *app) *cobra.Command {
	var (
		req    channel.PruneRequest
		before string
	)
	cmd := &cobra.Command{
		Use:   "prune --before DATE|HEIGHT",
		Short: "Drop old payments below a checkpoint that both sides signed",
		Long:  logPruneHelp,
		Example: `  runnel log prune --before 90d --dry-run
  runnel log prune --before 2026-01-31 --archive
  runnel log prune --before 912000`,
		ValidArgsFunction: noCompletion,
		Args: takes(0, 0, func([]string) error {
			if before == "" {
				return usage("for example --before 90d, --before 2026-01-31 or --before 912000", "say with --before how old payments must be")
			}
			if height, err := strconv.ParseUint(before, 10, 32); err == nil && height > 0 {
				req.Height = uint32(height)
				return nil
			}
			t, err := a.parseSince(before)
			req.Before = t.UnixMilli()
			return err
		}),
		RunE: a.verb(func(c *call) error {
			r, err := c.node.PruneLog(c.ctx, req)
			if err != nil {
				return err
			}
			v := pruneView{r.Lanes, r.Payments, r.BytesBefore, r.BytesAfter, req.DryRun}
			return c.show(v, func(u *ui) { printPruned(u, v) })
		}),
	}
	cmd.Flags().StringVar(&before, "before", "", "only payments from before this `TIME` (2026-01-31, or 90d ago) or block height")
	cmd.Flags().BoolVar(&req.Archive, "archive", false, "keep the old journal in journal/archive-TIME")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only say what would be dropped")
	return cmd
}

func printPruned(u *ui, v pruneView) {
	switch {
	case v.DryRun:
		u.line("would drop %s on %s", some(v.Payments, "payment"), some(v.Lanes, "lane"))
	case v.Payments == 0 && v.After >= v.Before:
		u.line("nothing to drop: no payment is that old and below a checkpoint")
	default:
		u.line("dropped %s on %s; the journal has %s, before it had %s", some(v.Payments, "payment"), some(v.Lanes, "lane"),
			humanize.Bytes(uint64(v.After)), humanize.Bytes(uint64(v.Before)))
	}
}

type pruneView struct {
	Lanes    uint64 `json:"lanes"`
	Payments uint64 `json:"payments"`
	Before   int64  `json:"bytes_before"`
	After    int64  `json:"bytes_after"`
	DryRun   bool   `json:"dry_run"`
}

// voucher checks a voucher of an exported book.
func voucher(network string, t channel.LaneTerms, funding channel.Outpoint, total channel.Msat, sig channel.Signature) error {
	scheme, err := bitcoin.NewScheme(network)
	if err != nil {
		return err
	}
	if t.Genesis != scheme.Genesis() {
		return fmt.Errorf("the lane is not on %s", network)
	}
	return scheme.VerifyVoucher(ledger.Lane{Terms: t, Funding: funding}, total, sig)
}

func (c *call) verifyFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return usage("write one with: runnel log export > FILE", "%s", plain(err))
	}
	defer f.Close()
	r := book.NewReader(f, voucher)
	if err := r.Verify(); err != nil {
		return badBook(name, err)
	}
	n := r.Count()
	v := logView{Lanes: n.Lanes, Payments: n.Payments, Node: r.Header().Node, OK: true}
	return c.show(v, func(u *ui) {
		u.line("%s: %s on %s, the book of %s", u.green("whole"), some(n.Payments, "payment"), some(n.Lanes, "lane"), r.Header().Node)
	})
}

// plain is an error of the operating system without its call.
func plain(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

func some(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

func badBook(name string, err error) error {
	var wrong *book.Wrong
	if errors.As(err, &wrong) {
		return channel.Faultf(channel.CodeFailure, "%s is wrong at %s", name, wrong.Error())
	}
	return err
}

func (c *call) verifyLog(filter, against string) error {
	var peers *os.File
	if against != "" {
		var err error
		if peers, err = os.Open(against); err != nil {
			return usage("the peer writes one with: runnel log export > FILE", "%s", plain(err))
		}
		defer peers.Close()
	}
	report, err := c.node.VerifyLog(c.ctx, filter)
	if err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		return channel.Faultf(channel.CodeFailure, "the book is wrong: %s", strings.Join(report.Problems, "\n")).
			WithHint("restart the daemon: it repairs what one of its two copies still proves")
	}
	v := logView{Records: report.Records, Bytes: report.Bytes, Lanes: report.Lanes, Payments: report.Payments, OK: true}
	if peers != nil {
		agreed, err := c.compare(filter, against, peers)
		if err != nil {
			return err
		}
		v.Compared, v.Agreed, v.Pending = &agreed.Lanes, &agreed.Payments, &agreed.Pending
	}
	return c.show(v, func(u *ui) { printLog(u, v) })
}

func printLog(u *ui, v logView) {
	line := fmt.Sprintf("%s: %s on %s", u.green("whole"), some(v.Payments, "payment"), some(v.Lanes, "lane"))
	if v.Records > 0 {
		line += fmt.Sprintf("; the journal has %s in %s", some(v.Records, "record"), humanize.Bytes(uint64(v.Bytes)))
	}
	u.line("%s", line)
	if v.Compared != nil {
		line = fmt.Sprintf("%s with the peer's book: %s on %s", u.green("agrees"), some(*v.Agreed, "payment"), some(uint64(*v.Compared), "lane"))
		if *v.Pending > 0 {
			line += fmt.Sprintf(", and %s that one of the two has no answer for", count(*v.Pending))
		}
		u.line("%s", line)
	}
}

// compare reads the own book from the daemon beside the peer's from a file.
func (c *call) compare(filter, name string, peers io.Reader) (book.Agreement, error) {
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(c.node.ExportLog(c.ctx, filter, w)) }()
	a, err := book.Compare(book.NewReader(r, voucher), book.NewReader(peers, voucher))
	var differ *book.Difference
	var side *book.SideError
	switch {
	case errors.As(err, &differ):
		return a, channel.Faultf(channel.CodeFailure, "the books differ at %s", differ.Error())
	case errors.As(err, &side) && side.Peers:
		return a, badBook(name, side.Err)
	case errors.As(err, &side):
		return a, badBook("the own book", side.Err)
	case err == nil && a.Lanes == 0:
		return a, channel.Faultf(channel.CodeFailure, "%s has no lane that this node's book has", name).
			WithHint("ask the peer for the book of a channel with this node")
	}
	return a, err
}

type logView struct {
	OK       bool    `json:"ok"`
	Node     string  `json:"peer_id,omitempty"`
	Records  uint64  `json:"records"`
	Bytes    int64   `json:"bytes"`
	Lanes    uint64  `json:"lanes"`
	Payments uint64  `json:"payments"`
	Compared *int    `json:"compared_lanes,omitempty"`
	Agreed   *uint64 `json:"compared_payments,omitempty"`
	Pending  *uint64 `json:"pending_payments,omitempty"`
}
