package gateway_test

import (
	"testing"

	"github.com/runnel/runnel/gateway/gatewaytest"
)

// The nodes in memory keep what package daemon's tests hold real ones to.
func TestGatewaySuite(t *testing.T) {
	gatewaytest.Suite(t, func(t *testing.T) *gatewaytest.Pair {
		twin := gatewaytest.New(1_000_000_000)
		return &gatewaytest.Pair{Payer: twin.Payer(), Payee: twin.Payee(), Channel: twin.Channel(), Settled: func(t testing.TB) {
			if err := twin.Check(); err != nil {
				t.Error(err)
			}
			if n := twin.Running(twin.Channel()); n > 0 {
				t.Errorf("%d draws were never ended", n)
			}
		}}
	})
}
