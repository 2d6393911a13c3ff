// Package simnettest gives tests a private btcd. It finds or builds the binary itself, so that a test
// that needs a chain is never skipped for the lack of one.
//
//	node := simnettest.Start(t)
package simnettest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/runnel/runnel/ledger/simnet"
)

const module = "github.com/btcsuite/btcd"

// Start runs a node in a directory of the test and stops it at the test's end.
func Start(t testing.TB) *simnet.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := simnet.Start(ctx, simnet.Options{Dir: t.TempDir(), BtcdPath: Btcd(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	return n
}

// Btcd returns a btcd binary: the one that RUNNEL_BTCD names, else bin/btcd of the checkout, else one
// built from the module that go.mod pins and kept in the user's cache.
func Btcd(t testing.TB) string {
	t.Helper()
	path, err := find()
	if err != nil {
		t.Fatalf("no btcd for this test: %v (RUNNEL_BTCD may name one)", err)
	}
	return path
}

func find() (string, error) {
	if path := os.Getenv("RUNNEL_BTCD"); path != "" {
		_, err := os.Stat(path)
		return path, err
	}
	name := "btcd"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	gomod, err := output("go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	if path := filepath.Join(filepath.Dir(gomod), "bin", name); exists(path) {
		return path, nil
	}
	return build(name)
}

// build makes the binary once for all test processes; they wait for each other.
func build(name string) (string, error) {
	version, err := output("go", "list", "-m", "-f", "{{.Version}}", module)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "runnel-test", "btcd-"+version)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer lock.Unlock()
	path := filepath.Join(dir, name)
	if exists(path) {
		return path, nil
	}
	cmd := exec.Command("go", "build", "-o", path+".new", module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w: %s", module, err, out)
	}
	return path, os.Rename(path+".new", path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
