package main

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
)

// The database of a data directory: made once, then only ever opened. One that is missing, another one or
// of another seed is refused, for a new one in its place would have forgotten every voucher.

// databaseOf opens what belongs to the directory, or makes it at the first start.
func (p *parts) databaseOf(network string, self channel.PeerID, s seed, dir *dataDir) (*badger.Store, error) {
	key, err := bitcoin.StoreKey(s.bytes, network)
	if err != nil {
		return nil, err
	}
	id, known, err := dir.database()
	if err != nil {
		return nil, err
	}
	o := badger.Options{Dir: dir.file("db"), Key: key, Create: dir.mayCreate(), Log: p.log}
	if o.Create {
		if !known {
			_, _ = rand.Read(id[:]) // never fails
		}
		if p.search = !s.fresh; p.search {
			p.log.Warn("a new database is made for a seed that was there before: channels of an older database are not known here; " +
				"own deposits are looked for on the chain and return after their expiry")
		}
		if err := dir.claim(network, self, id, true); err != nil {
			return nil, err
		}
		known = true
	}
	if known {
		o.ID = id
	}
	db, err := badger.Open(o)
	if err != nil {
		return nil, databaseFault(err, dir)
	}
	return db, nil
}

// begun finishes the making of a database: what it begins with is durable, and from now on one that is
// missing is refused.
func (p *parts) begun(network string, self channel.PeerID, dir *dataDir, id databaseID, write func(*store.Batch) error) error {
	if p.search && dir.mayCreate() {
		if err := write(daemon.LookForDeposits()); err != nil {
			return err
		}
	}
	return dir.claim(network, self, id, false)
}

// databaseFault says what to do about a database that can't be used.
func databaseFault(err error, dir *dataDir) error {
	text := fmt.Sprintf("the database can't be opened: %v", err)
	switch {
	case errors.Is(err, store.ErrWrongKey), errors.Is(err, store.ErrOther):
		return fault(text, "put back the database that belongs here; to go on from a backup, move this one away and run: runneld restore FILE")
	case errors.Is(err, store.ErrNoSpace):
		return fault(text, "nothing is lost; make room on that disk and start again")
	case errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrNewer):
		return errors.New(text) // and what to do is said in it
	}
	return fault(text, "put %s back as it was, or make it again from the journal: runneld rebuild db --data-dir %s; if both are lost, from a backup: runneld restore FILE",
		dir.file("db"), dir.path)
}
