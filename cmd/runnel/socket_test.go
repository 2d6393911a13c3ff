package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/channel"
)

// served is a session that goes through the real API and its socket, and finds it by name.
func served(t *testing.T) (s *session, run func(line string) outcome) {
	t.Helper()
	home, err := os.MkdirTemp("", "rc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	s = newSession(t)
	s.env = map[string]string{"RUNNEL_HOME": home, "RUNNEL_NODE": "alice"}
	socket := filepath.Join(home, "signet", "alice", "runneld.sock")
	server, err := api.Listen(api.Config{Socket: "unix:" + socket, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, s.node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(ctx)
	})
	return s, func(line string) outcome {
		var out, errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, getenv: s.getenv(), now: func() time.Time { return noon },
			dial: dial, poll: time.Millisecond}
		code := a.run(s.ctx, strings.Fields(line))
		return outcome{out.String(), errs.String(), code}
	}
}

// TestOverTheSocket: what comes through the API is what the node said, for every verb.
func TestOverTheSocket(t *testing.T) {
	varies := regexp.MustCompile(`"latency_us":\d+|"(payment_id|rate|p50_us|p99_us)":[^,}]+`)
	for _, line := range []string{
		"status", "address", "balance", "send tb1q 5sat", "txs", "bump " + txid, "connect /ip4/1.2.3.4/tcp/9745/p2p/" + bob,
		"disconnect " + bob, "peers", "open " + bob + " --deposit 1_000_000sat -y", "open " + bob + " --deposit 1_000_000sat --dry-run",
		"channels", "channel 3fa9", "pay " + bob + " 25sat", "stream " + bob + " 1sat --every 0 --count 3000", "payments", "watch --since 3",
		"close 3fa9", "close 3fa9 --force", "stop",
	} {
		_, run := served(t)
		got, want := run(line+" --json"), newSession(t).line(line+" --json")
		a, b := varies.ReplaceAllString(got.out, ""), varies.ReplaceAllString(want.out, "")
		if strings.HasPrefix(line, "watch") { // the fake's events end, a daemon's never do
			got.code, got.err = want.code, want.err
		}
		if got.code != want.code || a != b || got.err != want.err {
			t.Errorf("runnel %s\nexit %d\n%s%s\nwant exit %d\n%s%s", line, got.code, got.out, got.err, want.code, want.out, want.err)
		}
	}
}

func TestFaultsOverTheSocket(t *testing.T) {
	s, run := served(t)
	for code := range advice {
		if code == codeDeclined {
			continue
		}
		s.node.err = channel.Faultf(code, "it is so")
		for _, line := range []string{"channels --json", "pay bob 5sat --json", "stream bob 1sat --every 0 --count 1 --json"} {
			o := run(line)
			want := fmt.Sprintf(`{"error":{"code":%q,"message":`, code)
			if o.code != advice[code].exit || !strings.HasPrefix(o.err, want) {
				if strings.HasPrefix(line, "stream") && code.Retryable() && o.code != 0 {
					continue // a stream goes on after these
				}
				t.Errorf("%s, %s: exit %d, want %d: %s", code, line, o.code, advice[code].exit, o.err)
			}
		}
	}
}
