package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/wholefile"
)

// dataFormat is the version of the layout of a data directory that this program writes:
//
//	node.json     identity: what network, node and database the directory belongs to
//	seed.json     the seed
//	lock          held by the running daemon
//	db/           channels and payments
//	journal/      their second copy
//	wallet/       the on-chain wallet: can be made again from the seed
//	ballast       space that is let go when the disk is full
//	runneld.sock  the API
//
// Format 1 had neither ballast nor a database id; it is taken over at the first start.
const dataFormat = 2

// identity ties a directory to one node, so that nothing is ever written into the wrong one.
type identity struct {
	Format   int
	Network  string
	PeerID   channel.PeerID
	Database string `json:",omitempty"` // id of db/, hex; empty in format 1
	Making   bool   `json:",omitempty"` // db/ may not be there yet: its making was not finished
}

// dataDir is a locked data directory.
type dataDir struct {
	path string
	lock *flock.Flock
	id   *identity // nil in a new one
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) has(name string) bool {
	_, err := os.Stat(d.file(name))
	return err == nil
}

// openDataDir locks the directory, makes it if there is none, and checks that it is this network's.
func openDataDir(path, network string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the data directory can't be made: %w", err)
	}
	d := &dataDir{path: path, lock: flock.New(filepath.Join(path, "lock"))}
	locked, err := d.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("the data directory can't be locked: %w", err)
	}
	if !locked {
		return nil, fault(fmt.Sprintf("another runneld uses %s", path), "stop it with: runnel --data-dir %s stop", path)
	}
	if err := d.check(network); err != nil {
		return nil, errors.Join(err, d.lock.Unlock())
	}
	return d, nil
}

func (d *dataDir) check(network string) error {
	b, err := os.ReadFile(d.file("node.json"))
	if errors.Is(err, fs.ErrNotExist) {
		// A seed alone is how a lost node begins again; a database without an identity could be anybody's.
		if d.has("db") {
			return fault(fmt.Sprintf("%s has data and no node.json", d.path), "restore node.json from a backup, or choose another --data-dir")
		}
		return nil
	}
	if err != nil {
		return err
	}
	id := new(identity)
	if err := json.Unmarshal(b, id); err != nil {
		return fault(fmt.Sprintf("%s is damaged: %v", d.file("node.json"), err), "restore it from a backup")
	}
	if id.Format > dataFormat {
		return fault(fmt.Sprintf("%s was written by a newer version (format %d, this one knows %d)", d.path, id.Format, dataFormat), "use the newer runneld")
	}
	if id.Format < 1 || id.PeerID == "" || id.Format > 1 && len(id.Database) != 2*len(databaseID{}) {
		return fault(fmt.Sprintf("%s is damaged: it does not say what the directory belongs to", d.file("node.json")), "restore it from a backup")
	}
	if id.Network != network {
		return fault(fmt.Sprintf("%s belongs to %s, not to %s", d.path, id.Network, network), "choose another --data-dir, or start with --network %s", id.Network)
	}
	d.id = id
	return nil
}

// databaseID tells one database from every other, also from an older copy that was made anew.
type databaseID [16]byte

// database is the id of the database that belongs here; false when none is known.
func (d *dataDir) database() (id databaseID, known bool, err error) {
	if d.id == nil || d.id.Database == "" {
		return id, false, nil
	}
	b, err := hex.DecodeString(d.id.Database)
	if err != nil || len(b) != len(id) {
		return id, false, fault(fmt.Sprintf("%s is damaged: its database id is none", d.file("node.json")), "restore it from a backup")
	}
	return databaseID(b), true, nil
}

// mayCreate reports whether there never was a database here.
func (d *dataDir) mayCreate() bool { return d.id == nil || d.id.Making }

// belongs checks that the node of a directory is still the same one.
func (d *dataDir) belongs(peer channel.PeerID) error {
	if d.id != nil && d.id.PeerID != peer {
		return fault(fmt.Sprintf("%s belongs to node %s, and the seed is that of %s", d.path, d.id.PeerID, peer), "restore the seed that belongs to it")
	}
	return nil
}

// claim writes the identity; making says that the database is only about to be made.
func (d *dataDir) claim(network string, peer channel.PeerID, db databaseID, making bool) error {
	id := identity{Format: dataFormat, Network: network, PeerID: peer, Database: hex.EncodeToString(db[:]), Making: making}
	if d.id != nil && *d.id == id {
		return nil
	}
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := wholefile.Write(d.file("node.json"), append(b, '\n'), true); err != nil {
		return fmt.Errorf("the data directory's identity can't be written: %w", err)
	}
	d.id = &id
	return nil
}

func (d *dataDir) close() error { return d.lock.Unlock() }

// fault is an error with advice, as Problems shows it.
func fault(text, hint string, args ...any) error {
	return Problems{{Text: text, Hint: fmt.Sprintf(hint, args...)}}
}
