package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// A payer whose peer has ended the channel signs nothing for it, before the chain shows why.
func TestNoPaymentWhenThePeerIsFurther(t *testing.T) {
	for _, phase := range []channel.Phase{channel.PhaseRecovering, channel.PhaseClosing, channel.PhaseSettling, channel.PhaseClosed} {
		alice := opened(t).Alice.State
		step(t, &alice, channel.Connected{})
		step(t, &alice, channel.Received{Msg: &channel.Resync{Channel: alice.Terms.ID, Phase: phase, In: channel.LaneReport{NextSeq: 1}}})
		refuses(t, alice, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindNotOpen)
		step(t, &alice, channel.Connected{})
		step(t, &alice, channel.Received{Msg: &channel.Resync{Channel: alice.Terms.ID, Phase: channel.PhaseOpen, In: channel.LaneReport{NextSeq: 1}}})
		step(t, &alice, channel.Pay{Payments: []channel.Payment{{Amount: 1}}})
	}
}

// A payer that started from an old backup adopts what the peer proves, knows the fate of what waited in
// the backup, and can be started again.
func TestOldBackupOfThePayer(t *testing.T) {
	w := opened(t)
	w.Alice.Pay(channel.Payment{ID: w.PaymentID(), Amount: 500})
	for w.Alice.Pump() || w.Alice.Work() {
	}
	old := w.Alice.Backup()
	must(t, w.Quiet())
	w.Alice.Pay(channel.Payment{ID: w.PaymentID(), Amount: 700})
	must(t, w.Quiet())

	w.Bent = true
	w.Alice.Restore(old)
	if len(w.Alice.State.Unacked) != 1 {
		t.Fatal("the backup has no payment without an answer")
	}
	must(t, w.Quiet())
	s := w.Alice.State
	if s.Phase != channel.PhaseRecovering || s.Out.Total != 1200 || len(s.Unacked) != 0 || s.Out.Frozen != channel.FrozenUnproven {
		t.Fatalf("%s, %+v, %d wait", s.Phase, s.Out, len(s.Unacked))
	}
	must(t, w.Check()) // above all: what is stored can be loaded
	refuses(t, s, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindNotOpen)

	must(t, w.Alice.Close())
	must(t, w.MineQuiet(8))
	if got := w.Chain.Sum(channeltest.WalletScript("bob")); w.Alice.State.Phase != channel.PhaseClosed || got < 50_000+2-channeltest.CloseFee {
		t.Errorf("%s, bob got %d sat", w.Alice.State.Phase, got)
	}
}

// After the chain decided about payments that the payee never saw, the payer's count of answers is above
// the payee's count of payments. Neither may take that for a forgotten payment.
func TestChainDecidesWithoutAlarm(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	pay(t, &alice, 1, 500)
	step(t, &alice, channel.SpendSeen{Out: true, Spend: channel.Spend{TxID: [32]byte{9}, Height: alice.Tip + 1, Kind: channel.SpentTogether}})
	effects := step(t, &alice, channel.Height{Tip: alice.Tip + 6})
	if r := find[channel.Answered](t, effects).Refused; len(r) != 1 {
		t.Fatalf("a payment that the payee never saw: %v", r)
	}
	step(t, &bob, channel.Received{Msg: sent[*channel.Resync](t, step(t, &alice, channel.Connected{}))})
	step(t, &alice, channel.Received{Msg: sent[*channel.Resync](t, step(t, &bob, channel.Connected{}))})
	if bob.In.Frozen != channel.NotFrozen || alice.Out.Frozen != channel.NotFrozen {
		t.Errorf("alice: %s, bob: %s", alice.Out.Frozen, bob.In.Frozen)
	}
}

// A payee that has answered just what the payer has answers for, and has another book, is found out by its
// resync and by its stop; one that is ahead or behind is not judged by its hash.
func TestResyncShowsAnotherBook(t *testing.T) {
	w := opened(t)
	w.Alice.Pay(channel.Payment{ID: channel.PaymentID{1}, Amount: 500})
	must(t, w.Quiet())
	s := w.Alice.State
	report := channel.LaneReport{NextSeq: s.Out.Acked, Total: s.Out.Total, Spent: s.Out.Spent, Signature: s.Out.Voucher, Hash: s.Out.Hash}
	for name, c := range map[string]struct {
		change func(*channel.LaneReport)
		want   channel.FreezeReason
	}{
		"the same":      {func(*channel.LaneReport) {}, channel.NotFrozen},
		"another hash":  {func(r *channel.LaneReport) { r.Hash[31] ^= 1 }, channel.FrozenHash},
		"no hash":       {func(r *channel.LaneReport) { r.Hash = [32]byte{} }, channel.FrozenHash},
		"another spent": {func(r *channel.LaneReport) { r.Total, r.Spent = 501, 501 }, channel.NotFrozen}, // a proof is asked for
	} {
		r := report
		c.change(&r)
		for kind, m := range map[string]channel.Message{
			"resync": &channel.Resync{Channel: s.Terms.ID, Phase: channel.PhaseOpen, In: r, Ready: true, Acked: 1},
			"stop":   &channel.Stop{Channel: s.Terms.ID, In: r, Payout: []byte("wallet bob")},
		} {
			alice := s
			step(t, &alice, channel.Connected{})
			effects := step(t, &alice, channel.Received{Msg: m})
			if alice.Out.Frozen != c.want {
				t.Errorf("%s, %s: %s, %s", kind, name, alice.Out.Frozen, names(effects))
			}
			if kind == "stop" && c.want == channel.FrozenHash && alice.Closing.Peers == nil {
				t.Errorf("%s: the lane is frozen and can't be closed", name)
			}
		}
	}
	pay(t, &s, 2, 7) // unanswered: the peer may have taken it, its hash is then that of one more
	r := report
	r.NextSeq, r.Total, r.Spent, r.Hash = s.Out.NextSeq, s.Out.Total, s.Out.Total, [32]byte{1}
	step(t, &s, channel.Connected{})
	step(t, &s, channel.Received{Msg: &channel.Resync{Channel: s.Terms.ID, Phase: channel.PhaseOpen, In: r, Ready: true, Acked: 1}})
	if s.Out.Frozen != channel.NotFrozen {
		t.Errorf("judged before the answers came: %s", s.Out.Frozen)
	}
}

// After the chain ended the lane nothing is left to freeze: what the payee says is its affair.
func TestBooksOfASpentLane(t *testing.T) {
	s := opened(t).Alice.State
	step(t, &s, channel.SpendSeen{Out: true, Spend: channel.Spend{TxID: [32]byte{9}, Height: s.Tip, Kind: channel.SpentTogether}})
	if effects := step(t, &s, channel.BooksDiffer{}); len(effects) > 0 || s.Out.Frozen != channel.NotFrozen {
		t.Errorf("%s, %s", s.Out.Frozen, names(effects))
	}
	step(t, &s, channel.Connected{})
	step(t, &s, channel.Received{Msg: &channel.Resync{Channel: s.Terms.ID, Phase: channel.PhaseOpen, In: channel.LaneReport{NextSeq: 1, Hash: [32]byte{1}}, Acked: 1}})
	if s.Out.Frozen != channel.NotFrozen {
		t.Errorf("%s", s.Out.Frozen)
	}
}
