//go:build !linux && !darwin

package badger

import (
	"errors"
	"io/fs"
)

func freeSpace(string) (int64, error) { return 0, errors.ErrUnsupported }

func diskBytes(info fs.FileInfo) int64 { return info.Size() }
