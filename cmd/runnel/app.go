package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/home"
)

// app is the outside world and the global flags, in one place that tests can replace.
type app struct {
	in                    io.Reader
	out, err              io.Writer
	inTTY, outTTY, errTTY bool
	getenv                func(string) string
	now                   func() time.Time
	dial                  func(socket string) (api.Node, error)
	poll                  time.Duration // between two looks at a channel that is waited for

	json    bool
	sel     home.Selection
	started bool // a verb runs: its errors are no usage errors any more
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case !a.started:
		a.json = a.json || wantsJSON(args)
		err = asUsage(err)
	}
	return a.report(ctx, err)
}

// wantsJSON looks for --json by hand, for command lines that were not understood.
func wantsJSON(args []string) bool {
	for _, s := range args {
		switch s {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

// call is one verb at work.
type call struct {
	*app
	ctx  context.Context
	cmd  *cobra.Command
	node api.Node
	args []string
}

// verb connects to the daemon and runs f.
func (a *app) verb(f func(c *call) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		node, err := a.connect()
		if err != nil {
			return err
		}
		return f(&call{app: a, ctx: cmd.Context(), cmd: cmd, node: node, args: args})
	}
}

// local runs f without a daemon.
func (a *app) local(f func(c *call) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(&call{app: a, ctx: cmd.Context(), cmd: cmd, args: args})
	}
}

// connect finds the daemon that flags or environment select.
func (a *app) connect() (api.Node, error) {
	h, err := home.Locate(a.getenv)
	if err != nil {
		return nil, err
	}
	n, err := h.Find(a.selection())
	if err != nil {
		return nil, err
	}
	return a.dial(n.Socket)
}

// selection is what the flags say; only when they say nothing, what the environment says.
func (a *app) selection() home.Selection {
	if a.sel != (home.Selection{}) {
		return a.sel
	}
	return home.Selection{
		API:     a.getenv("RUNNEL_API"),
		DataDir: a.getenv("RUNNEL_DATA_DIR"),
		Node:    a.getenv("RUNNEL_NODE"),
		Network: a.getenv("RUNNEL_NETWORK"),
	}
}

// show prints v as one line of JSON, or lets text print for people.
func (a *app) show(v any, text func(u *ui)) error {
	if a.json {
		return writeJSON(a.out, v)
	}
	u := a.ui()
	text(u)
	return u.failed
}

// showAll prints one line of JSON an item, or lets text print for people.
func showAll[T any](a *app, items []T, text func(u *ui)) error {
	if !a.json {
		u := a.ui()
		text(u)
		return u.failed
	}
	for _, v := range items {
		if err := writeJSON(a.out, v); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// ui writes to standard output, with colour only if a person looks at it.
func (a *app) ui() *ui { return newUI(a.out, a.outTTY && a.getenv("NO_COLOR") == "", a.now()) }

// notes writes to standard error: questions and progress, never results.
func (a *app) notes() *ui { return newUI(a.err, a.errTTY && a.getenv("NO_COLOR") == "", a.now()) }

// peer turns what was typed for a peer into what the daemon takes: a multiaddr is connected to first.
func (c *call) peer(target string) (string, error) {
	if target == "" || target[0] != '/' {
		return target, nil
	}
	p, err := c.node.Connect(c.ctx, target)
	return string(p.PeerID), err
}

// realTime reports whether blocks come by themselves, so that a time can be told from a height.
func realTime(network string) bool { return network != "simnet" && network != "regtest" }

// when tells about when a height comes.
func (a *app) when(s channel.NodeStatus, height uint32) string {
	if height <= s.Height {
		return fmt.Sprintf("now (block %s)", count(height))
	}
	if !realTime(s.Network) {
		return fmt.Sprintf("in %s blocks (block %s)", count(height-s.Height), count(height))
	}
	at := a.now().Add(time.Duration(height-s.Height) * blockTime)
	return fmt.Sprintf("about %s (block %s)", at.Format("2 Jan 2006"), count(height))
}
