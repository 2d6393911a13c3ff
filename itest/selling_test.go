package itest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/runnel/runnel/cmd/sandbox"
)

// TestDaemonSells: bob's daemon asks for payment in front of a service that knows nothing of it, and alice pays.
func TestDaemonSells(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			w.WriteHeader(http.StatusInternalServerError)
		case r.URL.Path == "/v1/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 100 {
				fmt.Fprintf(w, "data: token %d\n\n", i)
			}
		default:
			fmt.Fprintf(w, "paid by %s", r.Header.Get("Runnel-Payer"))
		}
	}))
	defer service.Close()
	config, addr := filepath.Join(t.TempDir(), "bob.toml"), freeAddr(t)
	sell := func(price string) {
		text := fmt.Sprintf("[gateway]\nlisten = %q\nupstream = %q\nunpaid-per-minute = -1\n[[gateway.route]]\npath = \"/v1/\"\nprice = %q\n[[gateway.route]]\npath = \"/v1/stream\"\nprice = \"20msat\"\nunit = \"token\"\n", addr, service.URL, price)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sell("700msat")
	w := newWorld(t, sandbox.Daemon{Name: "alice"}, sandbox.Daemon{Name: "bob", Flags: []string{"--config", config}})
	w.check(w.Fund(w.ctx, "alice", 3_000_000))
	id := w.open("alice", "bob", 1_000_000, 0)
	base := "http://" + addr
	earned := func() int64 { return w.one("bob", "channel", id).number("received_msat") }
	fetch := func(args ...string) outcome {
		return w.runnel(append([]string{"--node", "alice", "fetch"}, args...)...)
	}

	payer := w.one("alice", "status").text("peer_id")
	if got := fetch(base + "/v1/x"); got.code != 0 || got.out != "paid by "+payer {
		t.Fatalf("%+v", got)
	}
	w.until("bob has earned the price", func() bool { return earned() == 700 })
	if got := fetch("--max", "5sat", base+"/v1/stream"); got.code != 0 || strings.Count(got.out, "data: token ") != 100 {
		t.Fatalf("%+v", got)
	}
	w.until("bob has earned 20 msat a token", func() bool { return earned() == 700+2000 })

	down.Store(true)
	fetch(base + "/v1/x")
	down.Store(false)
	sell("900msat")
	w.check(syscall.Kill(w.Node("bob").PID(), syscall.SIGHUP))
	w.until("the new price counts", func() bool {
		res, err := http.Get(base + "/v1/x")
		w.check(err)
		defer res.Body.Close()
		return res.StatusCode == http.StatusPaymentRequired && strings.Contains(readAll(res), "900 msat")
	})
	w.check(w.Node("bob").Stop())
	w.check(w.Node("bob").Restart(w.ctx))
	w.until("the channel is usable again", func() bool { return w.usable("alice", id, false) })
	if got := fetch(base + "/v1/x"); got.code != 0 || got.out != "paid by "+payer {
		t.Fatalf("%+v", got)
	}
	w.until("the failed answer cost nothing", func() bool { return earned() == 700+2000+900 })
}

func readAll(res *http.Response) string {
	var b strings.Builder
	_ = res.Write(&b)
	return b.String()
}

// freeAddr is an address on loopback that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
