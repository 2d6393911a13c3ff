package itest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/cmd/sandbox"
)

// TestDemo: the demo is right, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	tmp := shortTemp(t)
	ctx, cancel := context.WithTimeout(context.Background(), worldTime())
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries(t), "demo"))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("The end")) {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.ContainsAny(string(out), "\x1b\r") {
		t.Error("colour or a progress bar where no terminal is")
	}
	nothingIn(t, tmp)
}

// shortTemp is a temporary directory in whose subdirectories sockets fit.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func nothingIn(t *testing.T, dir string) {
	t.Helper()
	var left []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// dev is a running `runnel dev`.
type dev struct {
	cmd    *exec.Cmd
	home   home.Home
	tmp    string
	lines  []string // that it printed to be pasted
	ended  chan error
	stderr *bytes.Buffer
}

func startDev(t *testing.T, flags ...string) *dev {
	t.Helper()
	tmp := shortTemp(t)
	d := &dev{home: home.Home(filepath.Join(tmp, "home", ".runnel")), tmp: tmp, ended: make(chan error, 1), stderr: new(bytes.Buffer)}
	for _, name := range []string{"home", "empty", "tmp"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.cmd = d.command(filepath.Join(binaries(t), "runnel"), append([]string{"dev"}, flags...)...)
	d.cmd.Stderr = d.stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C") {
		if line, ok := strings.CutPrefix(lines.Text(), "  "); ok {
			d.lines = append(d.lines, line)
		}
	}
	go func() {
		io.Copy(io.Discard, out)
		d.ended <- d.cmd.Wait()
	}()
	return d
}

// command runs in the empty directory of a user who has nothing but the programs.
func (d *dev) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = filepath.Join(d.tmp, "empty")
	cmd.Env = []string{"HOME=" + filepath.Join(d.tmp, "home"), "TMPDIR=" + filepath.Join(d.tmp, "tmp"), "PATH=" + os.Getenv("PATH")}
	return cmd
}

// TestDev: what `runnel dev` prints works when it is pasted, and after Ctrl-C nothing is left.
func TestDev(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	if len(d.lines) < 6 {
		t.Fatalf("printed %q, %s", d.lines, d.stderr)
	}
	for _, line := range d.lines {
		if out, err := d.command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("$ %s\n%v: %s", line, err, out)
		}
	}
	again, err := d.command(d.cmd.Path, "dev").CombinedOutput()
	if err == nil || !strings.Contains(string(again), "alice is running already") {
		t.Errorf("a second sandbox: %v, %s", err, again)
	}
	d.cmd.Process.Signal(os.Interrupt)
	if err := <-d.ended; err != nil {
		t.Errorf("Ctrl-C: %v, %s", err, d.stderr)
	}
	nothingIn(t, d.tmp)
}

// TestDevKilled: the daemons die with a `runnel dev` that was killed.
func TestDevKilled(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--auto-mine", "1s")
	alice, err := d.home.Find(home.Selection{Node: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Process.Kill()
	<-d.ended
	if runtime.GOOS != "linux" {
		return // no signal of the parent's death
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := sandbox.Until(ctx, "alice is dead too", func() (bool, error) { return !home.Answers(alice.Socket), nil }); err != nil {
		t.Error(err)
	}
	// The next one is not hindered by what the killed one left.
	next := d.command(d.cmd.Path, "dev", "--json")
	out, err := next.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Start(); err != nil {
		t.Fatal(err)
	}
	var said object
	if err := json.NewDecoder(out).Decode(&said); err != nil || said["height"] == nil {
		t.Errorf("the next sandbox: %v, %v", said, err)
	}
	next.Process.Signal(syscall.SIGTERM)
	if err := next.Wait(); err != nil {
		t.Errorf("the next sandbox: %v", err)
	}
}

// TestJSONOfRealDaemon: a real daemon fills the very keys that the command line's golden file promises.
func TestJSONOfRealDaemon(t *testing.T) {
	t.Parallel()
	promised := promisedKeys(t)
	w := pair(t)
	id := w.open("alice", "bob", 1_000_000, 200_000)
	peer := w.one("bob", "status").text("peer_id")
	w.must("alice", "pay", id, "25sat", "--ref", "coffee")
	fresh := w.one("bob", "address").text("address")
	for _, c := range []struct{ verb, line string }{
		{"status", "status"}, {"address", "address"}, {"balance", "balance"}, {"txs", "txs"}, {"peers", "peers"},
		{"channels", "channels"}, {"channel 3fa9", "channel " + id}, {"payments", "payments"}, {"version", "version"},
		{"send tb1q 5sat", "send " + fresh + " 5000sat"}, {"pay PEER 25sat", "pay " + peer + " 25sat"},
		{"stream PEER 1sat --every 0 --count 3", "stream " + peer + " 1sat --every 0 --count 3"},
		{"open PEER --deposit 1_000_000sat --dry-run", "open " + peer + " --deposit 100_000sat --dry-run"},
		{"disconnect PEER", "disconnect " + peer}, {"connect /ip4/1.2.3.4/tcp/9745/p2p/PEER", "connect " + peer},
		{"close 3fa9", "close " + id}, {"stop", "stop"},
	} {
		answers := w.ask("alice", strings.Fields(c.line)...)
		if len(answers) == 0 || len(promised[c.verb]) == 0 {
			t.Errorf("runnel %s: %d answers, %d keys promised", c.line, len(answers), len(promised[c.verb]))
		}
		for _, a := range answers {
			if got := keysOf(a, ""); !slices.Equal(got, promised[c.verb]) {
				t.Errorf("runnel %s has %v, promised are %v", c.line, got, promised[c.verb])
			}
		}
	}
	<-w.Node("alice").Exited()
	if _, err := w.Node("alice").API.Status(w.ctx); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("after stop: %v", err)
	}
}

// promisedKeys reads keys and types by verb, sorted.
func promisedKeys(t *testing.T) map[string][]string {
	t.Helper()
	golden, err := os.ReadFile(filepath.Join("..", "cmd", "runnel", "testdata", "json.golden"))
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string][]string{}
	for section := range strings.SplitSeq(strings.TrimSpace(string(golden)), "\n\n") {
		lines := strings.Split(section, "\n")
		verb := strings.TrimSuffix(strings.TrimPrefix(lines[0], "runnel "), " --json")
		for _, line := range lines[1:] {
			promised[verb] = append(promised[verb], strings.TrimPrefix(line, "  "))
		}
		slices.Sort(promised[verb])
	}
	return promised
}

// keysOf describes an object as the golden file does.
func keysOf(o object, indent string) (keys []string) {
	for key, v := range o {
		keys = append(keys, fmt.Sprintf("%s%s %s", indent, key, typeOf(key, v)))
		if inner, ok := v.(map[string]any); ok {
			keys = append(keys, keysOf(inner, indent+"  ")...)
		}
	}
	slices.Sort(keys)
	return keys
}

func typeOf(key string, v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case map[string]any:
		return "object"
	case []any:
		return "list of strings"
	case json.Number:
		if _, err := v.Int64(); err == nil && key != "rate" { // the only one that need not be whole
			return "integer"
		}
		return "number"
	}
	return fmt.Sprintf("%T", v)
}
