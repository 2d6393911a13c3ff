// Command bench measures what docs/architecture.md and the README claim: real processes over loopback,
// real fsync, a real btcd. It prints one table and, with -write, keeps it in BENCHMARKS.md together with
// the conditions. It judges nothing: a figure that falls short is a figure.
//
//	go run ./itest/bench -bin bin -write BENCHMARKS.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// row is one line of the table.
type row struct{ id, what, must, goal, measured, note string }

// bench is one measurement; it gets a fresh sandbox.
type bench struct {
	name string
	run  func(ctx context.Context, b *world) ([]row, error)
}

func benches() []bench {
	return []bench{
		{"T1", loneLatency}, {"T2", signedEach}, {"T3", coalesced}, {"T7", manyChannels}, {"T9", sizes}, {"T5", paidRequests}, {"T10", tokens},
	}
}

func main() {
	bin := flag.String("bin", "bin", "directory with runneld, runnel and btcd")
	only := flag.String("only", "", "run only these, as T1,T7")
	write := flag.String("write", "", "file to write")
	scale := flag.Float64("scale", 1, "size of the runs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := runAll(ctx, *bin, *only, *write, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func runAll(ctx context.Context, bin, only, write string, scale float64) error {
	conditions := describe()
	fmt.Println(conditions)
	var rows []row
	for _, b := range benches() {
		if only != "" && !strings.Contains(","+only+",", ","+b.name+",") {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s\n", b.name)
		more, err := b.run(ctx, &world{bin: bin, scale: scale})
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		rows = append(rows, more...)
	}
	text := table(rows)
	fmt.Println(text)
	if write == "" {
		return nil
	}
	return os.WriteFile(write, []byte(document(conditions, text)), 0o644)
}

func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| # | what | must | goal | measured | how |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | **%s** | %s |\n", r.id, r.what, r.must, r.goal, r.measured, r.note)
	}
	return b.String()
}

// world is a sandbox with a channel from alice to bob, made as each measurement needs it.
type world struct {
	bin   string
	scale float64
	sells []string // more flags of bob's
	box   *sandbox.Sandbox
}

func (w *world) count(n int) int { return max(1, int(float64(n)*w.scale)) }

// pair starts alice and bob with extra flags and opens a channel from alice.
func (w *world) pair(ctx context.Context, deposit channel.Sat, flags ...string) (id channel.ID, err error) {
	flags = append([]string{"--log-level", "warn"}, flags...)
	w.box, err = sandbox.Start(ctx, sandbox.Options{Bin: w.bin}, sandbox.Daemon{Name: "alice", Flags: flags}, sandbox.Daemon{Name: "bob", Flags: slices.Concat(flags, w.sells)})
	if err != nil {
		return id, err
	}
	if err := w.box.Fund(ctx, "alice", deposit+1_000_000); err != nil {
		return id, err
	}
	alice, bob := w.box.Node("alice"), w.box.Node("bob")
	addr, err := bob.Address(ctx)
	if err != nil {
		return id, err
	}
	r, err := alice.API.Open(ctx, channel.OpenRequest{Peer: addr, Deposit: deposit})
	if err != nil {
		return id, err
	}
	// The answer may come before the transaction is published, so a fixed number of blocks could miss it.
	return r.Channel, sandbox.Until(ctx, "the channel is open", func() (bool, error) {
		i, err := alice.API.Channel(ctx, r.Channel.String())
		if err != nil || i.Spendable > 0 {
			return err == nil, err
		}
		return false, w.box.Mine(ctx, 1)
	})
}

func (w *world) close() {
	if w.box != nil {
		_ = w.box.Close()
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
