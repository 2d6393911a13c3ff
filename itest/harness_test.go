package itest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// TestMain builds nothing yet: that happens when the first test asks for the programs.
func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// programs are the real ones, built once for all tests.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// binaries returns the directory with runnel, runneld, demo and the pinned btcd.
func binaries(t testing.TB) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "runnel-bin-"); programs.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", programs.dir+string(filepath.Separator),
			"./cmd/runnel", "./cmd/runneld", "./cmd/demo", "github.com/btcsuite/btcd")
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("go build: %w: %s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return programs.dir
}

// world is a sandbox of one test.
type world struct {
	*sandbox.Sandbox
	t   testing.TB
	ctx context.Context
}

// newWorld starts a chain and daemons. When the test fails their last words are shown.
func newWorld(t testing.TB, daemons ...sandbox.Daemon) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), worldTime())
	t.Cleanup(cancel)
	s, err := sandbox.Start(ctx, sandbox.Options{Bin: binaries(t)}, daemons...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{s, t, ctx}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.lastWords())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) lastWords() string {
	err := errors.New("what the daemons said last:")
	for _, n := range w.Nodes() {
		err = n.Explain(err)
	}
	return err.Error()
}

// named are daemons without settings of their own.
func named(names ...string) (all []sandbox.Daemon) {
	for _, name := range names {
		all = append(all, sandbox.Daemon{Name: name})
	}
	return all
}

// pair is a world with alice and bob, who have 5,000,000 sat each.
func pair(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, named("alice", "bob")...)
	for _, name := range []string{"alice", "bob"} {
		w.check(w.Fund(w.ctx, name, 3_000_000, 2_000_000))
	}
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// outcome is how a command ended.
type outcome struct {
	out, err string
	code     int
}

// runnel runs the command line program.
func (w *world) runnel(args ...string) outcome {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, w.Runnel, args...)
	cmd.Env = append(os.Environ(), "RUNNEL_HOME="+w.Dir)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return outcome{out.String(), bad.String(), cmd.ProcessState.ExitCode()}
}

// object is what --json prints, with integers as they were written.
type object map[string]any

// ask runs `runnel --node NODE ARGS --json`, which has to work, and returns the objects that it prints.
func (w *world) ask(node string, args ...string) (all []object) {
	w.t.Helper()
	o := w.runnel(append([]string{"--node", node, "--json"}, args...)...)
	if o.code != 0 {
		w.t.Fatalf("runnel %s: exit %d, %s", strings.Join(args, " "), o.code, o.err)
	}
	return objects(w.t, o.out)
}

func objects(t testing.TB, lines string) (all []object) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(lines))
	d.UseNumber()
	for d.More() {
		var o object
		if err := d.Decode(&o); err != nil {
			t.Fatalf("%v in %s", err, lines)
		}
		all = append(all, o)
	}
	return all
}

// one is ask for commands that answer with one object.
func (w *world) one(node string, args ...string) object {
	w.t.Helper()
	all := w.ask(node, args...)
	if len(all) != 1 {
		w.t.Fatalf("runnel %s: %d objects", strings.Join(args, " "), len(all))
	}
	return all[0]
}

func (o object) text(key string) string { return fmt.Sprint(o[key]) }

func (o object) number(key string) int64 {
	n, _ := o[key].(json.Number)
	v, err := n.Int64()
	if err != nil {
		panic(fmt.Sprintf("%s is %v: not an integer", key, o[key]))
	}
	return v
}

// until waits for something that has to happen.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	w.check(sandbox.Until(ctx, what, func() (bool, error) { return done(), nil }))
}

// open opens a channel between two nodes that have not met, mines until both can use it as it is meant, and
// returns its id.
func (w *world) open(from, to string, deposit, peerDeposit channel.Sat) string {
	w.t.Helper()
	addr, err := w.Node(to).Address(w.ctx)
	w.check(err)
	opened := w.one(from, "open", addr, "-y", "--deposit", fmt.Sprintf("%dsat", deposit), "--peer-deposit", fmt.Sprintf("%dsat", peerDeposit))
	id := opened.text("channel_id")
	w.until("the channel is open", func() bool {
		w.check(w.Mine(w.ctx, 1))
		return w.usable(from, id, peerDeposit > 0) && w.usable(to, id, peerDeposit > 0)
	})
	return id
}

// usable reports whether a channel is open, and ready in both directions if both has it.
func (w *world) usable(node, id string, both bool) bool {
	c := w.one(node, "channel", id)
	pays, takes := c.number("spendable_msat") > 0, c.number("receivable_msat") > 0
	return c.text("phase") == "open" && (pays || takes) && (pays && takes || !both)
}

// balances are all daemons' own words about their money, one line each, for comparison.
func (w *world) balances() string {
	w.t.Helper()
	var b strings.Builder
	for _, n := range w.Nodes() {
		if n.Running() {
			fmt.Fprintf(&b, "%s %s", n.Name, w.must(n.Name, "balance"))
			for _, c := range w.ask(n.Name, "channels") {
				fmt.Fprintf(&b, "  %s %s sent %v received %v\n", c.text("channel_id"), c.text("phase"), c["sent_msat"], c["received_msat"])
			}
		}
	}
	return b.String()
}

// must is ask without reading the answer.
func (w *world) must(node string, args ...string) string {
	w.t.Helper()
	o := w.runnel(append([]string{"--node", node, "--json"}, args...)...)
	if o.code != 0 {
		w.t.Fatalf("runnel %s: exit %d, %s", strings.Join(args, " "), o.code, o.err)
	}
	return o.out
}
