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

// A close is over outputs that are what was agreed: signed over another it would be worth nothing.
func TestCloseLeavesAWrongOutputOut(t *testing.T) {
	s := open(t)
	s.InFunding.Seen = []channel.Output{{Outpoint: s.InFunding.Claimed, Value: 49_999, Height: s.Tip}}
	s.In = channel.Lane{NextSeq: 1, Acked: 1}
	step(t, &s, channel.CloseTogether{Payout: []byte("wallet alice"), Initiator: true})
	step(t, &s, channel.Received{Msg: &channel.Stop{Channel: s.Terms.ID, In: channel.LaneReport{NextSeq: 2, Total: 2_000_000, Spent: 2_000_000}, Payout: []byte("wallet bob")}})
	if self, peer, err := s.Payouts(); self != 98_000 || peer != 2_000 || err != nil || !s.CanCloseTogether() {
		t.Errorf("%d and %d sat of a lane of 100,000, %v", self, peer, err)
	}
}

// A lane that a close together did not include, because its funding had left the chain just then, is settled
// by its payee alone.
func TestLaneThatACloseLeftOut(t *testing.T) {
	s := lived(t, channel.PhaseClosing)
	step(t, &s, channel.SpendSeen{Out: true, Spend: channel.Spend{TxID: [32]byte{8}, Height: s.Tip, Kind: channel.SpentTogether}})
	if s.Phase != channel.PhaseClosing {
		t.Fatalf("the channel is %s at once", s.Phase)
	}
	effects := step(t, &s, channel.Height{Tip: s.Closing.At + channel.CloseTimeout})
	find[channel.Settle](t, effects)
	if s.Phase != channel.PhaseSettling {
		t.Errorf("the channel is %s with 3,000 sat to settle", s.Phase)
	}
}

// A close that waited long and spends both lanes is seen on one of them first: nothing is settled beside it.
func TestCloseIsSeenOnOneLaneFirst(t *testing.T) {
	s := lived(t, channel.PhaseClosing)
	step(t, &s, channel.Height{Tip: s.Closing.At + channel.CloseTimeout - 1})
	s.Tip += 3
	sp := channel.Spend{TxID: [32]byte{8}, Height: s.Tip + 1, Kind: channel.SpentTogether}
	step(t, &s, channel.SpendSeen{Out: true, Spend: sp})
	if s.Phase != channel.PhaseClosing {
		t.Fatalf("the channel is %s", s.Phase)
	}
	step(t, &s, channel.SpendSeen{Spend: sp})
	step(t, &s, channel.Height{Tip: sp.Height})
	if s.Phase != channel.PhaseClosing {
		t.Fatalf("the channel is %s", s.Phase)
	}
}

// Where the owner wants the money is known again after a start.
func TestWhereTheMoneyGoes(t *testing.T) {
	s := open(t)
	if to := s.Closing.PayTo(); to != nil {
		t.Errorf("%s", to)
	}
	step(t, &s, channel.CloseTogether{Payout: []byte("together"), Initiator: true})
	if to := s.Closing.PayTo(); string(to) != "together" {
		t.Errorf("%s", to)
	}
	step(t, &s, channel.CloseAlone{})
	step(t, &s, channel.CloseAlone{To: []byte("alone")})
	refuses(t, s, channel.CloseAlone{To: make([]byte, channel.MaxPayoutScript+1)}, channel.KindInvalid)
	step(t, &s, channel.CloseAlone{})
	cold, err := s.MarshalCold()
	must(t, err)
	out, _ := s.Out.MarshalBinary()
	in, _ := s.In.MarshalBinary()
	again, err := channel.Load(cold, out, in, s.Unacked)
	must(t, err)
	if to := again.Closing.PayTo(); string(to) != "alone" {
		t.Errorf("%s", to)
	}
}
