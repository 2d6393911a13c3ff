package btcwallet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/btcsuite/btcwallet/walletdb"
)

// errDamaged says that a database can't be read. It holds nothing that can't be had again.
var errDamaged = errors.New("damaged")

// sound walks through a whole database before it is opened to be written: opening a damaged one would
// end the process, and its pages have no checksums. No file is sound.
func sound(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	result := make(chan error, 1)
	go func() { result <- walk(path) }()
	err := <-result
	if err == nil || busy(err) {
		return nil // whoever has it open is named when it is opened
	}
	return fmt.Errorf("%w: %s: %w", errDamaged, path, err)
}

// busy reports whether err comes from the system or from another process, not from the file's bytes.
func busy(err error) bool {
	var path *fs.PathError
	var errno syscall.Errno
	return errors.As(err, &path) || errors.As(err, &errno) || err.Error() == "timeout"
}

// walk reads every key and value. Offsets that lead out of the file are faults, which become errors.
func walk(path string) (err error) {
	debug.SetPanicOnFault(true)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("unreadable: %v", r)
		}
	}()
	db, err := walletdb.Open("bdb", path, true, dbTimeout, true)
	if err != nil {
		return err
	}
	defer db.Close()
	return walletdb.View(db, func(tx walletdb.ReadTx) error {
		return tx.ForEachBucket(func(name []byte) error {
			return walkBucket(tx.ReadBucket(name), 0)
		})
	})
}

// maxDepth of nested buckets: wallets use four levels, a loop of damaged pages has no end.
const maxDepth = 16

func walkBucket(b walletdb.ReadBucket, depth int) error {
	if b == nil || depth > maxDepth {
		return errors.New("its buckets are damaged")
	}
	var last []byte
	sum := byte(0)
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return errors.New("its keys are out of order")
		}
		last = bytes.Clone(k)
		if v == nil {
			return walkBucket(b.NestedReadBucket(k), depth+1)
		}
		for _, x := range v {
			sum ^= x
		}
		return nil
	})
}
