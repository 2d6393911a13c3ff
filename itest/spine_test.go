package itest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// TestOpenPayClose follows a channel's money on the chain: every figure comes from raw transactions.
func TestOpenPayClose(t *testing.T) {
	t.Parallel()
	w := pair(t)
	id := w.open("alice", "bob", 1_000_000, 200_000)
	alice, bob := w.one("alice", "channel", id), w.one("bob", "channel", id)
	funding, at := w.funding(alice.text("funding_txid"), 1_000_000)
	other, otherAt := w.funding(bob.text("funding_txid"), 200_000)

	// 12,345.678 sat one way and 7,000.001 the other: both are rounded up on the chain.
	w.must("alice", "pay", id, "12_345_678msat")
	w.must("bob", "pay", id, "7_000_001msat")
	wantAlice, wantBob := int64(1_000_000-12_346+7_001), int64(200_000+12_346-7_001)

	to := w.one("alice", "address").text("address")
	closed := w.one("alice", "close", id, "--to", to)
	tx := w.spender(funding, at)
	if tx.ID != closed.text("txid") {
		t.Errorf("the deposit is spent by %s; alice says %v", tx.ID, closed)
	}
	if !tx.Spends(funding, at) || !tx.Spends(other, otherAt) || len(tx.TxIn) != 2 || len(tx.TxOut) != 2 {
		t.Fatalf("the close has %d inputs and %d outputs and not both deposits", len(tx.TxIn), len(tx.TxOut))
	}
	for i, in := range tx.TxIn {
		if len(in.Witness) != 1 {
			t.Errorf("input %d is no spend together: %d witness items", i, len(in.Witness))
		}
	}
	fee, err := w.Fee(w.ctx, tx)
	w.check(err)
	for _, out := range tx.TxOut {
		want := wantBob
		if bytes.Equal(out.PkScript, script(t, to)) {
			want = wantAlice - int64(fee)
		}
		if out.Value != want {
			t.Errorf("an output of the close has %d sat, want %d (fee %d)", out.Value, want, fee)
		}
	}
	if closed.text("kind") != "coop" || closed.number("local_sat") != wantAlice-int64(fee) || closed.number("remote_sat") != wantBob || closed.number("fee_sat") != int64(fee) {
		t.Errorf("alice says %v", closed)
	}
	w.check(w.Mine(w.ctx, 6))
	for _, name := range []string{"alice", "bob"} {
		w.until(name+"'s channel is closed", func() bool { return w.one(name, "channel", id).text("phase") == "closed" })
	}
}

// funding finds a deposit in its transaction.
func (w *world) funding(txid string, deposit int64) (sandbox.Tx, uint32) {
	w.t.Helper()
	tx, err := w.Tx(w.ctx, txid)
	w.check(err)
	for i, out := range tx.TxOut {
		if out.Value == deposit && txscript.IsPayToTaproot(out.PkScript) {
			return tx, uint32(i)
		}
	}
	w.t.Fatalf("no taproot output of %s has %d sat", txid, deposit)
	return tx, 0
}

func script(t testing.TB, addr string) []byte {
	t.Helper()
	a, err := address.DecodeAddress(addr, &chaincfg.SimNetParams)
	if err != nil {
		t.Fatal(err)
	}
	s, err := txscript.PayToAddrScript(a)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGoneForGood: the payee settles alone, and gets his own deposit back when it expires.
func TestGoneForGood(t *testing.T) {
	t.Parallel()
	w := pair(t)
	id := w.open("alice", "bob", 1_000_000, 200_000)
	fundedBy := map[string]string{"alice": w.one("alice", "channel", id).text("funding_txid"), "bob": w.one("bob", "channel", id).text("funding_txid")}
	w.must("alice", "pay", id, "50_000_001msat")
	w.must("bob", "pay", id, "3sat")
	w.Node("alice").Kill()

	closed := w.one("bob", "close", id, "--force")
	funding, at := w.funding(fundedBy["alice"], 1_000_000)
	settled := w.spender(funding, at)
	fee, err := w.Fee(w.ctx, settled)
	w.check(err)
	if settled.ID != closed.text("txid") || len(settled.TxOut) != 2 || settled.TxOut[0].Value != 1_000_000-50_001 || settled.TxOut[1].Value != 50_001-int64(fee) {
		t.Errorf("settlement %s pays %v, fee %d; bob says %v", settled.ID, settled.TxOut, fee, closed)
	}
	if got, want := settled.TxIn[0].Sequence, uint32(0x80000000|1); got != want {
		t.Errorf("the settlement's sequence is %x, want %x: it binds the total to the msat", got, want)
	}

	tip, err := w.Chain.Height(w.ctx)
	w.check(err)
	own, ownAt := w.funding(fundedBy["bob"], 200_000)
	expiry := closed.number("refund_height")
	w.check(w.Mine(w.ctx, int(expiry)-int(tip)-2))
	own, err = w.Tx(w.ctx, own.ID)
	w.check(err)
	if _, early, err := w.Spender(w.ctx, own, ownAt); early || err != nil {
		t.Fatalf("refunded before block %d (%v)", expiry, err)
	}
	w.check(w.Mine(w.ctx, 2))
	refund := w.spender(own, ownAt)
	if fee, err = w.Fee(w.ctx, refund); err != nil || len(refund.TxOut) != 1 || refund.TxOut[0].Value != 200_000-int64(fee) {
		t.Errorf("refund pays %v, fee %d, %v", refund.TxOut, fee, err)
	}
}

// spender waits for the transaction that spends an output and mines it.
func (w *world) spender(of sandbox.Tx, at uint32) (tx sandbox.Tx) {
	w.t.Helper()
	of, err := w.Tx(w.ctx, of.ID)
	w.check(err)
	w.until("the output is spent", func() (ok bool) {
		tx, ok, err = w.Spender(w.ctx, of, at)
		w.check(err)
		return ok
	})
	w.check(w.Mine(w.ctx, 1))
	return tx
}

// history is amounts by id; a payment that is there twice gets an amount that nobody else has.
func history(payments []object) map[string]string {
	all := map[string]string{}
	for _, p := range payments {
		id := p.text("payment_id")
		if _, ok := all[id]; ok {
			all[id] = "twice"
		} else {
			all[id] = p.text("amount_msat") + " " + p.text("status")
		}
	}
	return all
}

// flood is a run of payments that goes on until it is told to stop.
type flood struct {
	slots chan struct{}
	quit  chan struct{}
	fed   chan struct{} // closed when no more are sent

	mu       sync.Mutex
	payments []*flooded
	back     int // with an answer of any kind
}

// flooded is one payment, with its answer if it got a good one.
type flooded struct {
	req   channel.PayRequest
	known bool
}

func newFlood() *flood {
	return &flood{slots: make(chan struct{}, 256), quit: make(chan struct{}), fed: make(chan struct{})}
}

// feed sends payments of 1 msat, 2 msat, ... 100 msat, 1 msat, ... with known ids.
func (f *flood) feed(stream *client.Stream, target, ref string) {
	defer close(f.fed)
	for n := uint64(1); ; n++ {
		select {
		case f.slots <- struct{}{}:
		case <-f.quit:
			return
		}
		p := &flooded{req: channel.PayRequest{Target: target, Amount: channel.Msat(1 + (n-1)%100), Ref: ref, ID: paymentID(ref, n), HasID: true}}
		f.mu.Lock()
		f.payments = append(f.payments, p)
		f.mu.Unlock()
		if stream.Pay(p.req, func(_ channel.PayResult, err error) { f.answered(p, err) }) != nil {
			return
		}
	}
}

func (f *flood) answered(p *flooded, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.back++
	p.known = err == nil
	<-f.slots
}

// count returns how many were sent, how many came back in any way, and of the first ones how many have no
// good answer.
func (f *flood) count(first int) (sent, back, unknown int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.payments[:min(first, len(f.payments))] {
		if !p.known {
			unknown++
		}
	}
	return len(f.payments), f.back, unknown
}

// reconnected waits until alice can pay on a channel again.
func (w *world) reconnected(id string) {
	w.t.Helper()
	w.until("the two are connected", func() bool { return w.one("alice", "channel", id).text("reason") == "" })
}

func paymentID(ref string, n uint64) channel.PaymentID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", ref, n))
	return channel.PaymentID(sum[:])
}

// TestOneIDManyTimes: the same id 64 times at once, and again after a crash of either side, pays once.
func TestOneIDManyTimes(t *testing.T) {
	t.Parallel()
	w := pair(t)
	id := w.open("alice", "bob", 100_000, 0)
	const amount = channel.Msat(777)
	again := func(when string) {
		t.Helper()
		req := channel.PayRequest{Target: id, Amount: amount, ID: paymentID("once", 1), HasID: true}
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				r, err := w.Node("alice").API.Pay(w.ctx, req)
				if err != nil || r.Status != channel.PayAcknowledged || r.Total != amount {
					t.Errorf("%s: %+v, %v", when, r, err)
				}
			})
		}
		all.Wait()
		if c := w.one("bob", "channel", id); c.number("received_msat") != int64(amount) {
			t.Errorf("%s: bob has received %v", when, c["received_msat"])
		}
	}
	again("at first")
	for _, victim := range []string{"alice", "bob"} {
		w.Node(victim).Kill()
		w.check(w.Node(victim).Restart(w.ctx))
		w.reconnected(id)
		again("after " + victim + " was killed")
	}
	o := w.runnel("--node", "alice", "--json", "pay", id, "778msat", "--id", paymentID("once", 1).String())
	if o.code != 4 || !bytes.Contains([]byte(o.err), []byte(`"id_conflict"`)) {
		t.Errorf("another amount: exit %d, %s", o.code, o.err)
	}
}

// TestEventsOverRestart: who resumes with the last seq sees each payment once, over a crash too.
func TestEventsOverRestart(t *testing.T) {
	t.Parallel()
	w := pair(t)
	id := w.open("alice", "bob", 100_000, 0)
	seen, last := map[string]int{}, int64(0)
	for round := range 3 {
		for i := range 20 {
			w.must("alice", "pay", id, fmt.Sprintf("%dmsat", 1+i), "--id", paymentID("event", uint64(round*20+i)).String())
		}
		last = w.watch("bob", last, 20, seen)
		w.Node("bob").Kill()
		w.check(w.Node("bob").Restart(w.ctx))
		w.reconnected(id)
	}
	if len(seen) != 60 {
		t.Errorf("%d payments were seen, want 60", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("payment %s was seen %d times", id, n)
		}
	}
}

// watch reads a daemon's events after since until it has seen n payments, and returns the last seq.
func (w *world) watch(node string, since int64, n int, seen map[string]int) int64 {
	w.t.Helper()
	enough := fmt.Errorf("enough")
	done := make(chan error, 1)
	go func() {
		done <- w.Node(node).API.Watch(w.ctx, uint64(since), func(e channel.Event) error {
			since = int64(e.Seq)
			if e.Kind == channel.EventPayment {
				seen[e.Payment.ID.String()]++
				n--
			}
			if n == 0 {
				return enough
			}
			return nil
		})
	}()
	select {
	case err := <-done:
		if err != enough {
			w.t.Fatal(err)
		}
	case <-time.After(time.Minute):
		w.t.Fatalf("%d events did not come", n)
	}
	return since
}
