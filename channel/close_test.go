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
