package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const payHelp = `Make one payment and wait for the payee's durable answer.

By peer, the channel that expires first and can carry the amount is used. When
the answer does not come in time the payment is pending (exit 5): it may still
happen. Ask again with the same --id; the same id never pays twice.`

type payFlags struct {
	amount  channel.Msat
	id      channel.PaymentID
	ref     string
	timeout time.Duration
}

func payCommand(a *app) *cobra.Command {
	var f payFlags
	cmd := &cobra.Command{
		Use:   "pay PEER|CHANNEL AMOUNT",
		Short: "Make one payment",
		Long:  payHelp,
		Example: `  runnel pay 16Uiu2HAm9x 25sat --ref coffee
  runnel pay 3fa9c1d2 250msat --timeout 5s
  # safe to repeat:
  runnel pay 16Uiu2HAm9x 25sat --id 0c1d2e3f405162738495a6b7c8d9eaf0`,
		Args: takes(2, 2, func(args []string) (err error) {
			if f.amount, err = amount.Parse(args[1]); err == nil {
				err = checkRef(f.ref)
			}
			return err
		}),
		ValidArgsFunction: a.completeTargets,
		RunE:              a.verb(func(c *call) error { return c.pay(f) }),
	}
	refFlag(cmd, &f.ref)
	addFlag(cmd, &f.id, "id", "the payment's `ID`, 32 hex digits (default: a new one)", parsePaymentID)
	f.timeout = 30 * time.Second
	timeoutFlag(cmd, &f.timeout)
	return cmd
}

func refFlag(cmd *cobra.Command, ref *string) {
	cmd.Flags().StringVar(ref, "ref", "", fmt.Sprintf("`TEXT` for both sides, at most %d bytes", channel.MaxRefBytes))
	cmd.RegisterFlagCompletionFunc("ref", noCompletion)
}

func timeoutFlag(cmd *cobra.Command, d *time.Duration) {
	addFlag(cmd, d, "timeout", "how long to wait for an answer (`DURATION`, default 30s)", parsePositive)
}

func checkRef(ref string) error {
	if len(ref) > channel.MaxRefBytes {
		return usage("shorten it, or send a hash of it", "--ref has %d bytes, %d at most", len(ref), channel.MaxRefBytes)
	}
	return nil
}

func parsePositive(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, usage("write 500ms, 30s or 5m", "%q is not a duration", s)
	}
	if d <= 0 {
		return 0, usage("write 500ms, 30s or 5m", "a duration must be more than zero")
	}
	return d, nil
}

func parsePaymentID(s string) (id channel.PaymentID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, usage("leave --id away for a new one, or write 32 hex digits", "%q is not a payment id", s)
	}
	copy(id[:], b)
	if id == (channel.PaymentID{}) {
		return id, usage("choose a random one", "a payment id of zeros is not taken")
	}
	return id, nil
}

// newPaymentID is drawn here and not by the daemon, so that a payment whose answer got lost can be asked
// for again.
func newPaymentID() (id channel.PaymentID) {
	rand.Read(id[:]) // never fails
	return id
}

func (c *call) pay(f payFlags) error {
	target, err := c.peer(c.args[0])
	if err != nil {
		return err
	}
	if f.id == (channel.PaymentID{}) {
		f.id = newPaymentID()
	}
	ctx, cancel := context.WithTimeout(c.ctx, f.timeout)
	defer cancel()
	start := c.now()
	r, err := c.node.Pay(ctx, channel.PayRequest{Target: target, Amount: f.amount, Ref: f.ref, ID: f.id, HasID: true})
	latency := c.now().Sub(start)
	if err = lostAnswer(ctx, err, f.timeout); err != nil && !isPending(err) {
		return err
	}
	if err != nil {
		r.Status, r.ID, r.Amount = channel.PayPending, f.id, f.amount
	}
	view := payView{r.ID.String(), id(r.Channel), uint64(r.Amount), uint64(r.Total), r.Status.String(), latency.Microseconds()}
	if shown := c.show(view, func(u *ui) { printPaid(u, r, latency) }); shown != nil {
		return shown
	}
	return fate(c.args[0], r, err)
}

// lostAnswer makes an answer that did not come in time what it is: a payment that may still happen.
func lostAnswer(ctx context.Context, err error, timeout time.Duration) error {
	var fault *channel.Fault
	switch {
	case err == nil || errors.As(err, &fault):
		return err
	case mayHaveHappened(err):
		return channel.Faultf(channel.CodePending, "%s", err)
	case ctx.Err() == nil:
		return err
	}
	return channel.Faultf(channel.CodePending, "no answer within %s", timeout)
}

func isPending(err error) bool {
	var fault *channel.Fault
	return errors.As(err, &fault) && fault.Code == channel.CodePending
}

// fate is the error that goes with a result, so that the exit code tells it too.
func fate(target string, r channel.PayResult, err error) error {
	switch r.Status {
	case channel.PayPending:
		f := channel.Faultf(channel.CodePending, "the payment is pending")
		if err != nil {
			f.Text = err.Error()
		}
		return f.WithHint("it may still happen; ask again, it never pays twice: runnel pay %s %s --id %s", target, amount.String(r.Amount), r.ID)
	case channel.PayRefused:
		return channel.Faultf(channel.CodeRefused, "the payee refused the payment: %s", r.Reason)
	}
	return nil
}

func printPaid(u *ui, r channel.PayResult, latency time.Duration) {
	line := fmt.Sprintf("%s  %s in %s", u.word(r.Status.String()), u.bold(amount.Msat(r.Amount)), shortDuration(latency))
	u.line("%s", line)
	u.line("%s", u.dim("payment "+r.ID.String()))
	if r.Channel != (channel.ID{}) {
		u.line("%s", u.dim(fmt.Sprintf("channel %s, total %s", cut(r.Channel.String(), 8), amount.Msat(r.Total))))
	}
}

// shortDuration keeps three digits or so.
func shortDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
