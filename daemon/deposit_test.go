package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// external opens a channel that some other wallet funds, and returns its address's script.
func (w *world) external(alice, bob *member) (id channel.ID, script []byte) {
	w.t.Helper()
	r, err := alice.Open(w.ctx(), channel.OpenRequest{Peer: "/mem/p2p/" + string(w.id(bob.name)), Deposit: 1_000_000, External: true})
	must(w.t, err)
	script, err = alice.scheme.Script(r.FundingAddress)
	must(w.t, err)
	return r.Channel, script
}

// gives pays sat to a script from outside; it counts as alice's.
func (w *world) gives(alice *member, script []byte, sat channel.Sat) {
	w.t.Helper()
	o, err := w.chain.Faucet(script, sat)
	must(w.t, err)
	w.gifts[o] = true
	alice.given += sat
}

// expired mines until a channel's lanes are over and its owner has what returns.
func (w *world) expired(id channel.ID, ms ...*member) {
	w.t.Helper()
	for w.chain.Height()+3 < ms[0].info(id).Expiry {
		w.chain.Mine(1)
		w.synced(ms...)
	}
	w.mineUntil("closed", func() bool { return ms[0].info(id).Phase == channel.PhaseClosed }, ms...)
}

// A deposit that was paid twice, or with another amount, comes back at expiry, also long after the channel
// was closed together.
func TestDoubledDepositReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lose(func(_ channel.PeerID, m wire.Message) bool { _, offer := m.(*channel.ReturnOffer); return offer }) // nobody signs anything back
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(50_000) // so that the wallet knows its chain
	id, script := w.external(alice, bob)
	w.gives(alice, script, 1_000_000)
	w.mineUntil("open", func() bool { return alice.info(id).Spendable > 0 }, alice, bob)
	w.gives(alice, script, 1_000_000)
	w.gives(alice, script, 77_000)
	w.chain.Mine(1)
	w.synced(alice, bob)
	alice.pay(id.String(), 5_000_000)
	r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.eventually("the close is on its way", func() bool { return len(w.chain.Mempool()) > 0 })
	w.chain.Mine(8)
	w.synced(alice, bob)
	w.mineUntil("bob is done", func() bool { return bob.info(id).Phase == channel.PhaseClosed }, alice, bob)
	alice.restart()
	w.synced(alice)
	if p := alice.info(id); p.Phase.Final() || p.Recoverable != 1_077_000 {
		t.Errorf("alice's channel is %s with 1,077,000 sat at its address; recoverable %d", p.Phase, p.Recoverable)
	}
	w.expired(id, alice)
	w.conserved(alice, bob)
	if got := bob.onchain(); got != 5_000 {
		t.Errorf("bob has %d sat", got)
	}
	if got := alice.onchain(); got > alice.given-5_000-r.Fee || got < alice.given-5_000-r.Fee-1_000 {
		t.Errorf("alice has %d sat of %d", got, alice.given)
	}
}

// A deposit of another amount than agreed opens nothing and comes back.
func TestWrongDepositReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(50_000)
	id, script := w.external(alice, bob)
	w.gives(alice, script, 999_999)
	w.chain.Mine(3)
	w.synced(alice, bob)
	if alice.info(id).Phase != channel.PhaseAgreed {
		t.Errorf("a wrong deposit made the channel %s", alice.info(id).Phase)
	}
	w.expired(id, alice)
	w.conserved(alice, bob)
	if got := alice.onchain(); got < alice.given-1_000 {
		t.Errorf("alice has %d sat of %d", got, alice.given)
	}
}

// Money that is on its way to a channel's address comes back also when the peer has given the channel up
// meanwhile.
func TestLateDepositReturns(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"time", "refusal"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice := w.start("alice", nil)
			alice.fund(50_000)
			m := w.rogue("mallory")
			opened := make(chan channel.OpenResult, 1)
			go func() {
				r, err := alice.Open(w.ctx(), channel.OpenRequest{Peer: "/mem/p2p/" + string(w.id("mallory")), Deposit: 1_000_000, External: true})
				if err != nil {
					t.Error(err)
				}
				opened <- r
			}()
			m.await()
			d := m.accept(hear[*channel.Open](m), alice)
			r := <-opened
			if how == "refusal" {
				must(t, m.send(&channel.Refuse{Channel: d.id, Code: channel.DenyUnknownChannel, Text: "what channel?"}))
			} else {
				w.chain.Mine(80) // more than Heights.Abandon
			}
			w.synced(alice)
			script, err := alice.scheme.Script(r.FundingAddress)
			must(t, err)
			w.gives(alice, script, 1_000_000)
			w.chain.Mine(1)
			w.synced(alice)
			w.expired(d.id, alice)
			if got := alice.onchain(); got < alice.given-1_000 {
				t.Errorf("alice has %d sat of %d", got, alice.given)
			}
		})
	}
}

// An owner who ends a channel before the deposit has come that some other wallet sends gets it back all the same.
func TestDepositAfterTheCloseReturns(t *testing.T) {
	t.Parallel()
	for name, force := range map[string]bool{"together": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			alice, bob := w.start("alice", nil), w.start("bob", nil)
			alice.fund(50_000)
			w.synced(bob)
			id, script := w.external(alice, bob)
			r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: force})
			must(t, err)
			if i := alice.info(id); r.Kind != "refund_wait" || r.RefundHeight != i.Expiry {
				t.Errorf("%+v, the channel expires at %d", r, i.Expiry)
			}
			w.eventually("bob has forgotten it", func() bool {
				s, err := bob.Status(w.ctx())
				return err == nil && s.Channels == 0
			})
			alice.restart()
			w.gives(alice, script, 1_000_000)
			w.chain.Mine(1)
			w.synced(alice)
			if n := bob.Breaches(); n != 0 {
				t.Errorf("alice spoke of a lane that bob does not have: %d breaches", n)
			}
			w.expired(id, alice)
			if got := alice.onchain(); got < alice.given-1_000 {
				t.Errorf("alice has %d sat of %d", got, alice.given)
			}
		})
	}
}

// What a wallet locked for a funding that is not to be is free again.
func TestGivenUpFundingUnlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	release := make(chan struct{})
	alice.chain.SetFault(func(call string) error {
		if call == "Fund" {
			w.mu.Lock()
			defer w.mu.Unlock()
			if release != nil {
				close(release)
				release = nil
			}
		}
		return nil
	})
	go func() {
		_, _ = alice.Open(w.ctx(), channel.OpenRequest{Peer: "/mem/p2p/" + string(w.id("mallory")), Deposit: 1_000_000})
	}()
	m.await()
	o := hear[*channel.Open](m)
	key, err := m.signer.PayeeKey(0)
	must(t, err)
	id := channel.NewID(m.host.Self(), w.id("alice"), o.Nonce)
	must(t, m.send(&channel.Accept{Channel: id, Payee: key, Confirmations: 1, MaxUnacked: 10_000_000, Window: 256}))
	must(t, m.send(&channel.Refuse{Channel: id, Code: channel.DenyUnknownChannel, Text: "no"}))
	hear[*channel.Resync](m)
	must(t, m.send(&channel.Refuse{Channel: id, Code: channel.DenyUnknownChannel, Text: "no"}))
	w.eventually("the channel is over or funded", func() bool {
		st := alice.State(id)
		return st.Phase == channel.PhaseAbandoned || st.OutFunding.Tx != nil
	})
	if alice.State(id).Phase == channel.PhaseAbandoned {
		w.eventually("nothing is locked", func() bool {
			b, err := alice.Balance(w.ctx())
			return err == nil && b.Locked == 0 && b.Onchain == 2_000_000
		})
	}
}
