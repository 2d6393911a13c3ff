package itest

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTwoBooks: both sides export their book, each agrees with the other's, and a changed line is named.
// Nothing that was paid can be read in a data directory. A killed daemon whose database loses records to a
// flipped bit has them from the journal, one whose journal is damaged from the database, and both say so.
func TestTwoBooks(t *testing.T) {
	t.Parallel()
	w := pair(t)
	id := w.open("alice", "bob", 1_000_000, 200_000)
	const ref, payment = "an unmistakable reference", "5ca1ab1e000000000000000000c0ffee"
	for range 5 {
		w.must("alice", "pay", id, "10sat", "--ref", ref)
	}
	w.must("alice", "pay", id, "12sat", "--id", payment)
	w.must("bob", "pay", id, "3sat")

	books := map[string]string{}
	for _, name := range []string{"alice", "bob"} {
		o := w.runnel("--node", name, "log", "export")
		if o.code != 0 || strings.Count(o.out, "payment_id") != 7 {
			t.Fatalf("%s's book: exit %d, %s%s", name, o.code, o.out, o.err)
		}
		books[name] = filepath.Join(t.TempDir(), "book.jsonl")
		w.check(os.WriteFile(books[name], []byte(o.out), 0o600))
		if o := w.runnel("log", "verify", "--file", books[name]); o.code != 0 || !strings.Contains(o.out, "whole: 7 payments on 2 lanes") {
			t.Errorf("%s's book alone: exit %d, %s%s", name, o.code, o.out, o.err)
		}
	}
	agreed := w.one("alice", "log", "verify", "--channel", id[:8], "--against", books["bob"])
	if agreed.number("compared_payments") != 7 || agreed.number("compared_lanes") != 2 || agreed.number("records") == 0 || agreed["ok"] != true {
		t.Errorf("alice: %v", agreed)
	}
	w.must("bob", "log", "verify", "--against", books["alice"])
	wrong, err := os.ReadFile(books["bob"])
	w.check(err)
	w.check(os.WriteFile(books["bob"], bytes.Replace(wrong, []byte(`"amount_msat":12000`), []byte(`"amount_msat":13000`), 1), 0o600))
	if o := w.runnel("--node", "alice", "log", "verify", "--against", books["bob"]); o.code != 1 || !strings.Contains(o.err, "payment 6") {
		t.Errorf("a changed payment: exit %d, %s", o.code, o.err)
	}

	w.nothingReadable(ref, payment)
	w.damaged("bob", "db/*.mem", "records came back from the journal")
	w.damaged("bob", "journal/*.log", "the damaged journal is kept beside the new one")
	w.must("alice", "pay", id, "1sat")
	w.must("bob", "log", "verify")
	w.nothingReadable(ref, payment)
}

// nothingReadable looks for what was paid, and for the other's peer id, in both data directories.
func (w *world) nothingReadable(ref, payment string) {
	w.t.Helper()
	raw, err := hex.DecodeString(payment)
	w.check(err)
	for name, other := range map[string]string{"alice": "bob", "bob": "alice"} {
		peer := w.one(other, "status").text("peer_id")
		seen := 0
		w.check(filepath.WalkDir(w.Node(name).Dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			seen += len(b)
			for what, needle := range map[string][]byte{"reference": []byte(ref), "payment id": raw, "payment id as text": []byte(payment), "peer id": []byte(peer)} {
				if bytes.Contains(b, needle) {
					w.t.Errorf("%s: the %s stands in %s", name, what, path)
				}
			}
			return err
		}))
		if seen < 10_000 {
			w.t.Errorf("%s: looked at %d bytes only", name, seen)
		}
	}
}

// damaged kills a daemon, flips a bit in the middle of a file, and wants it back with everything and a
// word about it.
func (w *world) damaged(name, files, word string) {
	w.t.Helper()
	before := w.runnel("--node", name, "--json", "payments", "--limit", "1000").out
	n := w.Node(name)
	n.Kill()
	names, err := filepath.Glob(filepath.Join(n.Dir, files))
	if err != nil || len(names) == 0 {
		w.t.Fatalf("%s: no file, %v", files, err)
	}
	b, err := os.ReadFile(names[0])
	w.check(err)
	b[len(bytes.TrimRight(b, "\x00"))/2] ^= 0x10
	w.check(os.WriteFile(names[0], b, 0o600))
	w.check(n.Restart(w.ctx))
	if after := w.runnel("--node", name, "--json", "payments", "--limit", "1000").out; after != before {
		w.t.Errorf("after a flipped bit in %s: %s\nwant %s", names[0], after, before)
	}
	if s := w.one(name, "status").text("attention"); !strings.Contains(s, word) {
		w.t.Errorf("nobody is told of the flipped bit in %s: %s", names[0], s)
	}
}
