package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// told sends a report of draws with the hash that they come to.
func (d *deal) told(hash [32]byte, first uint64, draws ...channel.Draw) *channel.Draws {
	m := &channel.Draws{Lane: d.terms.ID(), FirstSeq: first, Draws: draws, Hash: hash}
	for i, e := range draws {
		m.Hash = channel.DrawHash(m.Hash, m.Lane, first+uint64(i), e)
	}
	return m
}

// A payee that draws what was not authorised ends up with a frozen lane and nothing more than vouchers say.
func TestHostileReports(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(d *deal) []*channel.Draws{
		"not authorised": func(d *deal) []*channel.Draws {
			return []*channel.Draws{d.told([32]byte{}, 1, channel.Draw{N: 9, Amount: 1})}
		},
		"too much": func(d *deal) []*channel.Draws {
			return []*channel.Draws{d.told([32]byte{}, 1, channel.Draw{N: 1, Amount: 1_001})}
		},
		"twice in one": func(d *deal) []*channel.Draws {
			return []*channel.Draws{d.told([32]byte{}, 1, channel.Draw{N: 1, Amount: 5}, channel.Draw{N: 1, Amount: 5})}
		},
		"twice": func(d *deal) []*channel.Draws {
			m := d.told([32]byte{}, 1, channel.Draw{N: 2, Amount: 5})
			return []*channel.Draws{m, d.told(m.Hash, 2, channel.Draw{N: 2})}
		},
		"another chain": func(d *deal) []*channel.Draws {
			return []*channel.Draws{d.told([32]byte{1}, 1, channel.Draw{N: 1, Amount: 5})}
		},
		"a changed draw": func(d *deal) []*channel.Draws {
			m := d.told([32]byte{}, 1, channel.Draw{N: 1, Amount: 5})
			m.Draws[0].Amount = 6
			return []*channel.Draws{m}
		},
		"an overflow": func(d *deal) []*channel.Draws {
			return []*channel.Draws{d.told([32]byte{}, 1, channel.Draw{N: 1, Amount: 1<<64 - 1})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice := w.start("alice", nil)
			alice.fund(2_000_000)
			m := w.rogue("mallory")
			m.feats = []uint32{wire.FeatureDraws}
			d := m.paid(alice, 1_000_000)
			alice.authorise(d.id, 1_000)
			alice.authorise(d.id, 1_000)
			list := lie(d)
			for _, r := range list {
				must(t, m.send(r))
			}
			w.eventually("the lane is frozen", func() bool { return alice.State(d.id).Out.Frozen != channel.NotFrozen })
			st := alice.State(d.id)
			if len(list) == 1 && st.OutDraws.Count != 0 || len(list) == 2 && st.OutDraws.Count != 1 {
				t.Errorf("%d draws were accepted", st.OutDraws.Count)
			}
			if _, err := alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: d.id.String(), Max: 1}); err == nil {
				t.Error("a frozen lane authorises")
			}
		})
	}
}

// A gap is asked about and closed; a repeat is answered again; a peer without the feature gets nothing and may say
// nothing.
func TestReportsOutOfOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	m.feats = []uint32{wire.FeatureDraws}
	d := m.paid(alice, 1_000_000)
	alice.authorise(d.id, 1_000)
	alice.authorise(d.id, 1_000)
	first := d.told([32]byte{}, 1, channel.Draw{N: 2, Amount: 700})
	second := d.told(first.Hash, 2, channel.Draw{N: 1, Amount: 1_000})
	must(t, m.send(second))
	if r := hear[*channel.Resync](m); r.Draws != 0 {
		t.Errorf("the gap is answered with %+v", r)
	}
	must(t, m.send(first))
	if a := hear[*channel.DrawsAck](m); a.Count != 1 {
		t.Errorf("answered %+v", a)
	}
	must(t, m.send(second))
	must(t, m.send(first))
	for range 2 {
		if a := hear[*channel.DrawsAck](m); a.Count != 2 {
			t.Errorf("answered %+v", a)
		}
	}
	if st := alice.State(d.id); st.Out.Frozen != channel.NotFrozen || st.OutDraws.Drawn != 1_700 || len(st.OutDraws.Open) != 0 {
		t.Errorf("%+v, %+v", st.Out, st.OutDraws)
	}
}

// Nothing is authorised for a peer that does not know draws.
func TestPeerWithoutDraws(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	d := m.paid(alice, 1_000_000)
	_, err := alice.Authorise(w.ctx(), channel.AuthoriseRequest{Channel: d.id.String(), Max: 1})
	wantFault(t, "an authorisation", err, channel.CodeUnsupported)
	if alice.BudgetUsed() != 0 {
		t.Error("the budget counts what was not authorised")
	}
	must(t, m.send(d.told([32]byte{}, 1, channel.Draw{N: 1, Amount: 1})))
	m.dropped()
}
