//go:build planted

package sim_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/runnel/runnel/channel"
)

func init() { flag.StringVar(&channel.Planted, "bug", "", "a bug that the nodes have on purpose") }

var tries = flag.Int("tries", 120, "seeds for each bug")

// bugs are what can go wrong at each boundary of a write, and what went wrong elsewhere.
var bugs = []struct{ name, why string }{
	{"sent before stored", "store, send: any message"},
	{"answered before stored", "store, send: an answer to a payment"},
	{"published before stored", "store, publish"},
	{"stop not stored", "closing is durable before the stop leaves"},
	{"failed write ignored", "a write that failed counts as done"},
	{"commits unchained", "a commit that builds on a failed one is written"},
	{"commit under way forgotten", "a frame repeated while its commit is under way"},
	{"repeat counted", "a frame that comes again counts again"},
	{"taken unopened", "go-nitro#1721: a voucher on a channel that is not open"},
	{"paid before resync", "payments leave before both sides compared their books"},
	{"not sent again", "what has no answer is not sent again"},
	{"above capacity", "a total above the lane"},
	{"credit ignored", "LDK#3535: more is charged than was authorised"},
	{"refused counted", "a refused payment counts as spent"},
	{"refusal not stored", "a refused payment is called acknowledged after a restart"},
	{"id not stored", "an id is forgotten with a restart"},
	{"id not claimed", "bitsacco#305: one id, asked for twice at once"},
	{"unknown called failed", "btcpay#7144: an outcome that is unknown is called failed"},
	{"budget not reserved", "parallel spending past the budget"},
	{"budget not stored", "a restart empties the budget"},
	{"key used twice", "two lanes with one key"},
	{"amount unchecked", "CVE-2019-12998: the funding's amount is not checked"},
	{"reorganisation ignored", "a funding or spend that left the chain still counts"},
	{"block scanned too soon", "a block counts as scanned before its news is stored"},
	{"published once", "CLN#2819, bitcoinj: a transaction is not published again"},
	{"closed at once", "bitcoinj: a channel is forgotten before its spend is deep"},
	{"reopened", "a closing channel opens again"},
	{"old voucher settled", "lnd#2468, CLN#7915: an old state is broadcast"},
	{"settled at expiry", "settlement starts too late"},
	{"refunded early", "a refund before its time"},
	{"fee lowered", "lnd#9422: a replacement pays less"},
}

var evidence = regexp.MustCompile(`(?m)^ *((P[0-9]|progress): .*|panic: .*|fatal error: .*)$`)

// TestPower plants one bug after another and asks the simulation for it.
func TestPower(t *testing.T) {
	found := 0
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "bug\tfound\tafter\tby")
	for _, b := range bugs {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		out, err := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSeeds$", "-test.v", "-bug="+b.name, fmt.Sprint("-runs=", *tries)).CombinedOutput()
		cancel()
		how, by := "missed", ""
		if err != nil {
			found++
			how = "found"
			by = strings.TrimSpace(evidence.FindString(string(out)))
		}
		seeds := strings.Count(string(out), ": trace ") + 1
		fmt.Fprintf(w, "%s\t%s\t%d seeds, %v\t%.110s\n", b.name, how, min(seeds, *tries), time.Since(began).Round(100*time.Millisecond), by)
		w.Flush()
	}
	fmt.Printf("%d of %d found\n", found, len(bugs))
	if found < len(bugs)-2 {
		t.Errorf("the simulation found %d of %d bugs", found, len(bugs))
	}
}
