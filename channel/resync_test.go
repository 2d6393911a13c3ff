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
