package daemon_test

import (
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/wire"
)

// TestDepositsReturnEarly: what came twice and what was wrong is back soon, of its own accord, while the channel
// goes on, and over a restart of both.
func TestDepositsReturnEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(50_000)
	id, script := w.external(alice, bob)
	w.gives(alice, script, 999_999) // wrong, before any that is right
	w.gives(alice, script, 1_000_000)
	w.mineUntil("open", func() bool { return alice.info(id).Spendable > 0 }, alice, bob)
	w.gives(alice, script, 1_000_000)
	w.chain.Mine(1)
	w.synced(alice, bob)
	alice.restart()
	bob.restart()
	w.mineUntil("all that is not used is back", func() bool { return alice.onchain() > 50_000+1_999_999-3_000 }, alice, bob)
	if h, expiry := w.chain.Height(), alice.info(id).Expiry; h+40 > expiry {
		t.Errorf("that was at block %d, the channel expires at %d", h, expiry)
	}
	w.eventually("the channel pays", func() bool { return alice.info(id).Spendable > 0 })
	alice.pay(id.String(), 5_000_000)
	w.books(alice, bob, id, 5_000_000)
	if st := bob.State(id); len(st.InFunding.Away) != 2 || st.InFunding.Claimed != alice.State(id).OutFunding.Claimed {
		t.Errorf("bob signed %d outputs away, alice's vouchers spend %v", len(st.InFunding.Away), alice.State(id).OutFunding.Claimed)
	}
	w.mineUntil("nothing waits", func() bool { return !strings.Contains(alice.attention(), "not used") }, alice, bob)
	_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.mineUntil("closed", func() bool {
		return alice.info(id).Phase == channel.PhaseClosed && bob.info(id).Phase == channel.PhaseClosed
	}, alice, bob)
	w.conserved(alice, bob)
}

// greedy is a payer that asks for returns of its own making.
type greedy struct {
	*deal
	script []byte
	n      byte
}

func (g *greedy) session(o channel.Outpoint, value, fee channel.Sat) ledger.CloseSession {
	g.r.w.t.Helper()
	s, err := g.r.signer.NewReturn(ledger.CloseLane{Lane: ledger.Lane{Terms: g.terms, Funding: o}, Keys: ledger.LaneKeys{Lane: g.key, Payer: true}},
		value, ledger.Output{Script: g.script, Value: value - fee})
	must(g.r.w.t, err)
	return s
}

// ask asks for an output and does not wait.
func (g *greedy) ask(o channel.Outpoint, value, fee channel.Sat) (ledger.CloseSession, [16]byte) {
	g.r.w.t.Helper()
	s := g.session(o, value, fee)
	g.n++
	attempt := [16]byte{g.n}
	must(g.r.w.t, g.r.send(&channel.ReturnOffer{Channel: g.id, Attempt: attempt, Output: o, Value: value, Fee: fee, Payout: g.script, Nonce: s.Nonces()[0]}))
	return s, attempt
}

// TestGreedyPayer: a payer asks for what it must not have, between things that it may have, so that each silence
// is seen; and what it was given it can't use as a deposit afterwards.
func TestGreedyPayer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", nil)
	m := w.rogue("mallory")
	m.feats = []uint32{wire.FeatureReturns}
	d := m.pays(bob, 1_000_000)
	script, err := m.scheme.FundingScript(d.terms)
	must(t, err)
	g := &greedy{deal: d, script: payTo(t, w, bob)}
	twice, err := w.chain.Faucet(script, 1_000_000)
	must(t, err)
	w.chain.Mine(1)
	w.synced(bob)
	d.pay(5_000_000)

	g.ask(d.claim, 1_000_000, 500)                                       // the live one
	g.ask(channel.Outpoint{TxID: [32]byte{8}}, 1_000_000, 500)           // nobody's
	g.ask(channel.Outpoint{TxID: twice.TxID, Index: 99}, 1_000_000, 500) // no output of that transaction
	g.ask(twice, 1_000_001, 500)                                         // worth more than there is
	first, attempt := g.ask(twice, 1_000_000, 500)
	one := hear[*channel.ReturnSign](m)
	if one.Attempt != attempt {
		t.Fatalf("attempt %d was signed, want %d", one.Attempt[0], attempt[0])
	}
	second, attempt := g.ask(twice, 1_000_000, 900) // again, altered
	two := hear[*channel.ReturnSign](m)
	if two.Attempt != attempt || two.Nonce == one.Nonce {
		t.Fatalf("attempt %d was signed with nonce %x", two.Attempt[0], two.Nonce[:4])
	}
	// Each signature is worth what it was given for, and nothing else.
	_, err = first.Sign([][66]byte{two.Nonce})
	must(t, err)
	if _, err := first.Combine([][32]byte{two.Partial}); err == nil {
		t.Error("a signature for one return makes another")
	}
	_, err = second.Sign([][66]byte{two.Nonce})
	must(t, err)
	tx, err := second.Combine([][32]byte{two.Partial})
	must(t, err)
	must(t, bob.chain.Publish(w.ctx(), tx))
	d.pay(1_000_000)
	if st := bob.State(d.id); len(st.InFunding.Away) != 1 || st.InFunding.Claimed != d.claim || st.In.Total != 6_000_000 {
		t.Errorf("%+v", st.InFunding)
	}
	w.chain.Mine(1)
	w.synced(bob)
	d.pay(1_000_000)

	// After the claim, and after the money was vouchered to the last: still no.
	g.ask(d.claim, 1_000_000, 500)
	d.name(twice)
	d.r.dropped()
	if st := bob.State(d.id); st.InFunding.Claimed != d.claim {
		t.Errorf("bob serves %v", st.InFunding.Claimed)
	}
}

// TestClaimAfterSigning: an output that was signed away before it was named never becomes a deposit.
func TestClaimAfterSigning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", nil)
	m := w.rogue("mallory")
	m.feats = []uint32{wire.FeatureReturns}
	m.dial(bob)
	d := m.propose(bob, 1_000_000)
	script, err := m.scheme.FundingScript(d.terms)
	must(t, err)
	o, err := w.chain.Faucet(script, 1_000_000)
	must(t, err)
	w.chain.Mine(1)
	w.synced(bob)
	g := &greedy{deal: d, script: payTo(t, w, bob)}
	g.ask(o, 1_000_000, 500)
	hear[*channel.ReturnSign](m)
	d.claim = o
	d.name(o)
	d.r.dropped()
	bob.restart()
	m.dial(bob)
	d.resync() // names it too
	d.r.dropped()
	w.chain.Mine(3)
	w.synced(bob)
	if st := bob.State(d.id); st.InFunding.Ready || st.InFunding.Claimed != (channel.Outpoint{}) {
		t.Errorf("bob serves what it signed away: %+v", st.InFunding)
	}
}

// TestNothingSignedWhileRecovering: a restored payee signs nothing back, whatever it is asked.
func TestNothingSignedWhileRecovering(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(50_000)
	id, script := w.external(alice, bob)
	w.gives(alice, script, 1_000_000)
	w.mineUntil("open", func() bool { return alice.info(id).Spendable > 0 }, alice, bob)
	old := bob.backup()
	bob.restore(old)
	w.synced(alice, bob)
	w.gives(alice, script, 1_000_000)
	w.chain.Mine(2)
	w.synced(alice, bob)
	if st := bob.State(id); len(st.InFunding.Away) > 0 {
		t.Errorf("signed away: %v", st.InFunding.Away)
	}
}

// TestForgedReturn: a payee's wrong signature publishes nothing, and the money returns at the expiry all the same.
func TestForgedReturn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	m.feats = []uint32{wire.FeatureReturns}
	d := m.paid(alice, 1_000_000)
	script, err := m.scheme.FundingScript(d.terms)
	must(t, err)
	w.gives(alice, script, 500_000)
	w.chain.Mine(1)
	w.synced(alice)
	o := hear[*channel.ReturnOffer](m)
	if o.Output == d.claim || o.Value != 500_000 {
		t.Fatalf("alice asks for %+v", o)
	}
	must(t, m.send(&channel.ReturnSign{Channel: d.id, Attempt: [16]byte{9}, Nonce: o.Nonce, Partial: [32]byte{1}})) // to nothing
	must(t, m.send(&channel.ReturnSign{Channel: d.id, Attempt: o.Attempt, Nonce: o.Nonce, Partial: [32]byte{1}}))
	w.chain.Mine(1)
	w.synced(alice)
	if o := hear[*channel.ReturnOffer](m); o.Value != 500_000 {
		t.Errorf("asked again for %+v", o)
	}
	for _, out := range alice.State(d.id).OutFunding.Seen {
		if out.Return != nil {
			t.Error("a return was published that is not signed")
		}
	}
	w.expired(d.id, alice)
	if got := alice.onchain(); got < 2_500_000-3_000 {
		t.Errorf("alice has %d sat", got)
	}
}

// payTo is a script of a member's wallet.
func payTo(t *testing.T, w *world, m *member) []byte {
	t.Helper()
	_, script, err := m.wallet.NewAddress(w.ctx())
	must(t, err)
	return script
}
