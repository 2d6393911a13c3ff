package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/cmd/sandbox"
	"github.com/runnel/runnel/ledger/simnet"
)

const devHelp = `Start a private Bitcoin chain and two daemons, alice and bob, with money in
their wallets, and leave them running until Ctrl-C. Then nothing is left.

The coins are worth nothing, everything else is as it is elsewhere. Blocks come
when they are asked for, with ` + "`runnel dev mine`" + ` in another terminal, or by
themselves with --auto-mine while a transaction is less than 6 blocks deep.`

// devFunds is what each wallet of the sandbox gets, in coins, so that channels can be opened one after
// the other without a block between them.
func devFunds() []channel.Sat { return []channel.Sat{4_000_000, 3_000_000, 2_000_000, 1_000_000} }

type devNodeView struct {
	Name   string `json:"name"`
	PeerID string `json:"peer_id"`
	Addr   string `json:"addr"`
	API    string `json:"api"`
}

type devView struct {
	Dir    string        `json:"dir"`
	Height uint32        `json:"height"`
	Nodes  []devNodeView `json:"nodes"`
}

type minedView struct {
	Height uint32 `json:"height"`
}

func devCommand(a *app) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "A sandbox to play in: a private chain and two daemons",
		Long:  devHelp,
		Example: `  runnel dev
  runnel dev --auto-mine 5s
  runnel dev mine 3         # in another terminal`,
		Args:              takes(0, 0),
		ValidArgsFunction: noCompletion,
		RunE:              a.local(func(c *call) error { return c.dev(every) }),
	}
	addFlag(cmd, &every, "auto-mine", "mine a block every `DURATION` while a transaction is less than 6 blocks deep", parsePositive)
	cmd.AddCommand(mineCommand(a))
	return cmd
}

func mineCommand(a *app) *cobra.Command {
	blocks := 1
	return &cobra.Command{
		Use:     "mine [N]",
		Short:   "Mine N blocks in the sandbox, one if N is left away",
		Example: "  runnel dev mine\n  runnel dev mine 6",
		Args: takes(0, 1, func(args []string) (err error) {
			if len(args) > 0 {
				blocks, err = parseBlocks(args[0])
			}
			return err
		}),
		ValidArgsFunction: noCompletion,
		RunE:              a.local(func(c *call) error { return c.mine(blocks) }),
	}
}

// maxMine is more than any channel of a sandbox lives.
const maxMine = 10_000

func parseBlocks(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 || n > maxMine {
		return 0, usage("write a number such as 6", "%q is not a number of blocks from 1 to %d", s, maxMine)
	}
	return n, nil
}

// devFile names the state of the sandbox's chain, so that another process finds it.
func devFile(h home.Home) string { return filepath.Join(string(h), "dev") }

func (c *call) mine(blocks int) error {
	h, err := home.Locate(c.getenv)
	if err != nil {
		return err
	}
	none := &home.Error{Kind: home.KindNone, Text: "no sandbox is running", Hint: "start one in another terminal: runnel dev"}
	state, err := os.ReadFile(devFile(h))
	if err != nil {
		return none
	}
	chain, err := simnet.Attach(c.ctx, strings.TrimSpace(string(state)))
	if err != nil {
		return none
	}
	defer chain.Stop()
	if err := c.mineSlowly(chain, blocks); err != nil {
		return err
	}
	height, err := chain.Height(c.ctx)
	if err != nil {
		return err
	}
	c.seen(h, height)
	return c.show(minedView{height}, func(u *ui) { u.line("%s mined, the tip is %s", plural(blocks, "block", "blocks"), count(height)) })
}

// seen waits until the sandbox's daemons are at a height, and a moment for what they publish then: the next
// block should have it. It gives up on a daemon that is not there, or too slow.
func (c *call) seen(h home.Home, height uint32) {
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	for _, name := range []string{"alice", "bob"} {
		n, err := h.Find(home.Selection{Node: name})
		if err != nil || !home.Answers(n.Socket) {
			continue
		}
		node, err := c.dial(n.Socket)
		for err == nil {
			var s channel.NodeStatus
			if s, err = node.Status(ctx); err == nil && s.Height >= height && s.Synced {
				break
			}
			c.rest(ctx, 50*time.Millisecond)
		}
	}
	c.rest(ctx, moment)
}

// moment is what a daemon needs on a busy machine to answer a block.
const moment = 250 * time.Millisecond

func (c *call) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// mineSlowly leaves the daemons a moment between blocks, unless these are many: bob sends his deposit when
// he sees alice's in a block, and it should be in the next one.
func (c *call) mineSlowly(chain *simnet.Node, blocks int) error {
	const few = 10
	for ; blocks > 0 && blocks <= few; blocks-- {
		if err := chain.Mine(c.ctx, 1); err != nil || blocks == 1 {
			return err
		}
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-time.After(moment):
		}
	}
	return chain.Mine(c.ctx, blocks)
}

// dev runs the sandbox until it is interrupted, which is its orderly end.
func (c *call) dev(every time.Duration) (err error) {
	h, err := home.Locate(c.getenv)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.ctx, syscall.SIGHUP) // the terminal was closed
	defer stop()
	for _, name := range []string{"alice", "bob"} {
		if n, err := h.Find(home.Selection{Node: name}); err == nil && home.Answers(n.Socket) {
			return &home.Error{Kind: home.KindSeveral, Text: "a daemon named " + name + " is running already, at " + n.Socket,
				Hint: "stop it first: runnel --node " + name + " stop; a sandbox ends with Ctrl-C"}
		}
	}
	if !c.json {
		c.notes().line("starting a private chain and two daemons ...")
	}
	box, err := sandbox.Start(ctx, sandbox.Options{}, sandbox.Daemon{Name: "alice"}, sandbox.Daemon{Name: "bob"})
	if err == nil {
		defer func() { err = errors.Join(err, box.Close()) }()
		err = c.furnish(ctx, h, box)
	}
	if err == nil {
		defer os.Remove(devFile(h))
		err = c.stay(ctx, box, every)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// furnish makes the sandbox usable from other terminals and tells how.
func (c *call) furnish(ctx context.Context, h home.Home, box *sandbox.Sandbox) error {
	for _, n := range box.Nodes() {
		if err := box.Fund(ctx, n.Name, devFunds()...); err != nil {
			return err
		}
	}
	if err := box.Register(h); err != nil {
		return err
	}
	if err := os.WriteFile(devFile(h), []byte(box.Chain.StateFile()+"\n"), 0o600); err != nil {
		return err
	}
	v, err := viewDev(ctx, box)
	if err != nil {
		return err
	}
	return c.show(v, func(u *ui) { c.printDev(u, v) })
}

func viewDev(ctx context.Context, box *sandbox.Sandbox) (v devView, err error) {
	v.Dir = box.Dir
	for _, name := range []string{"alice", "bob"} {
		s, err := box.Node(name).API.Status(ctx)
		if err != nil {
			return v, err
		}
		v.Height = s.Height
		v.Nodes = append(v.Nodes, devNodeView{name, string(s.PeerID), s.Addr, "unix:" + box.Node(name).Socket()})
	}
	return v, nil
}

// printDev prints lines that can be pasted into another terminal as they are.
func (c *call) printDev(u *ui, v devView) {
	me, bob := c.self(), v.Nodes[1]
	u.line("The chain stands at block %s; alice and bob have some coins. In another terminal:\n", count(v.Height))
	if dir := c.getenv("RUNNEL_HOME"); dir != "" {
		u.line("  export RUNNEL_HOME=%s\n", quote(dir))
	}
	u.line("  %s --node alice status", me)
	u.line("  %s --node alice open %s --deposit 1_000_000sat --peer-deposit 200_000sat -y", me, bob.Addr)
	u.line("  %s dev mine 3", me)
	u.line("  %s --node alice channels", me)
	u.line("  %s --node alice pay %s 25sat --ref coffee", me, shortPeer(channel.PeerID(bob.PeerID)))
	u.line("  %s --node bob payments\n", me)
	u.line("%s", u.dim("Nothing confirms by itself here: with `open --wait`, mine in another terminal,"))
	u.line("%s", u.dim("or start with --auto-mine 5s. Everything lives in "+v.Dir))
	u.line("%s", u.dim("and is gone after Ctrl-C."))
}

// self is how this program is called from anywhere: by name if PATH leads here, else by its path.
func (c *call) self() string {
	own, err := os.Executable()
	if err != nil {
		return "runnel"
	}
	if found, err := exec.LookPath("runnel"); err == nil {
		a, errA := os.Stat(found)
		b, errB := os.Stat(own)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return "runnel"
		}
	}
	return quote(own)
}

// quote makes one shell word of s.
func quote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// stay returns when ctx ends, or with an error when the chain does.
func (c *call) stay(ctx context.Context, box *sandbox.Sandbox, every time.Duration) error {
	ended := make(chan string)
	for _, n := range box.Nodes() {
		go func() {
			select {
			case <-n.Exited():
			case <-ctx.Done():
				return
			}
			select {
			case ended <- n.Name:
			case <-ctx.Done():
			}
		}()
	}
	left := 0 // blocks to mine
	var tick <-chan time.Time
	if every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-box.Chain.Exited():
			return errors.New("btcd ended by itself")
		case name := <-ended:
			c.notes().line("%s has ended", name)
		case <-tick:
			var err error
			if left, err = mineWaiting(ctx, box, left); err != nil {
				return err
			}
		}
	}
}

// mineWaiting mines a block if a transaction waits or is not deep yet, which takes the blocks that it
// returns after this one.
func mineWaiting(ctx context.Context, box *sandbox.Sandbox, left int) (int, error) {
	waiting, err := box.Chain.Mempool(ctx)
	if len(waiting) > 0 {
		left = channel.DeepConfirmations
	}
	if err != nil || left == 0 {
		return left, err
	}
	return left - 1, box.Chain.Mine(ctx, 1)
}
