package file

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// FS is a directory as the journal uses it. A simulation has one of its own.
type FS interface {
	List() ([]string, error) // names, sorted
	Create(name string) (File, error)
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	Sync() error // makes created, renamed and removed names durable
}

// File is one segment.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Allocate makes the file size bytes long, with room on the disk for all of them: what is written
	// below does not fail for want of space.
	Allocate(size int64) error
	// Sync makes what was written durable, and the file's length.
	Sync() error
	// SyncData makes what was written below the synced length durable.
	SyncData() error
}

// OS is a directory of the operating system. Create it first.
func OS(dir string) FS { return osFS(dir) }

type osFS string

func (d osFS) path(name string) string { return filepath.Join(string(d), name) }

func (d osFS) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d osFS) Create(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osFS) Open(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(d.path(name)) // a copy that is only to be read
	}
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename also moves into a directory below, which it makes.
func (d osFS) Rename(from, to string) error {
	if sub := filepath.Dir(to); sub != "." {
		if err := os.MkdirAll(d.path(sub), 0o700); err != nil {
			return err
		}
	}
	return os.Rename(d.path(from), d.path(to))
}

func (d osFS) Remove(name string) error { return os.Remove(d.path(name)) }

func (d osFS) Sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// fill is Allocate where the system has no call for it: zeros take the room.
func (f osFile) fill(size int64) error {
	have, err := f.Size()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for have < size {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-have)], have)
		if err != nil {
			return err
		}
		have += int64(n)
	}
	return nil
}
