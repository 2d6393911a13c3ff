package channel_test

import (
	"fmt"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// script is a whole life: open, payments both ways of which some are refused, a cut with payments in
// flight, a close. Its owners offer every payment again with the same id until its fate is known.
func script(w *channeltest.World) error {
	if err := w.Open(); err != nil {
		return err
	}
	w.Bob.Refuse = func(p channel.Payment) channel.RefuseReason {
		if p.Amount%2 == 0 {
			return channel.RefusedPolicy
		}
		return channel.Accepted
	}
	var there, back []channel.Payment
	for i := range byte(7) {
		there = append(there, channel.Payment{ID: channel.PaymentID{'a', i}, Amount: channel.Msat(1001 + 501*int(i)), Ref: "there"})
		back = append(back, channel.Payment{ID: channel.PaymentID{'b', i}, Amount: channel.Msat(7 + int(i))})
	}
	w.Alice.Pay(there[:3]...)
	if err := w.Quiet(); err != nil {
		return err
	}
	w.Alice.Pay(there...)
	w.Bob.Pay(back[:2]...)
	for range 5 {
		w.Round()
	}
	w.Cut()
	for range 3 {
		if err := w.Quiet(); err != nil {
			return err
		}
		w.Alice.Pay(there...)
		w.Bob.Pay(back...)
	}
	if err := w.Quiet(); err != nil {
		return err
	}
	if open := w.Alice.State.Phase == channel.PhaseOpen; open && (len(w.Alice.Twin.Payments) != len(there) || len(w.Bob.Twin.Payments) != len(back)) {
		return fmt.Errorf("%d and %d payments were made", len(w.Alice.Twin.Payments), len(w.Bob.Twin.Payments))
	}
	if err := w.Agreed(); err != nil {
		return err
	}
	_ = w.Alice.Close() // an opener that crashed before it had funded gave the channel up
	for range 3 {
		if err := w.Quiet(); err != nil {
			return err
		}
		_ = w.Alice.Close() // again, had the crash come before it was durable
	}
	if err := end(w); err != nil {
		return err
	}
	return paid(w)
}

// A crash after any effect, of either side, changes nothing of what a life comes to.
func TestCrashAfterEveryEffect(t *testing.T) {
	for _, async := range []bool{false, true} {
		w := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000, Async: async})
		must(t, script(w))
		if w.Alice.Twin.Spent() == 0 || w.Alice.Twin.Refused() == 0 || w.Chain.Fees("close") == 0 {
			t.Fatal("the script does not do what it says")
		}
		total := w.Ticks
		for at := 1; at <= total; at++ {
			w := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000, Async: async})
			w.CrashAt = at
			if err := script(w); err != nil {
				t.Errorf("async %v, crash after effect %d of %d: %v", async, at, total, err)
			}
			if w.Alice.State.Phase == channel.PhaseClosed && w.Chain.Fees("close") == 0 {
				t.Errorf("async %v, crash after effect %d of %d: the two did not close together", async, at, total)
			}
		}
		t.Logf("%d crashes", total)
	}
}

// drawScript is a life with requests and payments, whose programs repeat what they have no answer to.
func drawScript(w *channeltest.World) error {
	if err := w.Open(); err != nil {
		return err
	}
	serve := func(end bool) {
		for i, l := range w.Alice.Letters {
			_ = w.Bob.Draw(l.Charge(l.Max))
			_ = w.Bob.Draw(channel.DrawOp{Kind: channel.HoldDraw, N: l.N, Keep: l.Max / 3})
			if end || i%2 == 0 {
				_ = w.Bob.Draw(channel.DrawOp{Kind: channel.EndDraw, N: l.N, Amount: l.Max / 2})
			}
		}
	}
	for round := range 3 {
		if len(w.Alice.Letters) < 2*(round+1) {
			_ = w.Alice.Tell(channel.Authorise{Wishes: []channel.Wish{{Max: 1_000_001}, {Max: 30_000}}})
		}
		w.Alice.Pay(channel.Payment{ID: channel.PaymentID{'p', byte(round)}, Amount: 5_000})
		for range 3 {
			w.Round()
		}
		serve(false)
		if round == 1 {
			w.Cut()
		}
		if err := w.Quiet(); err != nil {
			return err
		}
		serve(true)
	}
	if err := w.Quiet(); err != nil {
		return err
	}
	rest(w)
	if err := w.Quiet(); err != nil {
		return err
	}
	if err := w.Agreed(); err != nil {
		return err
	}
	if d := w.Alice.State.OutDraws; d != nil && len(d.Open) > 0 && w.Alice.State.Phase == channel.PhaseOpen {
		return fmt.Errorf("the end of %d draws is not known", len(d.Open))
	}
	_ = w.Alice.Tell(channel.Authorise{Wishes: []channel.Wish{{Max: 9_000}}})
	for range 4 { // one runs when the channel ends
		w.Round()
	}
	serve(false)
	for range 3 {
		_ = w.Alice.Close()
		if err := w.Quiet(); err != nil {
			return err
		}
	}
	if err := end(w); err != nil {
		return err
	}
	return paid(w)
}

func TestCrashAfterEveryEffectOfDraws(t *testing.T) {
	for _, async := range []bool{false, true} {
		w := channeltest.New(channeltest.Options{Deposit: 100_000, Async: async})
		must(t, drawScript(w))
		if w.Alice.Draws.Drawn() == 0 || w.Alice.Twin.Spent() == 0 || w.Chain.Fees("close") == 0 {
			t.Fatal("the script does not do what it says")
		}
		total := w.Ticks
		for at := 1; at <= total; at++ {
			w := channeltest.New(channeltest.Options{Deposit: 100_000, Async: async})
			w.CrashAt = at
			if err := drawScript(w); err != nil {
				t.Errorf("async %v, crash after effect %d of %d: %v", async, at, total, err)
			}
		}
		t.Logf("%d crashes", total)
	}
}
