// Command mutate takes away every check of the packages that guard money, one at a time, and runs the tests:
// each removal must make one fail. A check is a condition that refuses, each part of it, the boundary of a
// comparison in it, and an error that is returned. Removals that change nothing that anybody could see are
// listed in equivalent.txt with the reason. It knows nothing of what the checks are for.
//
//	go run ./itest/mutate            # channel, ledger/bitcoin, wire, policy
//	go run ./itest/mutate -j 4 wire
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// target is a package whose checks are taken away, and the packages whose tests must notice: its own first,
// the others only for what its own can't prove.
type target struct {
	pkg   string
	tests []string
}

var targets = []target{
	{"channel", []string{"channel", "daemon"}},
	{"ledger/bitcoin", []string{"ledger/bitcoin"}},
	{"wire", []string{"wire", "daemon"}},
	{"policy", []string{"policy", "daemon"}},
}

func main() {
	jobs := flag.Int("j", runtime.NumCPU(), "tests that run at once")
	only := flag.String("only", "", "only mutants whose name has this text")
	own := flag.Bool("own", false, "only the tests of the package itself")
	list := flag.Bool("list", false, "only list the mutants")
	memory := flag.String("memory", "bin/mutate.json", "file that remembers which test noticed what")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: mutate [flags] [package...]\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := &runner{jobs: *jobs, only: *only, own: *own, out: os.Stdout, memory: *memory}
	ok, err := r.all(ctx, flag.Args(), *list)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// all runs the targets with these names, or every one.
func (r *runner) all(ctx context.Context, names []string, list bool) (ok bool, err error) {
	if r.root, err = moduleRoot(); err != nil {
		return false, err
	}
	if r.equivalent, err = readEquivalent(filepath.Join(r.root, equivalentFile)); err != nil {
		return false, err
	}
	if r.remembered, err = remember(r.memory); err != nil {
		return false, err
	}
	chosen, err := choose(names)
	if err != nil {
		return false, err
	}
	start := time.Now()
	for _, t := range chosen {
		if err := r.target(ctx, t, list); err != nil {
			return false, err
		}
	}
	if list {
		return true, nil
	}
	return r.summary(time.Since(start)), nil
}

func choose(names []string) (chosen []target, err error) {
	if len(names) == 0 {
		return targets, nil
	}
	for _, name := range names {
		found := false
		for _, t := range targets {
			if t.pkg == path.Clean(name) {
				chosen, found = append(chosen, t), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no checks are taken out of %q", name)
		}
	}
	return chosen, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod here or above")
		}
	}
}

// packageName of a directory: the last element of its path, as everywhere in this module.
func packageName(pkg string) string { return pkg[strings.LastIndex(pkg, "/")+1:] }
