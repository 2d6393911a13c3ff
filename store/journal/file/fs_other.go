//go:build !linux

package file

func (f osFile) Allocate(size int64) error { return f.fill(size) }

func (f osFile) SyncData() error { return f.Sync() }
