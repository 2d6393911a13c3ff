package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// signing is a state that waits for a signature over 500 msat.
func signing(t *testing.T, s channel.State) channel.State {
	t.Helper()
	find[channel.Sign](t, step(t, &s, channel.Pay{Payments: []channel.Payment{{ID: channel.PaymentID{1}, Amount: 500}}}))
	return s
}

// A signature that comes after the lane stopped is dropped: nothing is stored or sent, and above all the
// total does not fall behind what was learned meanwhile.
func TestSignatureThatComesTooLate(t *testing.T) {
	lane := opened(t).Alice.State.Terms.Out.ID()
	sign := func(total channel.Msat) channel.Signature { return channeltest.Sign(lane, total) }
	for name, happened := range map[string]func(*testing.T, *channel.State){
		"settling": func(t *testing.T, s *channel.State) { step(t, s, channel.CloseAlone{}) },
		"the peer closes": func(t *testing.T, s *channel.State) {
			step(t, s, channel.Received{Msg: &channel.Stop{Channel: s.Terms.ID, Payout: []byte{1}}})
		},
		"too near expiry": func(t *testing.T, s *channel.State) { step(t, s, channel.Height{Tip: channeltest.Expiry - 26}) },
		"funding gone":    func(t *testing.T, s *channel.State) { step(t, s, channel.Reorganised{Height: channeltest.Base + 1}) },
		"our record is old": func(t *testing.T, s *channel.State) {
			r := channel.LaneReport{NextSeq: 7, Total: 9_000, Spent: 8_000, Signature: sign(9_000)}
			find[channel.CheckProof](t, step(t, s, channel.Received{Msg: &channel.Resync{Channel: s.Terms.ID, In: r}}))
			step(t, s, channel.ProofChecked{OK: true, Report: r})
		},
	} {
		t.Run(name, func(t *testing.T) {
			alice := signing(t, opened(t).Alice.State)
			happened(t, &alice)
			before := alice.Out
			if effects := step(t, &alice, channel.Signed{Signature: sign(500)}); len(effects) > 0 {
				t.Errorf("got %s", names(effects))
			}
			if alice.Out != before || len(alice.Unacked) > 0 || alice.Signing() != nil {
				t.Errorf("the lane was %+v and is %+v", before, alice.Out)
			}
		})
	}
}

// After the peer's stop nothing new is vouchered: the close would not pay it, a settlement would.
func TestNoPaymentAfterThePeersStop(t *testing.T) {
	alice := opened(t).Alice.State
	step(t, &alice, channel.Received{Msg: &channel.Stop{Channel: alice.Terms.ID, Payout: []byte{1}}})
	refuses(t, alice, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindNotOpen)
}
