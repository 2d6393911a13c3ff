package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/runnel/runnel/store"
)

// smallDisk is a real file system of so many bytes. Its test is skipped where mounting is not allowed.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("a small disk can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves so many bytes free.
func fill(t *testing.T, dir string, leave int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := freeDisk(dir) - leave
	if n <= 0 {
		t.Fatalf("%d bytes are free, %d were to be left", freeDisk(dir), leave)
	}
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
		t.Fatal(err)
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: before every other write the disk is filled up, to the last byte or to a little more than
// nothing. Each write is refused or kept; nothing dies; a start on the full disk is refused with what to do, and
// afterwards all that was acknowledged is there, and nothing that was refused.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "160m")
	h := &testHome{t, &Config{Network: "simnet", DataDir: filepath.Join(disk, "data"), LogFormat: "text", LogLevel: slog.LevelError}}
	kept, refused := 0, 0
	key := func(i int) []byte { return binary.BigEndian.AppendUint64([]byte("e"), uint64(i+1)) }
	value := bytes.Repeat([]byte("x"), 9_000)
	taken := map[int]bool{}
	for start := range 2 {
		h.records(func(p *parts) {
			for i := start * 10; i < start*10+10; i++ {
				full := i%2 == 1
				if full {
					fill(t, disk, int64(i%5)*4<<20)
				}
				err := p.deps.Committer.Commit(new(store.Batch).Put(key(i), value))
				switch {
				case full && !errors.Is(err, store.ErrNoSpace):
					t.Fatalf("write %d on a full disk: %v", i, err)
				case !full && err != nil:
					t.Fatalf("write %d with room on the disk: %v", i, err)
				case err == nil:
					taken[i] = true
					kept++
				default:
					refused++
				}
				if full {
					empty(t, disk)
				}
			}
		})
		fill(t, disk, 0)
		mustRefuse(t, h.try(func(*parts) { t.Error("opened on a full disk") }), "nothing is lost; make room on that disk")
		empty(t, disk)
	}
	h.records(func(p *parts) {
		for i := range 20 {
			_, err := p.deps.Store.Get(key(i))
			if found := err == nil; found != taken[i] {
				t.Errorf("record %d: acknowledged %v, there %v", i, taken[i], found)
			}
		}
	})
	if kept != 10 || refused != 10 {
		t.Errorf("%d writes were kept and %d refused", kept, refused)
	}
}
