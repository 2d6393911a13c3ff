// Command demo is Runnel's life in seven chapters, behind `make demo`: two daemons open a channel, pay each
// other, sell over HTTP, crash, settle, and take their money home, on a private Bitcoin chain.
//
// It uses the command line program that everybody has. What it expects comes from what it sent itself;
// what really happened it reads from raw transactions that it fetches from btcd, never from a daemon. It
// exits 0 only if both agree to the satoshi.
//
//	make demo
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/sandbox"
)

const (
	funds     = 5_000_000 // sat for each of the two
	aliceLane = 1_000_000
	bobLane   = 200_000
	final     = 6 // blocks that make a transaction final
	patience  = 2 * time.Minute
	stepWait  = 30 * time.Second
)

// demo is what the chapters share.
type demo struct {
	box        *sandbox.Sandbox
	say        *story
	alice, bob string       // peer ids
	first      lanes        // the first channel
	sent       *book        // what alice paid bob on it
	back       channel.Msat // what he paid her on it
	drawn      channel.Msat // what he sold her on it by the token

	// Bob's account, for the end.
	won  []channel.Sat // what each channel brought him
	fees []channel.Sat // of his transactions, read from btcd
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	tty := isatty.IsTerminal(os.Stdout.Fd())
	say := newStory(os.Stdout, tty, tty && os.Getenv("NO_COLOR") == "")
	err := run(ctx, say)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nThe demo was interrupted. Nothing is left of it.")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, say *story) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begin := time.Now()
	say.title("Runnel: two nodes, one channel, ten thousand payments")
	say.text("This starts a private Bitcoin chain (btcd on simnet) and two daemons, alice and bob. " +
		"Everything is real, but the coins are worth nothing. Lines with $ are what it types; `runnel dev` gives you the same world to type in.")
	box, err := sandbox.Start(ctx, sandbox.Options{}, sandbox.Daemon{Name: "alice"}, sandbox.Daemon{Name: "bob"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	d := &demo{box: box, say: say, sent: newBook()}
	for _, chapter := range []func(context.Context) error{d.open, d.stream, d.crash, d.web, d.close, d.vanish, d.leave} {
		if err := chapter(ctx); err != nil {
			return d.explain(err)
		}
	}
	if say.wrong > 0 {
		return fmt.Errorf("%d checks are wrong, see above", say.wrong)
	}
	say.title("The end")
	say.text(fmt.Sprintf("%d checks, every one right, and every sum right to the satoshi. It took %s.",
		say.right, time.Since(begin).Round(100*time.Millisecond)))
	return nil
}

// explain adds what the daemons said last.
func (d *demo) explain(err error) error {
	for _, n := range d.box.Nodes() {
		err = n.Explain(err)
	}
	return err
}

func sat(v channel.Sat) string { return amount.Sat(v) }
