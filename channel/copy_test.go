package channel_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// restored is bob's side, the payee of 3 payments, as a copy that knows the first of them.
func restored(t *testing.T) (alice, bob channel.State) {
	t.Helper()
	w := opened(t)
	w.Alice.Pay(channel.Payment{ID: channel.PaymentID{1}, Amount: 1000})
	must(t, w.Quiet())
	old := w.Bob.State
	w.Alice.Pay(channel.Payment{ID: channel.PaymentID{2}, Amount: 2000})
	w.Alice.Pay(channel.Payment{ID: channel.PaymentID{3}, Amount: 4000})
	must(t, w.Quiet())
	return w.Alice.State, channel.Restored(old)
}

func newest(s channel.State, r channel.LaneReport) channel.Input {
	return channel.Received{Msg: &channel.Newest{Lane: s.Terms.In.ID(), Out: r}}
}

// A copy can only be ended, and keeps what it was through another start.
func TestRestoredOnlyEnds(t *testing.T) {
	_, bob := restored(t)
	if bob.Phase != channel.PhaseRecovering || bob.Asking == nil || bob.In.Frozen != channel.FrozenUnproven {
		t.Fatalf("%s, %v, %s", bob.Phase, bob.Asking, bob.In.Frozen)
	}
	cold, err := bob.MarshalCold()
	must(t, err)
	out, _ := bob.Out.MarshalBinary()
	in, _ := bob.In.MarshalBinary()
	again, err := channel.Load(cold, out, in, nil)
	must(t, err)
	if again.Asking == nil || again.Phase != channel.PhaseRecovering {
		t.Errorf("after a start: %s, %v", again.Phase, again.Asking)
	}
	refuses(t, bob, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindNotOpen)
	refuses(t, bob, channel.CloseTogether{Payout: []byte("wallet bob"), Initiator: true}, channel.KindForbidden)
	refuses(t, bob, channel.CloseAlone{}, channel.KindForbidden)
	for _, p := range []channel.Phase{channel.PhaseClosing, channel.PhaseSettling} {
		if s := channel.Restored(lived(t, p)); s.Phase != p || s.Asking == nil {
			t.Errorf("a copy of a channel that is %s: %s, %v", p, s.Phase, s.Asking)
		}
	}
	if s := channel.Restored(lived(t, channel.PhaseClosed)); s.Asking != nil {
		t.Error("a closed channel asks")
	}
}

// The payer hands back what the payee had; the payee takes it only once it is verified.
func TestNewestIsHandedBack(t *testing.T) {
	alice, bob := restored(t)
	greeting := sent[*channel.Resync](t, step(t, &bob, channel.Connected{}))
	hers := sent[*channel.Resync](t, step(t, &alice, channel.Connected{}))
	handed := sent[*channel.Newest](t, step(t, &alice, channel.Received{Msg: greeting}))
	if handed.Out.Total != 7000 || handed.Out.Spent != 7000 || handed.Out.NextSeq != 4 {
		t.Fatalf("handed back: %+v", handed.Out)
	}
	step(t, &bob, channel.Received{Msg: hers})
	if bob.Asking == nil {
		t.Fatal("the answer is not complete before the voucher is here")
	}
	check := find[channel.CheckNewest](t, step(t, &bob, channel.Received{Msg: handed}))
	if bob.In.Total != 1000 {
		t.Fatal("adopted without a look at the signature")
	}
	effects := step(t, &bob, channel.NewestChecked{OK: channeltest.Valid(bob.Terms.In.ID(), check.Report.Total, check.Report.Signature), Report: check.Report})
	find[channel.Alert](t, effects)
	if bob.In.Total != 7000 || bob.In.Spent != 7000 || bob.Asking != nil {
		t.Errorf("%+v, %v", bob.In, bob.Asking)
	}
	step(t, &bob, channel.CloseTogether{Payout: []byte("wallet bob"), Initiator: true})
	if bob.Closing.Mine.In.Spent != 7000 {
		t.Errorf("the stop says %d", bob.Closing.Mine.In.Spent)
	}
}

// What a payer hands back must fit the lane, be signed, and say more than the record.
func TestNewestIsJudged(t *testing.T) {
	alice, bob := restored(t)
	good := channel.LaneReport{NextSeq: 4, Total: 7000, Spent: 7000, Signature: alice.Out.Voucher}
	refuses(t, bob, channel.Received{Msg: &channel.Newest{Lane: bob.Terms.Out.ID(), Out: good}}, channel.KindInvalid)
	for what, change := range map[string]func(*channel.LaneReport){
		"above the capacity": func(r *channel.LaneReport) { r.Total = bob.Terms.In.Capacity() + 1 },
		"nothing":            func(r *channel.LaneReport) { r.Total, r.Spent = 0, 0 },
		"more spent":         func(r *channel.LaneReport) { r.Spent = r.Total + 1 },
		"no number":          func(r *channel.LaneReport) { r.NextSeq = 0 },
	} {
		r := good
		change(&r)
		t.Log(what)
		refuses(t, bob, newest(bob, r), channel.KindInvalid)
	}
	for what, change := range map[string]func(*channel.LaneReport){
		"a lower total": func(r *channel.LaneReport) { r.Total, r.Spent = 999, 999 },
		"the same":      func(r *channel.LaneReport) { r.NextSeq, r.Total, r.Spent = 2, 1000, 1000 },
	} {
		s, r := bob, good
		change(&r)
		step(t, &s, newest(s, r))
		if s.In != bob.In || s.Asking != nil {
			t.Errorf("%s: %+v, %v", what, s.In, s.Asking)
		}
	}
	// The voucher counts though the payer is behind in payments, but nothing falls.
	for what, change := range map[string]func(*channel.LaneReport){
		"less spent": func(r *channel.LaneReport) { r.Spent = 999 },
		"fewer":      func(r *channel.LaneReport) { r.NextSeq = 1 },
	} {
		s, r := bob, good
		change(&r)
		check := find[channel.CheckNewest](t, step(t, &s, newest(s, r)))
		step(t, &s, channel.NewestChecked{OK: true, Report: check.Report})
		if s.In.Total != 7000 || s.In.Voucher != good.Signature || s.In.Spent != 1000 || s.In.NextSeq != 2 || s.Asking != nil {
			t.Errorf("%s: %+v, %v", what, s.In, s.Asking)
		}
	}
	s := bob
	find[channel.Misbehaved](t, step(t, &s, channel.NewestChecked{Report: good}))
	if s.In != bob.In || s.Asking == nil {
		t.Errorf("a wrong signature: %+v, %v", s.In, s.Asking)
	}
	living := opened(t).Bob.State
	refuses(t, living, newest(living, good), channel.KindForbidden)
	refuses(t, living, channel.NewestChecked{OK: true, Report: good}, channel.KindForbidden)
}

// Without an answer an old voucher waits, for the owner's word or for the expiry.
func TestOldVoucherWaits(t *testing.T) {
	_, bob := restored(t)
	tip := bob.Tip
	step(t, &bob, channel.Height{Tip: tip}) // while the chain is scanned nothing counts
	step(t, &bob, channel.Ask{Tip: tip})
	if h, asking := bob.MayForce(); !asking || h != tip+channel.AskBlocks {
		t.Errorf("from block %d, %v", h, asking)
	}
	step(t, &bob, channel.Ask{Tip: tip + 3})
	if h, _ := bob.MayForce(); h != tip+channel.AskBlocks {
		t.Errorf("a start moves it to %d", h)
	}
	stop, escalate := bob.Terms.StopHeight(bob.Terms.In), bob.Terms.In.Expiry-bob.Terms.Heights.Escalate
	s := bob
	step(t, &s, channel.Height{Tip: stop})
	if s.Phase != channel.PhaseSettling || s.CanSettle() {
		t.Errorf("at the stop: %s, settles %v", s.Phase, s.CanSettle())
	}
	find[channel.Settle](t, step(t, &s, channel.Height{Tip: escalate}))
	s = bob
	step(t, &s, channel.Height{Tip: tip + channel.AskBlocks})
	find[channel.Settle](t, step(t, &s, channel.CloseAlone{}))
	if s.Asking != nil {
		t.Error("the owner has decided")
	}
	// A peer that does not know the channel has been asked.
	s = bob
	step(t, &s, channel.Received{Msg: &channel.Refuse{Channel: s.Terms.ID, Code: channel.DenyUnknownChannel}})
	find[channel.Settle](t, step(t, &s, channel.CloseAlone{}))
}

// A deposit found on the chain waits for its expiry and nothing else.
func TestFound(t *testing.T) {
	w := opened(t)
	terms := channel.Terms{ID: channel.FoundID(w.Alice.State.Terms.Out.ID()), Opener: true, Out: w.Alice.State.Terms.Out, Heights: channel.TestHeights, OpenedAt: 101}
	o, _ := w.Alice.State.OutFunding.Claim()
	s := channel.Found(terms, o.Outpoint)
	step(t, &s, channel.OutputSeen{Out: true, Output: o})
	for _, tip := range []uint32{o.Height, terms.Out.Expiry - 1} {
		for _, e := range step(t, &s, channel.Height{Tip: tip}) {
			if _, early := e.(channel.Refund); early {
				t.Errorf("a refund at block %d", tip)
			}
		}
		if s.Phase != channel.PhaseRecovering {
			t.Errorf("at block %d: %s", tip, s.Phase)
		}
	}
	find[channel.Refund](t, step(t, &s, channel.Height{Tip: terms.Out.Expiry}))
	refuses(t, s, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindNotOpen)
}
