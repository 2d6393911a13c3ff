package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; after a change on purpose run go test -update\n%s", path, firstDifference(string(want), got))
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\nwant %q\ngot  %q", i+1, x, y)
		}
	}
	return ""
}

const payID = "0c1d2e3f405162738495a6b7c8d9eaf0"

// TestJSON holds every key and type that --json prints, in order.
func TestJSON(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	for _, line := range []string{
		"status", "address", "balance", "send tb1q 5sat", "txs", "bump " + txid,
		"connect /ip4/1.2.3.4/tcp/9745/p2p/" + bob, "disconnect " + bob, "peers",
		"open " + bob + " --deposit 1_000_000sat -y", "open " + bob + " --deposit 1_000_000sat --dry-run",
		"channels", "channel 3fa9", "pay " + bob + " 25sat", "stream " + bob + " 1sat --every 0 --count 3",
		"payments", "receipt " + payID, "receipt verify " + receiptFile, "watch", "close 3fa9", "close 3fa9 --force", "settle --all -y", "stop", "version", "limits", "approvals", "approve aa01", "deny aa01", "freeze", "freeze all", "unfreeze 3fa9", "backup " + filepath.Join(dir, "b"),
	} {
		o := newSession(t).line(line + " --json")
		if o.code != 0 || o.err != "" {
			t.Fatalf("runnel %s: exit %d, %s", line, o.code, o.err)
		}
		verb := strings.Join(strings.Fields(strings.NewReplacer(bob, "PEER", txid, "TXID", payID, "PAYMENT_ID", receiptFile, "FILE", dir, "DIR").Replace(line)), " ")
		fmt.Fprintf(&b, "runnel %s --json\n%s\n", verb, shape(t, o.out))
	}
	golden(t, "json.golden", b.String())
}

// shape lists keys and types of lines of JSON, which must all have the same.
func shape(t *testing.T, lines string) string {
	t.Helper()
	var first string
	for s := bufio.NewScanner(strings.NewReader(lines)); s.Scan(); {
		var b strings.Builder
		dec := json.NewDecoder(strings.NewReader(s.Text()))
		dec.UseNumber()
		object(t, dec, "  ", &b)
		if first == "" {
			first = b.String()
		} else if b.String() != first {
			t.Errorf("two lines of one list have different shapes:\n%s\n%s", first, b.String())
		}
	}
	return first
}

func object(t *testing.T, dec *json.Decoder, indent string, b *strings.Builder) {
	t.Helper()
	next := func() json.Token {
		tok, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	if tok := next(); tok != json.Delim('{') {
		t.Fatalf("not an object: %v", tok)
	}
	for dec.More() {
		key := next().(string)
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "%s%s %s\n", indent, key, kind(key, raw))
		if raw[0] == '{' {
			inner := json.NewDecoder(bytes.NewReader(raw))
			inner.UseNumber()
			object(t, inner, indent+"  ", b)
		}
	}
}

func kind(key string, raw json.RawMessage) string {
	switch {
	case raw[0] == '"':
		return "string"
	case raw[0] == '[':
		return "list of strings"
	case raw[0] == '{':
		return "object"
	case string(raw) == "true", string(raw) == "false":
		return "boolean"
	case key == "rate": // payments a second, the only one that is no integer
		return "number"
	case bytes.ContainsAny(raw, ".eE") || string(raw) == "null":
		return "WRONG " + string(raw)
	}
	return "integer"
}

// TestText holds what people see, on a terminal of 80 columns.
func TestText(t *testing.T) {
	var b strings.Builder
	for _, line := range []string{
		"status", "address", "balance", "send tb1q 5sat", "send tb1q all", "txs", "bump " + txid + " --fee-rate 3",
		"connect /ip4/1.2.3.4/tcp/9745/p2p/" + bob, "disconnect " + bob, "peers",
		"open " + bob + " --deposit 1_000_000sat --peer-deposit 200_000sat --dry-run", "open " + bob + " --deposit 1_000_000sat -y",
		"open " + bob + " --deposit 1_000_000sat --external", "open " + bob + " --deposit 1_000_000sat",
		"channels", "channel 3fa9", "pay " + bob + " 25sat --id " + payID, "payments", "payments --csv", "receipt verify " + receiptFile, "receipt coffee", "watch",
		"close 3fa9", "close 3fa9 --force", "settle --all --dry-run", "settle 3fa9 -y", "settle", "settle --all 3fa9", "settle --all", "limits", "limits set budget-per-day 5sat", "limits budget", "approvals", "approve aa01", "deny aa01", "freeze", "freeze all", "unfreeze 3fa9", "stop", "frobnicate", "statsu", "pay", "pay bob 20", "balance now",
	} {
		o := newSession(t).line(line)
		fmt.Fprintf(&b, "$ runnel %s\n%s", line, o.out)
		if o.code != 0 {
			fmt.Fprintf(&b, "%s(exit %d)\n", o.err, o.code)
		} else if o.err != "" {
			t.Errorf("runnel %s writes to standard error: %s", line, o.err)
		}
		b.WriteByte('\n')
		if !strings.Contains(line, "--csv") {
			narrow(t, line, o.out)
		}
	}
	golden(t, "text.golden", b.String())
}

func narrow(t *testing.T, what, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(line); n > 80 && !strings.Contains(line, "/p2p/") {
			t.Errorf("%s: %d columns: %s", what, n, line)
		}
	}
}

func everyVerb(root *cobra.Command, do func(*cobra.Command)) {
	for _, c := range root.Commands() {
		if c.Name() != "help" && c.Name() != "completion" && !strings.HasPrefix(c.Name(), "__") {
			do(c)
		}
	}
}

func TestHelp(t *testing.T) {
	root := newRoot(&app{})
	narrow(t, "runnel", newSession(t).line("--help").out)
	everyVerb(root, func(c *cobra.Command) {
		if c.Example == "" || c.Short == "" || c.GroupID == "" {
			t.Errorf("%s: example %q, short %q, group %q", c.Name(), c.Example, c.Short, c.GroupID)
		}
		if c.ValidArgsFunction == nil {
			t.Errorf("%s: no shell completion", c.Name())
		}
		o := newSession(t).line(c.Name() + " --help")
		if o.code != 0 || !strings.Contains(o.out, c.Example) {
			t.Errorf("%s --help: exit %d\n%s", c.Name(), o.code, o.out)
		}
		narrow(t, c.Name()+" --help", o.out)
	})
}

func TestColour(t *testing.T) {
	s := newSession(t)
	for _, line := range []string{"status", "channels", "payments", "channel 3fa9"} {
		if o := s.line(line); strings.Contains(o.out, "\x1b") {
			t.Errorf("%s: colour without a terminal", line)
		}
	}
	s.terminal = true
	if o := s.line("channels"); !strings.Contains(o.out, "\x1b[32mopen") {
		t.Errorf("no colour on a terminal: %q", o.out)
	}
	if o := s.line("channels --json"); strings.Contains(o.out, "\x1b") {
		t.Error("colour in JSON")
	}
	s.env["NO_COLOR"] = "1"
	if o := s.line("channels"); strings.Contains(o.out, "\x1b") {
		t.Errorf("colour despite NO_COLOR: %q", o.out)
	}
}

func TestPeersCantWriteToTheTerminal(t *testing.T) {
	o := newSession(t).line("payments")
	if strings.Contains(o.out, "\x1b") || !strings.Contains(o.out, "=1+1�[31m") {
		t.Errorf("%q", o.out)
	}
	if o = newSession(t).line("payments --csv"); !strings.Contains(o.out, ",'=1+1") {
		t.Errorf("a formula got through: %q", o.out)
	}
}
