package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/p2p"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
)

// parts are the concrete things that a node is made of, and how to let go of them.
type parts struct {
	deps    daemon.Deps
	store   *badger.Store
	dir     string
	self    channel.PeerID
	ballast *ballast
	search  bool // the seed may have made deposits that the database does not know
	log     *slog.Logger
	closers []func() error // in the order of opening
}

// openParts opens everything that the settings name. On an error what was opened is closed again.
func openParts(ctx context.Context, c *Config, log *slog.Logger) (p *parts, err error) {
	p = &parts{dir: c.DataDir, log: log, deps: daemon.Deps{Log: log}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	dir, err := openDataDir(c.DataDir, c.Network)
	if err != nil {
		return p, err
	}
	p.onClose(dir.close)
	seed, err := loadSeed(dir, c.Network, log)
	if err != nil {
		return p, err
	}
	p.ballast = &ballast{path: dir.file("ballast"), size: ballastSize(c.Network, c.Limits.MinFreeDisk)}
	if err := p.ballast.makeRoom(func() int64 { return freeDisk(dir.path) }, badger.DefaultMinFree, c.Limits.MinFreeDisk); err != nil {
		log.Warn("the disk guard is weaker than it should be", "err", err)
	}
	for _, open := range []func() error{
		func() error { return p.openScheme(c, seed) },
		func() error { return p.openPeers(c, seed, dir) },
		func() error { return p.openStore(c, seed, dir) },
		func() error { return p.openChain(ctx, c, seed, dir) },
	} {
		if err := open(); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *parts) onClose(f func() error) { p.closers = append(p.closers, f) }

// close lets go of everything, the newest first.
func (p *parts) close() (err error) {
	for i := len(p.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, p.closers[i]())
	}
	p.closers = nil
	return err
}

func (p *parts) openScheme(c *Config, s seed) error {
	scheme, err := bitcoin.NewScheme(c.Network)
	if err != nil {
		return err
	}
	p.deps.Scheme = scheme
	p.deps.Signer, err = bitcoin.NewSigner(scheme, s.bytes, bitcoin.SystemRandom)
	return err
}

func (p *parts) openPeers(c *Config, s seed, dir *dataDir) error {
	key, err := bitcoin.IdentityKey(s.bytes, c.Network)
	if err != nil {
		return err
	}
	host, err := p2p.New(p2p.Config{PrivateKey: key, Listen: c.Listen, ExternalAddrs: c.External, NAT: c.NAT, MDNS: c.MDNS,
		UserAgent: "runnel/" + version(), Log: p.log})
	if err != nil {
		return fmt.Errorf("peers can't be served: %w", err)
	}
	p.onClose(host.Close)
	p.deps.Transport, p.self = host, host.Self()
	return dir.belongs(host.Self())
}

func (p *parts) openStore(c *Config, s seed, dir *dataDir) (err error) {
	if p.deps.Backup, err = backupCipher(s, c.Network); err != nil {
		return err
	}
	db, err := p.databaseOf(c.Network, p.self, s, dir)
	if err != nil {
		return err
	}
	p.onClose(db.Close)
	journal, err := p.openJournal(c, s, dir, db)
	if err != nil {
		return err
	}
	p.onClose(journal.Close)
	both, err := p.joinCopies(c, s, db, journal)
	if err != nil {
		return err
	}
	committer := store.NewCommitter(both, store.Limits{})
	p.onClose(committer.Close)
	if err := p.begun(c.Network, p.self, dir, db.ID(), committer.Commit); err != nil {
		return err
	}
	p.store, p.deps.Store, p.deps.Committer, p.deps.Journal = db, both, committer, journal
	return nil
}

func (p *parts) nodeConfig(c *Config) daemon.Config {
	cfg, _ := daemon.DefaultConfig(c.Network) // the network was validated
	cfg.Version, cfg.Limits, cfg.SignEach = version(), c.Limits, !c.Coalesce
	cfg.FreeDisk = func() int64 { return freeDisk(p.dir) }
	cfg.Ballast = p.ballast
	return cfg
}

// tidy gives disk space back in quiet minutes.
func (p *parts) tidy(ctx context.Context) {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := p.store.RunGC(); err != nil {
				p.log.Debug("no space was given back", "err", err)
			}
		}
	}
}

func freeDisk(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// version is the module's, or the commit's that the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
