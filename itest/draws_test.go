package itest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
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

// TestDrawsOverTheAPI buys and sells by the request between two daemons: in parallel, over a SIGKILL of the one that
// sells, and down to the close, which pays exactly what was drawn.
func TestDrawsOverTheAPI(t *testing.T) {
	t.Parallel()
	w := pair(t)
	id := w.open("alice", "bob", 1_000_000, 0)
	var payer gateway.Payer = w.Node("alice").API
	var payee gateway.Payee = w.Node("bob").API
	authorise := func(i int, max channel.Msat) channel.Authorisation {
		r, err := payer.Authorise(w.ctx, channel.AuthoriseRequest{Channel: id, Max: max, ID: channel.PaymentID{1, byte(i)}, Ref: fmt.Sprint("request ", i),
			Binding: channel.Binding{Challenge: "c", Method: "GET", Authority: "localhost", Target: fmt.Sprint("/", i)}})
		if err != nil {
			t.Error(err)
		}
		return r.Authorisation
	}
	serve := func(a channel.Authorisation, held, used channel.Msat) {
		c, err := payee.Charge(w.ctx, channel.ChargeRequest{Authorisation: a, Amount: held, Ref: "served"})
		if err == nil && !c.Repeated {
			c, err = payee.EndDraw(w.ctx, a.Channel, a.Binding.N, used)
		}
		if err != nil || c.Status != channel.DrawEnded || c.Used != used {
			t.Errorf("draw %d: %+v, %v", a.Binding.N, c, err)
		}
	}
	const each = 20_000
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() { serve(authorise(i, 2*each), 2*each, each) })
	}
	wg.Wait()

	fixed, stream, late := authorise(100, each), authorise(101, 3*each), authorise(102, each)
	for _, a := range []channel.Authorisation{fixed, stream} {
		if _, err := payee.Charge(w.ctx, channel.ChargeRequest{Authorisation: a, Amount: each}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := payee.HoldMore(w.ctx, stream.Channel, stream.Binding.N, each, each+7); err != nil {
		t.Fatal(err)
	}
	w.Node("bob").Kill()
	w.check(w.Node("bob").Restart(w.ctx))
	c, err := payee.Charge(w.ctx, channel.ChargeRequest{Authorisation: fixed, Amount: each})
	if err != nil || !c.Repeated || c.Used != 0 {
		t.Errorf("what was not served is charged, or can be charged again: %+v, %v", c, err)
	}
	serve(late, each, each)
	const want = 32*each + each + 7 + each
	w.until("both books agree", func() bool {
		a, b := w.one("alice", "channel", id), w.one("bob", "channel", id)
		return a.number("sent_msat") == want && b.number("received_msat") == want
	})
	r, err := w.Node("alice").API.Close(w.ctx, channel.CloseRequest{Channel: id})
	if err != nil || r.Kind != "coop" || r.Remote != channel.Msat(want).SatCeil() {
		t.Errorf("closed: %+v, %v", r, err)
	}
}
