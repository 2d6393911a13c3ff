package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/book"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// keepJournal gives a node a journal from its next start on.
func (m *member) keepJournal() {
	m.w.t.Helper()
	m.halt()
	j := openJournal(m.w.t, journaltest.NewDisk())
	must(m.w.t, daemon.Rewrite(m.disk, j, ""))
	m.journal = j
	m.disk.fault(j.Append)
	m.boot()
	m.w.synced(m)
}

func (m *member) export() []byte {
	m.w.t.Helper()
	var b bytes.Buffer
	must(m.w.t, m.ExportLog(m.w.ctx(), "", &b))
	return b.Bytes()
}

func bookOf(b []byte) *book.Reader { return book.NewReader(bytes.NewReader(b), nil) }

// TestPrune: what is below a checkpoint goes, of the payee at once and of the payer only when nobody can ask
// for the ids any more; both books agree before and after, and all else goes on.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	alice.keepJournal()
	bob.keepJournal()
	w.eventually("they are connected again", func() bool { return alice.info(id).Spendable > 0 })
	for i := range 30 {
		alice.pay(id.String(), channel.Msat(100+i))
	}
	lane := bob.State(id).Terms.In.ID()
	for _, m := range []*member{alice, bob} {
		w.eventually("a checkpoint covers all", func() bool {
			c, err := daemon.StoredCheckpoint(m.disk, lane)
			must(t, err)
			return c != nil && c.Size == 30
		})
	}
	all := channel.PruneRequest{Before: time.Now().Add(time.Hour).UnixMilli()}
	none := channel.PruneRequest{Before: 1000}
	dry := all
	dry.DryRun = true
	for _, c := range []struct {
		m    *member
		req  channel.PruneRequest
		want uint64
	}{{alice, all, 0}, {bob, none, 0}, {bob, dry, 30}, {bob, all, 30}, {bob, all, 0}} {
		r, err := c.m.PruneLog(w.ctx(), c.req)
		must(t, err)
		if r.Payments != c.want {
			t.Errorf("%s %+v: %+v, want %d payments", c.m.name, c.req, r, c.want)
		}
	}
	alice.pay(id.String(), 5)
	for _, m := range []*member{alice, bob} {
		r, err := m.VerifyLog(w.ctx(), "")
		must(t, err)
		if len(r.Problems) > 0 || r.Payments != map[string]uint64{"alice": 31, "bob": 1}[m.name] {
			t.Errorf("%s: %+v", m.name, r)
		}
	}
	a, err := book.Compare(bookOf(alice.export()), bookOf(bob.export()))
	if err != nil || a.Lanes != 1 || a.Payments != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	last := errors.New("the payment after pruning")
	if err := bob.Watch(w.ctx(), 0, func(e channel.Event) error {
		if e.Kind == channel.EventPayment && e.Payment.Seq == 31 {
			return last
		}
		return context.Cause(w.ctx())
	}); !errors.Is(err, last) {
		t.Errorf("events: %v", err)
	}
	bob.halt()
	b := &books{store: bob.disk, journal: bob.journal.(*file.Journal)}
	if r := b.reconcile(t); r.Repaired() || r.Restored+r.Appended > 0 {
		t.Errorf("after pruning: %+v", r)
	}
	fresh := written(t, &history{}, 0, 0)
	fresh.journal = b.journal
	fresh.reconcile(t)
	st, err := daemon.LoadChannel(fresh.store, id)
	if err != nil || st.In.NextSeq != 32 {
		t.Errorf("from the journal alone: next %d, %v", st.In.NextSeq, err)
	}
	bob.boot()
	w.eventually("paying goes on", func() bool {
		r, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 7})
		return err == nil && r.Status == channel.PayAcknowledged
	})
}
