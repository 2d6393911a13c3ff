package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// A reorganisation that takes the funding away while its settlement is on its way must not end the
// channel: the funding comes back with the next blocks, and its money is still ours.
func TestReorganisedFundingWhileSettling(t *testing.T) {
	for name, external := range map[string]bool{"own wallet": false, "external": true} {
		t.Run(name, func(t *testing.T) {
			w := channeltest.New(channeltest.Options{Deposit: 100_000, External: external})
			if external {
				must(t, w.Chain.Publish((&channeltest.Tx{Kind: "fund", Outs: []channeltest.TxOut{
					{Script: channeltest.FundScript(w.Alice.State.Terms.Out.ID()), Value: 100_000}}}).Raw()))
			}
			must(t, w.Open())
			w.Alice.Pay(channel.Payment{ID: w.PaymentID(), Amount: 40_000_000})
			must(t, w.Quiet())
			w.Cut()
			must(t, w.Bob.Tell(channel.CloseAlone{}))
			must(t, w.Alice.Tell(channel.CloseAlone{}))
			w.Chain.Reorg(6, true)
			for w.Alice.Scan() || w.Bob.Scan() || w.Alice.Work() || w.Bob.Work() {
			}
			for _, s := range w.Sides {
				if s.State.Phase != channel.PhaseSettling {
					t.Fatalf("%s's channel is %s although its money is not home", s.Name, s.State.Phase)
				}
			}
			must(t, w.MineQuiet(20))
			if got := w.Chain.Sum(channeltest.WalletScript("bob")); got != 40_000 {
				t.Errorf("bob got %d sat", got)
			}
			if got := w.Chain.Sum(channeltest.WalletScript("alice")); got != 60_000 {
				t.Errorf("alice got %d sat", got)
			}
			if w.Bob.State.Phase != channel.PhaseClosed || w.Alice.State.Phase != channel.PhaseClosed {
				t.Errorf("the channel is %s and %s", w.Alice.State.Phase, w.Bob.State.Phase)
			}
		})
	}
}

// Payments without an answer are decided as soon as the spend of their own lane is deep, not when the
// other lane is done too, which can be a month later.
func TestPendingPaymentsWaitForTheirOwnLane(t *testing.T) {
	w := opened(t)
	w.Bob.Pay(channel.Payment{ID: w.PaymentID(), Amount: 1_000_000})
	must(t, w.Quiet())
	w.Alice.Pay(channel.Payment{ID: w.PaymentID(), Amount: 2_000_000})
	for w.Alice.Pump() || w.Alice.Work() || len(*w.Bob.Mail()) == 0 {
	}
	for w.Bob.Deliver() || w.Bob.Pump() || w.Bob.Work() { // bob takes it, the answer is lost
	}
	w.Vanish(w.Bob)
	alice := w.Alice.State
	if len(alice.Unacked) != 1 {
		t.Fatalf("%d frames wait", len(alice.Unacked))
	}
	spend := channel.Spend{TxID: [32]byte{9}, Height: alice.Tip + 1, Kind: channel.SpentSettled, Total: alice.Out.Total, RefundValue: 90_000}
	step(t, &alice, channel.SpendSeen{Out: true, Spend: spend})
	if effects := step(t, &alice, channel.Height{Tip: spend.Height + 4}); len(alice.Unacked) != 1 {
		t.Fatalf("decided at 5 confirmations: %s", names(effects))
	}
	effects := step(t, &alice, channel.Height{Tip: spend.Height + 5})
	if a := find[channel.Answered](t, effects); len(a.Refused) != 0 {
		t.Errorf("a payment that was settled is called refused: %v", a.Refused)
	}
	if alice.Phase != channel.PhaseSettling {
		t.Errorf("the channel is %s although bob's lane is not settled", alice.Phase)
	}
}

// A settlement that was being built when the channel ended otherwise is not published.
func TestExitOnlyWhileSettling(t *testing.T) {
	w := opened(t)
	refuses(t, w.Bob.State, channel.ExitBuilt{Tx: channel.OwnTx{TxID: [32]byte{1}}}, channel.KindForbidden)
}

// While the chain can't be seen, its height is a guess: payments stop by it, but no funding is confirmed,
// no spend is final and nothing is given up by it, and it ends with the next real block.
func TestGuessedHeight(t *testing.T) {
	w := funded(t)
	w.Bob.State.Terms.InConfs = 3
	w.Chain.Mine(1, false)
	must(t, w.Quiet())
	bob := w.Bob.State
	if effects := step(t, &bob, channel.Height{Tip: bob.Tip + 9, Blind: true}); len(effects) > 0 || bob.InFunding.Ready {
		t.Errorf("a guess confirms a funding: %s", names(effects))
	}

	w = opened(t)
	alice := w.Alice.State
	real := alice.Tip
	step(t, &alice, channel.Height{Tip: channeltest.Expiry, Blind: true})
	refuses(t, alice, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindExpiring)
	if channel.KindOf(alice.CanReceive()) != channel.KindExpiring || alice.Phase != channel.PhaseOpen {
		t.Errorf("%v, %s", alice.CanReceive(), alice.Phase)
	}
	step(t, &alice, channel.Height{Tip: real + 1})
	step(t, &alice, channel.Pay{Payments: []channel.Payment{{Amount: 1}}})
}
