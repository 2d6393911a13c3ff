package daemon_test

import (
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

// A payer that plays games with a close gets no signature that costs the payee anything, and the payee
// settles in the end.
func TestGamesWithAClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", nil)
	bob.fund(10_000)
	m := w.rogue("mallory")
	d := m.pays(bob, 1_000_000)
	d.pay(600_000_000)
	wallet := append([]byte{0x51, 0x20}, d.terms.Payer[1:]...)
	stop := &channel.Stop{Channel: d.id, Payout: wallet, In: channel.LaneReport{}}

	must(t, m.send(&channel.CloseOffer{Channel: d.id, Fee: 500, Nonces: make([][66]byte, 1)})) // before any stop
	d.pay(1_000)
	if st := bob.State(d.id); st.Phase != channel.PhaseOpen {
		t.Fatalf("an offer made the channel %s", st.Phase)
	}
	must(t, m.send(stop))
	theirs := hear[*channel.Stop](m)
	if theirs.In.Spent != 600_001_000 || theirs.In.NextSeq != d.seq {
		t.Errorf("bob's stop: %+v", theirs.In)
	}
	must(t, m.send(d.frame(1_000))) // too late
	if a, ok := listenFor[*channel.Ack](m, 100*time.Millisecond); ok {
		t.Errorf("a payment after the stop was answered: %+v", a)
	}
	nonce := func() (n [66]byte) {
		k1, err := m.signer.PayerKey(7)
		must(t, err)
		k2, err := m.signer.PayerKey(8)
		must(t, err)
		copy(n[:33], k1[:])
		copy(n[33:], k2[:])
		return n
	}()
	offer := func(fee channel.Sat, nonces ...[66]byte) {
		must(t, m.send(&channel.CloseOffer{Channel: d.id, Attempt: [16]byte{1}, Fee: fee, Nonces: nonces}))
	}
	silent := func(what string) {
		t.Helper()
		if s, ok := listenFor[*channel.CloseSign](m, 100*time.Millisecond); ok {
			t.Errorf("%s: bob signed %+v", what, s)
		}
	}
	offer(1, nonce)
	silent("a fee of one satoshi")
	offer(399_999, nonce, nonce)
	silent("two nonces for one lane")
	offer(1_000, [66]byte{})
	silent("a nonce of zeros")
	offer(400_000, nonce)
	silent("a fee above the payer's share")
	offer(1<<62, nonce)
	silent("a fee above all money")
	// The same offer twice: a nonce of ours never signs twice.
	offer(1_000, nonce)
	first := hear[*channel.CloseSign](m)
	offer(1_000, nonce)
	second := hear[*channel.CloseSign](m)
	if first.Nonces[0] == second.Nonces[0] || first.Partials[0] == second.Partials[0] {
		t.Error("a nonce was used twice")
	}
	must(t, m.send(&channel.CloseSign{Channel: d.id, Attempt: [16]byte{1}, Nonces: [][66]byte{nonce}, Partials: make([][32]byte, 1)}))
	must(t, m.send(&channel.CloseDone{Channel: d.id, Tx: []byte("not a transaction")}))
	funding, _, err := w.chain.Transaction(d.claim.TxID)
	must(t, err)
	must(t, m.send(&channel.CloseDone{Channel: d.id, Tx: funding}))
	changed := *stop
	changed.Payout = theirs.Payout
	must(t, m.send(&changed))
	m.dropped()
	if st := bob.State(d.id); st.Phase != channel.PhaseClosing || st.Closing.Tx != nil {
		t.Errorf("%s, %v", st.Phase, st.Closing.Tx)
	}
	for range 8 {
		w.chain.Mine(1)
		w.synced(bob)
		time.Sleep(10 * time.Millisecond)
	}
	w.mineUntil("settled", func() bool { return bob.State(d.id).InFunding.Spend != nil }, bob)
	st := bob.State(d.id)
	if st.InFunding.Spend.Kind != channel.SpentSettled || st.InFunding.Spend.Total != 600_001_000 {
		t.Errorf("%+v", st.InFunding.Spend)
	}
	if got := bob.onchain(); got != bob.given+600_001-st.InFunding.Exit.Fee {
		t.Errorf("bob has %d sat", got)
	}
}

// A payee that wants more than was signed, or names a script that nobody can relay, gets no close; the
// payer's money comes back at the latest at expiry.
func TestGamesOfAPayeeWithAClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	alice.fund(2_000_000)
	m := w.rogue("mallory")
	d := m.paid(alice, 1_000_000)
	b := alice.burst(d.id, 1, 1, 5_000_000)
	d.take(nil)
	w.eventually("paid", func() bool { a, _ := b.told(); return a == 1 })
	d.stop(func(s *channel.Stop) { s.Payout = []byte{0x6a, 1, 2, 3} }) // unspendable
	hear[*channel.Stop](m)
	for range 10 {
		w.chain.Mine(1)
		w.synced(alice)
	}
	if o, ok := listenFor[*channel.CloseOffer](m, 100*time.Millisecond); ok {
		t.Errorf("alice offers a close to an unspendable script: %+v", o)
	}
	for w.chain.Height() < alice.info(d.id).Expiry {
		w.chain.Mine(1)
		w.synced(alice)
	}
	w.mineUntil("alice has her refund", func() bool { return alice.info(d.id).Phase == channel.PhaseClosed }, alice)
	if got := alice.onchain(); got < alice.given-1_000 {
		t.Errorf("alice has %d sat of %d", got, alice.given)
	}
	w.conserved(alice)
}
