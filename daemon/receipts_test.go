package daemon_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/receipt"
	"github.com/runnel/runnel/wire"
)

// receipt asks a node for one and checks it as a stranger would: from its file.
func (m *member) receipt(id channel.PaymentID) channel.Receipt {
	m.w.t.Helper()
	r, err := m.Receipt(m.w.ctx(), channel.ReceiptRequest{ID: id})
	must(m.w.t, err)
	b, err := receipt.Marshal(r)
	must(m.w.t, err)
	read, err := receipt.Parse(b)
	must(m.w.t, err)
	must(m.w.t, receipt.Verify(m.scheme, read))
	if read.Payment.ID != id {
		m.w.t.Fatalf("a receipt for %s, asked for %s", read.Payment.ID, id)
	}
	return read
}

func wantCode(t *testing.T, err error, want channel.Code) {
	t.Helper()
	var f *channel.Fault
	if !errors.As(err, &f) || f.Code != want {
		t.Fatalf("%v, want %s", err, want)
	}
}

// Receipts are there at once after a payment, on both sides, for what was refused too, over restarts, with the
// peer away, after the log was pruned, and when the channel is closed.
func TestReceipts(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.fund(2_000_000)
	bob.fund(1_000_000)
	id := w.open(alice, bob, 1_000_000, 200_000)
	pay := func(from *member, n byte, amount channel.Msat, ref string) channel.PaymentID {
		t.Helper()
		p := channel.PaymentID{9, n}
		_, err := from.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: amount, Ref: ref, ID: p, HasID: true})
		must(t, err)
		return p
	}
	coffee := pay(alice, 1, 25_000, "coffee & cake <b>")
	start := time.Now()
	for _, m := range []*member{alice, bob} {
		r := m.receipt(coffee)
		if r.Seq != 1 || r.Payment.Amount != 25_000 || r.Payment.Ref != "coffee & cake <b>" || r.Result != channel.Accepted || r.Terms != alice.State(id).Terms.Out {
			t.Fatalf("%s: %+v", m.name, r)
		}
	}
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Logf("the receipts took %v: they waited for the lane's rest", d)
	}
	back := pay(bob, 2, 5, "change")
	alice.receipt(back)
	bob.receipt(back)

	alice.refusedBy(bob, id, 1)
	list, err := alice.Payments(w.ctx(), channel.PaymentFilter{Channel: id.String(), Limit: 1})
	must(t, err)
	no := list[0].ID
	for _, m := range []*member{alice, bob} {
		if r := m.receipt(no); r.Result != channel.RefusedBlind || r.Payment.Amount != 1_000 {
			t.Fatalf("%s: %+v", m.name, r)
		}
	}

	bob.halt() // with the peer away: what has a checkpoint needs nobody
	alice.receipt(coffee)
	alice.receipt(no)
	bob.boot()
	bob.receipt(coffee)

	last := pay(alice, 3, 10, "last")
	_, err = alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.mineUntil("both closed", func() bool {
		return alice.info(id).Phase == channel.PhaseClosed && bob.info(id).Phase == channel.PhaseClosed
	}, alice, bob)
	for _, m := range []*member{alice, bob} {
		m.restart()
		for _, p := range []channel.PaymentID{coffee, back, no, last} {
			m.receipt(p)
		}
	}
	lane := alice.State(id).Terms.Out.ID()
	alice.halt()
	must(t, daemon.Prune(alice.disk, lane))
	alice.boot()
	_, err = alice.Receipt(w.ctx(), channel.ReceiptRequest{ID: coffee})
	wantCode(t, err, channel.CodeNotFound)
}

// After the entries below a checkpoint are gone, those after it can still be proven, on both sides.
func TestReceiptsAfterPruning(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	lane := alice.State(id).Terms.Out
	var ids []channel.PaymentID
	pay := func(n int) {
		for range n {
			p := channel.PaymentID{5, byte(len(ids))}
			_, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 7, ID: p, HasID: true})
			must(t, err)
			ids = append(ids, p)
		}
	}
	pay(11)
	alice.receipt(ids[10])
	w.agreed(alice, bob, lane, 11)
	pay(2)
	for _, m := range []*member{alice, bob} {
		m.halt()
		must(t, daemon.Prune(m.disk, lane.ID()))
		m.boot()
	}
	w.synced(alice, bob)
	w.eventually("together", func() bool { return alice.State(id).Synced && bob.State(id).Synced })
	pay(10)
	for _, m := range []*member{alice, bob} {
		for i := 11; i < 23; i++ {
			if r := m.receipt(ids[i]); r.Seq != uint64(i+1) {
				t.Fatalf("%s: %+v", m.name, r)
			}
		}
		_, err := m.Receipt(w.ctx(), channel.ReceiptRequest{ID: ids[3]})
		wantCode(t, err, channel.CodeNotFound)
	}
}

// What has no receipt, and what the node says.
func TestNoReceipt(t *testing.T) {
	w := newWorld(t)
	alice, r := w.start("alice", nil), w.rogue("elder") // knows no roots
	alice.fund(3_000_000)
	d := r.paid(alice, 1_000_000)
	ask := func(id channel.PaymentID, channel_ string) error {
		_, err := alice.Receipt(w.ctx(), channel.ReceiptRequest{ID: id, Channel: channel_})
		return err
	}
	wantCode(t, ask(channel.PaymentID{1}, ""), channel.CodeNotFound)
	wantCode(t, ask(channel.PaymentID{1}, "ffff"), channel.CodeNotFound)
	fate := make(chan error, 1)
	go func() {
		_, err := alice.Pay(w.ctx(), channel.PayRequest{Target: d.id.String(), Amount: 100, ID: channel.PaymentID{2}, HasID: true})
		fate <- err
	}()
	w.eventually("it is signed", func() bool { return alice.State(d.id).Out.Total > 0 })
	wantCode(t, ask(channel.PaymentID{2}, ""), channel.CodePending)
	d.take(nil)
	must(t, <-fate)
	wantCode(t, ask(channel.PaymentID{2}, ""), channel.CodeUnsupported)
}

// A payee that does not sign: the payment stands, and the receipt is pending.
func TestReceiptFromASilentPayee(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	w.lose(func(_ channel.PeerID, m wire.Message) bool { _, ok := m.(*channel.Root); return ok })
	p := alice.pay(id.String(), 100).ID
	ctx, cancel := context.WithTimeout(w.ctx(), 100*time.Millisecond)
	defer cancel()
	_, err := alice.Receipt(ctx, channel.ReceiptRequest{ID: p})
	wantCode(t, err, channel.CodePending)
	w.lose(nil)
	alice.receipt(p) // asks again
}

// Two payers may choose one id; the payee's owner says which is meant.
func TestReceiptsOfOneID(t *testing.T) {
	w := newWorld(t)
	alice, carol, bob := w.start("alice", nil), w.start("carol", nil), w.start("bob", nil)
	same := channel.PaymentID{4, 2}
	var ids []channel.ID
	for i, m := range []*member{alice, carol} {
		m.fund(2_000_000)
		id := w.open(m, bob, 1_000_000, 0)
		_, err := m.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: channel.Msat(100 + i), ID: same, HasID: true})
		must(t, err)
		ids = append(ids, id)
	}
	_, err := bob.Receipt(w.ctx(), channel.ReceiptRequest{ID: same})
	wantCode(t, err, channel.CodeAmbiguous)
	for i, id := range ids {
		r, err := bob.Receipt(w.ctx(), channel.ReceiptRequest{ID: same, Channel: id.String()[:12]})
		if err != nil || r.Payment.Amount != channel.Msat(100+i) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}

// Random streams of payments and refusals, with crashes on both sides in between: the checkpoints of both are
// the same, their roots are those of the histories, and every payment has a receipt.
func TestCheckpointsOfRandomStreams(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	lane := alice.State(id).Terms.Out
	var n uint64
	rapid.Check(t, func(r *rapid.T) {
		if n > 400 { // a few rounds are enough: each is over all that came before
			return
		}
		for range rapid.IntRange(1, 4).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"pay", "pay", "refuse", "receipt", "payer dies", "payee dies"}).Draw(r, "step") {
			case "pay":
				k := rapid.IntRange(1, 30).Draw(r, "payments")
				left := make(chan error, k)
				for i := range k {
					alice.PayAsync(channel.PayRequest{Target: id.String(), Amount: channel.Msat(1 + i*i), Ref: "r"}, func(_ channel.PayResult, err error) { left <- err })
				}
				for range k {
					if err := <-left; err == nil {
						n++
					}
				}
			case "refuse":
				alice.refusedBy(bob, id, 2)
				n += 2
			case "receipt":
				list, err := alice.Payments(w.ctx(), channel.PaymentFilter{Channel: id.String(), Limit: 1})
				must(t, err)
				if len(list) > 0 {
					alice.receipt(list[0].ID)
				}
			case "payer dies":
				alice.powerLoss()
			case "payee dies":
				bob.powerLoss()
			}
			w.synced(alice, bob)
			w.eventually("together", func() bool { return alice.State(id).Synced && len(alice.State(id).Unacked) == 0 })
		}
	})
	size := alice.State(id).Out.Acked - 1
	c := w.agreed(alice, bob, lane, size)
	if a, b := alice.rootOf(id, lane, channel.Sending, size), bob.rootOf(id, lane, channel.Receiving, size); a != c.Root || b != c.Root || size == 0 {
		t.Fatalf("%d payments: root %x, by alice's history %x, by bob's %x", size, c.Root, a, b)
	}
	list, err := bob.Payments(w.ctx(), channel.PaymentFilter{Channel: id.String(), Limit: 1000})
	must(t, err)
	for i := 0; i < len(list); i += 17 {
		if a, b := alice.receipt(list[i].ID), bob.receipt(list[i].ID); a.Seq != b.Seq || a.Result != b.Result || a.Payment != b.Payment {
			t.Fatalf("alice has %+v, bob %+v", a, b)
		}
	}
}

// FuzzCheckpoint: a record that is read is written again in the same way.
func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte{1})
	f.Add(make([]byte, 300))
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := daemon.DecodeCheckpoint(b)
		if err == nil && string(again) != string(b) {
			t.Errorf("read %x, written %x", b, again)
		}
	})
}
