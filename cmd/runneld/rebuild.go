package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
	"github.com/runnel/runnel/store/journal/file"
)

const rebuildHelp = `Makes one copy of the node's records again from the other, and ends: the
database from the journal, or the journal from the database. For when the daemon
refuses to start and no backup is newer than the copy that is left. What there
is of the old copy is kept beside the new one.

Where a copy was missing altogether, nobody can say how old the other one is:
open channels become recovering then. They can be closed, settled and refunded,
and never pay again.`

func rebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "rebuild db|journal",
		Short:     "Make the database again from the journal, or the reverse",
		Long:      rebuildHelp,
		Example:   "  runneld rebuild db --network signet\n  runneld rebuild journal --config /etc/runnel/runneld.toml",
		ValidArgs: []string{"db", "journal"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "db" || args[0] == "journal") {
				return nil
			}
			return tell(cmd.ErrOrStderr(), Problems{{Text: "say which copy to make again", Hint: "runneld rebuild db, or runneld rebuild journal"}})
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := Load(cmd.Flags())
			if err == nil {
				err = rebuild(cmd.Context(), &s.Config, args[0], cmd.OutOrStdout())
			}
			if err != nil {
				return tell(cmd.ErrOrStderr(), err)
			}
			return nil
		},
	}
}

// rebuilder is a node's records without the node.
type rebuilder struct {
	c       *Config
	dir     *dataDir
	key     [32]byte
	scheme  *bitcoin.Scheme
	journal *file.Journal
	stamp   string
	out     io.Writer
}

func rebuild(_ context.Context, c *Config, what string, out io.Writer) (err error) {
	dir, err := openDataDir(c.DataDir, c.Network)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	if dir.id == nil {
		return fault(fmt.Sprintf("%s belongs to no node yet: there is nothing to make again", dir.path), "check --data-dir and --network")
	}
	r := &rebuilder{c: c, dir: dir, out: out, stamp: time.Now().UTC().Format("20060102-150405")}
	if err := r.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.journal.Close()) }()
	if what == "db" {
		return r.database()
	}
	return r.log()
}

func (r *rebuilder) open() error {
	seed, err := loadSeed(r.dir, r.c.Network, newLog(os.Stderr, r.c.LogFormat, r.c.LogLevel))
	if err != nil {
		return err
	}
	if r.key, err = bitcoin.StoreKey(seed.bytes, r.c.Network); err != nil {
		return err
	}
	key, err := bitcoin.JournalKey(seed.bytes, r.c.Network)
	if err != nil {
		return err
	}
	if r.scheme, err = bitcoin.NewScheme(r.c.Network); err != nil {
		return err
	}
	path := r.dir.file(journalDir)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	r.journal, err = file.Open(file.Options{FS: file.OS(path), Key: key, Keep: daemon.Journaled})
	return err
}

// database makes the database again. One that opens is compared and repaired by the daemon itself.
func (r *rebuilder) database() (err error) {
	path := r.dir.file("db")
	db, err := badger.Open(badger.Options{Dir: path, Key: r.key})
	switch {
	case err == nil:
		return errors.Join(fault("the database can be opened: there is nothing to make again", "start the daemon: it compares the database with the journal"), db.Close())
	case errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrWrongKey), errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrNoSpace):
		return err
	case r.journal.Empty():
		return fault(fmt.Sprintf("%s holds no journal to make the database from", r.dir.file(journalDir)), "restore the newest backup of the whole directory")
	}
	missing := false
	if err := os.Rename(path, path+".damaged-"+r.stamp); errors.Is(err, os.ErrNotExist) {
		missing = true
	} else if err != nil {
		return err
	}
	id, _, err := r.dir.database()
	if err != nil {
		return err
	}
	if db, err = badger.Open(badger.Options{Dir: path, Key: r.key, ID: id, Create: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rec, err := daemon.Reconcile(db, r.journal, r.scheme)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "the database was made again from the journal: %d records\n", rec.Restored)
	if missing {
		return r.distrust(db)
	}
	fmt.Fprintf(r.out, "the old one is kept in %s.damaged-%s\n", path, r.stamp)
	return nil
}

// log makes the journal again.
func (r *rebuilder) log() (err error) {
	db, err := badger.Open(badger.Options{Dir: r.dir.file("db"), Key: r.key})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if !r.journal.Empty() {
		return fault("the journal is there", "start the daemon: it compares the journal with the database and repairs both")
	}
	if err := daemon.Rewrite(db, r.journal, "lost-"+r.stamp); err != nil {
		return err
	}
	if err := db.WriteFormat(badger.Format); err != nil {
		return err
	}
	fmt.Fprintln(r.out, "the journal was made again from the database")
	return r.distrust(db)
}

func (r *rebuilder) distrust(db *badger.Store) error {
	ids, err := daemon.Distrust(store.NewPair(db, r.journal))
	for _, id := range ids {
		fmt.Fprintf(r.out, "channel %s is recovering: close it with: runnel close %.8s\n", id, id)
	}
	return err
}
