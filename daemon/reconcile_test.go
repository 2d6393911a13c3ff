package daemon_test

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// history is all that a node wrote, group by group.
type history struct {
	mu     sync.Mutex
	groups [][]*store.Batch
}

func (h *history) record(batches []*store.Batch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups = append(h.groups, slices.Clone(batches))
	return nil
}

// histories are those of two nodes that opened a channel, paid both ways, once with a refusal, and restarted.
var histories = sync.OnceValues(func() (payer, payee *history) {
	payer, payee = &history{}, &history{}
	return payer, payee
})

func twoHistories(t *testing.T) (payer, payee *history) {
	payer, payee = histories()
	if len(payer.groups) > 0 {
		return payer, payee
	}
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.disk.fault(payer.record)
	bob.disk.fault(payee.record)
	alice.fund(3_000_000)
	bob.fund(1_000_000)
	id := w.open(alice, bob, 1_000_000, 200_000)
	w.open(alice, bob, 500_000, 0)
	for i := range 40 {
		alice.pay(id.String(), channel.Msat(100+i))
	}
	for range 10 {
		bob.pay(string(w.id("alice")), 777)
	}
	alice.halt()
	bob.halt()
	return payer, payee
}

type books struct {
	store   store.Store
	disk    *journaltest.Disk
	journal *file.Journal
}

func openJournal(t testing.TB, fs file.FS) *file.Journal {
	t.Helper()
	j, err := file.Open(file.Options{FS: fs, Key: [32]byte{1}, Keep: daemon.Journaled, Segment: 16 << 10})
	must(t, err)
	return j
}

// written are both books after as many groups.
func written(t testing.TB, h *history, inStore, inJournal int) *books {
	t.Helper()
	b := &books{store: store.NewMemory(), disk: journaltest.NewDisk()}
	b.journal = openJournal(t, b.disk)
	for _, g := range h.groups[:inStore] {
		_, err := b.store.Apply(g)
		must(t, err)
	}
	for _, g := range h.groups[:inJournal] {
		must(t, b.journal.Append(g))
	}
	must(t, b.journal.Close())
	b.journal = openJournal(t, b.disk)
	return b
}

func (b *books) reconcile(t testing.TB) *daemon.Reconciliation {
	t.Helper()
	r, err := b.tryReconcile(t)
	must(t, err)
	return r
}

func (b *books) tryReconcile(t testing.TB) (*daemon.Reconciliation, error) {
	t.Helper()
	scheme, err := bitcoin.NewScheme("simnet")
	must(t, err)
	return daemon.Reconcile(b.store, b.journal, scheme)
}

// content is what must survive: all but scripts, scanned blocks and addresses.
func content(t testing.TB, s store.Store) map[string]string {
	t.Helper()
	m := map[string]string{}
	must(t, s.Scan(nil, nil, func(k, v []byte) bool {
		if !strings.ContainsRune("shp", rune(k[0])) {
			m[string(k)] = string(v)
		}
		return true
	}))
	return m
}

// wantAgreed checks that both books hold exactly the content, and that the next start finds them equal.
func (b *books) wantAgreed(t testing.TB, want map[string]string) {
	t.Helper()
	if got := content(t, b.store); !maps.Equal(got, want) {
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%q is %q, want %q", k, got[k], v)
			}
		}
		t.Fatalf("the store has %d records, want %d", len(got), len(want))
	}
	if b.disk != nil {
		b.journal = openJournal(t, b.disk)
	}
	r := b.reconcile(t)
	if r.Repaired() || r.Restored+r.Appended > 0 {
		t.Fatalf("the next start repairs again: %+v", r)
	}
	fresh := &books{store: store.NewMemory(), journal: b.journal}
	fresh.reconcile(t)
	if got := content(t, fresh.store); !maps.Equal(got, want) {
		t.Fatalf("the journal alone makes %d records, want %d", len(got), len(want))
	}
}

func full(t testing.TB, h *history) map[string]string {
	return content(t, written(t, h, len(h.groups), 0).store)
}

func TestEqualBooks(t *testing.T) {
	for _, h := range histList(twoHistories(t)) {
		b := written(t, h, len(h.groups), len(h.groups))
		if r := b.reconcile(t); r.Repaired() || r.Restored+r.Appended > 0 || r.Records < 50 {
			t.Errorf("%+v", r)
		}
		b.wantAgreed(t, full(t, h))
	}
}

func histList(a, b *history) []*history { return []*history{a, b} }

// TestOneBookIsBehind: whichever of the two ended earlier, by one group or by many, has all afterwards.
func TestOneBookIsBehind(t *testing.T) {
	for _, h := range histList(twoHistories(t)) {
		all := len(h.groups)
		want := full(t, h)
		for _, n := range []int{1, 2, 5, 17, all / 2, all} {
			b := written(t, h, all-n, all)
			r := b.reconcile(t)
			if r.Restored == 0 || n > 10 && !r.Repaired() || n == 1 && r.Repaired() || len(r.Recovering) > 0 {
				t.Errorf("store behind by %d: %+v", n, r)
			}
			b.wantAgreed(t, want)
			b = written(t, h, all, all-n)
			if r = b.reconcile(t); r.Appended == 0 || len(r.Recovering) > 0 {
				t.Errorf("journal behind by %d: %+v", n, r)
			}
			b.wantAgreed(t, want)
		}
	}
}

// TestAnyRecordLost: whichever single record the store lost, or has in an older form, comes back.
func TestAnyRecordLost(t *testing.T) {
	for _, h := range histList(twoHistories(t)) {
		want := full(t, h)
		older := map[string]string{}
		for n := range h.groups {
			for k, v := range content(t, written(t, h, n, 0).store) {
				if v != want[k] {
					older[k] = v
				}
			}
		}
		b := written(t, h, len(h.groups), len(h.groups))
		for _, k := range slices.Sorted(maps.Keys(want)) {
			must(t, apply(b.store, new(store.Batch).Delete([]byte(k))))
			if r := b.reconcile(t); r.Restored == 0 {
				t.Fatalf("%q lost: %+v", k, r)
			}
			if v, ok := older[k]; ok {
				must(t, apply(b.store, new(store.Batch).Put([]byte(k), []byte(v))))
				if r := b.reconcile(t); r.Restored == 0 {
					t.Fatalf("%q older: %+v", k, r)
				}
			}
			if got := content(t, b.store); !maps.Equal(got, want) {
				t.Fatalf("%q did not come back", k)
			}
		}
		b.wantAgreed(t, want)
	}
}

func apply(s store.Store, b *store.Batch) error {
	_, err := s.Apply([]*store.Batch{b})
	return err
}

// TestDamagedJournal: a flipped bit anywhere in the journal is found, nothing is lost, and the damaged
// journal stays beside the new one.
func TestDamagedJournal(t *testing.T) {
	for _, h := range histList(twoHistories(t)) {
		want := full(t, h)
		whole := written(t, h, len(h.groups), len(h.groups))
		names, err := whole.disk.List()
		must(t, err)
		random := rand.New(rand.NewPCG(5, 6))
		for range 25 {
			b := &books{store: store.NewMemory(), disk: whole.disk.PowerLoss(nil)}
			for _, g := range h.groups {
				must(t, errOf(b.store.Apply(g)))
			}
			name := names[random.IntN(len(names))]
			b.disk.Flip(name, random.Int64N(8*int64(len(b.disk.Bytes(name)))))
			b.journal = openJournal(t, b.disk)
			r := b.reconcile(t)
			late := name == names[len(names)-1] && len(r.Findings) == 0 && r.Appended > 0
			if len(r.Findings) == 0 && !late || len(r.Recovering) > 0 {
				t.Fatalf("%s: %+v", name, r)
			}
			after, err := b.disk.List()
			must(t, err)
			if kept := slices.ContainsFunc(after, func(n string) bool { return strings.HasPrefix(n, "damaged-") }); kept == late {
				t.Errorf("kept: %v", after)
			}
			b.wantAgreed(t, want)
		}
	}
}

func errOf(_ []error, err error) error { return err }

// TestBothLost: a damaged journal beside a store that lost something too leaves no channel trusted.
func TestBothLost(t *testing.T) {
	payer, _ := twoHistories(t)
	b := written(t, payer, len(payer.groups)-20, len(payer.groups))
	names, err := b.disk.List()
	must(t, err)
	b.disk.Flip(names[0], 8*2000)
	b.journal = openJournal(t, b.disk)
	r := b.reconcile(t)
	if len(r.Findings) == 0 || len(r.Recovering) != 2 || !strings.Contains(r.String(), "can only be closed") {
		t.Fatalf("%+v", r)
	}
	for _, id := range r.Recovering {
		st, err := daemon.LoadChannel(b.store, id)
		must(t, err)
		if st.Phase != channel.PhaseRecovering {
			t.Errorf("channel %s is %s", id, st.Phase)
		}
	}
	b.wantAgreed(t, content(t, b.store))
}

// TestTwoFutures: two copies that went on apart are joined to what proves more, and not trusted.
func TestTwoFutures(t *testing.T) {
	_, payee := twoHistories(t)
	b := written(t, payee, len(payee.groups), len(payee.groups))
	ids := channelsOf(t, b.store)
	st, err := daemon.LoadChannel(b.store, ids[0])
	must(t, err)
	if st.In.Total == 0 {
		st, err = daemon.LoadChannel(b.store, ids[1])
		must(t, err)
	}
	// The store's copy says more commits and less money.
	scheme, err := bitcoin.NewScheme("simnet")
	must(t, err)
	total := st.In.Total
	st.In = channel.Lane{NextSeq: st.In.NextSeq, Acked: st.In.Acked}
	records, err := daemon.Records(scheme, &st)
	must(t, err)
	for _, kv := range records[:3] {
		if kv[0][0] == 'l' && kv[0][len(kv[0])-1] == 'o' {
			kv[1] = append(kv[1][:len(kv[1])-8], 0, 0, 0, 1, 0, 0, 0, 0)
		}
		must(t, apply(b.store, new(store.Batch).Put(kv[0], kv[1])))
	}
	r := b.reconcile(t)
	if !slices.Equal(r.Recovering, []channel.ID{st.Terms.ID}) || !r.Repaired() {
		t.Fatalf("%+v", r)
	}
	after, err := daemon.LoadChannel(b.store, st.Terms.ID)
	must(t, err)
	if after.In.Total != total || after.Phase != channel.PhaseRecovering {
		t.Errorf("total %d of %d, %s", after.In.Total, total, after.Phase)
	}
	b.wantAgreed(t, content(t, b.store))
}

func channelsOf(t *testing.T, s store.Store) (ids []channel.ID) {
	must(t, s.Scan([]byte{'c'}, nil, func(k, _ []byte) bool { ids = append(ids, channel.ID(k[1:])); return true }))
	return ids
}

// TestOtherHistory: a record of payments that differs is nobody's to decide.
func TestOtherHistory(t *testing.T) {
	payer, _ := twoHistories(t)
	b := written(t, payer, len(payer.groups), len(payer.groups))
	var key []byte
	must(t, b.store.Scan([]byte{'f'}, nil, func(k, _ []byte) bool { key = bytes.Clone(k); return false }))
	must(t, apply(b.store, new(store.Batch).Put(key, []byte("something else"))))
	if _, err := b.tryReconcile(t); !errors.Is(err, daemon.ErrBooks) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("%v, want ErrBooks and what to do", err)
	}
}

// TestFlippedBitInBadger: the real database takes a flipped bit in its log for the log's end and forgets
// what follows without a word. The journal brings it back.
func TestFlippedBitInBadger(t *testing.T) {
	for _, h := range histList(twoHistories(t)) {
		dir := t.TempDir()
		o := badger.Options{Dir: filepath.Join(dir, "db"), Key: [32]byte{2}, Create: true}
		db, err := badger.Open(o)
		must(t, err)
		must(t, os.Mkdir(filepath.Join(dir, "journal"), 0o700))
		j := openJournal(t, file.OS(filepath.Join(dir, "journal")))
		pair := store.NewPair(db, j)
		for _, g := range h.groups {
			must(t, errOf(pair.Apply(g)))
		}
		crashed := t.TempDir()
		must(t, os.CopyFS(crashed, os.DirFS(dir))) // as a SIGKILL leaves it
		must(t, pair.Close())
		must(t, j.Close())
		flipMemtable(t, filepath.Join(crashed, "db"))
		o.Dir = filepath.Join(crashed, "db")
		db, err = badger.Open(o)
		must(t, err)
		want := full(t, h)
		if got := content(t, db); len(got) == 0 || len(got) > len(want)*3/4 {
			t.Fatalf("the flipped bit cost nothing: %d of %d records are there", len(got), len(want))
		}
		b := &books{store: db, journal: openJournal(t, file.OS(filepath.Join(crashed, "journal")))}
		r := b.reconcile(t)
		if !r.Repaired() || r.Restored == 0 || len(r.Recovering) > 0 {
			t.Errorf("%+v", r)
		}
		b.wantAgreed(t, want)
		for _, id := range channelsOf(t, db) {
			_, err := daemon.LoadChannel(db, id)
			must(t, err)
		}
		must(t, db.Close())
		must(t, b.journal.Close())
	}
}

// flipMemtable flips a bit in the middle of what the database's log holds.
func flipMemtable(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("logs: %v", names)
	}
	b, err := os.ReadFile(names[0])
	must(t, err)
	b[len(bytes.TrimRight(b, "\x00"))/2] ^= 4
	must(t, os.WriteFile(names[0], b, 0o600))
}

// TestFirstJournal: a store of the format before gets a journal that makes the same store.
func TestFirstJournal(t *testing.T) {
	for _, h := range histList(twoHistories(t)) {
		b := written(t, h, len(h.groups), 0)
		must(t, daemon.Rewrite(b.store, b.journal, ""))
		b.wantAgreed(t, full(t, h))
	}
}

// BenchmarkReconcile is what a start costs for a million coalesced payments, half of them own.
func BenchmarkReconcile(b *testing.B) {
	const frames, each = 1000, 1000
	dir := b.TempDir()
	db, err := badger.Open(badger.Options{Dir: filepath.Join(dir, "db"), Key: [32]byte{2}, Create: true})
	must(b, err)
	defer db.Close()
	must(b, os.Mkdir(filepath.Join(dir, "journal"), 0o700))
	j, err := file.Open(file.Options{FS: file.OS(filepath.Join(dir, "journal")), Key: [32]byte{1}, Keep: daemon.Journaled})
	must(b, err)
	defer j.Close()
	pair := store.NewPair(db, j)
	for f := range frames {
		batch, err := daemon.FrameBatch(f, each, f%2 == 0)
		must(b, err)
		must(b, errOf(pair.Apply([]*store.Batch{batch})))
	}
	scheme, err := bitcoin.NewScheme("simnet")
	must(b, err)
	b.ResetTimer()
	for range b.N {
		r, err := daemon.Reconcile(db, j, scheme)
		must(b, err)
		if r.Repaired() || r.Restored+r.Appended > 0 {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(float64(j.Size())/1e6, "MB-journal")
	b.ReportMetric(float64(j.Size())/frames/each*1000/1000, "kB/1000payments")
}
