package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway/gatewaytest"
)

// Two nodes keep what the gateway relies on, with many requests at once.
func TestGatewaySuite(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	gatewaytest.Suite(t, func(*testing.T) *gatewaytest.Pair {
		return &gatewaytest.Pair{Payer: alice, Payee: bob, Channel: id, Settled: func(t testing.TB) {
			w.eventually("both books agree", func() bool {
				a, b := alice.State(id), bob.State(id)
				return b.InDraws == nil || len(b.InDraws.Running) == 0 && b.InDraws.Told == b.InDraws.Count && a.OutDraws.Hash == b.InDraws.Hash
			})
			if a, b := alice.State(id), bob.State(id); a.Out.Frozen != channel.NotFrozen || a.SpentOut() != b.SpentIn() {
				t.Errorf("%+v and %+v", alice.info(id), bob.info(id))
			}
		}}
	})
}
