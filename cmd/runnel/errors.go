package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/home"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4 // nothing was signed, the money is where it was
	exitPending     = 5
	exitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct{ text, hint string }

func (e *usageError) Error() string { return e.text }

func usage(hint, format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...), hint: hint}
}

// asUsage marks what cobra says about a command line.
func asUsage(err error) error {
	var (
		u     *usageError
		typed *amount.Error
	)
	if errors.As(err, &u) || errors.As(err, &typed) {
		return err
	}
	return &usageError{text: err.Error(), hint: "`runnel --help` lists the commands, `runnel COMMAND --help` explains one"}
}

// problem is what the user is told.
type problem struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Hint      string `json:"hint"`
	Retryable bool   `json:"retryable"`
	exit      int
}

// advice is the one table of what each of the node's codes means here: the exit code, and what to do
// unless the node knows better.
var advice = map[channel.Code]struct {
	exit int
	hint string
}{
	channel.CodeBadRequest:        {exitUsage, "`runnel COMMAND --help` shows examples"},
	channel.CodeAmbiguous:         {exitUsage, "type more of the id"},
	channel.CodeNotFound:          {exitRefused, "`runnel channels`, `runnel payments` and `runnel txs` list what the node has"},
	channel.CodeUnknownPeer:       {exitRefused, "give its whole address once: runnel connect /ip4/HOST/tcp/PORT/p2p/ID"},
	channel.CodePeerUnreachable:   {exitFailed, "see that the peer runs and that its address is right; `runnel peers` shows the known ones"},
	channel.CodePeerRefused:       {exitRefused, "the peer decides this: try other terms, or ask its owner"},
	channel.CodeIncompatible:      {exitRefused, "both nodes need the same network and versions that understand each other"},
	channel.CodeNotOpen:           {exitRefused, "`runnel channels` shows the phase of each channel, and why it can't pay"},
	channel.CodeExpiring:          {exitRefused, "open a new channel with the peer, then close this one"},
	channel.CodeInsufficient:      {exitRefused, "`runnel channels` shows what is spendable; what was received is not; open another channel for more"},
	channel.CodeNoCredit:          {exitRefused, "the payer has to authorise more"},
	channel.CodeBadProof:          {exitRefused, "ask the payer's node for a new authorisation of this very request"},
	channel.CodeBadSignature:      {exitRefused, "ask the payer's node for a new authorisation of this very request"},
	channel.CodeInsufficientFunds: {exitRefused, "`runnel balance` shows what is there, `runnel address` gives an address to fund"},
	channel.CodeIDConflict:        {exitRefused, "leave --id away for a new payment; with it, repeat the old one exactly"},
	channel.CodeLimit:             {exitRefused, "the node's own limits say no: `runnel limits` shows them"},
	channel.CodeApproval:          {exitRefused, "`runnel approvals` lists what waits for you"},
	channel.CodeFrozen:            {exitRefused, "`runnel freeze` lists what is frozen, `runnel unfreeze` ends it"},
	channel.CodeRefused:           {exitFailed, "the payee's node said no; the amount stays on the channel as your credit"},
	channel.CodeChainUnreachable:  {exitFailed, "start the chain backend, or correct its address in the daemon's settings; the daemon keeps trying"},
	channel.CodeNotReady:          {exitRefused, "try again in a moment; `runnel status` shows what the node waits for"},
	channel.CodePending:           {exitPending, "it may still happen: ask again with the same --id, never with a new one"},
	channel.CodeDiskFull:          {exitRefused, "make room on the disk that holds the data directory"},
	channel.CodeRejected:          {exitFailed, "try a higher --fee-rate; the daemon's log has the backend's words"},
	channel.CodeUnsupported:       {exitRefused, "`runnel status` shows the backend; another one may be able to"},
	channel.CodeStopping:          {exitFailed, "start the daemon again"},
	codeDeclined:                  {exitRefused, "nothing was done"},
	codeReceipt:                   {exitFailed, "it proves nothing: ask for the receipt again, or ask the other side for its own"},
	codeUnpaid:                    {exitRefused, "`runnel fetch --help` has the limits"},
	codeStopped:                   {exitFailed, "`runnel payments` shows what became of what was signed"},
	codeRejected:                  {exitFailed, "the reason is the server's own: tell who runs it"},
	codeHTTP:                      {exitFailed, "without -f the answer is printed"},
	codeServer:                    {exitFailed, "see that the address is right and that the server runs"},
	channel.CodeFailure:           {exitFailed, "the daemon's log says more"},
}

// hinted is an error with advice that fits better than the table's.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// explain finds words, advice and exit code for an error.
func explain(ctx context.Context, err error) problem {
	p := classify(ctx, err)
	var h *hinted
	if errors.As(err, &h) {
		p.Hint = h.hint
	}
	return p
}

func classify(ctx context.Context, err error) problem {
	var (
		bad    *usageError
		typed  *amount.Error
		where  *home.Error
		fault  *channel.Fault
		signal *interruption
		gone   *client.Unreachable
	)
	switch {
	case errors.As(err, &bad):
		return problem{Code: "usage", Message: bad.text, Hint: bad.hint, exit: exitUsage}
	case errors.As(err, &typed):
		return problem{Code: "usage", Message: err.Error(), Hint: typed.Hint, exit: exitUsage}
	case errors.As(err, &signal):
		return problem{Code: "interrupted", Message: signal.text, Hint: signal.hint, exit: exitInterrupted}
	case errors.As(err, &where) && where.Kind == home.KindNone:
		return problem{Code: "daemon_unreachable", Message: where.Text, Hint: where.Hint, Retryable: true, exit: exitUnreachable}
	case errors.As(err, &where):
		return problem{Code: "usage", Message: where.Text, Hint: where.Hint, exit: exitUsage}
	case errors.As(err, &gone):
		return problem{Code: "daemon_unreachable", Message: gone.Error(), Hint: gone.Hint(), Retryable: !gone.Sent, exit: exitUnreachable}
	case errors.As(err, &fault):
		return explainFault(fault, err)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return problem{Code: "interrupted", Message: "interrupted", exit: exitInterrupted}
	}
	return problem{Code: string(channel.CodeFailure), Message: err.Error(), Hint: advice[channel.CodeFailure].hint, exit: exitFailed}
}

func explainFault(f *channel.Fault, err error) problem {
	known, ok := advice[f.Code]
	if !ok {
		known = advice[channel.CodeFailure]
	}
	p := problem{Code: string(f.Code), Message: err.Error(), Hint: f.Hint, Retryable: f.Code.Retryable(), exit: known.exit}
	if p.Hint == "" {
		p.Hint = known.hint
	}
	return p
}

// interruption is a command that Ctrl-C ended before it had waited for what it was to wait for.
type interruption struct{ text, hint string }

func (e *interruption) Error() string { return e.text }

// report tells err on standard error, so that standard output stays clean, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	var by *told
	if errors.As(err, &by) {
		return by.exit
	}
	p := explain(ctx, err)
	if a.json {
		line, _ := json.Marshal(map[string]problem{"error": p})
		fmt.Fprintf(a.err, "%s\n", line)
		return p.exit
	}
	u := a.notes()
	title := u.red("error:") + " "
	if p.exit == exitInterrupted {
		title = "" // it was asked for
	}
	fmt.Fprintf(a.err, "%s%s\n", title, printable(p.Message))
	if p.Hint != "" {
		fmt.Fprintf(a.err, "%s %s\n", u.bold("hint:"), printable(p.Hint))
	}
	return p.exit
}
