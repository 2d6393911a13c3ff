package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
)

func lockIn(t *testing.T, dir string) *dataDir {
	t.Helper()
	d, err := openDataDir(dir, "simnet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.close() })
	return d
}

// TestIdentity: a directory keeps what it belongs to, and says no to everything else.
func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	d := lockIn(t, dir)
	if !d.mayCreate() {
		t.Fatal("a new directory may have a database")
	}
	if err := d.claim("simnet", "alice", databaseID{7}, true); err != nil {
		t.Fatal(err)
	}
	if !d.mayCreate() {
		t.Error("the database was not made yet")
	}
	if err := d.claim("simnet", "alice", databaseID{7}, false); err != nil {
		t.Fatal(err)
	}
	_, err := openDataDir(dir, "simnet")
	mustRefuse(t, err, "another runneld uses", "runnel --data-dir "+dir+" stop")
	_ = d.close()
	d = lockIn(t, dir)
	if id, known, err := d.database(); d.mayCreate() || !known || id != (databaseID{7}) || err != nil {
		t.Errorf("%v, %v, %v", id, known, err)
	}
	mustRefuse(t, d.belongs("bob"), "belongs to node alice, and the seed is that of bob", "restore the seed")
	if err := d.belongs("alice"); err != nil {
		t.Error(err)
	}
	_ = d.close()
	_, err = openDataDir(dir, "regtest")
	mustRefuse(t, err, "belongs to simnet, not to regtest")
	for text, says := range map[string]string{
		`{"Format":3,"Network":"simnet","PeerID":"alice","Database":"00"}`: "newer version (format 3, this one knows 2)",
		`{"Format":2,"Network":"simnet","PeerID":"alice"}`:                 "does not say what the directory belongs to",
		`{"Format":2,"Network":"simnet"}`:                                  "does not say what the directory belongs to",
		`{}`:                                                               "does not say what the directory belongs to",
		`{"Format":`:                                                       "is damaged",
	} {
		if err := os.WriteFile(filepath.Join(dir, "node.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openDataDir(dir, "simnet")
		mustRefuse(t, err, says)
	}
}

// first makes a directory with a database, as a first start does, and returns its seed.
func first(t *testing.T, dir string) seed {
	t.Helper()
	d := lockIn(t, dir)
	defer d.close()
	s, err := loadSeed(d, "simnet", quiet())
	if err != nil {
		t.Fatal(err)
	}
	db, err := openFor(d, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openFor(d *dataDir, s seed) (*badger.Store, error) {
	p := &parts{log: quiet()}
	db, err := p.databaseOf("simnet", "alice", s, d)
	if err != nil {
		return nil, err
	}
	return db, p.begun("simnet", "alice", d, db.ID(), func(b *store.Batch) error {
		errs, err := db.Apply([]*store.Batch{b})
		return errors.Join(append(errs, err)...)
	})
}

// TestDatabaseBelongs is for raiden#2566, bee#2868 and bee#1848, where a database was lost, split, or a
// second one made in its place: a database that is missing, halved or another one is refused, and the
// directory is left as it was.
func TestDatabaseBelongs(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	s := first(t, dir)
	first(t, other)
	again := func() error {
		d := lockIn(t, dir)
		defer d.close()
		db, err := openFor(d, s)
		if err == nil {
			err = db.Close()
		}
		return err
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
	db, away := filepath.Join(dir, "db"), filepath.Join(dir, "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(db, away)
	mustRefuse(t, again(), "no database there", "runneld restore FILE")
	if _, err := os.Stat(db); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was made in place of the lost database")
	}
	if err := os.CopyFS(db, os.DirFS(filepath.Join(other, "db"))); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, again(), "encrypted with another key", "put back the database that belongs here")
	if err := os.RemoveAll(db); err != nil {
		t.Fatal(err)
	}
	// The same seed, but made anew.
	twin := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dir, "seed.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(twin, "seed.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	first(t, twin)
	move(filepath.Join(twin, "db"), db)
	mustRefuse(t, again(), "another database than the one that belongs here", "runneld restore FILE")
	if err := os.RemoveAll(db); err != nil {
		t.Fatal(err)
	}
	move(away, db)
	if err := again(); err != nil {
		t.Errorf("the right one: %v", err)
	}
	move(filepath.Join(dir, "node.json"), away)
	_, err = openDataDir(dir, "simnet")
	mustRefuse(t, err, "has data and no node.json")
}

// TestFirstFormat: a directory of the first version is taken over, once.
func TestFirstFormat(t *testing.T) {
	dir := t.TempDir()
	s := first(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "node.json"), []byte(`{"Format":1,"Network":"simnet","PeerID":"alice"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := lockIn(t, dir)
		if d.mayCreate() {
			t.Fatal("its database must be there")
		}
		db, err := openFor(d, s)
		if err != nil {
			t.Fatal(err)
		}
		if d.id.Format != dataFormat || d.id.Database == "" || d.id.PeerID != "alice" {
			t.Errorf("%+v", d.id)
		}
		if err := errors.Join(db.Close(), d.close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSeedAloneBeginsASearch: a new database for a seed that was there before is no first start.
func TestSeedAloneBeginsASearch(t *testing.T) {
	dir, second := t.TempDir(), t.TempDir()
	first(t, dir)
	b, err := os.ReadFile(filepath.Join(dir, "seed.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(second, "seed.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for where, wanted := range map[string]bool{dir: false, second: true} {
		d := lockIn(t, where)
		s, err := loadSeed(d, "simnet", quiet())
		if err != nil {
			t.Fatal(err)
		}
		db, err := openFor(d, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Get([]byte("u")); (err == nil) != wanted {
			t.Errorf("searches: %v, want %v", err == nil, wanted)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestBallast(t *testing.T) {
	b := &ballast{path: filepath.Join(t.TempDir(), "ballast"), size: 1 << 20}
	free := int64(10 << 20)
	room := func() { // opens below 2 MB, pays from 4 MB
		t.Helper()
		if err := b.makeRoom(func() int64 { return free }, 2<<20, 4<<20); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		free int64
		held bool
	}{{4 << 20, false}, {5 << 20, true}, {2 << 20, true}, {2<<20 - 1, false}, {4 << 20, false}, {-1, false}, {9 << 20, true}, {-1, true}} {
		free = c.free
		if room(); b.Held() != c.held {
			t.Errorf("with %d bytes free it is there: %v", c.free, b.Held())
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(b.path)); len(entries) != 1 {
		t.Errorf("%d files", len(entries))
	}
	if err := errors.Join(b.Release(), b.Release()); err != nil {
		t.Error(err)
	}
	nowhere := &ballast{path: filepath.Join(t.TempDir(), "no", "ballast"), size: 1}
	if nowhere.Refill() == nil || nowhere.Held() {
		t.Error("ballast where there is no directory")
	}
	limits, _ := policy.Defaults("mainnet")
	if got := ballastSize("mainnet", limits.MinFreeDisk); got != 64<<20 {
		t.Errorf("%d bytes of ballast on mainnet", got)
	}
	if got := ballastSize("simnet", 64<<20); got != 16<<20 {
		t.Errorf("%d bytes of ballast on simnet", got)
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"256MB": 256 << 20, "64mb": 64 << 20, "2GB": 2 << 30, "0MB": 0} {
		if got, err := parseSize(s); got != want || err != nil {
			t.Errorf("%s: %d, %v", s, got, err)
		}
		if again, err := parseSize(showSize(want)); again != want || err != nil {
			t.Errorf("%d is shown as %s", want, showSize(want))
		}
	}
	for _, s := range []string{"", "MB", "256", "256KB", "-1MB", "1.5GB", "9999999999GB"} {
		if _, err := parseSize(s); err == nil || !strings.Contains(err.Error(), "such as 256MB") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
