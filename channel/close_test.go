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
