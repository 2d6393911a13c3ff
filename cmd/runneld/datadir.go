package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/runnel/runnel/channel"
)

// dataFormat is the version of the layout of a data directory that this program writes:
//
//	node.json     identity: what network and node the directory belongs to
//	seed.json     the seed
//	lock          held by the running daemon
//	db/           channels and payments
//	journal/      their second copy
//	wallet/       the on-chain wallet: can be made again from the seed
//	runneld.sock  the API
const dataFormat = 1

// identity ties a directory to one node, so that nothing is ever written into the wrong one.
type identity struct {
	Format  int
	Network string
	PeerID  channel.PeerID
}

// dataDir is a locked data directory.
type dataDir struct {
	path string
	lock *flock.Flock
	id   *identity // nil in a new one
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

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
		for _, name := range []string{"seed.json", "db"} {
			if _, err := os.Stat(d.file(name)); err == nil {
				return fault(fmt.Sprintf("%s has data and no node.json", d.path), "restore node.json from a backup, or choose another --data-dir")
			}
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
	if id.Network != network {
		return fault(fmt.Sprintf("%s belongs to %s, not to %s", d.path, id.Network, network), "choose another --data-dir, or start with --network %s", id.Network)
	}
	d.id = id
	return nil
}

// claim writes the identity of a new directory, or checks that the node is still the same one.
func (d *dataDir) claim(network string, peer channel.PeerID) error {
	if d.id != nil {
		if d.id.PeerID != peer {
			return fault(fmt.Sprintf("%s belongs to node %s, and the seed is that of %s", d.path, d.id.PeerID, peer), "restore the seed that belongs to it")
		}
		return nil
	}
	b, err := json.MarshalIndent(identity{dataFormat, network, peer}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(d.file("node.json"), append(b, '\n'))
}

func (d *dataDir) close() error { return d.lock.Unlock() }

// writeFile makes a file that is there as a whole or not at all, also after a power loss.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it was renamed
	if err := errors.Join(f.Chmod(0o600), write(f, b), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func write(f *os.File, b []byte) error {
	_, err := f.Write(b)
	return err
}

// fault is an error with advice, as Problems shows it.
func fault(text, hint string, args ...any) error {
	return Problems{{Text: text, Hint: fmt.Sprintf(hint, args...)}}
}
