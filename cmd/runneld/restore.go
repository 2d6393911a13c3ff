package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/wholefile"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/p2p"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
	"github.com/runnel/runnel/store/journal"
	"github.com/runnel/runnel/store/journal/file"
)

const restoreHelp = `Make the database of a lost node again from a backup, or from the replica that
--replica kept.

The seed must be in the data directory, and no database: move what is left of
an old one away first. No daemon may run. Afterwards start runneld as always.

Every channel of a restored node can only be ended: it never pays or is paid
again. Its peer is asked what came after the copy; what was received then is
had only if the peer hands it back. Until it was asked nothing is settled,
unless the expiry comes near or you force it.`

func restoreCommand() *cobra.Command {
	var asJSON bool
	var from string
	c := &cobra.Command{
		Use:     "restore FILE | --from DIR",
		Short:   "Make a lost node's database again from a backup or a replica",
		Long:    restoreHelp,
		Example: "  runneld restore runnel-2026-03-01.backup --network simnet\n  runneld restore --from /mnt/other/replica --network simnet",
		Args: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) != (from != "") && len(args) < 2 {
				return nil
			}
			return tell(cmd.ErrOrStderr(), Problems{{Text: "restore takes one FILE, or a replica with --from DIR", Hint: "such as: runneld restore runnel.backup --network simnet"}})
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := Load(cmd.Flags())
			if err = placeOnly(s, err); err != nil {
				return tell(cmd.ErrOrStderr(), err)
			}
			from := source{replica: from}
			if len(args) > 0 {
				from.file = args[0]
			}
			r, err := restore(&s.Config, from)
			if err != nil {
				return err
			}
			return tellRestored(cmd.OutOrStdout(), r, asJSON)
		},
	}
	c.Flags().StringVar(&from, "from", "", "restore from the replica in `DIR`, which --replica named")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// placeOnly keeps what is wrong about the place of the data: a restore needs no chain and no peers.
func placeOnly(s *Settings, err error) error {
	var all Problems
	if s == nil || !errors.As(err, &all) {
		return err
	}
	all = slices.DeleteFunc(all, func(p Problem) bool {
		return p.Key != "" && p.Key != "network" && p.Key != "data-dir" && p.Key != "config"
	})
	if len(all) > 0 {
		return all
	}
	return nil
}

// source is what a database is made from: a backup or a replica.
type source struct {
	file, replica string
	data          []byte
}

// restore builds the database beside its place, so that it appears as a whole.
func restore(c *Config, from source) (r restoration, err error) {
	if from.file != "" {
		if from.data, err = os.ReadFile(from.file); err != nil {
			return r, fault(fmt.Sprintf("the backup can't be read: %v", err), "name the file that `runnel backup` wrote")
		}
	}
	dir, err := openDataDir(c.DataDir, c.Network)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	if dir.has("db") {
		return r, fault(fmt.Sprintf("%s has a database", dir.path), "a restore never replaces one: move %s away first", dir.file("db"))
	}
	s, err := readSeed(dir, c.Network)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fault(fmt.Sprintf("%s has no seed.json", dir.path), "copy the seed of the lost node there first: the backup is encrypted with it")
	}
	if err != nil {
		return r, err
	}
	return restoreInto(c, s, dir, from)
}

// restoring builds database and journal beside their places.
type restoring struct {
	c    *Config
	seed seed
	dir  *dataDir
	self channel.PeerID
	at   string // directory in which both are built
}

// restoration is what was restored, and from what.
type restoration struct {
	daemon.Restoration
	what    string
	damages []journal.Finding
}

func restoreInto(c *Config, s seed, dir *dataDir, from source) (r restoration, err error) {
	identity, err := bitcoin.IdentityKey(s.bytes, c.Network)
	if err != nil {
		return r, err
	}
	self, err := p2p.PeerID(identity)
	if err == nil {
		err = dir.belongs(self)
	}
	if err != nil {
		return r, err
	}
	aead, err := backupCipher(s, c.Network)
	if err != nil {
		return r, err
	}
	scheme, err := bitcoin.NewScheme(c.Network)
	if err != nil {
		return r, err
	}
	b := &restoring{c: c, seed: s, dir: dir, self: self, at: dir.file("restoring")}
	random := func(b []byte) { _, _ = rand.Read(b) } // never fails
	if from.replica != "" {
		r.what = "replica"
		return r, b.fromReplica(from.replica, func(j daemon.Replayer) error {
			return b.build(func(db store.Store) (err error) {
				r.Restoration, r.damages, err = daemon.RestoreReplica(j, db, scheme, random)
				return err
			})
		})
	}
	r.what = "backup"
	return r, b.build(func(db store.Store) (err error) {
		r.Restoration, err = daemon.Restore(from.data, aead, db, scheme, self, random)
		return err
	})
}

// build makes both copies and puts them into their places.
func (b *restoring) build(fill func(store.Store) error) error {
	if err := errors.Join(os.RemoveAll(b.at), os.Mkdir(b.at, 0o700)); err != nil {
		return err
	}
	var id databaseID
	_, _ = rand.Read(id[:]) // never fails
	if err := b.write(id, fill); err != nil {
		return errors.Join(restoreFault(err), os.RemoveAll(b.at))
	}
	// The identity first: if the rest is interrupted, the missing database is noticed.
	if err := b.dir.claim(b.c.Network, b.self, id, false); err != nil {
		return err
	}
	if b.dir.has(journalDir) {
		old := journalDir + "." + time.Now().UTC().Format("20060102-150405")
		if err := os.Rename(b.dir.file(journalDir), b.dir.file(old)); err != nil {
			return err
		}
	}
	for _, name := range []string{journalDir, "db"} {
		if err := os.Rename(filepath.Join(b.at, name), b.dir.file(name)); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(b.at), wholefile.SyncDir(b.dir.path))
}

func (b *restoring) write(id databaseID, fill func(store.Store) error) (err error) {
	key, err := bitcoin.StoreKey(b.seed.bytes, b.c.Network)
	if err != nil {
		return err
	}
	db, err := badger.Open(badger.Options{Dir: filepath.Join(b.at, "db"), Key: key, ID: id, Create: true})
	if err != nil {
		return databaseFault(err, b.dir)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := fill(db); err != nil {
		return err
	}
	return b.writeJournal(db)
}

// writeJournal makes the second copy of a new database.
func (b *restoring) writeJournal(db store.Store) (err error) {
	key, err := bitcoin.JournalKey(b.seed.bytes, b.c.Network)
	if err != nil {
		return err
	}
	path := filepath.Join(b.at, journalDir)
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	j, err := file.Open(file.Options{FS: file.OS(path), Key: key, Keep: daemon.Journaled})
	if err != nil {
		return err
	}
	return errors.Join(daemon.Rewrite(db, j, ""), j.Close())
}

func restoreFault(err error) error {
	switch {
	case errors.Is(err, daemon.ErrReplicaEmpty):
		return fault("the replica holds nothing yet", "restore from a backup: runneld restore FILE")
	case errors.Is(err, daemon.ErrNoBackup):
		return fault("the file is no backup that this program knows", "name the file that `runnel backup` wrote")
	case errors.Is(err, daemon.ErrBackupSeal):
		return fault("the backup does not belong to this seed and network, or is damaged", "use the seed of the node that made it; another copy of the file may be whole")
	}
	return err
}

// backupCipher seals and opens backups.
func backupCipher(s seed, network string) (cipher.AEAD, error) {
	key, err := bitcoin.BackupKey(s.bytes, network)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func tellRestored(w io.Writer, r restoration, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Made     int64  `json:"made"`
			Channels int    `json:"channels"`
			Deposits uint64 `json:"deposits_sat"`
			Received uint64 `json:"received_msat"`
		}{r.Made.Unix(), r.Channels, uint64(r.Deposits), uint64(r.Received)})
	}
	if r.what == "replica" {
		fmt.Fprintf(w, "restored from a replica, last written %s\n", r.Made.UTC().Format(time.RFC1123))
	} else {
		fmt.Fprintf(w, "restored from a backup of %s\n", r.Made.UTC().Format(time.RFC1123))
	}
	for _, f := range r.damages {
		fmt.Fprintf(w, "damaged      %s\n", f.Text)
	}
	fmt.Fprintf(w, "channels     %d, which can only be ended now\n", r.Channels)
	fmt.Fprintf(w, "deposits     %s\n", amount.Sat(r.Deposits))
	fmt.Fprintf(w, "received     %s, as far as the %s knows\n", amount.Msat(r.Received), r.what)
	fmt.Fprintln(w, "\nNow start runneld. It asks each peer what came after it, and looks for\ndeposits that were made later; `runnel status` tells what is left to do.")
	return nil
}
