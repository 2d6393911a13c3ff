package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	memoryKB  = 12 << 20 // address space of a test: a check that is gone may let it allocate without end
	leastTime = 20 * time.Second
	slowTest  = 30 * time.Second // tests that take longer are left out
)

// program is the tests of one package, with all mutants of another one inside.
type program struct {
	pkg   string
	path  string
	dir   string
	rapid []string // flags for tests of random stories: the same ones each time, no files, no shrinking
	tests []test
}

// test is one of a program, with the mutants that it reaches.
type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool
}

// killer is a test that notices that a check is gone.
type killer struct {
	prog *program
	test test
}

func (k killer) String() string { return k.prog.pkg + " " + k.test.name }

// build compiles the tests of a package over an overlay.
func build(ctx context.Context, root, pkg, overlay, tmp string) (*program, error) {
	p := &program{pkg: pkg, path: filepath.Join(tmp, strings.ReplaceAll(pkg, "/", "_")+".test"), dir: filepath.Join(root, pkg)}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", p.path, "./"+pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test -c %s: %w\n%s", pkg, err, out)
	}
	help, _ := p.command(ctx, "-h").CombinedOutput() // it ends with an error, as asking for help does
	if bytes.Contains(help, []byte("-rapid.seed")) {
		p.rapid = []string{"-rapid.seed=1", "-rapid.nofailfile", "-rapid.shrinktime=1ms"}
	}
	return p, nil
}

// measure runs every test once without a mutant, and notes its time and the mutants that it reaches.
func (p *program) measure(ctx context.Context, jobs int) error {
	list, err := p.command(ctx, "-test.list", "^(Test|Fuzz|Example)").Output()
	if err != nil {
		return fmt.Errorf("tests of %s: %w", p.pkg, err)
	}
	var mu sync.Mutex // guards p.tests
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(jobs)
	for _, name := range strings.Fields(string(list)) {
		all.Go(func() error {
			t, err := p.trace(ctx, name)
			if err == nil && t.took < slowTest {
				mu.Lock()
				p.tests = append(p.tests, t)
				mu.Unlock()
			}
			return err
		})
	}
	err = all.Wait()
	slices.SortFunc(p.tests, func(a, b test) int { return int(a.took - b.took) })
	return err
}

func (p *program) trace(ctx context.Context, name string) (test, error) {
	f, err := os.CreateTemp("", "trace-")
	if err != nil {
		return test{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	t := test{name: name, reaches: map[int]bool{}}
	start := time.Now()
	if out, err := p.run(ctx, name, 10*time.Minute, envTrace+"="+f.Name()); err != nil {
		return test{}, fmt.Errorf("%s %s fails as it is: %w\n%s", p.pkg, name, err, out)
	}
	t.took = time.Since(start)
	b, err := os.ReadFile(f.Name())
	for _, word := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(word)
		if err != nil {
			return test{}, err
		}
		t.reaches[n] = true
	}
	return t, err
}

// command runs the program in its package's directory, with a bound on its memory.
func (p *program) command(ctx context.Context, args ...string) *exec.Cmd {
	words := append([]string{"-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, memoryKB), p.path}, args...)
	cmd := exec.CommandContext(ctx, "sh", words...)
	cmd.Dir = p.dir
	return cmd
}

func (p *program) run(ctx context.Context, name string, limit time.Duration, env ...string) ([]byte, error) {
	args := []string{"-test.run", "^" + name + "$", "-test.short", "-test.failfast", "-test.timeout", limit.String()}
	cmd := p.command(ctx, append(args, p.rapid...)...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}

// notices reports whether a test fails with a mutant.
func (k killer) notices(ctx context.Context, n int) (bool, error) {
	_, err := k.prog.run(ctx, k.test.name, max(leastTime, 10*k.test.took), envMutant+"="+strconv.Itoa(n))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.As(err, &exit):
		return true, nil
	}
	return false, err
}

// candidates are the tests that reach a mutant, the one that noticed it last time first, then the quick ones.
func candidates(programs []*program, n int, hint string) (list []killer) {
	for _, p := range programs {
		for _, t := range p.tests {
			k := killer{p, t}
			switch {
			case !t.reaches[n]:
			case k.String() == hint:
				list = slices.Insert(list, 0, k)
			default:
				list = append(list, k)
			}
		}
	}
	return list
}
