package channel_test

import (
	"errors"
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

func payments(amounts ...channel.Msat) (list []channel.Payment) {
	for i, a := range amounts {
		list = append(list, channel.Payment{ID: channel.PaymentID{byte(i)}, Amount: a})
	}
	return list
}

// As many payments as fit go together; what does not fit is refused with what would.
func TestPayTakesWhatFits(t *testing.T) {
	fresh := opened(t).Alice.State
	for name, c := range map[string]struct {
		amounts []channel.Msat
		taken   int
		kind    channel.Kind
	}{
		"all":              {[]channel.Msat{1, 2, 3}, 3, 0},
		"exactly all":      {[]channel.Msat{98_999_999, 1}, 2, 0},
		"one too many":     {[]channel.Msat{98_999_999, 1, 1}, 2, 0},
		"too large":        {[]channel.Msat{99_000_001}, 0, channel.KindCapacity},
		"overflows":        {[]channel.Msat{2_100_000_000_000_000_000}, 0, channel.KindCapacity},
		"nothing":          {[]channel.Msat{0}, 0, channel.KindInvalid},
		"nothing, later":   {[]channel.Msat{5, 0}, 1, 0},
		"more than exists": {[]channel.Msat{1 << 63}, 0, channel.KindInvalid},
		"1,025":            {make1(1025), 1024, 0},
	} {
		s := fresh
		next, effects, err := channel.Step(s, channel.Pay{Payments: payments(c.amounts...)})
		if channel.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
		if c.taken > 0 && (len(next.Signing().Payments) != c.taken || names(effects) != "Sign") {
			t.Errorf("%s: %d taken, %s", name, len(next.Signing().Payments), names(effects))
		}
	}
	refuses(t, signing(t, fresh), channel.Pay{Payments: payments(1)}, channel.KindForbidden)
}

func make1(n int) []channel.Msat {
	list := make([]channel.Msat, n)
	for i := range list {
		list[i] = 1
	}
	return list
}

// What a payee can take without serving is bounded, in money and in frames; a payment above the bound
// goes alone.
func TestUnackedIsBounded(t *testing.T) {
	s := opened(t).Alice.State
	s.Terms.MaxUnacked, s.Terms.Window = 1000, 3
	first := pay(t, &s, 1, 900)
	refuses(t, s, channel.Pay{Payments: payments(101)}, channel.KindWindow)
	refuses(t, s, channel.Pay{Payments: payments(1001)}, channel.KindWindow)
	pay(t, &s, 2, 99)
	pay(t, &s, 3, 1)
	refuses(t, s, channel.Pay{Payments: payments(1)}, channel.KindWindow)
	if s.UnackedSum() != 1000 || s.Spendable() != 98_999_000 {
		t.Errorf("%d wait, %d spendable", s.UnackedSum(), s.Spendable())
	}
	bob := opened(t).Bob.State
	step(t, &s, channel.Received{Msg: take(t, &bob, channel.Accepted, first)})
	pay(t, &s, 4, 900)

	alone := opened(t).Alice.State
	alone.Terms.MaxUnacked = 1000
	if f := pay(t, &alone, 1, 5000); len(f.Payments) != 1 {
		t.Errorf("took %d", len(f.Payments))
	}
}

// Credit is spent before a new voucher is signed, and it never makes more spendable than the capacity.
func TestCreditIsSpentFirst(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	step(t, &alice, channel.Received{Msg: take(t, &bob, channel.RefusedPolicy, pay(t, &alice, 1, 98_000_000))})
	if alice.Out.Credit() != 98_000_000 || alice.Spendable() != 99_000_000 {
		t.Fatalf("credit %d, spendable %d", alice.Out.Credit(), alice.Spendable())
	}
	effects := step(t, &alice, channel.Pay{Payments: payments(98_000_000)})
	if got := names(effects); got != "SaveFrame, Save, Send Frame" {
		t.Fatalf("a payment from credit: %s", got)
	}
	f := sent[*channel.Frame](t, effects)
	v := find[channel.Verify](t, step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{f}}))
	if !v.Known {
		t.Error("bob verifies a signature that he has verified")
	}
	step(t, &alice, channel.Received{Msg: sent[*channel.Ack](t, step(t, &bob, channel.Verified{OK: true}))})
	refuses(t, alice, channel.Pay{Payments: payments(1_000_001)}, channel.KindCapacity)
	if f := pay(t, &alice, 3, 1_000_000); f.Total != 99_000_000 || alice.Spendable() != 0 {
		t.Errorf("total %d, spendable %d", f.Total, alice.Spendable())
	}
}

// A failed signature leaves everything as it was.
func TestSignatureThatFails(t *testing.T) {
	fresh := opened(t).Alice.State
	s := signing(t, fresh)
	if effects := step(t, &s, channel.Signed{Err: errors.New("no key")}); len(effects) > 0 || channel.Snapshot(s) != channel.Snapshot(fresh) {
		t.Error("something happened")
	}
}

// Malformed frames are the sender's fault, whatever else is in the batch.
func TestMalformedFrames(t *testing.T) {
	w := opened(t)
	bob := w.Bob.State
	lane := bob.Terms.In.ID()
	for name, f := range map[string]*channel.Frame{
		"no payment":     {Lane: lane, FirstSeq: 1, Total: 1},
		"too many":       {Lane: lane, FirstSeq: 1, Total: 2000, Payments: payments(make1(1025)...)},
		"sequence 0":     {Lane: lane, Total: 1, Payments: payments(1)},
		"sequence wraps": {Lane: lane, FirstSeq: 1<<64 - 1, Total: 1, Payments: payments(1)},
		"zero amount":    {Lane: lane, FirstSeq: 1, Total: 1, Payments: payments(0)},
		"immense amount": {Lane: lane, FirstSeq: 1, Total: 1, Payments: payments(1 << 63)},
		"long reference": {Lane: lane, FirstSeq: 1, Total: 1, Payments: []channel.Payment{{Amount: 1, Ref: string(make([]byte, 65))}}},
		"someone's lane": {Lane: bob.Terms.Out.ID(), FirstSeq: 1, Total: 1, Payments: payments(1)},
		"nobody's lane":  {FirstSeq: 1, Total: 1, Payments: payments(1)},
	} {
		if _, _, err := channel.Step(bob, channel.FramesReceived{Frames: []*channel.Frame{f}}); channel.KindOf(err) != channel.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
