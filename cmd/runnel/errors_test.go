package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

func TestExitCodes(t *testing.T) {
	for code, want := range map[channel.Code]int{
		channel.CodeFailure: 1, channel.CodePeerUnreachable: 1, channel.CodeRefused: 1, channel.CodeRejected: 1,
		channel.CodeChainUnreachable: 1, channel.CodeStopping: 1, "something_new": 1,
		channel.CodeBadRequest: 2, channel.CodeAmbiguous: 2,
		channel.CodeInsufficient: 4, channel.CodeNoCredit: 4, channel.CodeBadProof: 4, channel.CodeBadSignature: 4, channel.CodeInsufficientFunds: 4, channel.CodeLimit: 4, channel.CodeApproval: 4, channel.CodeFrozen: 4, channel.CodeNotOpen: 4,
		channel.CodeExpiring: 4, channel.CodeIDConflict: 4, channel.CodeUnknownPeer: 4, channel.CodePeerRefused: 4,
		channel.CodeIncompatible: 4, channel.CodeNotFound: 4, channel.CodeDiskFull: 4, channel.CodeNotReady: 4,
		channel.CodePending: 5,
	} {
		s := newSession(t)
		s.node.err = channel.Faultf(code, "it is so")
		o := s.line("send tb1q 5sat")
		if o.code != want || o.out != "" || !strings.HasPrefix(o.err, "error: it is so\nhint: ") {
			t.Errorf("%s: exit %d, want %d; stdout %q, stderr %q", code, o.code, want, o.out, o.err)
		}
	}
}

// TestEveryCodeHasAdvice reads the closed set from its source, so that a new code can't be forgotten here.
func TestEveryCodeHasAdvice(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "channel", "report.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		found++
		if a, ok := advice[channel.Code(text)]; !ok || a.hint == "" || a.exit == 0 {
			t.Errorf("%s has no advice", text)
		}
		return true
	})
	if found < 20 {
		t.Errorf("only %d codes found", found)
	}
}

func TestJSONErrors(t *testing.T) {
	s := newSession(t)
	s.node.err = channel.Faultf(channel.CodeInsufficient, "25 sat is more than 7 sat").WithHint("pay less")
	o := s.line("pay bob 25sat --json")
	want := `{"error":{"code":"insufficient_capacity","message":"25 sat is more than 7 sat","hint":"pay less","retryable":false}}` + "\n"
	if o.err != want || o.out != "" || o.code != 4 {
		t.Errorf("exit %d, stdout %q, stderr %q", o.code, o.out, o.err)
	}
	for _, line := range []string{"pay bob 20 --json", "--json pay bob", "frobnicate --json", "pay bob 1sat --wrong --json", "payments --limit x --json"} {
		o := newSession(t).line(line)
		var e struct{ Error problem }
		if err := json.Unmarshal([]byte(o.err), &e); err != nil || e.Error.Code != "usage" || e.Error.Hint == "" || o.code != 2 || o.out != "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q (%v)", line, o.code, o.out, o.err, err)
		}
	}
}

// TestUsage: each of these is refused before the daemon is asked for anything.
func TestUsage(t *testing.T) {
	for line, say := range map[string]string{
		"pay bob 20":                              "20sat or 20msat?",
		"pay bob 0sat":                            "more than zero",
		"pay bob 0.0001sat":                       "below 1 msat",
		"pay bob 5SAT":                            "lower case",
		"pay bob 21000001btc":                     "21 million",
		"pay bob 5usd":                            "unknown unit",
		"pay bob 5sat --id 12":                    "32 hex digits",
		"pay bob 5sat --timeout 0s":               "more than zero",
		"pay bob 5sat --timeout 30":               "30s",
		"pay bob 5sat 6sat":                       "6sat",
		"pay bob":                                 "PEER|CHANNEL AMOUNT",
		"pay bob 5sat --ref " + long:              "64 at most",
		"open bob":                                "deposit",
		"open bob --deposit 1.5sat":               "whole satoshis",
		"open bob --deposit 0sat":                 "more than zero",
		"open bob --deposit 20000":                "20000sat or 20000msat?",
		"open bob --deposit 20000sat":             "-y",
		"open bob --deposit 5sat -y --expiry 30y": "30d",
		"open bob --deposit 5sat -y --fee-rate 0": "more than zero",
		"send tb1q 5":                             "5sat or 5msat?",
		"send tb1q 5msat":                         "whole satoshis",
		"send tb1q ALL":                           "not an amount",
		"stream bob 1sat":                         "every",
		"stream bob 1sat --every 10":              "duration",
		"stream bob 1sat --every 1s --count 0":    "count",
		"stream bob 2sat..1sat --every 1s":        "upside down",
		"payments --since yesterday":              "2026-01-31",
		"payments --limit -1":                     "count",
		"payments --csv --json":                   "choose one",
		"watch --since x":                         "number of an event",
		"status now":                              "no arguments",
		"--network testnet status":                "testnet3",
		"--api tcp:127.0.0.1:9 status":            "tokens and TLS",
		"--node Alice status":                     "lower-case",
		"statsu":                                  "runnel status",
		"pay bob -5sat":                           "flag",
		"status --nope":                           "--help",
	} {
		s := newSession(t)
		o := s.line(line)
		if o.code != exitUsage || !strings.Contains(o.err, say) || len(s.node.asked) > 0 || len(s.node.pay) > 0 {
			t.Errorf("runnel %s: exit %d, asked %v, %q; want %q", line, o.code, s.node.asked, o.err, say)
		}
	}
}

const long = "0123456789012345678901234567890123456789012345678901234567890123456789"

func TestUnreachable(t *testing.T) {
	home, err := os.MkdirTemp("", "rc")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	run := func(args ...string) (int, string) {
		var errs strings.Builder
		a := &app{in: strings.NewReader(""), out: io.Discard, err: &errs, now: time.Now, dial: dial, poll: time.Millisecond,
			getenv: func(k string) string { return map[string]string{"RUNNEL_HOME": home}[k] }}
		return a.run(t.Context(), args), errs.String()
	}
	for _, args := range [][]string{
		{"status"}, {"--node", "alice", "status"}, {"--data-dir", home, "balance"}, {"--api", "unix:" + home + "/x", "pay", "bob", "5sat"},
		{"--network", "signet", "channels"}, {"--data-dir", home, "stream", "bob", "1sat", "--every", "0", "--count", "3"},
		{"--data-dir", home, "watch"}, {"--data-dir", home, "open", "bob", "--deposit", "5sat", "-y"},
	} {
		if code, errs := run(args...); code != exitUnreachable || !strings.Contains(errs, "hint: ") {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	listenIn(t, home, "signet")
	listenIn(t, home, "regtest", "alice")
	if code, errs := run("status"); code != exitUsage || !strings.Contains(errs, "alice (regtest), signet") || !strings.Contains(errs, "--node") {
		t.Errorf("two daemons: exit %d, %s", code, errs)
	}
}

func TestSelection(t *testing.T) {
	a := &app{getenv: func(k string) string { return map[string]string{"RUNNEL_NODE": "alice", "RUNNEL_NETWORK": "signet"}[k] }}
	if got := a.selection(); got.Node != "alice" || got.Network != "signet" {
		t.Errorf("environment: %+v", got)
	}
	a.sel.DataDir = "/srv/bob"
	if got := a.selection(); got.Node != "" || got.DataDir != "/srv/bob" {
		t.Errorf("a flag does not come first: %+v", got)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestUnwrittenAnswerIsAnError(t *testing.T) {
	for _, args := range [][]string{{"channels"}, {"channels", "--json"}, {"payments", "--csv"}} {
		s := newSession(t)
		a := &app{out: brokenPipe{}, err: io.Discard, now: time.Now, getenv: s.getenv(), dial: s.dial()}
		if code := a.run(t.Context(), args); code != exitFailed {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
