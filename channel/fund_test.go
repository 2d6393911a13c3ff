package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// gift is an output that a stranger sends to a lane's address.
func gift(n byte, value channel.Sat) channel.Output {
	return channel.Output{Outpoint: channel.Outpoint{TxID: [32]byte{0xff, n}}, Value: value, Height: channeltest.Base + 2}
}

// funded is a world in which alice's funding waits for a block.
func funded(t *testing.T) *channeltest.World {
	t.Helper()
	w := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000})
	w.Chain.Mine(1, true)
	must(t, w.Quiet())
	return w
}

// Anybody may send dust to a lane's address. It must not hide the funding, or the deposit would be lost.
func TestDustDoesNotHideTheFunding(t *testing.T) {
	w := funded(t)
	alice, bob := w.Alice.State, w.Bob.State
	for n := range byte(20) {
		step(t, &alice, channel.OutputSeen{Out: true, Output: gift(n, 330)})
		step(t, &bob, channel.OutputSeen{Output: gift(n, 330)})
	}
	real := channel.Output{Outpoint: alice.OutFunding.Claimed, Value: 100_000, Height: channeltest.Base + 2}
	if real.Outpoint == (channel.Outpoint{}) {
		t.Fatal("nothing was funded")
	}
	effects := step(t, &alice, channel.Height{Tip: channeltest.Base + 2})
	find[channel.Publish](t, effects) // dust is no reason to stop publishing the funding

	step(t, &alice, channel.OutputSeen{Out: true, Output: real})
	step(t, &bob, channel.OutputSeen{Output: real})
	step(t, &alice, channel.Height{Tip: channeltest.Base + 2})
	step(t, &bob, channel.Height{Tip: channeltest.Base + 2})
	if _, ok := alice.OutFunding.Claim(); !ok {
		t.Error("alice lost sight of her deposit")
	}
	if !bob.InFunding.Ready {
		t.Error("bob does not see the funding")
	}
	// A late claim: the right value has precedence before the outpoint is known, and equal values after it don't.
	late := w.Bob.State
	late.InFunding.Claimed = channel.Outpoint{}
	for n := range byte(8) {
		step(t, &late, channel.OutputSeen{Output: gift(n, 330)})
	}
	step(t, &late, channel.OutputSeen{Output: real})
	for n := range byte(20) {
		step(t, &late, channel.OutputSeen{Output: gift(100+n, 100_000)})
	}
	step(t, &late, channel.Received{Msg: &channel.Funded{Lane: late.Terms.In.ID(), Funding: real.Outpoint}})
	if _, ok := late.InFunding.Claim(); !ok {
		t.Error("the output that was claimed late is not known")
	}
	if n := len(late.InFunding.Seen); n != 8 {
		t.Errorf("%d outputs are kept", n)
	}
}

// The peer that was asked to add a lane locks its money only behind the whole deposit, not behind dust
// that the opener claims as its funding.
func TestPeerDoesNotFundBehindDust(t *testing.T) {
	w := funded(t)
	bob := w.Bob.State
	bob.InFunding.Claimed = channel.Outpoint{}
	dust := gift(1, 330)
	step(t, &bob, channel.OutputSeen{Output: dust})
	step(t, &bob, channel.Received{Msg: &channel.Funded{Lane: bob.Terms.In.ID(), Funding: dust.Outpoint}})
	effects := step(t, &bob, channel.Height{Tip: channeltest.Base + 2})
	if got := names(effects); got != "" {
		t.Errorf("got %s", got)
	}
}

// A funding transaction that was being built when the channel ended is never published: its money would
// be locked until expiry.
func TestNoFundingAfterTheEnd(t *testing.T) {
	for name, end := range map[string]channel.Input{
		"the owner gives up":       channel.CloseTogether{Payout: []byte{1}},
		"the owner gives up alone": channel.CloseAlone{},
		"the peer gave up":         channel.Received{Msg: &channel.Refuse{Code: channel.DenyUnknownChannel}},
	} {
		t.Run(name, func(t *testing.T) {
			alice := channeltest.New(channeltest.Options{Deposit: 100_000}).Alice.State
			find[channel.Fund](t, step(t, &alice, channel.Height{Tip: channeltest.Base}))
			step(t, &alice, end)
			if alice.Phase != channel.PhaseAbandoned {
				t.Errorf("the channel is %s", alice.Phase)
			}
			refuses(t, alice, channel.FundingBuilt{Outpoint: gift(1, 0).Outpoint}, channel.KindForbidden)
		})
	}
	t.Run("the peer stopped", func(t *testing.T) {
		alice := channeltest.New(channeltest.Options{Deposit: 100_000}).Alice.State
		find[channel.Fund](t, step(t, &alice, channel.Height{Tip: channeltest.Base}))
		step(t, &alice, channel.Received{Msg: &channel.Stop{Channel: alice.Terms.ID, Payout: []byte{1}}})
		refuses(t, alice, channel.FundingBuilt{Outpoint: gift(1, 0).Outpoint}, channel.KindForbidden)
	})
}

// The peer of an opener whose funding is on its way does not drop the channel, which would lock that
// money until expiry, but closes it together as soon as it can.
func TestCloseWhileFundingIsOnItsWay(t *testing.T) {
	w := funded(t)
	must(t, w.Bob.Close())
	must(t, w.Quiet())
	if w.Alice.State.Phase != channel.PhaseClosing || w.Bob.State.Phase != channel.PhaseClosing {
		t.Fatalf("the channel is %s and %s", w.Alice.State.Phase, w.Bob.State.Phase)
	}
	must(t, w.MineQuiet(8))
	if w.Alice.State.Phase != channel.PhaseClosed || w.Bob.State.Phase != channel.PhaseClosed {
		t.Errorf("the channel is %s and %s", w.Alice.State.Phase, w.Bob.State.Phase)
	}
	if got := w.Chain.Sum(channeltest.WalletScript("alice")); got != 100_000-channeltest.CloseFee {
		t.Errorf("alice got %d sat", got)
	}
}

// A peer that calls a lane ready on which there is no money yet does not open the channel: it could not
// be given up any more.
func TestReadyWithoutFundingDoesNotOpen(t *testing.T) {
	alice := channeltest.New(channeltest.Options{Deposit: 100_000}).Alice.State
	find[channel.Fund](t, step(t, &alice, channel.Height{Tip: channeltest.Base}))
	step(t, &alice, channel.Received{Msg: &channel.Ready{Lane: alice.Terms.Out.ID()}})
	if alice.Phase != channel.PhaseAgreed {
		t.Fatalf("the channel is %s", alice.Phase)
	}
	poor := alice
	if step(t, &poor, channel.FundingFailed{}); poor.Phase != channel.PhaseAbandoned {
		t.Errorf("the channel is %s", poor.Phase)
	}
	step(t, &alice, channel.FundingBuilt{Outpoint: gift(1, 0).Outpoint})
	if step(t, &alice, channel.Height{Tip: channeltest.Base + 1}); alice.Phase != channel.PhaseOpen {
		t.Errorf("the channel is %s", alice.Phase)
	}
}

// Payments that arrive while the payee misses the funding are dropped; when it is back they come again.
func TestReorganisedFundingWhilePaying(t *testing.T) {
	w := opened(t)
	w.Alice.Pay(channel.Payment{ID: w.PaymentID(), Amount: 500})
	for w.Alice.Pump() || w.Alice.Work() {
	}
	must(t, w.Bob.Tell(channel.Reorganised{Height: channeltest.Base + 1}))
	must(t, w.Quiet())
	if w.Alice.Twin.Open() != 1 {
		t.Fatal("bob took a payment without a funding")
	}
	funding := channel.Output{Outpoint: w.Alice.State.OutFunding.Claimed, Value: 100_000, Height: channeltest.Base + 1}
	must(t, w.Bob.Tell(channel.OutputSeen{Output: funding}))
	must(t, w.MineQuiet(1))
	must(t, w.Agreed())
}

// An owner may end a channel whose address was given out before the deposit has come: what comes all the
// same returns after the expiry, and the channel is not over before.
func TestClosedBeforeItsExternalDeposit(t *testing.T) {
	for name, close := range map[string]channel.Input{
		"together": channel.CloseTogether{Payout: []byte("wallet alice"), Initiator: true},
		"alone":    channel.CloseAlone{},
	} {
		t.Run(name, func(t *testing.T) {
			w := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000, External: true})
			w.Connect()
			must(t, w.Quiet())
			must(t, w.Alice.Tell(close))
			must(t, w.Quiet())
			if w.Alice.State.Phase.Final() {
				t.Fatalf("nobody looks at alice's address any more: %s", w.Alice.State.Phase)
			}
			if w.Bob.State.Phase != channel.PhaseAbandoned {
				t.Errorf("bob was not told: %s", w.Bob.State.Phase)
			}
			must(t, w.MineQuiet(3))
			must(t, w.Chain.Publish((&channeltest.Tx{Kind: "fund", Outs: []channeltest.TxOut{
				{Script: channeltest.FundScript(w.Alice.State.Terms.Out.ID()), Value: 100_000}}}).Raw()))
			w.Cut() // also over a start of alice's
			w.Alice.Crash()
			w.Connect()
			must(t, w.MineQuiet(160))
			if got := w.Chain.Sum(channeltest.WalletScript("alice")); got != 100_000 || w.Alice.State.Phase != channel.PhaseClosed {
				t.Errorf("alice has %d sat back, and her channel is %s", got, w.Alice.State.Phase)
			}
		})
	}
}

// Without a deposit such a channel is over at its expiry.
func TestClosedWithoutItsExternalDeposit(t *testing.T) {
	w := channeltest.New(channeltest.Options{Deposit: 100_000, External: true})
	w.Connect()
	must(t, w.Quiet())
	must(t, w.Alice.Tell(channel.CloseAlone{}))
	must(t, w.MineQuiet(160))
	if w.Alice.State.Phase != channel.PhaseClosed {
		t.Errorf("alice's channel is %s after its expiry", w.Alice.State.Phase)
	}
}
