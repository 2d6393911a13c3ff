package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const transcript = `{"Action":"build-output","ImportPath":"x","Output":"x.go:1: does not compile\n"}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Test":"TestGood","Output":"chatter\n"}
{"Action":"pass","Package":"github.com/runnel/runnel/wire","Test":"TestGood","Elapsed":1.5}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Test":"TestBad","Output":"    bad_test.go:7: 1 is not 2\n"}
{"Action":"fail","Package":"github.com/runnel/runnel/wire","Test":"TestBad","Elapsed":20}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Test":"TestLazy/a","Output":"=== RUN   TestLazy/a\n"}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Test":"TestLazy/a","Output":"    lazy_test.go:3: no vectors here\n"}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Test":"TestLazy/a","Output":"--- SKIP: TestLazy/a (0.00s)\n"}
{"Action":"skip","Package":"github.com/runnel/runnel/wire","Test":"TestLazy/a"}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Test":"TestStuck","Output":"panic: test timed out\n"}
{"Action":"output","Package":"github.com/runnel/runnel/wire","Output":"FAIL\tgithub.com/runnel/runnel/wire\t0.1s\n"}
{"Action":"fail","Package":"github.com/runnel/runnel/wire"}
{"Action":"output","Package":"github.com/runnel/runnel/store","Output":"PASS\n"}
{"Action":"output","Package":"github.com/runnel/runnel/store","Output":"ok  \tgithub.com/runnel/runnel/store\t0.2s\n"}
{"Action":"pass","Package":"github.com/runnel/runnel/store"}
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(transcript)); err != nil {
		t.Fatal(err)
	}
	if r.passed != 1 || r.failed != 1 || !slices.Equal(r.skipped, []skip{{"wire TestLazy/a", "lazy_test.go:3: no vectors here"}}) {
		t.Errorf("%d passed, %d failed, skipped %v", r.passed, r.failed, r.skipped)
	}
	if !slices.Equal(r.broken, []string{"wire"}) {
		t.Errorf("broken packages: %v", r.broken)
	}
	r.slowest(2)
	for _, want := range []string{"    20.0 s  wire TestBad\n     1.5 s  wire TestGood\n", "does not compile", "1 is not 2", "wire TestStuck did not end:\npanic: test timed out", "FAIL\tgithub.com/runnel/runnel/wire", "ok  \tgithub.com/runnel/runnel/store"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "chatter") {
		t.Errorf("a test that passed is heard:\n%s", &out)
	}
}

func TestSkips(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips.txt")
	if err := os.WriteFile(path, []byte("# why\n\nwire TestLazy   # no vectors\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listed, err := readSkips(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		ci, fine bool
	}{
		{"wire TestLazy", true, true}, {"wire TestLazy/a", true, true},
		{"wire TestLazyToo", true, false}, {"store TestLazy", true, false}, {"store TestLazy", false, true},
	} {
		var out strings.Builder
		r := &report{w: &out, skipped: []skip{{c.name, "its reason"}}}
		if got := r.skips(listed, c.ci); got != c.fine || !strings.Contains(out.String(), "its reason") {
			t.Errorf("%s (CI %v): fine %v\n%s", c.name, c.ci, got, &out)
		}
	}
}
