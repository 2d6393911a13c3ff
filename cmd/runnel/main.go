// Command runnel is how people and scripts talk to their node: it asks the daemon through its socket
// and shows the answer, as text for people or, with --json, as JSON for programs.
//
// It decides nothing about money and holds no key: whatever it may do, the daemon lets it. Advice on what
// to do about an error lives here and nowhere else, see errors.go; the shape of every answer is in
// views.go.
//
//	runnel pay 16Uiu2HAm9x 25sat --ref coffee
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first Ctrl-C ends a command in good order, a second one at once.
	context.AfterFunc(ctx, stop)
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTTY: isTerminal(os.Stdin), outTTY: isTerminal(os.Stdout), errTTY: isTerminal(os.Stderr),
		getenv: os.Getenv, now: time.Now, dial: dial,
		poll: time.Second,
	}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func isTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
}
