package sandbox_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/cmd/sandbox"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", filepath.Join(dir, "path"))
	put := func(at string) string {
		path := filepath.Join(dir, at, "runnel-test-tool")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := sandbox.Find("", "runnel-test-tool"); !errors.Is(err, sandbox.ErrNoProgram) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("nothing there: %v", err)
	}
	for _, at := range []string{"path", "bin", "named"} { // each is preferred to the ones before
		want, where := put(at), ""
		if at == "named" {
			where = filepath.Join(dir, at)
		}
		if got, err := sandbox.Find(where, "runnel-test-tool"); err != nil || got != want {
			t.Errorf("found %s (%v), want %s", got, err, want)
		}
	}
}

// TestStartFails: a world that can't be made leaves nothing behind.
func TestStartFails(t *testing.T) {
	tmp, bin := t.TempDir(), t.TempDir()
	for _, name := range []string{"runneld", "runnel", "btcd"} {
		script := "#!/bin/sh\necho no coins in this test >&2\nexit 1\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := sandbox.Start(ctx, sandbox.Options{Bin: bin, Tmp: tmp})
	if s != nil || err == nil || !strings.Contains(err.Error(), "no coins in this test") {
		t.Errorf("sandbox %v, error %v; want the program's last words", s, err)
	}
	left, err := fs.Glob(os.DirFS(tmp), "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestUntil(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err := sandbox.Until(ctx, "pigs fly", func() (bool, error) { return false, nil })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "until pigs fly") {
		t.Errorf("%v", err)
	}
	broken := errors.New("broken")
	if err := sandbox.Until(context.Background(), "", func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
