package p2p

import (
	"testing"
	"time"

	"github.com/runnel/runnel/wire"
)

const benchBytes = 200 // about a frame of one payment

func BenchmarkRoundTrip(b *testing.B) {
	forTransports(b, func(b *testing.B, x, y wire.Conn) {
		go func() {
			for {
				msg, err := y.Recv()
				if err != nil || y.Send(msg) != nil {
					return
				}
			}
		}()
		msg := make([]byte, benchBytes)
		for b.Loop() {
			if err := x.Send(msg); err != nil {
				b.Fatal(err)
			}
			if _, err := x.Recv(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOneWay(b *testing.B) {
	forTransports(b, func(b *testing.B, x, y wire.Conn) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if msg, err := y.Recv(); err != nil || len(msg) == 1 {
					return
				}
			}
		}()
		msg, count, start := make([]byte, benchBytes), 0, time.Now()
		for b.Loop() {
			if err := x.Send(msg); err != nil {
				b.Fatal(err)
			}
			count++
		}
		if err := x.Send([]byte{0}); err != nil {
			b.Fatal(err)
		}
		<-done
		b.ReportMetric(float64(count)/time.Since(start).Seconds(), "messages/s")
	})
}

func forTransports(b *testing.B, run func(b *testing.B, x, y wire.Conn)) {
	for name, listen := range map[string]string{"TCP": tcpLoopback, "QUIC": quicLoopback} {
		b.Run(name, func(b *testing.B) {
			x, y := connectHosts(b, newTestHost(b, testConfig(listen)), newTestHost(b, testConfig(listen)))
			run(b, x, y)
			_ = x.Close()
			_, _ = y.Recv()
		})
	}
}
