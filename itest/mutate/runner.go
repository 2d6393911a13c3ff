package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

// equivalentFile lists removals that no test can notice: NAME ## REASON, one a line.
const equivalentFile = "itest/mutate/equivalent.txt"

// runner takes checks away and keeps count.
type runner struct {
	root   string
	jobs   int
	only   string
	own    bool
	out    io.Writer
	memory string

	equivalent map[string]string // reasons, by mutant
	tables     []table

	mu         sync.Mutex        // guards the field below
	remembered map[string]string // the test that noticed a mutant last time
}

// table is the outcome for one package.
type table struct {
	pkg                          string
	checks, noticed, equivalents int
	survivors                    []survivor
	wrong                        []string // listed as equivalent, and noticed or gone
}

type survivor struct {
	mutant
	tests int // that reach it
}

func (r *runner) target(ctx context.Context, t target, list bool) error {
	f, err := find(r.root, t.pkg)
	if err != nil {
		return err
	}
	if list {
		for _, m := range f.list {
			fmt.Fprintf(r.out, "%s\n", m.Key)
		}
		return nil
	}
	tmp, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	overlay, err := f.overlay(r.root, t.pkg, packageName(t.pkg), tmp)
	if err != nil {
		return err
	}
	open := r.chosen(f)
	var programs []*program
	tab := table{pkg: t.pkg, checks: len(open)}
	var killed map[int]string
	for _, pkg := range t.tests {
		if len(open) == 0 || r.own && pkg != t.pkg {
			break
		}
		p, err := build(ctx, r.root, pkg, overlay, tmp)
		if err != nil {
			return err
		}
		if err := p.measure(ctx, r.jobs); err != nil {
			return err
		}
		programs = append(programs, p)
		if killed, err = r.round(ctx, f, open, p); err != nil {
			return err
		}
		tab.count(r, f, killed)
		open = slices.DeleteFunc(open, func(n int) bool { _, ok := killed[n]; return ok })
		if pkg == t.pkg { // what is listed as equivalent is not asked of the others
			open = slices.DeleteFunc(open, func(n int) bool {
				_, ok := r.equivalent[f.list[n].Key]
				if ok {
					tab.equivalents++
				}
				return ok
			})
		}
	}
	tab.end(r, f, open, programs)
	r.tables = append(r.tables, tab)
	return r.keep()
}

// chosen are the mutants to try.
func (r *runner) chosen(f *finder) (list []int) {
	for n, m := range f.list {
		if strings.Contains(m.Key, r.only) {
			list = append(list, n)
		}
	}
	return list
}

// round tries mutants with the tests of one program and returns which test noticed which.
func (r *runner) round(ctx context.Context, f *finder, open []int, p *program) (map[int]string, error) {
	killed := map[int]string{}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(r.jobs)
	for _, n := range open {
		all.Go(func() error {
			r.mu.Lock()
			hint := r.remembered[f.list[n].Key]
			r.mu.Unlock()
			for _, k := range candidates([]*program{p}, n, hint) {
				noticed, err := k.notices(ctx, n)
				if err != nil {
					return err
				}
				if noticed {
					r.mu.Lock()
					killed[n], r.remembered[f.list[n].Key] = k.String(), k.String()
					r.mu.Unlock()
					return nil
				}
			}
			return nil
		})
	}
	return killed, all.Wait()
}

func (t *table) count(r *runner, f *finder, killed map[int]string) {
	t.noticed += len(killed)
	for n, test := range killed {
		if _, ok := r.equivalent[f.list[n].Key]; ok {
			t.wrong = append(t.wrong, fmt.Sprintf("%s: noticed by %s", f.list[n].Key, test))
		}
	}
}

// end notes the survivors, and what is listed and does not exist.
func (t *table) end(r *runner, f *finder, open []int, programs []*program) {
	for _, n := range open {
		t.survivors = append(t.survivors, survivor{f.list[n], len(candidates(programs, n, ""))})
	}
	known := map[string]bool{}
	for _, m := range f.list {
		known[m.Key] = true
	}
	for key := range r.equivalent {
		file, _, _ := strings.Cut(key, " ")
		if filepath.ToSlash(filepath.Dir(file)) == t.pkg && !known[key] {
			t.wrong = append(t.wrong, key+": there is no such check")
		}
	}
	slices.Sort(t.wrong)
}

// summary prints the tables and reports whether all is well.
func (r *runner) summary(took time.Duration) bool {
	ok := true
	for _, t := range r.tables {
		for _, s := range t.survivors {
			fmt.Fprintf(r.out, "SURVIVED %s:%d: %s (%d tests reach it)\n", s.File, s.Line, s.Key, s.tests)
		}
		for _, w := range t.wrong {
			fmt.Fprintf(r.out, "WRONG in %s: %s\n", equivalentFile, w)
		}
		ok = ok && len(t.survivors)+len(t.wrong) == 0
	}
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\npackage\tchecks\tnoticed\tequivalent\tsurvived\t\n")
	for _, t := range r.tables {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", t.pkg, t.checks, t.noticed, t.equivalents, len(t.survivors))
	}
	w.Flush()
	fmt.Fprintf(r.out, "in %s\n", took.Round(time.Second))
	return ok
}

// readEquivalent reads NAME ## REASON lines; a line that begins with # is a comment.
func readEquivalent(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, reason, ok := strings.Cut(line, " ## ")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: no reason in %q: write NAME ## REASON", path, line)
		}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("%s: %q is there twice", path, key)
		}
		all[key] = reason
	}
	return all, lines.Err()
}

// remember reads which test noticed what last time; it makes the next run quicker and decides nothing.
func remember(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	if err := json.Unmarshal(b, &all); err != nil {
		return map[string]string{}, nil
	}
	return all, nil
}

func (r *runner) keep() error {
	r.mu.Lock()
	b, err := json.MarshalIndent(maps.Clone(r.remembered), "", "\t")
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.memory), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.memory, b, 0o644)
}
