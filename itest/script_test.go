package itest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/sandbox"
)

// TestScripts replays testdata/script: transcripts of commands on real programs. Beside testscript's own
// commands (exec, stdout, stderr, cmp, env, ...) they have these:
//
//	sandbox NAME...          a private chain with these daemons, 5,000,000 sat in each wallet. Sets
//	                         $NAME_id and $NAME_addr (peer id and multiaddr), $RUNNEL_HOME, so that
//	                         `exec runnel --node NAME` works, and $BTCD_HOST, $BTCD_USER, $BTCD_PASS_FILE
//	                         and $BTCD_CERT for an `exec runneld` by hand
//	daemon NAME [FLAG...]    one more daemon, with an empty wallet
//	fund NAME AMOUNT         money for a wallet, confirmed
//	open A B DEPOSIT PEERS   a channel from A to B, usable afterwards, PEERS being B's deposit or 0. Sets
//	                         $CHANNEL
//	mine N                   N blocks, seen by every daemon that runs
//	crash NAME, halt NAME    the daemon is gone, by SIGKILL or in good order
//	restart NAME             it is back, and ready
//	btcd stop|start          the chain's node itself
//	exitcode N COMMAND...    runs it, which must exit with N; stdout and stderr can be looked at then
//	until REGEXP COMMAND...  runs it again and again until its output matches
//	balances FILE            what every running daemon says about its money, for a cmp later on
func TestScripts(t *testing.T) {
	bin := binaries(t)
	cmds := map[string]func(*testscript.TestScript, bool, []string){
		"sandbox": scriptSandbox, "daemon": scriptDaemon, "fund": scriptFund, "open": scriptOpen, "mine": scriptMine,
		"crash": onNode(func(n *sandbox.Node) error { n.Kill(); return nil }),
		"halt":  onNode((*sandbox.Node).Stop), "restart": onNode(func(n *sandbox.Node) error { return n.Restart(context.Background()) }),
		"btcd": scriptBtcd, "exitcode": scriptExitCode, "until": scriptUntil, "balances": scriptBalances,
	}
	maps.Copy(cmds, badInput())
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return setUp(env, bin) },
		Cmds:                cmds,
	})
}

type worldKey struct{}

// scriptWorld is a script's world; empty until `sandbox`.
type scriptWorld struct{ *world }

func setUp(env *testscript.Env, bin string) error {
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("NO_COLOR", "1")
	tb, ok := env.T().(interface{ Failed() bool })
	w := &scriptWorld{}
	env.Values[worldKey{}] = w
	env.Defer(func() {
		if w.world == nil {
			return
		}
		if ok && tb.Failed() {
			env.T().Log(w.lastWords())
		}
		if err := w.Close(); err != nil {
			env.T().Fatal(err)
		}
	})
	return nil
}

// of is a script's world, which has to be there.
func of(ts *testscript.TestScript) *world {
	w := ts.Value(worldKey{}).(*scriptWorld).world
	if w == nil {
		ts.Fatalf("start a sandbox first")
	}
	return w
}

// failer lets a script fail where a world would fail its test.
type failer struct {
	testing.TB // nil: nothing else is used
	ts         *testscript.TestScript
}

func (f failer) Helper()                           {}
func (f failer) Fatal(args ...any)                 { f.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (f failer) Fatalf(format string, args ...any) { f.ts.Fatalf(format, args...) }

func plain(ts *testscript.TestScript, neg bool, args []string, usage string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func scriptSandbox(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "sandbox NAME...", 0)
	ctx, cancel := context.WithTimeout(context.Background(), worldTime())
	ts.Defer(cancel)
	s, err := sandbox.Start(ctx, sandbox.Options{Bin: filepath.Dir(findIn(ts, "runneld"))}, named(args...)...)
	ts.Check(err)
	w := &world{s, failer{ts: ts}, ctx}
	ts.Value(worldKey{}).(*scriptWorld).world = w
	ts.Setenv("RUNNEL_HOME", s.Dir)
	ts.Setenv("BTCD_HOST", s.Chain.RPCHost())
	ts.Setenv("BTCD_USER", s.Chain.RPCUser())
	ts.Setenv("BTCD_PASS_FILE", s.PassFile())
	ts.Setenv("BTCD_CERT", s.Chain.CertFile())
	for _, name := range args {
		ts.Check(s.Fund(ctx, name, 3_000_000, 2_000_000))
		introduce(ts, s.Node(name))
	}
}

// findIn finds a program in the script's PATH.
func findIn(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	ts.Fatalf("%s is not in PATH", name)
	return ""
}

// introduce sets the variables by which a script names a daemon.
func introduce(ts *testscript.TestScript, n *sandbox.Node) {
	status, err := n.API.Status(context.Background())
	ts.Check(err)
	ts.Setenv(n.Name+"_id", string(status.PeerID))
	ts.Setenv(n.Name+"_addr", status.Addr)
}

func scriptDaemon(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "daemon NAME [FLAG...]", 1)
	w := of(ts)
	n, err := w.Start(w.ctx, sandbox.Daemon{Name: args[0], Flags: args[1:]})
	ts.Check(err)
	introduce(ts, n)
}

func sats(ts *testscript.TestScript, text string) channel.Sat {
	v, err := amount.ParseSatOrZero(text)
	ts.Check(err)
	return v
}

func scriptFund(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "fund NAME AMOUNT", 2)
	w := of(ts)
	ts.Check(w.Fund(w.ctx, args[0], sats(ts, args[1])))
}

func scriptOpen(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "open A B DEPOSIT PEERS", 4)
	ts.Setenv("CHANNEL", of(ts).open(args[0], args[1], sats(ts, args[2]), sats(ts, args[3])))
}

func scriptMine(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "mine N", 1)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	w := of(ts)
	ts.Check(w.Mine(w.ctx, n))
}

func onNode(f func(*sandbox.Node) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		plain(ts, neg, args, "crash, halt or restart NAME", 1)
		n := of(ts).Node(args[0])
		if n == nil {
			ts.Fatalf("there is no daemon %s", args[0])
		}
		ts.Check(f(n))
	}
}

func scriptBtcd(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "btcd stop|start", 1)
	w := of(ts)
	switch args[0] {
	case "stop":
		ts.Check(w.Chain.Stop())
	case "start":
		ts.Check(w.RestartChain(w.ctx))
	default:
		ts.Fatalf("btcd %s?", args[0])
	}
}

func scriptExitCode(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "exitcode N COMMAND...", 2)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "until REGEXP COMMAND...", 2)
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	w, last := of(ts), ""
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	err = sandbox.Until(ctx, "the output matches "+args[0], func() (bool, error) {
		cmd := exec.CommandContext(ctx, findIn(ts, args[1]), args[2:]...)
		cmd.Env = append(os.Environ(), "NO_COLOR=1", "RUNNEL_HOME="+w.Dir)
		out, _ := cmd.CombinedOutput() // it may fail at first
		last = string(out)
		return want.MatchString(last), nil
	})
	if err != nil {
		ts.Fatalf("%v; the last output was:\n%s", err, last)
	}
}

func scriptBalances(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "balances FILE", 1)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(of(ts).balances()), 0o600))
}
