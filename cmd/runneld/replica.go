package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/wholefile"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
	"github.com/runnel/runnel/store/journal"
	"github.com/runnel/runnel/store/journal/file"
)

// A replica's directory:
//
//	replica.json             what node's it is
//	lock                     held by the daemon that writes it
//	0000000001.log, .base    as in a journal, under a key of its own
const (
	replicaFile   = "replica.json"
	replicaFormat = 1
)

// replicaIdentity names the node by a digest: who finds the directory does not learn whose it is.
type replicaIdentity struct {
	Format  int    `json:"format"`
	Network string `json:"network"`
	Node    string `json:"node"`
}

func replicaNode(self channel.PeerID) string {
	sum := sha256.Sum256([]byte("runnel/replica " + self))
	return hex.EncodeToString(sum[:16])
}

// replicaDir is a locked directory of a replica.
type replicaDir struct {
	path    string
	network string
	self    channel.PeerID
	key     [32]byte
	lock    *flock.Flock
}

func newReplicaDir(path, network string, self channel.PeerID, s seed) (*replicaDir, error) {
	key, err := bitcoin.ReplicaKey(s.bytes, network)
	return &replicaDir{path: path, network: network, self: self, key: key}, err
}

// claim locks the directory and makes it this node's if it is nobody's. What a person must decide is a
// Problems; all else may be gone at the next attempt.
func (d *replicaDir) claim() error {
	if err := os.Mkdir(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the replica's directory can't be made: %w", err)
	}
	if err := d.hold(); err != nil {
		return err
	}
	fresh, err := d.check()
	if err == nil && fresh {
		err = d.write()
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	return nil
}

func (d *replicaDir) hold() error {
	if d.lock != nil && d.lock.Locked() {
		return nil
	}
	d.lock = flock.New(filepath.Join(d.path, "lock"))
	locked, err := d.lock.TryLock()
	if err != nil {
		return fmt.Errorf("the replica's directory can't be locked: %w", err)
	}
	if !locked {
		return fault(fmt.Sprintf("another runneld writes the replica %s", d.path), "give every node a directory of its own with --replica")
	}
	return nil
}

// check reports whether the directory is new, and refuses one that belongs to somebody else.
func (d *replicaDir) check() (fresh bool, err error) {
	b, err := os.ReadFile(filepath.Join(d.path, replicaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, d.empty()
	}
	if err != nil {
		return false, fmt.Errorf("the replica can't be read: %w", err)
	}
	id, err := parseReplicaIdentity(b)
	if err != nil {
		return false, fault(fmt.Sprintf("%s is damaged: %v", filepath.Join(d.path, replicaFile), err), "choose an empty directory with --replica, and keep this one until all is well")
	}
	switch {
	case id.Format > replicaFormat:
		return false, fault(fmt.Sprintf("the replica %s was written by a newer version (format %d, this one knows %d)", d.path, id.Format, replicaFormat), "use the newer runneld")
	case id.Network != d.network:
		return false, fault(fmt.Sprintf("the replica %s belongs to a node on %s, not on %s", d.path, id.Network, d.network), "choose another directory with --replica")
	case id.Node != replicaNode(d.self):
		return false, fault(fmt.Sprintf("the replica %s belongs to another node", d.path), "choose another directory with --replica")
	}
	return false, nil
}

func parseReplicaIdentity(b []byte) (id replicaIdentity, err error) {
	if err := json.Unmarshal(b, &id); err != nil {
		return id, err
	}
	if id.Format < 1 || id.Network == "" || id.Node == "" {
		return id, errors.New("it does not say whose replica it is")
	}
	return id, nil
}

// empty refuses a directory with something in it that is no replica.
func (d *replicaDir) empty() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("the replica can't be read: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "lock" && name != "lost+found" && !strings.HasPrefix(name, ".") {
			return fault(fmt.Sprintf("%s holds %s, and no %s that says whose replica it is", d.path, name, replicaFile), "choose an empty directory with --replica")
		}
	}
	return nil
}

func (d *replicaDir) write() error {
	b, err := json.Marshal(replicaIdentity{replicaFormat, d.network, replicaNode(d.self)})
	if err != nil {
		return err
	}
	if err := wholefile.Write(filepath.Join(d.path, replicaFile), append(b, '\n'), true); err != nil {
		return fmt.Errorf("the replica's identity can't be written: %w", err)
	}
	return nil
}

func (d *replicaDir) close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Unlock()
}

func (d *replicaDir) journal(readOnly bool) (*file.Journal, error) {
	return file.Open(file.Options{FS: file.OS(d.path), Key: d.key, Keep: daemon.Replicated, ReadOnly: readOnly})
}

// open is what a replica calls at first and after each failure.
func (d *replicaDir) open() (store.ReplicaLog, error) {
	if err := d.claim(); err != nil {
		return nil, err
	}
	j, err := d.journal(false)
	if err != nil {
		return nil, err
	}
	return replicaLog{j}, nil
}

type replicaLog struct{ *file.Journal }

func (l replicaLog) Replace(state []store.Op) error {
	return l.Rebase("", func(_ func(func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error {
		for i := range state {
			if err := add(&state[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// joinCopies makes one store of the copies that there are.
func (p *parts) joinCopies(c *Config, s seed, db *badger.Store, j *file.Journal) (store.Store, error) {
	if c.Replica == "" {
		return store.NewPair(db, j), nil
	}
	d, err := p.openReplica(c, s, db)
	if err != nil {
		return nil, err
	}
	r := store.NewReplicated(db, j, store.ReplicaOptions{Keep: daemon.Replicated, Open: d.open,
		Snapshot: func() ([]store.Op, error) { return daemon.ReplicaState(db) }})
	p.onClose(func() error {
		if err := r.CloseReplica(); err != nil {
			p.log.Error("the replica lacks what was written last; it is made again at the next start", "err", err)
		}
		return nil
	})
	p.deps.Replica = r
	return r, nil
}

// openReplica refuses what its owner must decide: a directory of another node, and a replica that knows
// more than the database. One that can't be reached now stops no node; it is tried again.
func (p *parts) openReplica(c *Config, s seed, db store.Store) (*replicaDir, error) {
	d, err := newReplicaDir(c.Replica, c.Network, p.self, s)
	if err != nil {
		return nil, err
	}
	p.onClose(d.close)
	fresh, err := p.compareReplica(d, db)
	var decide Problems
	switch {
	case errors.As(err, &decide):
		return nil, err
	case err != nil:
		p.log.Error("the replica can't be used yet; payments go on without it, and it is tried again", "dir", c.Replica, "err", err)
	case fresh:
		p.log.Info("a replica is begun", "dir", c.Replica)
	}
	if sameDisk(c.Replica, c.DataDir) {
		p.log.Warn("the replica is on the same disk as the data directory: it does not help if that disk is lost", "dir", c.Replica)
	}
	return d, nil
}

func (p *parts) compareReplica(d *replicaDir, db store.Store) (fresh bool, err error) {
	if err := d.claim(); err != nil {
		return false, err
	}
	j, err := d.journal(true)
	if err != nil {
		return false, err
	}
	if j.Empty() {
		return true, j.Close()
	}
	findings, err := daemon.CheckReplica(db, j)
	for _, f := range findings {
		p.log.Warn("the replica is damaged; it is made again from the database", "finding", f.Error())
	}
	if errors.Is(err, daemon.ErrReplicaAhead) {
		err = fault(fmt.Sprintf("%s is an old copy: %v", p.dir, err),
			"move %s away and run: runneld restore --from %s; only if the replica is wrong, choose an empty directory with --replica", filepath.Join(p.dir, "db"), d.path)
	}
	return false, errors.Join(err, j.Close())
}

func sameDisk(a, b string) bool {
	var x, y syscall.Stat_t
	return syscall.Stat(a, &x) == nil && syscall.Stat(b, &y) == nil && x.Dev == y.Dev
}

// fromReplica reads what a replica has.
func (b *restoring) fromReplica(path string, fill func(daemon.Replayer) error) error {
	if _, err := os.Stat(filepath.Join(path, replicaFile)); err != nil {
		return fault(fmt.Sprintf("%s is no replica: %v", path, err), "name the directory that --replica named")
	}
	d, err := newReplicaDir(path, b.c.Network, b.self, b.seed)
	if err != nil {
		return err
	}
	if err := d.hold(); errors.As(err, new(Problems)) {
		return err
	} // a medium that can't be written needs no lock
	defer func() { _ = d.close() }()
	if _, err := d.check(); err != nil {
		return err
	}
	j, err := d.journal(true)
	if err != nil {
		return err
	}
	return errors.Join(fill(j), j.Close())
}
