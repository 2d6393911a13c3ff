package channel_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// The chain of draws was computed by a few lines in another language: two nodes that differ in a byte never agree.
func TestDrawHash(t *testing.T) {
	h := channel.DrawHash([32]byte{1}, channel.LaneID{2}, 3, channel.Draw{N: 4, Amount: 5})
	if got := hex.EncodeToString(h[:]); got != "f44488e0c84b10dcf818eb8910ab408551b088ad6d416064d9b5c9a329fd0d5b" {
		t.Error(got)
	}
}

// drawing is a world in which alice has authorised some draws, and what she gave.
func drawing(t *testing.T, max ...channel.Msat) (*channeltest.World, []channeltest.Letter) {
	t.Helper()
	w := opened(t)
	for _, m := range max {
		must(t, w.Alice.Tell(channel.Authorise{Wishes: []channel.Wish{{Max: m}}}))
	}
	must(t, w.Quiet())
	return w, w.Alice.Letters
}

func charge(t *testing.T, w *channeltest.World, l channeltest.Letter, amount channel.Msat) {
	t.Helper()
	must(t, w.Bob.Draw(l.Charge(amount)))
	must(t, w.Quiet())
}

// A frame that a voucher of a request overtook is taken, the newest voucher stays, and the answer is over the
// frame's own total.
func TestFrameOvertakenByAVoucher(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	f := pay(t, &alice, 1, 500)
	next, effects, err := channel.Step(alice, channel.Authorise{Wishes: []channel.Wish{{Max: 300}}})
	must(t, err)
	alice = next
	sign := find[channel.Sign](t, effects)
	if sign.Total != 800 {
		t.Fatalf("a frame of 500 and a request of at most 300 are vouchered with %d", sign.Total)
	}
	lane := alice.Terms.Out.ID()
	sig := channeltest.Sign(lane, sign.Total)
	granted := find[channel.Authorised](t, step(t, &alice, channel.Signed{Signature: sig}))
	op := channel.DrawOp{Kind: channel.ChargeDraw, N: granted.Grants[0].N, Max: 300, Total: 800, Signature: sig, Amount: 300}
	find[channel.CheckDraw](t, step(t, &bob, channel.DrawOps{Ops: []channel.DrawOp{op}}))
	done := find[channel.DrawsDone](t, step(t, &bob, channel.DrawChecked{OK: true}))
	if r := done.Results[0]; r.Err != nil || r.Charge.Held != 300 || r.Charge.Lane.Spent != 300 {
		t.Fatalf("%+v", r)
	}
	verify := find[channel.Verify](t, step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{f}}))
	if !verify.Known || verify.Total != 800 {
		t.Errorf("verified again: %+v", verify)
	}
	effects = step(t, &bob, channel.Verified{OK: true})
	ack := find[channel.SaveFrame](t, effects).Ack
	if bob.In.Total != 800 || bob.In.Voucher != sig || bob.In.Spent != 500 || ack.Total != 500 || ack.Spent != 500 {
		t.Errorf("%+v, answered %+v", bob.In, ack)
	}
	step(t, &alice, channel.Received{Msg: ack})
	if alice.Out.Frozen != channel.NotFrozen || alice.Out.Spent != 500 {
		t.Errorf("%+v", alice.Out)
	}
}

// What a request was promised pays for no frame, and the other way round.
func TestPromisedCreditPaysForNothingElse(t *testing.T) {
	w, letters := drawing(t, 1_000)
	alice, bob := w.Alice.State, w.Bob.State
	if got := alice.Spendable(); got != alice.Terms.Out.Capacity()-1_000 {
		t.Errorf("%d are spendable", got)
	}
	f := pay(t, &alice, 1, 400)
	if f.Total != 1_400 {
		t.Errorf("vouchered %d", f.Total)
	}
	op := letters[0].Charge(1_000)
	step(t, &bob, channel.DrawOps{Ops: []channel.DrawOp{op}})
	step(t, &bob, channel.DrawChecked{OK: true})
	g := *f
	g.Total, g.Signature = 1_000, channeltest.Sign(f.Lane, 1_000)
	find[channel.Misbehaved](t, step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{&g}}))
	find[channel.Verify](t, step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{f}}))
	step(t, &bob, channel.Verified{OK: true})
	done := find[channel.DrawsDone](t, step(t, &bob, channel.DrawOps{Ops: []channel.DrawOp{{Kind: channel.ChargeDraw, N: 50, Max: 1, Amount: 1}}}))
	if channel.KindOf(done.Results[0].Err) != channel.KindCredit {
		t.Errorf("%v", done.Results[0].Err)
	}
}

// Of vouchers that wait together the highest is checked; if it is wrong, the next; and each charge has its own fate.
func TestHighestVoucherIsChecked(t *testing.T) {
	w, letters := drawing(t, 100, 200, 300)
	bob := w.Bob.State
	ops := []channel.DrawOp{letters[0].Charge(100), letters[2].Charge(300), letters[1].Charge(200)}
	ops[1].Signature[3] ^= 1
	check := find[channel.CheckDraw](t, step(t, &bob, channel.DrawOps{Ops: ops}))
	if check.Total != 600 {
		t.Errorf("checked first: %d", check.Total)
	}
	check = find[channel.CheckDraw](t, step(t, &bob, channel.DrawChecked{}))
	if check.Total != 300 {
		t.Errorf("checked then: %d", check.Total)
	}
	done := find[channel.DrawsDone](t, step(t, &bob, channel.DrawChecked{OK: true}))
	for i, want := range []channel.Kind{0, channel.KindBadVoucher, 0} {
		if channel.KindOf(done.Results[i].Err) != want {
			t.Errorf("charge %d: %v", i, done.Results[i].Err)
		}
	}
	if bob.In.Total != 300 || len(bob.InDraws.Running) != 2 {
		t.Errorf("%+v, %+v", bob.In, bob.InDraws.Running)
	}
}

// The window tells 1,024 numbers apart; below it nothing is taken, and what runs there still ends.
func TestDrawWindow(t *testing.T) {
	w, letters := drawing(t, 1_000_000)
	bob := w.Bob.State
	one := func(op channel.DrawOp) channel.DrawResult {
		t.Helper()
		effects := step(t, &bob, channel.DrawOps{Ops: []channel.DrawOp{op}})
		for _, e := range effects {
			if _, ok := e.(channel.CheckDraw); ok {
				effects = step(t, &bob, channel.DrawChecked{OK: true})
			}
		}
		return find[channel.DrawsDone](t, effects).Results[0]
	}
	if r := one(letters[0].Charge(7)); r.Err != nil {
		t.Fatal(r.Err)
	}
	at := func(n uint64) channel.DrawOp {
		return channel.DrawOp{Kind: channel.ChargeDraw, N: n, Max: 9, Amount: 9}
	}
	for _, c := range []struct {
		n    uint64
		kind channel.Kind
		dup  bool
	}{{1, 0, true}, {5, 0, false}, {3, 0, false}, {5, 0, true}, {channel.DrawWindow + 2, 0, false}, {2, channel.KindConflict, false}, {4, 0, false},
		{3, 0, true}, {1, 0, true}, {5_000, 0, false}, {3, 0, true}, {3_977, 0, false}, {3_976, channel.KindConflict, false}, {0, channel.KindInvalid, false}} {
		r := one(at(c.n))
		if channel.KindOf(r.Err) != c.kind || r.Charge.Repeated != c.dup {
			t.Errorf("n %d: %+v", c.n, r)
		}
	}
	if r := one(channel.DrawOp{Kind: channel.EndDraw, N: 1, Amount: 6}); r.Err != nil || r.Charge.Used != 6 {
		t.Errorf("the first, far below the window, ends as %+v", r)
	}
	if r := one(channel.DrawOp{Kind: channel.EndDraw, N: 1, Amount: 6}); r.Err == nil && r.Charge.Used != 6 {
		t.Errorf("and then stands as %+v", r)
	}
}

// A stop ends what runs with what was kept, and is taken only behind the draws that it counts.
func TestStopWaitsForItsDraws(t *testing.T) {
	w, letters := drawing(t, 900, 800)
	charge(t, w, letters[0], 900)
	charge(t, w, letters[1], 800)
	must(t, w.Bob.Draw(channel.DrawOp{Kind: channel.HoldDraw, N: 2, Keep: 300}))
	must(t, w.Quiet())
	alice, bob := w.Alice.State, w.Bob.State
	effects := step(t, &bob, channel.CloseTogether{Payout: []byte("wallet bob"), Initiator: true})
	var told *channel.Draws
	var stop *channel.Stop
	for _, e := range effects {
		if s, ok := e.(channel.Send); ok {
			switch m := s.Msg.(type) {
			case *channel.Draws:
				told = m
			case *channel.Stop:
				if told == nil {
					t.Error("the stop goes before its draws")
				}
				stop = m
			}
		}
	}
	if stop == nil || stop.In.Drawn != 300 || stop.In.Draws != 2 || len(bob.InDraws.Running) != 0 {
		t.Fatalf("the stop is %+v", stop)
	}
	step(t, &alice, channel.Received{Msg: stop})
	if alice.Closing.Peers != nil || alice.CanPay() == nil {
		t.Error("the stop was taken before its draws, or payments go on behind it")
	}
	effects = step(t, &alice, channel.Received{Msg: told})
	find[channel.AskPayout](t, effects)
	if alice.Closing.Peers == nil || alice.OutDraws.Drawn != 300 {
		t.Errorf("%+v, %+v", alice.Closing, alice.OutDraws)
	}
	for name, change := range map[string]func(*channel.LaneReport){
		"more drawn than vouchered": func(r *channel.LaneReport) { r.Drawn = r.Total - r.Spent + 1 },
		"another sum":               func(r *channel.LaneReport) { r.Drawn++ },
	} {
		lie := *stop
		change(&lie.In)
		again := alice
		t.Log(name)
		find[channel.Misbehaved](t, step(t, &again, channel.Received{Msg: &lie}))
	}
}

// An authorisation that never arrived ends with nothing when the payer asks, and can't be charged later.
func TestVoid(t *testing.T) {
	w, letters := drawing(t, 900, 800, 700)
	charge(t, w, letters[0], 900)
	must(t, w.Alice.Tell(channel.VoidDraws{N: []uint64{1, 2, 3, 77}}))
	must(t, w.Quiet())
	if d := w.Alice.State.OutDraws; len(d.Open) != 1 || d.Open[0].N != 1 || d.Drawn != 0 || d.Count != 2 {
		t.Errorf("%+v", d)
	}
	must(t, w.Bob.Draw(letters[1].Charge(800)))
	must(t, w.Bob.Draw(channel.DrawOp{Kind: channel.EndDraw, N: 1, Amount: 900}))
	must(t, w.Quiet())
	must(t, w.Agreed())
	if got := w.Bob.State.SpentIn(); got != 900 {
		t.Errorf("received %d", got)
	}
}

// Open authorisations count against the bound; one above it goes alone, and a raise counts what came last.
func TestOpenAuthorisationsAreBounded(t *testing.T) {
	w := channeltest.New(channeltest.Options{Deposit: 100_000, MaxUnacked: 1_000})
	must(t, w.Open())
	ask := func(wish channel.Wish) error {
		err := w.Alice.Tell(channel.Authorise{Wishes: []channel.Wish{wish}})
		must(t, w.Quiet())
		return err
	}
	must(t, ask(channel.Wish{Max: 5_000}))
	if err := ask(channel.Wish{Max: 1}); channel.KindOf(err) != channel.KindWindow {
		t.Errorf("beside one above the bound: %v", err)
	}
	must(t, ask(channel.Wish{Raise: 1, RaiseBy: 600}))
	must(t, ask(channel.Wish{Max: 400}))
	if err := ask(channel.Wish{Max: 1}); channel.KindOf(err) != channel.KindWindow {
		t.Errorf("above the bound: %v", err)
	}
	if err := ask(channel.Wish{Raise: 9, RaiseBy: 1}); channel.KindOf(err) != channel.KindUnknown {
		t.Errorf("a raise of nothing: %v", err)
	}
}

func TestDrawRecords(t *testing.T) {
	w, letters := drawing(t, 900, 800, 700)
	charge(t, w, letters[2], 700)
	charge(t, w, letters[0], 900)
	w.Cut()
	_ = w.Bob.Draw(channel.DrawOp{Kind: channel.EndDraw, N: 3, Amount: 600})
	for w.Bob.Work() {
	}
	out, _ := w.Alice.State.OutDraws.MarshalBinary()
	in, _ := w.Bob.State.InDraws.MarshalBinary()
	var o channel.OutDraws
	var i channel.InDraws
	must(t, o.UnmarshalBinary(out))
	must(t, i.UnmarshalBinary(in))
	if fmt.Sprintf("%+v", o) != fmt.Sprintf("%+v", *w.Alice.State.OutDraws) || fmt.Sprintf("%+v", i) != fmt.Sprintf("%+v", *w.Bob.State.InDraws) || len(i.Untold) != 1 {
		t.Errorf("%+v\n%+v", o, i)
	}
	for n := range out {
		if new(channel.OutDraws).UnmarshalBinary(out[:n]) == nil {
			t.Errorf("%d bytes are taken as the payer's record", n)
		}
	}
	for n := range in {
		if new(channel.InDraws).UnmarshalBinary(in[:n]) == nil {
			t.Errorf("%d bytes are taken as the payee's record", n)
		}
	}
}

// What is taken is written again as the same bytes.
func FuzzDrawRecords(f *testing.F) {
	o := channel.OutDraws{Next: 9, Count: 3, Drawn: 70, Hash: [32]byte{1}, Open: []channel.OpenDraw{{N: 4, Max: 5}, {N: 8, Max: 300, Before: 20}}}
	i := channel.InDraws{High: 3, Count: 1, Drawn: 4, Untold: []channel.Draw{{N: 2, Amount: 4}}, Running: []channel.RunningDraw{{N: 3, Max: 9, Held: 8, Keep: 1}}}
	a, _ := o.MarshalBinary()
	b, _ := i.MarshalBinary()
	f.Add(a)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var o channel.OutDraws
		if o.UnmarshalBinary(b) == nil {
			if again, _ := o.MarshalBinary(); !bytes.Equal(again, b) {
				t.Fatalf("%x is written as %x", b, again)
			}
		}
		var i channel.InDraws
		if i.UnmarshalBinary(b) == nil {
			if again, _ := i.MarshalBinary(); !bytes.Equal(again, b) {
				t.Fatalf("%x is written as %x", b, again)
			}
		}
	})
}
