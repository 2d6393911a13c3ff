package main

import (
	"context"
	"errors"
	"net/url"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/gateway"
)

// Codes of what can go wrong with a request that may cost.
const (
	codeUnpaid   channel.Code = "not_paid"         // and nothing was signed
	codeStopped  channel.Code = "payment_stopped"  // something was signed, and more was not
	codeRejected channel.Code = "payment_rejected" // the server has it and says no
	codeHTTP     channel.Code = "http_error"       // with -f
	codeServer   channel.Code = "server_failed"    // no answer, or half of one
)

// whyHints is what to do about each reason not to pay.
var whyHints = map[gateway.Why]string{
	gateway.WhyOffer:     "this is the server's mistake: tell who runs it",
	gateway.WhyMax:       "if it is worth that to you, allow more with --max AMOUNT",
	gateway.WhyBudget:    "if you want to go on, allow more with --budget AMOUNT",
	gateway.WhyRise:      "if the new price is right, go on with --allow-rise",
	gateway.WhyRecipient: "ask who runs the server whether that is meant; a new run starts afresh",
	gateway.WhyNoChannel: "open one: runnel open PEER --deposit AMOUNT, or give fetch --open AMOUNT",
	gateway.WhySnapshot:  "the server's node has other books than yours: `runnel channels` shows yours; tell who runs the server",
	gateway.WhyBody:      "send the body from a file",
	gateway.WhyNode:      "`runnel status` and `runnel channels` show how your node does",
	gateway.WhyDistrust:  "this server claimed more than you had signed: tell who runs it, and keep away from it until then",
	gateway.WhyStream:    "this is the server's mistake: tell who runs it",
}

// payError gives the errors of a paying client their words, advice and exit code.
func payError(err error) error {
	var (
		bad      *url.Error
		unpaid   *gateway.Unpaid
		rejected *gateway.Rejected
		fault    *channel.Fault
		gone     *client.Unreachable
	)
	switch {
	case errors.As(err, &gone), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unpaid):
		return unpaidError(unpaid)
	case errors.As(err, &rejected):
		return rejectedError(rejected)
	case errors.As(err, &fault):
		return err
	case errors.As(err, &bad):
		return channel.Faultf(codeServer, "%s", bad.Err).WithHint("see that the address is right and that the server runs")
	}
	return err
}

func unpaidError(e *gateway.Unpaid) error {
	var own *channel.Fault
	if errors.As(e.Err, &own) && e.Authorised == 0 && e.Why == gateway.WhyNode {
		return own
	}
	f := channel.Faultf(codeUnpaid, "%s", e.Error())
	if e.Authorised > 0 {
		f = channel.Faultf(codeStopped, "%s; the server may keep the %s that were authorised before", e.Error(), amount.Msat(e.Authorised))
	}
	hint := whyHints[e.Why]
	if e.Why == gateway.WhyNoChannel && e.Deposit > 0 {
		hint = "add --open " + amount.String(channel.Msat(e.Deposit)*1000) + " to open the channel that the server suggests, or: runnel open " +
			string(e.Recipient) + " --deposit " + amount.String(channel.Msat(e.Deposit)*1000)
	}
	return f.WithHint("%s", hint)
}

func rejectedError(e *gateway.Rejected) error {
	text := e.Error()
	if e.Authorised > 0 {
		text += "; it may keep the " + amount.Msat(e.Authorised) + " that were authorised"
	}
	hint := "the reason is the server's own: tell who runs it"
	if e.Problem.Code != "" {
		hint += " (its node says " + e.Problem.Code + ")"
	}
	return channel.Faultf(codeRejected, "%s", text).WithHint("%s", hint)
}
