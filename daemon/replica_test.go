package daemon_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// replicaLog keeps a replica in a journal.
type replicaLog struct{ *file.Journal }

func (l replicaLog) Replace(state []store.Op) error {
	return l.Rebase("", func(_ func(func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error {
		for i := range state {
			if err := add(&state[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func replicaOn(t testing.TB, d file.FS) *file.Journal {
	t.Helper()
	j, err := file.Open(file.Options{FS: d, Key: [32]byte{2}, Keep: daemon.Replicated})
	must(t, err)
	return j
}

// keepReplica gives a node a replica on a disk from its next start on.
func (m *member) keepReplica(d *journaltest.Disk) {
	t := m.w.t
	t.Helper()
	m.halt()
	m.wrap = func(deps *daemon.Deps) {
		s := m.disk.Memory
		r := store.NewReplicated(s, nothing{}, store.ReplicaOptions{Keep: daemon.Replicated, Wait: time.Minute, Retry: time.Millisecond,
			Open: func() (store.ReplicaLog, error) {
				j, err := file.Open(file.Options{FS: d, Key: [32]byte{2}, Keep: daemon.Replicated})
				return replicaLog{j}, err
			},
			Snapshot: func() ([]store.Op, error) { return daemon.ReplicaState(s) }})
		must(t, m.committer.Close())
		m.committer = store.NewCommitter(r, store.Limits{})
		deps.Committer, deps.Replica = m.committer, r
		t.Cleanup(func() { _ = r.CloseReplica() })
		m.w.eventually("the replica is current", func() bool { return r.Health().OK })
	}
	m.boot()
}

// nothing is a second copy that takes everything.
type nothing struct{}

func (nothing) Prepare([]*store.Batch, []error) error { return nil }
func (nothing) Write() error                          { return nil }

// fromReplica throws a member's database away and makes it again from a replica.
func (m *member) fromReplica(d file.FS) {
	m.w.t.Helper()
	m.wrap = nil
	m.lose(func(s store.Store) {
		_, findings, err := daemon.RestoreReplica(replicaOn(m.w.t, d), s, m.scheme, func(b []byte) { _, _ = rand.Read(b) })
		must(m.w.t, err)
		if len(findings) > 0 {
			m.w.t.Errorf("%v", findings)
		}
	})
}

// TestReplicaBringsAllBack: payee and payer lose their disks in the middle of payments, at a power loss of
// the replica's too, and the replica alone knows all that was acknowledged: the payee settles all of it
// though its peer never comes back.
func TestReplicaBringsAllBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	there, here := journaltest.NewDisk(), journaltest.NewDisk()
	alice.keepReplica(here)
	bob.keepReplica(there)
	w.synced(alice, bob)
	w.eventually("they are connected again", func() bool { return alice.info(id).Spendable > 0 })
	for range 9 {
		alice.pay(id.String(), 1_000_000)
	}
	bob.pay(id.String(), 1_000_000)
	w.books(alice, bob, id, 9_000_000)
	before := alice.State(id)
	alice.halt()
	bob.fromReplica(there.PowerLoss(nil))
	w.synced(bob)
	st := bob.State(id)
	if st.Phase != channel.PhaseRecovering || st.Asking == nil || st.In.Total != 9_000_000 || st.In.Spent != 9_000_000 || st.Out.Total != 1_000_000 {
		t.Fatalf("%s, asking %v, received %d, paid %d", st.Phase, st.Asking, st.In.Total, st.Out.Total)
	}
	w.chain.Mine(channel.AskBlocks)
	w.synced(bob)
	_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
	must(t, err)
	w.eventually("bob settles", func() bool { return len(w.chain.Mempool()) > 0 })
	w.chain.Mine(1)
	w.synced(bob)
	if sp := bob.State(id).InFunding.Spend; sp == nil || sp.Total != 9_000_000 {
		t.Errorf("settled by %+v", sp)
	}
	alice.fromReplica(here.PowerLoss(nil))
	w.synced(alice)
	if st := alice.State(id); st.Out.Total != before.Out.Total || st.In.Total != before.In.Total || st.Phase < channel.PhaseRecovering {
		t.Errorf("%s, paid %d, received %d", st.Phase, st.Out.Total, st.In.Total)
	}
	if after := indexOf(t, alice); after < 1<<20 {
		t.Errorf("the next key index is %d", after)
	}
	w.mineUntil("both are over", func() bool {
		return alice.State(id).Phase == channel.PhaseClosed && bob.State(id).Phase == channel.PhaseClosed
	}, alice, bob)
}

// TestReplicaFailsWhilePaying: payments go on, the owner is told twice, and it has all in the end.
func TestReplicaFailsWhilePaying(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	var gone atomic.Bool
	d := journaltest.NewDisk()
	d.Fail = func(string, string) error {
		if gone.Load() {
			return errDisk
		}
		return nil
	}
	bob.keepReplica(d)
	w.synced(alice, bob)
	w.eventually("they are connected again", func() bool { return alice.info(id).Spendable > 0 })
	gone.Store(true)
	for range 5 {
		alice.pay(id.String(), 1_000_000)
	}
	w.eventually("the owner is told", func() bool { return strings.Contains(bob.attention(), "the replica can't be written since") })
	gone.Store(false)
	w.eventually("all is well", func() bool { return !strings.Contains(bob.attention(), "replica") })
	w.books(alice, bob, id, 5_000_000)
	alice.halt()
	bob.fromReplica(d.PowerLoss(nil))
	w.synced(bob)
	if st := bob.State(id); st.In.Total != 5_000_000 {
		t.Errorf("the replica knows %d", st.In.Total)
	}
}

// TestReplicaKnowsAnOldStore: a replica that proves more than the store says so, but for what may have been
// on its way when the node went down; and the one of an old store is no obstacle.
func TestReplicaKnowsAnOldStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	d := journaltest.NewDisk()
	bob.keepReplica(d)
	w.synced(alice, bob)
	w.eventually("they are connected again", func() bool { return alice.info(id).Spendable > 0 })
	alice.pay(id.String(), 1_000_000)
	old := store.NewMemoryFrom(bob.disk.Snapshot())
	older := d.PowerLoss(nil)
	for range 3 {
		alice.pay(id.String(), 1_000_000)
	}
	bob.halt()
	check := func(s store.Store, d file.FS) error {
		_, err := daemon.CheckReplica(s, replicaOn(t, d))
		return err
	}
	for name, err := range map[string]error{"the same": check(bob.disk, d.PowerLoss(nil)), "an old replica": check(bob.disk, older), "both old": check(old, older)} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := check(old, d.PowerLoss(nil)); !errors.Is(err, daemon.ErrReplicaAhead) || !strings.Contains(err.Error(), "4000000") && !strings.Contains(err.Error(), "3000000") {
		t.Errorf("an old store: %v", err)
	}
	if err := check(store.NewMemory(), d.PowerLoss(nil)); !errors.Is(err, daemon.ErrReplicaAhead) {
		t.Errorf("an empty store: %v", err)
	}
}
