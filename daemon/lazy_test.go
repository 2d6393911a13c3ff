package daemon_test

import (
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/wire"
)

// An answer that waits for the next commit is durable before a message leaves that needs no commit of its own: it
// may speak of what the answer changed.
func TestNothingOvertakesWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.wrap = func(deps *daemon.Deps) { // no timer writes it down
		deps.After = func(d time.Duration, f func()) {
			if d > time.Second {
				time.AfterFunc(d, f)
			}
		}
	}
	alice.restart()
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	m.feats = []uint32{wire.FeatureDraws}
	d := m.paid(alice, 1_000_000)
	alice.authorise(d.id, 1_000)
	report := d.told([32]byte{}, 1, channel.Draw{N: 1, Amount: 5})
	must(t, m.send(report))
	hear[*channel.DrawsAck](m)
	b := alice.burst(d.id, 1, 1, 1_000)
	d.take(func(a *channel.Ack) { a.Spent = 1_000 })
	w.eventually("paid", func() bool { n, _ := b.told(); return n == 1 })
	must(t, m.send(report)) // it is answered again, and nothing is stored for that
	hear[*channel.DrawsAck](m)
	raw, err := alice.disk.Get(append(append([]byte{'l'}, d.id[:]...), 'o'))
	must(t, err)
	var lane channel.Lane
	if must(t, lane.UnmarshalBinary(raw[:len(raw)-8])); lane.Spent != 1_000 || lane.Acked != 2 {
		t.Errorf("an answer left, and what waited before it is not stored: %+v", lane)
	}
}
