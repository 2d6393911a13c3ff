package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/receipt"
)

const receiptHelp = `Write the receipt of a payment that was made or received: a small file that
proves to anybody that payer and payee agreed on this payment, or on its
refusal. If the two nodes have not signed so far yet they do so now.

` + "`runnel payments --json`" + ` shows the ids. A receipt names keys, amount and
reference; give it only to whom it concerns.`

func receiptCommand(a *app) *cobra.Command {
	var (
		req     channel.ReceiptRequest
		timeout = 15 * time.Second
	)
	cmd := &cobra.Command{
		Use:   "receipt PAYMENT_ID",
		Short: "Prove one payment; `receipt verify` checks such a proof",
		Long:  receiptHelp,
		Example: `  runnel receipt 0c1d2e3f405162738495a6b7c8d9eaf0 > receipt.json
  runnel receipt verify receipt.json         # anywhere, without a daemon`,
		Args: takes(1, 1, func(args []string) (err error) {
			if req.ID, err = parsePaymentID(args[0]); err != nil {
				return usage("`runnel payments --json` shows the ids: 32 hex digits", "%q is not a payment id", args[0])
			}
			return nil
		}),
		ValidArgsFunction: noCompletion,
		RunE: a.verb(func(c *call) error {
			ctx, cancel := context.WithTimeout(c.ctx, timeout)
			defer cancel()
			r, err := c.node.Receipt(ctx, req)
			switch {
			case err == nil:
				return c.writeReceipt(r)
			case ctx.Err() != nil && c.ctx.Err() == nil:
				return unsigned(req.ID)
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&req.Channel, "channel", "", "of the channel with this `ID`, where peers chose one payment id")
	cmd.RegisterFlagCompletionFunc("channel", a.completeChannels)
	addFlag(cmd, &timeout, "timeout", "how long to wait for the peer's signature (`DURATION`, default 15s)", parsePositive)
	cmd.AddCommand(verifyReceiptCommand(a))
	return cmd
}

// writeReceipt prints the file, and tells a person who looks on what it is for.
func (c *call) writeReceipt(r channel.Receipt) error {
	b, err := receipt.Marshal(r)
	if err != nil {
		return err
	}
	if !c.json {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, b, "", "  "); err != nil {
			return err
		}
		b = pretty.Bytes()
	}
	if _, err := c.out.Write(append(b, '\n')); err != nil {
		return err
	}
	if !c.json && c.errTTY {
		c.notes().line("%s", c.notes().dim("keep this in a file; anybody can check it with: runnel receipt verify FILE"))
	}
	return nil
}

const verifyReceiptHelp = `Check a receipt and say in words what it proves. It takes no daemon, no network
and no data but the file; - reads standard input.

Exit code 0: the receipt is valid. 1: it is not, it was altered or is none.`

func verifyReceiptCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "verify FILE",
		Short:   "Check a receipt without a daemon, and say what it proves",
		Long:    verifyReceiptHelp,
		Example: "  runnel receipt verify receipt.json\n  runnel receipt verify --json receipt.json",
		Args:    takes(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: a.local(func(c *call) error {
			b, err := c.readFile(c.args[0])
			if err != nil {
				return err
			}
			r, scheme, err := checkReceipt(b)
			if err != nil {
				return err
			}
			script, err := scheme.FundingScript(r.Terms)
			if err != nil {
				return err
			}
			address, err := scheme.Address(script)
			if err != nil {
				return err
			}
			return c.show(viewReceipt(r, address), func(u *ui) { printReceipt(u, r, address) })
		}),
	}
}

// readFile reads a file of a receipt's size, or standard input for -.
func (c *call) readFile(path string) ([]byte, error) {
	in := c.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usage("give the file that `runnel receipt PAYMENT_ID` wrote, or - for standard input", "%v", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, receipt.MaxFile+1))
	if err != nil {
		return nil, usage("give the file that `runnel receipt PAYMENT_ID` wrote, or - for standard input", "%v", err)
	}
	return b, nil
}

// codeReceipt: a file that proves nothing.
const codeReceipt channel.Code = "invalid_receipt"

// checkReceipt reads and verifies a file, on the network that it names.
func checkReceipt(b []byte) (channel.Receipt, *bitcoin.Scheme, error) {
	r, err := receipt.Parse(b)
	if err != nil {
		return r, nil, channel.Faultf(codeReceipt, "%v", err)
	}
	scheme, err := bitcoin.NewScheme(r.Network)
	if err != nil {
		return r, nil, channel.Faultf(codeReceipt, "%v: this program knows no network %q", receipt.ErrInvalid, r.Network)
	}
	if err := receipt.Verify(scheme, r); err != nil {
		return r, nil, channel.Faultf(codeReceipt, "%v", err)
	}
	return r, scheme, nil
}

// unsigned is a receipt that did not come in time. The payment itself is done.
func unsigned(id channel.PaymentID) error {
	return channel.Faultf(channel.CodePending, "the peer has not signed for payment %s in time", id).
		WithHint("`runnel payments` shows how the payment stands; ask for the receipt again later")
}

type receiptView struct {
	Valid   bool   `json:"valid"`
	Network string `json:"network"`
	Payment string `json:"payment_id"`
	Seq     uint64 `json:"seq"`
	Amount  uint64 `json:"amount_msat"`
	Ref     string `json:"ref"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Payer   string `json:"payer_key"`
	Payee   string `json:"payee_key"`
	Lane    string `json:"lane_id"`
	Address string `json:"lane_address"`
	Deposit uint64 `json:"deposit_sat"`
	Size    uint64 `json:"size"`
	Total   uint64 `json:"total_msat"`
	Spent   uint64 `json:"spent_msat"`
	Signed  uint64 `json:"signed_at"`
}

func viewReceipt(r channel.Receipt, address string) receiptView {
	v := receiptView{Valid: true, Network: r.Network, Payment: r.Payment.ID.String(), Seq: r.Seq, Amount: uint64(r.Payment.Amount), Ref: r.Payment.Ref,
		Status: "accepted", Payer: hex.EncodeToString(r.Terms.Payer[:]), Payee: hex.EncodeToString(r.Terms.Payee[:]), Lane: r.Checkpoint.Lane.String(),
		Address: address, Deposit: uint64(r.Terms.Deposit), Size: r.Checkpoint.Size, Total: uint64(r.Checkpoint.Total), Spent: uint64(r.Checkpoint.Spent),
		Signed: r.Checkpoint.Time}
	if r.Result != channel.Accepted {
		v.Status, v.Reason = "refused", r.Result.String()
	}
	return v
}

func printReceipt(u *ui, r channel.Receipt, address string) {
	c := &r.Checkpoint
	fate := u.green("valid") + ": payer and payee agreed on this payment"
	what := "paid"
	if r.Result != channel.Accepted {
		fate, what = u.green("valid")+": payer and payee agreed that this payment was "+u.red("refused"), "asked"
	}
	u.line("%s", fate)
	u.line("")
	reason := ""
	if r.Result != channel.Accepted {
		reason = r.Result.String()
	}
	u.fields(
		[2]string{what, amount.Msat(r.Payment.Amount)},
		[2]string{"reference", printable(r.Payment.Ref)},
		[2]string{"refused", reason},
		[2]string{"payee key", hex.EncodeToString(r.Terms.Payee[:])},
		[2]string{"payer key", hex.EncodeToString(r.Terms.Payer[:])},
		[2]string{"agreed by", time.Unix(int64(c.Time), 0).UTC().Format("2 Jan 2006 15:04:05 UTC")},
		[2]string{"payment", fmt.Sprintf("%s, number %s of %s", r.Payment.ID, count(r.Seq), count(c.Size))},
		[2]string{"lane", fmt.Sprintf("%s deposit on %s until block %s", amount.Sat(r.Terms.Deposit), r.Network, count(r.Terms.Expiry))},
		[2]string{"in all", fmt.Sprintf("%s spent, %s vouchered", amount.Msat(c.Spent), amount.Msat(c.Total))},
		[2]string{"address", address},
	)
	u.line("")
	for _, line := range strings.Split(proves(r), "\n") {
		u.line("%s", line)
	}
}

// proves says what may be concluded from a valid receipt, and what not.
func proves(r channel.Receipt) string {
	result := `Proven: the holders of both keys signed one log of this lane, and the payment
is in it, with this amount, reference and id, as accepted by the payee. None of
it was altered since, and neither side can take it back.`
	if r.Result != channel.Accepted {
		result = `Proven: the holders of both keys signed one log of this lane, and the payment
is in it, with this amount, reference and id, as refused by the payee: it was
not paid, and its amount stayed the payer's credit. None of it was altered.`
	}
	return result + `
Not proven: whose keys these are; ask where you know them from. Whether the
deposit was ever made: look for the address on the chain. What was delivered.
The exact time: it is the payee's clock's, when the log was signed; the payment
was made before. The payer signs it if it is within two hours of its own.`
}
