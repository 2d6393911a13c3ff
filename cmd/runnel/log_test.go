package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/book"
)

// aBook is an exported book with one payment and no voucher.
func aBook(t *testing.T, out bool, amount channel.Msat) []byte {
	t.Helper()
	var st channel.State
	st.Terms.ID, st.Terms.Peer = chan1, bob
	st.Terms.Out = channel.LaneTerms{Payer: channel.Key{2}, Payee: channel.Key{3}, Refund: channel.Key{2, 1}, Deposit: 50_000}
	st.Terms.In = st.Terms.Out
	var b bytes.Buffer
	w := book.NewWriter(&b, book.Header{Network: "simnet", Node: alice})
	p := channel.Payment{ID: pay1, Amount: amount, Ref: "coffee"}
	id := st.Terms.Out.ID()
	l := channel.Lane{NextSeq: 2, Hash: channel.LaneHash([32]byte{}, id, 1, p, channel.RefusedPolicy)}
	w.Lane(book.NewLane(&st, out), id, l.Hash)
	w.Payment(1, 1000, p, channel.RefusedPolicy, false)
	w.EndLane(book.NewEnd(&l))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLogVerbs(t *testing.T) {
	sess := newSession(t)
	f := sess.node
	f.book, f.log = aBook(t, true, 25), channel.LogReport{Records: 9, Bytes: 12_000, Lanes: 1, Payments: 1}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	peers, other, half := write("peers", aBook(t, false, 25)), write("other", aBook(t, false, 26)), write("half", aBook(t, false, 25)[:len(f.book)-9])
	own := write("own", f.book)
	for _, c := range []struct {
		args     []string
		exit     int
		out, err string
	}{
		{[]string{"log", "verify"}, 0, "whole: 1 payment on 1 lane; the journal has 9 records in 12 kB", ""},
		{[]string{"log", "verify", "--json"}, 0, `{"ok":true,"records":9,"bytes":12000,"lanes":1,"payments":1}`, ""},
		{[]string{"log", "verify", "--against", peers}, 0, "agrees with the peer's book: 1 payment on 1 lane", ""},
		{[]string{"log", "verify", "--against", other}, 1, "", "payment 1: it is 25 msat here and 26 msat there"},
		{[]string{"log", "verify", "--against", own}, 1, "", "they are of the same side"},
		{[]string{"log", "verify", "--against", half}, 1, "", half + " is wrong at line"},
		{[]string{"log", "verify", "--against", dir + "/none"}, 2, "", "no such file"},
		{[]string{"log", "verify", "--file", own}, 0, "whole: 1 payment on 1 lane, the book of " + alice, ""},
		{[]string{"log", "verify", "--file", half}, 1, "", "is cut off here"},
		{[]string{"log", "verify", "--file", own, "--channel", "3fa9"}, 2, "", "--file goes neither"},
		{[]string{"log", "prune", "--before", "2026-01-31"}, 0, "dropped 1,200 payments on 2 lanes; the journal has 4.0 MB, before it had 9.0 MB", ""},
		{[]string{"log", "prune", "--before", "90d", "--dry-run"}, 0, "would drop 1,200 payments on 2 lanes", ""},
		{[]string{"log", "prune", "--before", "tomorrow"}, 2, "", "is not a time"},
		{[]string{"log", "prune"}, 2, "", "--before"},
		{[]string{"log", "prune", "--before", "912000", "--json"}, 0, `{"lanes":2,"payments":1200,"bytes_before":9000000,"bytes_after":4000000,"dry_run":false}`, ""},
		{[]string{"log", "export", "--channel", "3fa9"}, 0, `{"book":{"version":1,"network":"simnet"`, ""},
	} {
		r := sess.run(c.args...)
		if r.code != c.exit || !strings.Contains(r.out, c.out) || !strings.Contains(r.err, c.err) {
			t.Errorf("runnel %s: exit %d\n%s%s", strings.Join(c.args, " "), r.code, r.out, r.err)
		}
	}
	if f.prune != (channel.PruneRequest{Height: 912000}) {
		t.Errorf("prune: %+v", f.prune)
	}
	f.log.Problems = []string{"journal segment 3, record 12, byte 99: the record's seal is broken"}
	if r := sess.run("log", "verify"); r.code != 1 || !strings.Contains(r.err, "record 12") || !strings.Contains(r.err, "restart the daemon") {
		t.Errorf("exit %d, %s", r.code, r.err)
	}
}
