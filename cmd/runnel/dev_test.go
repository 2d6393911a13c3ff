package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMineWithoutSandbox(t *testing.T) {
	s, dir := newSession(t), t.TempDir()
	s.env["RUNNEL_HOME"] = dir
	if o := s.line("dev mine"); o.code != exitUnreachable || !strings.Contains(o.err, "runnel dev") {
		t.Errorf("nothing there: exit %d, %s", o.code, o.err)
	}
	// What a sandbox that was killed leaves behind.
	if err := os.WriteFile(filepath.Join(dir, "dev"), []byte(filepath.Join(dir, "gone.json")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := s.line("dev mine 3 --json"); o.code != exitUnreachable || !strings.Contains(o.err, `"daemon_unreachable"`) {
		t.Errorf("killed: exit %d, %s", o.code, o.err)
	}
}

func TestMineNeedsANumber(t *testing.T) {
	for _, n := range []string{"0", "-1", "x", "10001", "3 4"} {
		s := newSession(t)
		if o := s.line("dev mine -- " + n); o.code != exitUsage {
			t.Errorf("%s: exit %d, %s", n, o.code, o.err)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c.d": "/a/b-c.d", "/my dir/x": "'/my dir/x'", "it's": `'it'\''s'`, "$HOME": "'$HOME'"} {
		if got := quote(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
