package daemon_test

import (
	"crypto/sha256"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/receipt"
	"github.com/runnel/runnel/wire"
)

// checkpoint is what a node stored of a lane's log.
func (m *member) checkpoint(lane channel.LaneID) *channel.Checkpoint {
	m.w.t.Helper()
	c, err := daemon.StoredCheckpoint(m.disk, lane)
	must(m.w.t, err)
	return c
}

// agreed waits until two nodes hold the same checkpoint over so many payments, and checks its signatures.
func (w *world) agreed(a, b *member, t channel.LaneTerms, size uint64) *channel.Checkpoint {
	w.t.Helper()
	var c *channel.Checkpoint
	w.eventually("both hold the checkpoint", func() bool {
		c = a.checkpoint(t.ID())
		d := b.checkpoint(t.ID())
		return c != nil && d != nil && c.Size >= size && *c == *d
	})
	must(w.t, a.scheme.VerifyRoot(t, false, c.LogRoot, c.Payee))
	must(w.t, a.scheme.VerifyRoot(t, true, c.LogRoot, c.Payer))
	return c
}

// rootOf builds the root of a lane's log from a node's history, by a way of its own.
func (m *member) rootOf(id channel.ID, t channel.LaneTerms, dir channel.Direction, size uint64) [32]byte {
	m.w.t.Helper()
	list, err := m.Payments(m.w.ctx(), channel.PaymentFilter{Channel: id.String(), Limit: 1 << 20})
	must(m.w.t, err)
	leaves := make([][32]byte, size)
	for _, p := range list {
		if p.Dir == dir && p.Seq <= size {
			leaves[p.Seq-1] = receipt.Leaf(t.ID(), p.Seq, channel.Payment{ID: p.ID, Amount: p.Amount, Ref: p.Ref}, p.Reason)
		}
	}
	return naiveRoot(leaves)
}

// Both lanes of a channel get checkpoints while payments flow, after a rest, over restarts, and at the close.
func TestCheckpoints(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.fund(2_000_000)
	bob.fund(1_000_000)
	id := w.open(alice, bob, 1_000_000, 200_000)
	terms := alice.State(id).Terms

	const refused, n = 20, 1500 // more than rootEvery: a root is signed before the lane rests
	alice.refusedBy(bob, id, refused)
	var left atomic.Int32
	left.Store(n - refused)
	for i := range n - refused {
		alice.PayAsync(channel.PayRequest{Target: id.String(), Amount: channel.Msat(4 + i%7), Ref: "n"}, func(channel.PayResult, error) { left.Add(-1) })
	}
	w.eventually("all have an answer", func() bool { return left.Load() == 0 })
	bob.pay(id.String(), 777)
	c := w.agreed(alice, bob, terms.Out, n)
	if st := bob.State(id).In; c.Size != n || c.Total != st.Total || c.Spent != st.Spent || c.Hash != st.Hash {
		t.Fatalf("checkpoint %+v, lane %+v", c, st)
	}
	if a, b := alice.rootOf(id, terms.Out, channel.Sending, n), bob.rootOf(id, terms.Out, channel.Receiving, n); a != c.Root || b != c.Root {
		t.Fatalf("root %x, by alice's history %x, by bob's %x", c.Root, a, b)
	}
	w.agreed(bob, alice, terms.In, 1)

	alice.pay(id.String(), 50)
	bob.restart() // before it could sign, as a rule: it does at the next connection
	w.agreed(alice, bob, terms.Out, n+1)
	alice.restart()
	w.eventually("the lane pays again", func() bool {
		_, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 60, HasID: true, ID: channel.PaymentID{7}})
		return err == nil
	})
	_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	c = w.agreed(alice, bob, terms.Out, n+2)
	if a := alice.rootOf(id, terms.Out, channel.Sending, n+2); a != c.Root {
		t.Fatalf("root %x, by alice's history %x", c.Root, a)
	}
}

// refusedBy makes payments that the payee refuses.
func (m *member) refusedBy(payee *member, id channel.ID, n int) {
	m.w.t.Helper()
	payee.limit(0)
	payee.chain.SetAway(true)
	m.w.eventually("the payee is blind", func() bool { return len(must2(payee.Status(m.w.ctx())).Attention) > 0 })
	for range n {
		if r := m.pay(id.String(), 1_000); r.Status != channel.PayRefused {
			m.w.t.Fatalf("%+v", r)
		}
	}
	payee.chain.SetAway(false)
	m.w.synced(payee)
}

// naiveRoot is the definition of RFC 6962, 2.1.
func naiveRoot(leaves [][32]byte) [32]byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	left, right := naiveRoot(leaves[:k]), naiveRoot(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// An answer to a root that gets lost is given again, and fits the record that the payer made the first time.
func TestLostRootAnswer(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	lane := alice.State(id).Terms.Out
	var lost atomic.Int32
	w.lose(func(_ channel.PeerID, m wire.Message) bool {
		_, ok := m.(*channel.RootAck)
		return ok && lost.Add(1) == 1
	})
	alice.pay(id.String(), 1000)
	w.eventually("the answer is lost", func() bool { return lost.Load() > 0 })
	if bob.checkpoint(lane.ID()) != nil {
		t.Fatal("the payee has a checkpoint without the payer's signature")
	}
	w.lose(nil)
	bob.restart()
	w.agreed(alice, bob, lane, 1)
}

// What a payee can sign that is wrong, and what the payer does about it.
func TestHostileRoots(t *testing.T) {
	const dropped, frozen, ignored = "dropped", "frozen", "ignored"
	for name, c := range map[string]struct {
		change func(*channel.Root)
		resign bool
		want   string
	}{
		"right":             {func(*channel.Root) {}, true, ""},
		"wrong root":        {func(r *channel.Root) { r.Log.Root[0] ^= 1 }, true, frozen},
		"wrong lane hash":   {func(r *channel.Root) { r.Log.Hash[0] ^= 1 }, true, frozen},
		"wrong spent":       {func(r *channel.Root) { r.Log.Spent-- }, true, frozen},
		"wrong total":       {func(r *channel.Root) { r.Log.Total++ }, true, frozen},
		"too small a size":  {func(r *channel.Root) { r.Log.Size = 2 }, true, frozen},
		"inside a frame":    {func(r *channel.Root) { r.Log.Size = 1 }, true, frozen},
		"wrong signature":   {func(r *channel.Root) { r.Signature[40] ^= 1 }, false, dropped},
		"no signature":      {func(r *channel.Root) { r.Signature = channel.Signature{} }, false, dropped},
		"never paid":        {func(r *channel.Root) { r.Log.Size = 4 }, true, dropped},
		"huge size":         {func(r *channel.Root) { r.Log.Size = 1 << 62 }, true, dropped},
		"another lane":      {func(r *channel.Root) { r.Log.Lane[31] ^= 1 }, false, dropped},
		"unknown lane":      {func(r *channel.Root) { r.Log.Lane[0] ^= 1 }, false, dropped},
		"time far off":      {func(r *channel.Root) { r.Log.Time += 3 * 3600 }, true, ignored},
		"time in year 9999": {func(r *channel.Root) { r.Log.Time = wire.MaxTime }, true, ignored},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			alice, r := w.start("alice", nil), w.rogue("mallory")
			r.feats = []uint32{wire.FeatureRoots}
			alice.fund(2_000_000)
			d := r.paid(alice, 1_000_000)
			for range 3 {
				go alice.Pay(w.ctx(), channel.PayRequest{Target: d.id.String(), Amount: 100})
				d.take(nil)
			}
			w.eventually("all is answered", func() bool { return alice.State(d.id).Out.Acked == 4 })
			m := d.root(alice, 3)
			c.change(m)
			if c.resign {
				m.Signature = d.signRoot(m.Log)
			}
			must(t, r.send(m))
			switch c.want {
			case dropped:
				r.dropped()
			case frozen:
				w.eventually("the lane is frozen", func() bool { return alice.State(d.id).Out.Frozen == channel.FrozenHash })
			case ignored:
				must(t, r.send(d.root(alice, 3))) // answered, and it comes after the other
				if a := hear[*channel.RootAck](r); a.Log.Time == m.Log.Time {
					t.Fatal("the payer signed a wrong time")
				}
			default:
				if a := hear[*channel.RootAck](r); a.Log != m.Log || a.Payee != m.Signature || r.scheme.VerifyRoot(d.terms, true, a.Log, a.Payer) != nil {
					t.Fatalf("answered %+v", a)
				}
			}
			if got := alice.checkpoint(d.terms.ID()); (got != nil) != (c.want == "" || c.want == ignored) {
				t.Fatalf("stored %+v", got)
			}
		})
	}
}

// root is the payee's root over the first payments that the rogue took, as it should be.
func (d *deal) root(m *member, size uint64) *channel.Root {
	d.r.w.t.Helper()
	r := channel.LogRoot{Lane: d.terms.ID(), Size: size, Hash: d.hashes[size+1], Time: uint64(time.Now().Unix())}
	r.Root = m.rootOf(d.id, d.terms, channel.Sending, size)
	r.Total = channel.Msat(100 * size)
	r.Spent = r.Total
	return &channel.Root{Log: r, Signature: d.signRoot(r)}
}

func (d *deal) signRoot(r channel.LogRoot) channel.Signature {
	d.r.w.t.Helper()
	r.Lane = d.terms.ID()
	sig, err := d.r.signer.SignRoot(d.terms, ledger.LaneKeys{Lane: d.key}, r)
	must(d.r.w.t, err)
	return sig
}

// A root can come before the answers that it is over; older ones and those that were answered change nothing.
func TestRootOrder(t *testing.T) {
	w := newWorld(t)
	alice, r := w.start("alice", nil), w.rogue("mallory")
	r.feats = []uint32{wire.FeatureRoots}
	alice.fund(2_000_000)
	d := r.paid(alice, 1_000_000)
	pay := func() { go alice.Pay(w.ctx(), channel.PayRequest{Target: d.id.String(), Amount: 100}) }
	pay()
	d.take(nil)
	w.eventually("answered", func() bool { return alice.State(d.id).Out.Acked == 2 })
	first := d.root(alice, 1)
	must(t, r.send(first))
	answer := *hear[*channel.RootAck](r)

	must(t, r.send(first)) // again
	if a := *hear[*channel.RootAck](r); a != answer {
		t.Fatalf("answered %+v, at first %+v", a, answer)
	}
	other := *first // the same log, another time: the record stands
	other.Log.Time++
	other.Signature = d.signRoot(other.Log)
	must(t, r.send(&other))
	if a := *hear[*channel.RootAck](r); a != answer {
		t.Fatalf("answered %+v, at first %+v", a, answer)
	}

	pay()
	f := hear[*channel.Frame](r)
	hash := channel.LaneHash(d.hashes[2], f.Lane, 2, f.Payments[0], channel.Accepted)
	d.hashes[3] = hash
	must(t, r.send(d.root(alice, 2))) // before its answer: alice's history has the payment already
	must(t, r.send(&channel.Ack{Lane: f.Lane, NextSeq: 3, Total: f.Total, Spent: f.Total, Hash: hash}))
	if a := hear[*channel.RootAck](r); a.Log.Size != 2 {
		t.Fatalf("answered %+v", a)
	}
	must(t, r.send(first)) // older than the checkpoint
	pay()
	d.seq, d.newest = 3, f
	d.take(nil)
	w.eventually("answered", func() bool { return alice.State(d.id).Out.Acked == 4 })
	must(t, r.send(d.root(alice, 3)))
	if a := hear[*channel.RootAck](r); a.Log.Size != 3 {
		t.Fatalf("answered %+v", a)
	}
	differ := d.root(alice, 3) // over what has a checkpoint already
	differ.Log.Root[5] ^= 1
	differ.Signature = d.signRoot(differ.Log)
	must(t, r.send(differ))
	w.eventually("the lane is frozen", func() bool { return alice.State(d.id).Out.Frozen == channel.FrozenHash })
}

// What a payer can say about roots that is wrong.
func TestHostileRootAnswers(t *testing.T) {
	for name, c := range map[string]func(r *rogue, d *deal, a *channel.RootAck) channel.Message{
		"wrong signature":    func(_ *rogue, _ *deal, a *channel.RootAck) channel.Message { a.Payer[40] ^= 1; return a },
		"payee's as payer's": func(_ *rogue, _ *deal, a *channel.RootAck) channel.Message { a.Payer = a.Payee; return a },
		"never signed by us": func(r *rogue, d *deal, a *channel.RootAck) channel.Message {
			a.Log.Root[0] ^= 1
			a.Payer = d.counter(a.Log)
			return a
		},
		"a size to come": func(r *rogue, d *deal, a *channel.RootAck) channel.Message {
			a.Log.Size = 1 << 40
			a.Payer = d.counter(a.Log)
			return a
		},
		"request for a foreign lane": func(_ *rogue, d *deal, a *channel.RootAck) channel.Message {
			return &channel.RootRequest{Lane: channel.LaneID{1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			bob, r := w.start("bob", nil), w.rogue("mallory")
			r.feats = []uint32{wire.FeatureRoots}
			d := r.pays(bob, 1_000_000)
			d.pay(500)
			must(t, r.send(&channel.RootRequest{Lane: d.terms.ID()}))
			m := hear[*channel.Root](r)
			a := &channel.RootAck{Log: m.Log, Payee: m.Signature, Payer: d.counter(m.Log)}
			must(t, r.send(c(r, d, a)))
			r.dropped()
			if got := bob.checkpoint(d.terms.ID()); got != nil {
				t.Fatalf("stored %+v", got)
			}
			r.dial(bob) // and what is right is taken afterwards
			d.resync()
			must(t, r.send(&channel.RootAck{Log: m.Log, Payee: m.Signature, Payer: d.counter(m.Log)}))
			w.eventually("the checkpoint is stored", func() bool { return bob.checkpoint(d.terms.ID()) != nil })
		})
	}
}

// counter is the payer's signature.
func (d *deal) counter(r channel.LogRoot) channel.Signature {
	d.r.w.t.Helper()
	sig, err := d.r.signer.SignRoot(d.terms, ledger.LaneKeys{Lane: d.key, Payer: true}, r)
	must(d.r.w.t, err)
	return sig
}

// A peer that does not know roots is told nothing of them, and may not speak of them.
func TestPeerWithoutRoots(t *testing.T) {
	w := newWorld(t)
	bob, r := w.start("bob", nil), w.rogue("elder")
	d := r.pays(bob, 1_000_000)
	d.pay(500)
	must(t, r.send(&channel.RootRequest{Lane: d.terms.ID()}))
	for m := range r.heard {
		if _, ok := m.(*channel.Root); ok {
			t.Fatal("a root for a peer that does not know roots")
		}
	}
	r.dropped()
	if bob.checkpoint(d.terms.ID()) != nil {
		t.Fatal("a checkpoint with a peer that does not know roots")
	}
}
