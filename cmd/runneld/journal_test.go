package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
)

// home is a data directory with a node and something in its store.
type testHome struct {
	t *testing.T
	c *Config
}

func newHome(t *testing.T) *testHome {
	h := &testHome{t, &Config{Network: "simnet", DataDir: filepath.Join(t.TempDir(), "data"), LogFormat: "text", LogLevel: slog.LevelError}}
	h.records(func(p *parts) {
		for key, value := range map[string]string{"k": "\x00\x00\x00\x05", "e\x00\x00\x00\x00\x00\x00\x00\x01": "an event"} {
			if err := p.deps.Committer.Commit(new(store.Batch).Put([]byte(key), []byte(value))); err != nil {
				t.Fatal(err)
			}
		}
	})
	return h
}

// try opens the records as the daemon does.
func (h *testHome) try(fn func(p *parts)) (err error) {
	p := &parts{dir: h.c.DataDir, self: "peer", log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	dir, err := openDataDir(h.c.DataDir, h.c.Network)
	if err != nil {
		return err
	}
	p.onClose(dir.close)
	s, err := loadSeed(dir, h.c.Network, p.log)
	if err == nil {
		err = p.openScheme(h.c, s)
	}
	if err == nil {
		err = p.openStore(h.c, s, dir)
	}
	if err == nil {
		fn(p)
	}
	if e := p.close(); e != nil {
		h.t.Error(e)
	}
	return err
}

func (h *testHome) records(fn func(p *parts)) {
	h.t.Helper()
	if err := h.try(fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *testHome) wantWhole() {
	h.t.Helper()
	h.records(func(p *parts) {
		if b, err := p.deps.Store.Get([]byte("e\x00\x00\x00\x00\x00\x00\x00\x01")); err != nil || string(b) != "an event" {
			h.t.Errorf("%q, %v", b, err)
		}
	})
}

func (h *testHome) wantRefused(words ...string) {
	h.t.Helper()
	err := h.try(func(*parts) {})
	if err == nil {
		h.t.Fatal("it was opened")
	}
	var b bytes.Buffer
	_ = tell(&b, err)
	for _, w := range words {
		if !strings.Contains(b.String(), w) {
			h.t.Errorf("%q does not say %q", b.String(), w)
		}
	}
}

func (h *testHome) rebuild(what string) (out string, err error) {
	var b bytes.Buffer
	err = rebuild(context.Background(), h.c, what, &b)
	return b.String(), err
}

func (h *testHome) file(name string) string { return filepath.Join(h.c.DataDir, name) }

func (h *testHome) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(h.file(name)); err != nil {
		h.t.Fatal(err)
	}
}

func TestMissingCopies(t *testing.T) {
	h := newHome(t)
	h.wantWhole()
	for _, what := range []string{"db", "journal"} {
		if _, err := h.rebuild(what); err == nil {
			t.Errorf("rebuild %s of a whole directory did something", what)
		}
		h.remove(what)
		h.wantRefused("hint: ", "restore")
		h.wantRefused("rebuild " + what)
		if out, err := h.rebuild(what); err != nil || !strings.Contains(out, "made again from the") {
			t.Fatalf("rebuild %s: %q, %v", what, out, err)
		}
		h.wantWhole()
	}
	h.remove("db")
	h.remove("journal")
	if _, err := h.rebuild("db"); err == nil || !strings.Contains(err.Error(), "holds no journal") {
		t.Errorf("%v", err)
	}
	h.wantRefused("restore")
}

// TestDamagedDatabase: one that does not even open is refused, and made again from the journal.
func TestDamagedDatabase(t *testing.T) {
	h := newHome(t)
	b, err := os.ReadFile(h.file("db/MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	b[2] ^= 1
	if err := os.WriteFile(h.file("db/MANIFEST"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	h.wantRefused("rebuild db")
	out, err := h.rebuild("db")
	if err != nil || !strings.Contains(out, "kept in") {
		t.Fatalf("%q, %v", out, err)
	}
	h.wantWhole()
}

// TestMigration: a database of the format before gets its journal at the first start, and its format then.
func TestMigration(t *testing.T) {
	h := newHome(t)
	for _, interrupted := range []bool{false, true} {
		if !interrupted {
			h.remove("journal")
		}
		h.setFormat(1)
		h.records(func(p *parts) {
			if p.store.Format() != badger.Format {
				t.Errorf("format %d after a migration", p.store.Format())
			}
		})
		names, err := filepath.Glob(h.file("journal/*"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no journal: %v", err)
		}
		h.wantWhole()
	}
	h.remove("db")
	if _, err := h.rebuild("db"); err != nil {
		t.Fatal(err)
	}
	h.wantWhole()
}

// setFormat makes the database one of another format.
func (h *testHome) setFormat(format uint32) {
	h.t.Helper()
	dir, err := openDataDir(h.c.DataDir, h.c.Network)
	if err != nil {
		h.t.Fatal(err)
	}
	defer dir.close()
	s, err := loadSeed(dir, h.c.Network, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	key, err := bitcoin.StoreKey(s.bytes, h.c.Network)
	if err != nil {
		h.t.Fatal(err)
	}
	db, err := badger.Open(badger.Options{Dir: h.file("db"), Key: key})
	if err == nil {
		err = errors.Join(db.WriteFormat(format), db.Close())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}
