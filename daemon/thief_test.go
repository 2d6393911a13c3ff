package daemon_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/wire"
)

// opens begins an Open of a node to a rogue and returns what the rogue hears; the outcome comes later.
func (r *rogue) opens(m *member, req channel.OpenRequest) (*channel.Open, <-chan error) {
	r.w.t.Helper()
	req.Peer = "/mem/p2p/" + string(r.host.Self())
	outcome := make(chan error, 1)
	go func() {
		_, err := m.Open(r.w.ctx(), req)
		outcome <- err
	}()
	if r.conn == nil {
		r.await()
	}
	return hear[*channel.Open](r), outcome
}

// agrees is an Accept for an Open, with a lane of the rogue's own if one was asked for.
func (r *rogue) agrees(o *channel.Open, m *member) *channel.Accept {
	r.w.t.Helper()
	key := r.keys
	r.keys += 2
	a := &channel.Accept{Channel: channel.NewID(r.host.Self(), r.w.id(m.name), o.Nonce), PeerDeposit: o.PeerDeposit,
		Confirmations: 1, MaxUnacked: 10_000_000, Window: 256}
	var err error
	a.Payee, err = r.signer.PayeeKey(key + 1)
	must(r.w.t, err)
	if o.PeerDeposit > 0 {
		a.Payer, err = r.signer.PayerKey(key)
		must(r.w.t, err)
		a.Refund, err = r.signer.RefundKey(key)
		must(r.w.t, err)
	}
	return a
}

// An acceptor that gives a node its own keys back would make both lanes pay to one address: the deposit would
// be taken for the peer's, and never come back by itself.
func TestAcceptorWithTheOpenersKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(2_000_000)
	n := 0
	for name, spoil := range map[string]func(*channel.Accept, *channel.Open){
		"both lanes at one address":      func(a *channel.Accept, o *channel.Open) { a.Payer, a.Payee = o.Payer, o.Payee },
		"one lane twice":                 func(a *channel.Accept, o *channel.Open) { a.Payer, a.Payee, a.Refund = o.Payer, o.Payee, o.Refund },
		"the payee's key is the payer's": func(a *channel.Accept, o *channel.Open) { a.Payee = o.Payee },
		"turned upside down": func(a *channel.Accept, o *channel.Open) {
			a.Payer, a.Payee = o.Payer, o.Payee
			a.Payer[0] ^= 1 // the same key in a leaf
		},
		"one key for both of its lanes": func(a *channel.Accept, o *channel.Open) { a.Payer = a.Payee },
	} {
		n++
		m := w.rogue("mallory" + string(rune('0'+n)))
		o, outcome := m.opens(alice, channel.OpenRequest{Deposit: 300_000, PeerDeposit: 300_000})
		a := m.agrees(o, alice)
		spoil(a, o)
		must(t, m.send(a))
		if err := <-outcome; codeOf(err) != channel.CodePeerRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := alice.onchain(); got != alice.given {
		t.Errorf("alice has %d sat of %d", got, alice.given)
	}
}

// The same over two channels that are opened at once.
func TestAcceptorWithKeysOfAnotherChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(1_000_000)
	alice.fund(1_000_000)
	m := w.rogue("mallory")
	first, opened := m.opens(alice, channel.OpenRequest{Deposit: 300_000, Expiry: 100})
	second, again := m.opens(alice, channel.OpenRequest{Deposit: 300_000, PeerDeposit: 300_000, Expiry: 100})
	a := m.agrees(first, alice)
	a.Payee = second.Payee
	must(t, m.send(a))
	err := <-opened
	b := m.agrees(second, alice)
	b.Payer = first.Payer
	must(t, m.send(b))
	if other := <-again; err == nil && codeOf(other) != channel.CodePeerRefused {
		t.Errorf("two lanes of alice's have one address: %v, %v", err, other)
	}
}

// A payee that does not answer and asks again and again for what it was sent, without reading it, costs the
// payer no more than the frames themselves.
func TestPayeeThatAsksAndDoesNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.net.QueueBytes = 64 << 10
	alice := w.start("alice", func(c *daemon.Config) { c.SignEach = true })
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	d := m.paid(alice, 1_000_000)
	const frames, asked = 200, 300
	for range frames {
		alice.PayAsync(channel.PayRequest{Target: d.id.String(), Amount: 1_000}, func(channel.PayResult, error) {})
	}
	for range frames {
		hear[*channel.Frame](m)
	}
	for range asked {
		must(t, m.send(&channel.Resync{Channel: d.id, Phase: channel.PhaseOpen, Ready: true, Acked: 1, In: channel.LaneReport{NextSeq: 1}}))
		must(t, m.send(&channel.Ready{Lane: d.terms.ID()}))
	}
	must(t, m.send(&channel.Refuse{Channel: d.id, Code: channel.DenyBusy, Text: "that was all"}))
	seen := errors.New("seen")
	err := alice.Watch(w.ctx(), 0, func(e channel.Event) error {
		if strings.Contains(e.Text, "that was all") {
			return seen
		}
		return nil
	})
	if !errors.Is(err, seen) {
		t.Fatal(err)
	}
	if n := alice.Unsent(w.id("mallory")); n > 2*frames {
		t.Errorf("%d messages wait for a peer that was sent %d frames and does not read", n, frames)
	}
}

// A peer that asks a node to add money says until when at most: not for a year, after which it vanishes.
func TestOwnDepositIsNotLockedForAYear(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", addsPeerDeposit)
	bob.fund(1_000_000)
	m := w.rogue("mallory")
	m.dial(bob)
	h := bob.cfg.Heights
	for _, c := range []struct {
		life uint32
		deny bool
	}{{h.Life + h.LifeRandom, false}, {h.MaxLife, true}, {h.MinLife, false}} {
		o, _ := m.request(50_000)
		o.PeerDeposit, o.Expiry, o.PeerExpiry = 50_000, o.Tip+c.life, o.Tip+c.life
		must(t, m.send(o))
		m.answer(o, c.deny)
	}
	o, _ := m.request(50_000) // its own money it may lock as long as it likes
	o.Expiry, o.PeerExpiry = o.Tip+h.MaxLife, o.Tip+h.MaxLife
	must(t, m.send(o))
	m.answer(o, false)
}

// answer hears what a node says to an Open.
func (r *rogue) answer(o *channel.Open, deny bool) {
	r.w.t.Helper()
	for {
		switch a := hear[wire.Message](r).(type) {
		case *channel.Accept:
			if deny {
				r.w.t.Errorf("agreed to %d and %d blocks", o.Expiry-o.Tip, o.PeerExpiry-o.Tip)
			}
			return
		case *channel.Refuse:
			if !deny {
				r.w.t.Errorf("refused %d and %d blocks: %s", o.Expiry-o.Tip, o.PeerExpiry-o.Tip, a.Text)
			}
			return
		}
	}
}

// gate is a transport that keeps peers away, and notes whom, and whom it keeps room for.
type gate struct {
	wire.Transport
	mu      sync.Mutex // guards the fields below
	refused map[channel.PeerID][]time.Duration
	room    map[channel.PeerID]bool
}

func (g *gate) Refuse(peer channel.PeerID, d time.Duration) error {
	g.mu.Lock()
	g.refused[peer] = append(g.refused[peer], d)
	g.mu.Unlock()
	conn, err := g.Dial(context.Background(), string(peer)) // the connection that is there
	if err == nil {
		err = conn.Close()
	}
	return err
}

func (g *gate) Protect(peer channel.PeerID, on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.room[peer] = on
	return nil
}

func (g *gate) held(peer channel.PeerID) []time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.refused[peer])
}

func (g *gate) keeps(peer channel.PeerID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.room[peer]
}

// Who breaks the protocol is kept away for some time; one with whom there is money at stake only for a moment.
// A wish for a channel makes no friend.
func TestOffendersAreKeptAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := &gate{refused: map[channel.PeerID][]time.Duration{}, room: map[channel.PeerID]bool{}}
	w.wrap = func(inner wire.Transport) wire.Transport { g.Transport = inner; return g }
	bob := w.start("bob", nil)
	w.chain.Mine(1)
	w.synced(bob)
	s := w.rogue("stranger")
	for range 2 {
		s.dial(bob)
		must(t, s.conn.Send([]byte("garbage, not a message")))
		s.dropped()
	}
	if got := g.held(w.id("stranger")); len(got) != 2 || got[1] != 2*got[0] || got[0] < 500*time.Millisecond {
		t.Errorf("a stranger is kept away for %v", got)
	}
	s.dial(bob)
	s.propose(bob, 500_000)
	if g.keeps(w.id("stranger")) {
		t.Error("room is kept for a peer that only asked for a channel")
	}
	m := w.rogue("mallory")
	d := m.pays(bob, 1_000_000)
	if !g.keeps(w.id("mallory")) {
		t.Error("no room is kept for a peer with a channel")
	}
	f := d.frame(1_000)
	f.Signature[7] ^= 1
	must(t, m.send(f))
	d.again(bob)
	if got := g.held(w.id("mallory")); len(got) != 1 || got[0] > 500*time.Millisecond {
		t.Errorf("a peer with a channel is kept away for %v", got)
	}
	d.pay(1_000)
	must(t, m.send(&wire.Error{Code: wire.CodeShutdown, Text: "see you"})) // no offence
	d.again(bob)
	d.pay(1_000)
	if got := g.held(w.id("mallory")); len(got) != 1 {
		t.Errorf("a peer that says goodbye is kept away for %v", got)
	}
}

// What an owner wants paid elsewhere is paid there, also after a start, and when a close together came to
// nothing.
func TestShareGoesWhereTheOwnerSaid(t *testing.T) {
	t.Parallel()
	t.Run("refund", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		alice, bob, carol := w.start("alice", nil), w.start("bob", nil), w.start("carol", nil)
		alice.fund(2_000_000)
		to, err := carol.NewAddress(w.ctx())
		must(t, err)
		id := w.open(alice, bob, 1_000_000, 0)
		bob.halt()
		_, err = alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true, To: to})
		must(t, err)
		alice.restart()
		w.synced(alice)
		w.expired(id, alice)
		w.synced(carol)
		if got := carol.onchain(); got < 999_000 {
			t.Errorf("carol has %d sat", got)
		}
	})
	t.Run("settlement", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		bob, carol := w.start("bob", nil), w.start("carol", nil)
		to, err := carol.NewAddress(w.ctx())
		must(t, err)
		other, err := bob.NewAddress(w.ctx())
		must(t, err)
		m := w.rogue("mallory")
		d := m.pays(bob, 1_000_000)
		d.pay(60_000_000)
		soon, cancel := context.WithTimeout(w.ctx(), 200*time.Millisecond)
		defer cancel()
		if _, err := bob.Close(soon, channel.CloseRequest{Channel: d.id.String(), To: to}); codeOf(err) != channel.CodePending {
			t.Errorf("mallory does not answer: %v", err)
		}
		if _, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: d.id.String(), To: other}); codeOf(err) != channel.CodeBadRequest {
			t.Errorf("another address is not taken, and not said: %v", err)
		}
		bob.restart()
		w.mineUntil("carol has bob's share", func() bool { return carol.onchain() > 59_000 }, bob, carol)
	})
}
