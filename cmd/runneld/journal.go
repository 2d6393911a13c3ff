package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store/badger"
	"github.com/runnel/runnel/store/journal/file"
)

// journalDir is where the journal lies in the data directory.
const journalDir = "journal"

// openJournal opens the second copy and makes both agree.
func (p *parts) openJournal(c *Config, s seed, dir *dataDir, db *badger.Store) (j *file.Journal, err error) {
	j, err = openSegments(c, s, dir, db)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close())
		}
	}()
	if cut := j.Cut(); cut.Bytes > 0 {
		p.log.Info("the journal ended with a write that did not finish, and nobody was told of; it was cut", "segment", cut.Segment, "bytes", cut.Bytes)
	}
	if err := p.migrate(db, j); err != nil {
		return nil, err
	}
	r, err := daemon.Reconcile(db, j, p.deps.Scheme)
	if err != nil {
		return nil, fmt.Errorf("database and journal can't be made to agree: %w", err)
	}
	switch {
	case r.Repaired():
		p.deps.Notices = append(p.deps.Notices, r.String())
	case r.Restored+r.Appended > 0:
		p.log.Warn("the last write before the node went down was completed", "restored", r.Restored, "appended", r.Appended)
	}
	for _, f := range r.Findings {
		p.log.Warn("damaged journal", "finding", f.Error())
	}
	p.log.Info("database and journal compared", "records", r.Records, "journal_bytes", j.Size(), "took", r.Took.Round(1e6))
	return j, nil
}

// openSegments opens the journal as it is. A new node has none, and neither has a database of the format
// before; anything else without one is refused, for a database alone can lose records without a word.
func openSegments(c *Config, s seed, dir *dataDir, db *badger.Store) (*file.Journal, error) {
	key, err := bitcoin.JournalKey(s.bytes, c.Network)
	if err != nil {
		return nil, err
	}
	path := dir.file(journalDir)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the journal's directory can't be made: %w", err)
	}
	j, err := file.Open(file.Options{FS: file.OS(path), Key: key, Keep: daemon.Journaled})
	if err != nil {
		return nil, err
	}
	if !j.Empty() || db.Format() < badger.Format {
		return j, nil
	}
	holds, err := daemon.Holds(db)
	if err == nil && holds {
		err = fault(fmt.Sprintf("%s holds no journal, and the database beside it does", path),
			"restore the journal, or the whole directory from the newest backup; if it is lost for good: runneld rebuild journal --data-dir %s", dir.path)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// migrate writes the first journal of a database that never had one.
func (p *parts) migrate(db *badger.Store, j *file.Journal) error {
	if db.Format() == badger.Format {
		return nil
	}
	if j.Empty() { // else an earlier migration came to its end but for the format
		if err := daemon.Rewrite(db, j, ""); err != nil {
			return fmt.Errorf("the first journal can't be written: %w", err)
		}
	}
	p.log.Info("the database was migrated: a journal stands beside it from now on", "from", db.Format(), "to", badger.Format, "journal_bytes", j.Size())
	return db.WriteFormat(badger.Format)
}

// capJournal prunes the journal when it is larger than it may be. What no checkpoint covers stays all the
// same.
func capJournal(ctx context.Context, most int64, node *daemon.Node, j daemon.Journal, log *slog.Logger) {
	if most == 0 {
		return
	}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if j.Size() > most {
			r, err := node.PruneLog(ctx, channel.PruneRequest{Before: time.Now().UnixMilli()})
			log.Info("the journal was larger than it may be and was pruned", "payments", r.Payments, "from_bytes", r.BytesBefore, "to_bytes", r.BytesAfter, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
