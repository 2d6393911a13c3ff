// Command testrun runs the tests and says how they went: failures with all they printed, skips with their
// reasons, and the closing line of every package. With a C compiler it uses the race detector, without one
// it says so. With CI set it fails on a skip that itest/skips.txt does not list.
//
//	go run ./itest/testrun ./...
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	module   = "github.com/runnel/runnel/"
	skipList = "itest/skips.txt"
)

func main() {
	ok, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs `go test` with args and reports whether all is well.
func run(args []string) (bool, error) {
	allowed, err := readSkips(skipList)
	if err != nil {
		return false, err
	}
	begin := time.Now()
	race := "with the race detector"
	flags := append([]string{"test", "-json", "-race"}, arithmetic()...)
	if missing := noCompiler(); missing != "" {
		race = "WITHOUT the race detector, which needs a C compiler (" + missing + ")"
		flags = flags[:2]
	}
	fmt.Println("tests run", race)
	cmd := exec.Command("go", append(flags, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	r := newReport(os.Stdout)
	if err := r.read(out); err != nil {
		return false, err
	}
	failed := cmd.Wait()
	fine := r.skips(allowed, os.Getenv("CI") != "") && failed == nil
	r.slowest(12)
	if len(r.broken) > 0 {
		fmt.Printf("\nFAILED: %s\n", strings.Join(r.broken, ", "))
	}
	fmt.Printf("\n%d passed, %d failed, %d skipped, in %s, %s\n", r.passed, r.failed, len(r.skipped),
		time.Since(begin).Round(time.Second), race)
	return fine, nil
}

// arithmetic exempts libraries that only compute from the race detector: they share no memory between goroutines
// and cost five times as much with it, which was half of all the time that tests took. Everything that locks,
// waits or keeps state stays watched, our own packages all.
func arithmetic() (flags []string) {
	for _, library := range []string{"github.com/decred/dcrd/dcrec/secp256k1/...", "github.com/btcsuite/btcd/btcec/...", "golang.org/x/crypto/..."} {
		flags = append(flags, "-gcflags="+library+"=-race=false")
	}
	return flags
}

// noCompiler says why cgo, and with it the race detector, can't be used.
func noCompiler() string {
	out, err := exec.Command("go", "env", "CGO_ENABLED", "CC").Output()
	if err != nil {
		return err.Error()
	}
	words := strings.Fields(string(out))
	if len(words) < 2 {
		return "none is set"
	}
	if words[0] != "1" {
		return "cgo is off: CGO_ENABLED=" + words[0]
	}
	if _, err := exec.LookPath(words[1]); err != nil {
		return words[1] + " was not found"
	}
	return ""
}

// event is a line of `go test -json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64 // seconds
}

type skip struct{ name, reason string }

type duration struct {
	name    string
	seconds float64
}

// report collects what tests do.
type report struct {
	w              io.Writer
	output         map[string][]string // of tests that run, and of packages, by name
	passed, failed int
	skipped        []skip
	broken         []string   // packages
	took           []duration // of tests that are no part of another
}

func newReport(w io.Writer) *report { return &report{w: w, output: map[string][]string{}} }

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			fmt.Fprint(r.w, line)
			continue
		}
		r.take(e)
	}
}

func (r *report) take(e event) {
	name := strings.TrimPrefix(e.Package, module)
	if e.Test != "" {
		name += " " + e.Test
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "output":
		r.output[name] = append(r.output[name], e.Output)
	case "pass", "fail", "skip":
		r.ended(e, name)
		delete(r.output, name)
	}
}

func (r *report) ended(e event, name string) {
	said := r.output[name]
	if e.Test != "" && !strings.Contains(e.Test, "/") {
		r.took = append(r.took, duration{name, e.Elapsed})
	}
	switch {
	case e.Test == "" && e.Action == "fail":
		r.broken = append(r.broken, name)
		r.unfinished(name)
		// What a package says outside of its tests.
		fmt.Fprint(r.w, strings.Join(said, ""))
	case e.Test == "":
		if n := len(said); n > 0 {
			fmt.Fprint(r.w, said[n-1])
		}
	case e.Action == "pass":
		r.passed++
	case e.Action == "fail":
		r.failed++
		fmt.Fprintf(r.w, "\n%s", strings.Join(said, ""))
	default:
		r.skipped = append(r.skipped, skip{name, reason(said)})
	}
}

// unfinished shows what the tests of a package said that never ended: the last one has the panic, or the
// stacks of a time-out.
func (r *report) unfinished(pkg string) {
	for _, name := range slices.Sorted(maps.Keys(r.output)) {
		if strings.HasPrefix(name, pkg+" ") {
			fmt.Fprintf(r.w, "\n%s did not end:\n%s", name, strings.Join(r.output[name], ""))
			delete(r.output, name)
		}
	}
}

// slowest prints which tests took the most time: together they have to stay under ten minutes.
func (r *report) slowest(n int) {
	slices.SortStableFunc(r.took, func(a, b duration) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Fprintln(r.w, "\nthe slowest tests, waiting for others included:")
	for _, d := range r.took[:min(n, len(r.took))] {
		fmt.Fprintf(r.w, "  %6.1f s  %s\n", d.seconds, d.name)
	}
}

// reason is what a test said before it was skipped.
func reason(said []string) string {
	var words []string
	for _, line := range said {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- SKIP") {
			words = append(words, line)
		}
	}
	return strings.Join(words, " ")
}

// skips prints them, and in CI reports whether all are on the list.
func (r *report) skips(allowed []string, ci bool) bool {
	fine := true
	for _, s := range r.skipped {
		listed := slices.ContainsFunc(allowed, func(a string) bool { return s.name == a || strings.HasPrefix(s.name, a+"/") })
		verdict := "skipped"
		if ci && !listed {
			verdict, fine = "SKIPPED AND NOT LISTED in "+skipList, false
		}
		fmt.Fprintf(r.w, "\n%s: %s\n    %s\n", verdict, s.name, s.reason)
	}
	return fine
}

// readSkips reads the tests that may be skipped: PACKAGE TEST on a line, with comments after #.
func readSkips(path string) (names []string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			names = append(names, strings.Join(words, " "))
		}
	}
	return names, nil
}
