package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runnel/runnel/cmd/wholefile"
)

// ballast is a file that occupies space. It is removed when the disk is full, so that there is room to end
// channels, and made again when there is room.
type ballast struct {
	path string
	size int64
}

// ballastSize is 64 MB, or less where the whole reserve is small: on private chains many daemons share a
// disk.
func ballastSize(network string, minFree int64) int64 {
	if playMoney(network) {
		return min(16<<20, minFree/4)
	}
	return min(64<<20, minFree/4)
}

func (b *ballast) Size() int64 { return b.size }

func (b *ballast) Held() bool {
	info, err := os.Stat(b.path)
	return err == nil && info.Size() >= b.size
}

func (b *ballast) Release() error {
	err := os.Remove(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, wholefile.SyncDir(filepath.Dir(b.path)))
}

// Refill appears at once or not at all.
func (b *ballast) Refill() error {
	building := b.path + ".new"
	f, err := os.OpenFile(building, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(b.occupy(f), f.Close())
	if err == nil {
		err = os.Rename(building, b.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(building))
	}
	return wholefile.SyncDir(filepath.Dir(b.path))
}

// occupy takes the space: reserved by the system where it can, else written, with bytes that no file system
// can compress.
func (b *ballast) occupy(f *os.File) error {
	if err := reserve(f, b.size); err == nil || !errors.Is(err, errors.ErrUnsupported) {
		return errors.Join(err, f.Sync())
	}
	buf := make([]byte, 1<<20)
	_, _ = rand.Read(buf) // never fails
	for left := b.size; left > 0; left -= int64(len(buf)) {
		buf[0]++
		if _, err := f.Write(buf[:min(left, int64(len(buf)))]); err != nil {
			return err
		}
	}
	return f.Sync()
}

// makeRoom prepares a start on a disk that may be full: the ballast goes if the database could not be opened
// with it, and is made where there is none and much room.
func (b *ballast) makeRoom(free func() int64, openLeast, payLeast int64) error {
	have := free()
	switch {
	case have < 0:
		return nil
	case b.Held() && have < openLeast:
		return b.Release()
	case !b.Held() && have >= payLeast+b.size:
		if err := b.Refill(); err != nil {
			return fmt.Errorf("the ballast can't be made: %w", err)
		}
	}
	return nil
}
