package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Every mutant is in one program; the environment says which one is on. So a package is compiled once, and
// all that is not mutated is as it is in the checkout.
const (
	envMutant = "RUNNEL_MUTANT" // number of the mutant that is on
	envTrace  = "RUNNEL_TRACE"  // file that gets the numbers of the mutants that are reached
)

const helper = `package %s

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
)

var mutantChosen = func() int {
	if n, err := strconv.Atoi(os.Getenv("` + envMutant + `")); err == nil {
		return n
	}
	return -1
}()

var mutantTrace = func() *os.File {
	f, err := os.OpenFile(os.Getenv("` + envTrace + `"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return f
}()

var mutantReached [%d]atomic.Bool

func mutantOn(n int) bool {
	if mutantTrace != nil && !mutantReached[n].Swap(true) {
		fmt.Fprintln(mutantTrace, n)
	}
	return n == mutantChosen
}

func mutantErr(n int, err error) error {
	if mutantOn(n) {
		return nil
	}
	return err
}
`

// overlay writes the package with its mutants into tmp and returns the file for `go -overlay`.
func (f *finder) overlay(root, dir, name, tmp string) (string, error) {
	replace := map[string]string{}
	add := func(file string, text []byte) error {
		at := filepath.Join(tmp, filepath.Base(file))
		replace[filepath.Join(root, file)] = at
		return os.WriteFile(at, text, 0o600)
	}
	for file, edits := range f.edits {
		src, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		if err := add(file, apply(src, edits)); err != nil {
			return "", err
		}
	}
	text := fmt.Sprintf(helper, name, max(1, len(f.list)))
	if err := add(filepath.Join(dir, "mutant_overlay.go"), []byte(text)); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(tmp, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

func apply(src []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int {
		switch {
		case a.at != b.at:
			return cmp.Compare(a.at, b.at)
		case a.open != b.open:
			if b.open {
				return -1
			}
			return 1
		case a.open:
			return cmp.Or(cmp.Compare(b.span, a.span), cmp.Compare(a.seq, b.seq))
		default:
			return cmp.Or(cmp.Compare(a.span, b.span), cmp.Compare(b.seq, a.seq))
		}
	})
	var out strings.Builder
	last := 0
	for _, e := range edits {
		out.Write(src[last:e.at])
		out.WriteString(e.text)
		last = e.at
	}
	out.Write(src[last:])
	return []byte(out.String())
}
