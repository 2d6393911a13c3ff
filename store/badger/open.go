// Package badger is the store on a disk: Badger, encrypted from its first byte, one sync for each
// transaction. It knows nothing of channels and does not gather batches: store.Committer does.
//
//	s, err := badger.Open(badger.Options{Dir: dir, Key: key, Create: firstStart, Log: log})
package badger

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/runnel/runnel/store"
)

// Format is the version of the layout that this program writes. A database of a newer one is refused, an
// older one opens and says so (Store.Format).
//
//	1  the database alone
//	2  a journal stands beside it
const Format = 2

// DefaultMinFree is how much the disk must have free at open. Badger writes through memory maps: on a
// full disk the process dies of SIGBUS in the middle of a write, and replaying its log needs room too.
const DefaultMinFree = 64 << 20

// floor is what must be free for a write: what Badger writes beside it in the background (a table of 8 MB,
// compactions of a few) must not find the disk full either.
const floor = 24 << 20

// Keys of callers and our own records live apart.
const (
	dataPrefix = 'd'
	metaPrefix = 'm'
)

var (
	formatKey = []byte{metaPrefix, 'f'}
	idKey     = []byte{metaPrefix, 'i'}
)

// Options say what to open.
type Options struct {
	Dir     string
	Key     [32]byte     // encrypts keys and values; from the seed, never from a file beside the data
	Create  bool         // make a new database if there is none; without it a missing one is an error
	ID      [16]byte     // of the database that is expected; a new one gets it. Zero: any, and one without an id gets one
	MinFree int64        // bytes that the disk must have free; 0 means DefaultMinFree
	Log     *slog.Logger // nil drops Badger's messages
}

// Open opens or creates the database in o.Dir. It returns store.ErrMissing, ErrOther, ErrWrongKey, ErrLocked,
// ErrNewer or ErrNoSpace where these are the cause. A new database appears as a whole or not at all.
func Open(o Options) (*Store, error) {
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	exists, err := look(o.Dir)
	if err != nil {
		return nil, err
	}
	if !exists && !o.Create {
		return nil, fmt.Errorf("%w: %s holds none; if this node was used before, restore its data directory", store.ErrMissing, o.Dir)
	}
	if err := checkSpace(filepath.Dir(o.Dir), o.MinFree); err != nil {
		return nil, err
	}
	if !exists {
		if err := create(o); err != nil {
			return nil, err
		}
	}
	db, err := open(o.Dir, o)
	if err != nil {
		return nil, err
	}
	format, err := checkFormat(db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	id, err := checkID(db, o)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return newStore(db, o.Dir, format, id)
}

// look tells an empty place from a database, and refuses half of one: Badger would silently make the
// missing half new.
func look(dir string) (exists bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	for _, name := range []string{badger.ManifestFilename, badger.KeyRegistryFileName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false, fmt.Errorf("%w: %s has files but no %s; restore the whole directory", store.ErrMissing, dir, name)
		}
	}
	return true, nil
}

// create builds the database beside its place and renames it, so that a crash leaves nothing that looks
// like a database with no content.
func create(o Options) error {
	building := o.Dir + ".new"
	if err := os.RemoveAll(building); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := os.MkdirAll(building, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	db, err := open(building, o)
	if err != nil {
		return err
	}
	err = db.Update(func(txn *badger.Txn) error {
		if o.ID != ([16]byte{}) {
			if err := txn.Set(idKey, o.ID[:]); err != nil {
				return err
			}
		}
		return putFormat(txn, Format)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("store: creating %s: %w", o.Dir, err)
	}
	if err := os.Remove(o.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	if err := os.Rename(building, o.Dir); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return syncDir(filepath.Dir(o.Dir))
}

// newFile is what Badger says of a memtable of no length, which a power loss leaves when it comes between
// the making of the file and its first sync. Nothing that was acknowledged was in it.
const (
	newFile     = "Create a new file"
	maxNewFiles = 4 // more memtables are never open at once
)

func open(dir string, o Options) (*badger.DB, error) {
	db, err := badger.Open(profile(dir, o))
	for range maxNewFiles {
		if err == nil || !strings.Contains(err.Error(), newFile) {
			break
		}
		db, err = badger.Open(profile(dir, o)) // the file has got its length by the attempt before
	}
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return nil, fmt.Errorf("%w: %s belongs to another seed", store.ErrWrongKey, o.Dir)
	case strings.Contains(err.Error(), "directory lock"): // Badger drops the error beneath
		return nil, fmt.Errorf("%w: %s; is another runneld running?", store.ErrLocked, o.Dir)
	default:
		return nil, fmt.Errorf("store: opening %s: %w", o.Dir, err)
	}
}

// profile is 45 MB of memory instead of Badger's 136, and a sync before every answer.
func profile(dir string, o Options) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithEncryptionKey(o.Key[:]).
		WithChecksumVerificationMode(options.OnTableAndBlockRead).
		WithVerifyValueChecksum(true).
		WithCompression(options.None). // ids, totals and signatures don't compress
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false). // Store lets one transaction write at a time
		WithMetricsEnabled(false).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithNumCompactors(2).
		WithBlockCacheSize(4 << 20).
		WithIndexCacheSize(4 << 20). // without one, encrypted tables keep every index in memory
		WithValueThreshold(1 << 20). // above store.MaxValue: nothing goes to the value log
		WithValueLogFileSize(16 << 20).
		WithLogger(logger{o.Log})
}

func putFormat(txn *badger.Txn, format uint32) error {
	return txn.Set(formatKey, binary.BigEndian.AppendUint32(nil, format))
}

func writeFormat(db *badger.DB, format uint32) error {
	return db.Update(func(txn *badger.Txn) error { return putFormat(txn, format) })
}

// checkID tells this database from every other one. A database of before there were ids gets one, unless a
// certain one is expected.
func checkID(db *badger.DB, o Options) (id [16]byte, err error) {
	err = db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(idKey)
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if len(v) != len(id) {
				return fmt.Errorf("store: the id record has %d bytes", len(v))
			}
			id = [16]byte(v)
			return nil
		})
	})
	switch {
	case err != nil && !errors.Is(err, badger.ErrKeyNotFound):
		return id, fmt.Errorf("store: reading the id record: %w", err)
	case o.ID != ([16]byte{}) && id != o.ID:
		return id, fmt.Errorf("%w: %s", store.ErrOther, o.Dir)
	case err == nil:
		return id, nil
	}
	_, _ = rand.Read(id[:]) // never fails
	err = db.Update(func(txn *badger.Txn) error { return txn.Set(idKey, id[:]) })
	return id, err
}

func checkFormat(db *badger.DB) (format uint32, err error) {
	err = db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(formatKey)
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if len(v) != 4 {
				return fmt.Errorf("store: format record has %d bytes", len(v))
			}
			format = binary.BigEndian.Uint32(v)
			return nil
		})
	})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return 0, fmt.Errorf("%w: the database has no format record; restore the data directory", store.ErrMissing)
	case err != nil:
		return 0, fmt.Errorf("store: reading the format record: %w", err)
	case format > Format:
		return 0, fmt.Errorf("%w: format %d, this program knows %d; install the newer Runnel", store.ErrNewer, format, Format)
	}
	return format, nil
}
