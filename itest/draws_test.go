package itest

import (
	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/gateway"
)

// A node sells and buys by the request, in the same process and through its API.
var (
	_ gateway.Payee = (*daemon.Node)(nil)
	_ gateway.Payer = (*daemon.Node)(nil)
	_ gateway.Payee = (*client.Client)(nil)
	_ gateway.Payer = (*client.Client)(nil)
)
