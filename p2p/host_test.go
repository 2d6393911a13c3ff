package p2p

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"github.com/runnel/runnel/p2p/p2ptest"
	"github.com/runnel/runnel/wire"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tcpLoopback  = "/ip4/127.0.0.1/tcp/0"
	quicLoopback = "/ip4/127.0.0.1/udp/0/quic-v1"
)

func randomKey() (key [32]byte) {
	_, _ = rand.Read(key[:])
	return key
}

// testConfig stays on loopback. Its hosts don't wait long for peers that never read.
func testConfig(listen ...string) Config {
	return Config{PrivateKey: randomKey(), Listen: listen, Log: slog.New(slog.DiscardHandler),
		Limits: Limits{Linger: 100 * time.Millisecond}}
}

func newTestHost(t testing.TB, config Config) *Host {
	t.Helper()
	h, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return h
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connectHosts(t testing.TB, from, to *Host) (a, b wire.Conn) {
	t.Helper()
	a, err := from.Dial(testContext(t), to.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err = to.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestSuite(t *testing.T) {
	for name, listen := range map[string]string{"TCP": tcpLoopback, "QUIC": quicLoopback} {
		t.Run(name, func(t *testing.T) {
			p2ptest.TestTransport(t, func(t testing.TB) wire.Transport {
				config := testConfig(listen)
				config.Limits = Limits{WriteTimeout: time.Second}
				return newTestHost(t, config)
			})
		})
	}
}
