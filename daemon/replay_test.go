package daemon_test

import (
	"os"
	"testing"

	"github.com/runnel/runnel/channel"
)

// No voucher counts twice: 4,000 frames again (in make soak 100,000), over the same connection, a new one, a
// start, a power loss and a reorganisation, and on another lane and from another peer. (For another chain the
// lane has another id and the voucher another digest: ledger/bitcoin holds that.)
func TestReplaysPayNothing(t *testing.T) {
	t.Parallel()
	replays := 4_000
	switch {
	case os.Getenv("RUNNEL_SOAK") != "":
		replays = 100_000
	case testing.Short():
		replays = 2_000
	}
	w := newWorld(t)
	bob := w.start("bob", nil)
	m, v := w.rogue("mallory"), w.rogue("victor")
	d := m.pays(bob, 1_000_000)
	other := m.propose(bob, 500_000)
	other.fund(500_000)
	hear[*channel.Ready](m)
	theirs := v.pays(bob, 500_000)
	frames := []*channel.Frame{}
	for range 20 {
		d.pay(1_000, 2_000)
		frames = append(frames, d.newest)
	}
	other.pay(7_000)
	theirs.pay(9_000)
	want := map[channel.ID]channel.Msat{d.id: 60_000, other.id: 7_000, theirs.id: 9_000}
	check := func(when string) {
		t.Helper()
		for id, msat := range want {
			if st := bob.State(id); st.In.Spent != msat || st.In.Total != msat || st.In.Frozen != channel.NotFrozen {
				t.Fatalf("%s: %+v, want %d msat", when, st.In, msat)
			}
		}
	}
	again := func(when string, n int) {
		t.Helper()
		const together = 1_000
		for n > 0 {
			for i := range min(n, together) {
				must(t, m.send(frames[i%len(frames)]))
			}
			for range min(n, together) {
				if a := hear[*channel.Ack](m); a.Spent > 60_000 || a.Total > 60_000 {
					t.Fatalf("%s: %+v", when, a)
				}
			}
			n -= together
		}
		check(when)
	}
	again("on the connection", replays/4)
	d.dialled(bob)
	again("on a new connection", replays/4)
	bob.restart()
	d.dialled(bob)
	again("after a start", replays/4)
	bob.powerLoss()
	must(t, w.chain.Reorg(1))
	w.chain.Mine(2)
	w.synced(bob)
	d.dialled(bob)
	again("after a power loss and a reorganisation", replays/4)
	for range 20 {
		elsewhere(t, bob, m, v, d, other, theirs)
	}
	check("elsewhere")
	d.dialled(bob)
	d.pay(1)
	if st := bob.State(d.id); st.In.Spent != 60_001 {
		t.Errorf("the lane does not go on: %+v", st.In)
	}
}

// elsewhere shows vouchers of d where they do not belong. Each ends the connection.
func elsewhere(t *testing.T, bob *member, m, v *rogue, d, other, theirs *deal) {
	t.Helper()
	moved := *d.newest
	moved.Lane, moved.FirstSeq = other.terms.ID(), other.seq
	d.dialled(bob)
	other.resync()
	must(t, m.send(&moved))
	m.dropped()

	theirs.dialled(bob)
	must(t, v.send(d.newest)) // a lane of another peer's
	v.dropped()

	theirs.dialled(bob)
	stolen := *d.newest
	stolen.Lane, stolen.FirstSeq = theirs.terms.ID(), theirs.seq
	must(t, v.send(&stolen))
	v.dropped()
}

// dialled is a deal on a connection of its own.
func (d *deal) dialled(m *member) {
	d.r.w.t.Helper()
	_ = d.r.conn.Close()
	d.r.dial(m)
	d.resync()
}
