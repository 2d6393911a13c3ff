package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
)

// BenchmarkPay is the whole path of a payment without disk, sockets and API: what the shell, the machine,
// the wire format and the signatures cost.
func BenchmarkPay(b *testing.B) {
	for _, c := range []struct {
		name     string
		signEach bool
		inFlight int
	}{{"lone", false, 1}, {"each", true, 256}, {"coalesced", false, 8192}} {
		b.Run(c.name, func(b *testing.B) {
			set := func(cfg *daemon.Config) { cfg.SignEach = c.signEach }
			w := newWorld(b)
			alice, bob := w.start("alice", set), w.start("bob", set)
			alice.fund(100_000_000)
			id := w.open(alice, bob, 50_000_000, 0).String()
			slots := make(chan struct{}, c.inFlight)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				slots <- struct{}{}
				alice.PayAsync(channel.PayRequest{Target: id, Amount: 10}, func(_ channel.PayResult, err error) {
					if err != nil {
						b.Error(err)
					}
					<-slots
				})
			}
			for range c.inFlight {
				slots <- struct{}{}
			}
		})
	}
}
