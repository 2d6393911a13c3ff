package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

func stopOf(s *channel.State) *channel.Stop {
	in := s.In
	return &channel.Stop{Channel: s.Terms.ID, Payout: []byte("wallet " + s.Terms.Self),
		In: channel.LaneReport{NextSeq: in.NextSeq, Total: in.Total, Spent: in.Spent, Signature: in.Voucher, Hash: in.Hash}}
}

// There is nothing to sign while no lane is in the chain, nor once one is spent.
func TestNothingToCloseTogether(t *testing.T) {
	w := funded(t)
	alice := w.Alice.State
	step(t, &alice, channel.CloseTogether{Payout: []byte{1}})
	effects := step(t, &alice, channel.Received{Msg: stopOf(&w.Bob.State)})
	if got := names(effects); got != "SaveCold" || alice.CanCloseTogether() {
		t.Errorf("nothing is confirmed and alice does %s", got)
	}
	seen := channel.OutputSeen{Out: true, Output: channel.Output{Outpoint: alice.OutFunding.Claimed, Value: 100_000, Height: channeltest.Base + 2}}
	find[channel.OfferClose](t, step(t, &alice, seen))
	step(t, &alice, channel.SpendSeen{Out: true, Spend: channel.Spend{TxID: [32]byte{1}, Height: channeltest.Base + 3, Kind: channel.SpentTogether}})
	if alice.CanCloseTogether() {
		t.Error("alice would sign again for a lane that is spent")
	}
}

// The script for the own share is asked for until it is there, also after a start and without the peer.
func TestPayoutIsAskedForAgain(t *testing.T) {
	w := opened(t)
	alice := w.Alice.State
	stop := channel.Received{Msg: stopOf(&w.Bob.State)}
	find[channel.AskPayout](t, step(t, &alice, stop))
	if got := names(step(t, &alice, stop)); got != "SaveCold" {
		t.Errorf("the same stop again: %s", got)
	}
	find[channel.AskPayout](t, step(t, &alice, channel.Height{Tip: alice.Tip + 1}))
	step(t, &alice, channel.CloseTogether{Payout: []byte{1}})
	for _, e := range step(t, &alice, channel.Height{Tip: alice.Tip + 1}) {
		if _, ok := e.(channel.AskPayout); ok {
			t.Error("it is asked for although it is there")
		}
	}
}

// Frames that were being checked when the channel ended are not taken: their total would rise after the
// settlement was decided on, or in a channel that is closed.
func TestFramesCheckedWhileTheChannelEnds(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	f := pay(t, &alice, 1, 500)
	find[channel.Verify](t, step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{f}}))
	step(t, &bob, channel.CloseAlone{})
	if effects := step(t, &bob, channel.Verified{OK: true}); len(effects) > 0 || bob.In.Total != 0 {
		t.Errorf("%s, total %d", names(effects), bob.In.Total)
	}
	refuses(t, bob, channel.Verified{OK: true}, channel.KindForbidden)
}

// Verification that fails leaves the frames before the bad one, and all of them are refused when the lane
// stopped meanwhile in an open channel.
func TestVerified(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	frames := []*channel.Frame{pay(t, &alice, 1, 500), pay(t, &alice, 2, 600), pay(t, &alice, 3, 700)}
	first := find[channel.Verify](t, step(t, &bob, channel.FramesReceived{Frames: frames}))
	if first.Total != 1800 || len(first.Frames) != 3 {
		t.Fatalf("the newest voucher is not the one to verify: %+v", first)
	}
	refuses(t, bob, channel.FramesReceived{Frames: frames}, channel.KindForbidden)
	refuses(t, bob, channel.CloseTogether{Payout: []byte{1}}, channel.KindForbidden)
	effects := step(t, &bob, channel.Verified{})
	find[channel.Misbehaved](t, effects)
	if v := find[channel.Verify](t, effects); v.Total != 1100 || len(v.Frames) != 2 {
		t.Fatalf("after a bad voucher: %+v", v)
	}
	late := bob
	step(t, &late, channel.Height{Tip: channeltest.Expiry - 24, Blind: true})
	if ack := sent[*channel.Ack](t, step(t, &late, channel.Verified{OK: true})); len(ack.Refused) != 2 || ack.Spent != 0 || ack.Total != 1100 {
		t.Errorf("at the stop height: %+v", ack)
	}
	if ack := sent[*channel.Ack](t, step(t, &bob, channel.Verified{OK: true})); ack.NextSeq != 3 || ack.Spent != 1100 {
		t.Errorf("got %+v", ack)
	}
	step(t, &bob, channel.FramesReceived{Frames: frames[2:]})
	if effects := step(t, &bob, channel.Verified{}); names(effects) != "Misbehaved" {
		t.Errorf("got %s", names(effects))
	}
	refuses(t, bob, channel.Verified{}, channel.KindForbidden)
}
