package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/runnel/runnel/store"
)

// directory makes new files durable. Badger syncs the content of the log that it starts when a table is
// full, but not the directory entry, without which that log can be gone after a power loss.
type directory struct {
	path string
	file *os.File
	seen time.Time // when the directory had last changed at our last sync
}

// recent is longer than the steps in which file systems count modification times: within it a second
// change can carry the same time as the first.
const recent = 100 * time.Millisecond

func openDirectory(path string) (*directory, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	d := &directory{path: path, file: f}
	if err := d.sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

// sync costs one stat while no file comes or goes.
func (d *directory) sync() error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	changed := info.ModTime()
	if changed.Equal(d.seen) && time.Since(changed) > recent {
		return nil
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.seen = changed
	return nil
}

func (d *directory) size() int64 {
	var n int64
	_ = filepath.WalkDir(d.path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // files come and go while we look
		}
		if info, err := e.Info(); err == nil {
			n += diskBytes(info)
		}
		return nil
	})
	return n
}

func (d *directory) close() error { return d.file.Close() }

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// checkSpace looks at the nearest directory that exists.
func checkSpace(dir string, min int64) error {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := freeSpace(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: free space of %s: %w", dir, err)
	}
	if free < min {
		return fmt.Errorf("%w: %d MiB are free at %s and %d MiB are needed; free at least %d MiB more", store.ErrNoSpace, free>>20, dir, min>>20, (min-free+1<<20-1)>>20)
	}
	return nil
}
