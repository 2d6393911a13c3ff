package channel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// opened is a world at rest with both lanes open.
func opened(t *testing.T) *channeltest.World {
	t.Helper()
	w := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000})
	must(t, w.Open())
	return w
}

// step takes an event that must be taken.
func step(t *testing.T, s *channel.State, in channel.Input) []channel.Effect {
	t.Helper()
	next, effects, err := channel.Step(*s, in)
	if err != nil {
		t.Fatalf("%s: %v", channeltest.TellInput(in), err)
	}
	*s = next
	return effects
}

// refuses takes an event that must be refused, for a reason.
func refuses(t *testing.T, s channel.State, in channel.Input, want channel.Kind) {
	t.Helper()
	if _, _, err := channel.Step(s, in); channel.KindOf(err) != want {
		t.Fatalf("%s: %v, want %v", channeltest.TellInput(in), err, want)
	}
}

// names lists effects by type, messages by theirs.
func names(effects []channel.Effect) string {
	var list []string
	for _, e := range effects {
		name := strings.TrimPrefix(fmt.Sprintf("%T", e), "channel.")
		switch e := e.(type) {
		case channel.Save:
			if e.Cold {
				name = "SaveCold"
			}
		case channel.Send:
			name = "Send " + strings.TrimPrefix(fmt.Sprintf("%T", e.Msg), "*channel.")
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

// find returns the first effect of a type.
func find[E channel.Effect](t *testing.T, effects []channel.Effect) (e E) {
	t.Helper()
	for _, any := range effects {
		if e, ok := any.(E); ok {
			return e
		}
	}
	t.Fatalf("no %T among %s", e, names(effects))
	return e
}

// sent returns the first message of a type that effects send.
func sent[M channel.Message](t *testing.T, effects []channel.Effect) (m M) {
	t.Helper()
	for _, e := range effects {
		if s, ok := e.(channel.Send); ok {
			if m, ok := s.Msg.(M); ok {
				return m
			}
		}
	}
	t.Fatalf("no %T among %s", m, names(effects))
	return m
}

// pay signs one payment and returns its frame.
func pay(t *testing.T, s *channel.State, id byte, amount channel.Msat) *channel.Frame {
	t.Helper()
	effects := step(t, s, channel.Pay{Payments: []channel.Payment{{ID: channel.PaymentID{id}, Amount: amount}}})
	if s.Signing() != nil {
		effects = step(t, s, channel.Signed{Signature: channeltest.Sign(s.Terms.Out.ID(), find[channel.Sign](t, effects).Total)})
	}
	return sent[*channel.Frame](t, effects)
}

// take lets the payee take frames, all of whose payments get the reason, and returns its answer.
func take(t *testing.T, s *channel.State, r channel.RefuseReason, frames ...*channel.Frame) *channel.Ack {
	t.Helper()
	v := find[channel.Verify](t, step(t, s, channel.FramesReceived{Frames: frames}))
	if !channeltest.Valid(s.Terms.In.ID(), v.Total, v.Signature) {
		t.Fatal("the voucher is not valid")
	}
	var refused []channel.Refusal
	for _, f := range frames {
		for i := range f.Payments {
			if r != channel.Accepted {
				refused = append(refused, channel.Refusal{Seq: f.FirstSeq + uint64(i), Reason: r})
			}
		}
	}
	return sent[*channel.Ack](t, step(t, s, channel.Verified{OK: true, Refused: refused}))
}

// An answer names only what its own frames had refused. When answers before it were lost with a
// connection, or overtaken, the payer must not take the two books for different.
func TestAnswerThatOvertakesARefusal(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	one, two := pay(t, &alice, 1, 500), pay(t, &alice, 2, 700)
	first := take(t, &bob, channel.RefusedPolicy, one)
	second := take(t, &bob, channel.Accepted, two)

	effects := step(t, &alice, channel.Received{Msg: second})
	if got := names(effects); got != "Send Frame, Send Frame" {
		t.Fatalf("got %s, want both frames again", got)
	}
	if effects = step(t, &alice, channel.Received{Msg: second}); len(effects) > 0 {
		t.Fatalf("the same again makes it send again: %s", names(effects))
	}
	step(t, &alice, channel.Received{Msg: first})
	step(t, &alice, channel.Received{Msg: second})
	if alice.Out.Frozen != channel.NotFrozen || alice.Out.Spent != 700 || alice.Out.Hash != bob.In.Hash || len(alice.Unacked) > 0 {
		t.Fatalf("alice has %+v, bob %+v", alice.Out, bob.In)
	}
}

// The other way round: the answer to a batch comes after the answer to its first frame alone.
func TestAnswerThatNamesOldRefusals(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	one, two := pay(t, &alice, 1, 500), pay(t, &alice, 2, 700)
	step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{one, two}})
	effects := step(t, &bob, channel.Verified{OK: true, Refused: []channel.Refusal{{Seq: 1, Reason: channel.RefusedPolicy}, {Seq: 2, Reason: channel.RefusedDisk}}})
	batch, alone := sent[*channel.Ack](t, effects), find[channel.SaveFrame](t, effects).Ack
	step(t, &alice, channel.Received{Msg: alone})
	effects = step(t, &alice, channel.Received{Msg: batch})
	if r := find[channel.Answered](t, effects).Refused; len(r) != 1 || r[0] != (channel.Refusal{Seq: 2, Reason: channel.RefusedDisk}) {
		t.Fatalf("told %v", r)
	}
	if alice.Out.Frozen != channel.NotFrozen || alice.Out.Acked != 3 || alice.Out.Credit() != 1200 {
		t.Fatalf("alice has %+v", alice.Out)
	}
}

// A payee whose book really differs is found out by its answer to one frame.
func TestAnswerFromAnotherBook(t *testing.T) {
	for name, bend := range map[string]func(*channel.Ack){
		"hash":    func(a *channel.Ack) { a.Hash[0]++ },
		"spent":   func(a *channel.Ack) { a.Spent-- },
		"total":   func(a *channel.Ack) { a.Total++ },
		"refused": func(a *channel.Ack) { a.Refused = []channel.Refusal{{Seq: 1, Reason: channel.RefusedPolicy}} },
		"beyond":  func(a *channel.Ack) { a.Refused = []channel.Refusal{{Seq: 2, Reason: channel.RefusedPolicy}} },
	} {
		t.Run(name, func(t *testing.T) {
			w := opened(t)
			alice, bob := w.Alice.State, w.Bob.State
			ack := *take(t, &bob, channel.Accepted, pay(t, &alice, 1, 500))
			bend(&ack)
			effects := step(t, &alice, channel.Received{Msg: &ack})
			if got := names(effects); got != "Save, Alert" || alice.Out.Frozen != channel.FrozenHash {
				t.Fatalf("%s, %+v", got, alice.Out)
			}
			if alice.Out.Spent != 0 || alice.Out.Acked != 1 || len(alice.Unacked) != 1 {
				t.Fatalf("a wrong answer was booked: %+v", alice.Out)
			}
			refuses(t, alice, channel.Pay{Payments: []channel.Payment{{Amount: 1}}}, channel.KindNotOpen)
			if effects := step(t, &alice, channel.Received{Msg: &ack}); len(effects) > 0 {
				t.Fatalf("the second time: %s", names(effects))
			}
		})
	}
}

// An answer that got lost before a close is still given after it: otherwise the payer could only guess
// which of its payments were refused.
func TestLostAnswerIsRepeatedWhileClosing(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *channel.State){
		"closing": func(t *testing.T, s *channel.State) { step(t, s, channel.CloseTogether{Payout: []byte{1}}) },
		"frozen": func(t *testing.T, s *channel.State) {
			step(t, s, channel.Received{Msg: &channel.Resync{Channel: s.Terms.ID, Acked: 99}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := opened(t)
			alice, bob := w.Alice.State, w.Bob.State
			taken := pay(t, &alice, 1, 500)
			ack := take(t, &bob, channel.RefusedPolicy, taken)
			late := pay(t, &alice, 2, 700)
			end(t, &bob)
			report := channel.LaneReport{NextSeq: bob.In.NextSeq, Total: bob.In.Total, Spent: bob.In.Spent, Signature: bob.In.Voucher, Hash: bob.In.Hash}
			step(t, &alice, channel.CloseTogether{Payout: []byte{2}})
			effects := step(t, &alice, channel.Received{Msg: &channel.Resync{Channel: alice.Terms.ID, In: report}})
			if again := sent[*channel.Frame](t, effects); again != taken || names(effects) != "Send Frame" {
				t.Fatalf("sends %v: %s", again, names(effects))
			}
			effects = step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{taken, late}})
			if got := names(effects); got != "FindFrame" {
				t.Fatalf("got %s", got)
			}
			effects = step(t, &bob, channel.FrameFound{Got: taken, Stored: taken, Ack: ack})
			effects = step(t, &alice, channel.Received{Msg: sent[*channel.Ack](t, effects)})
			if r := find[channel.Answered](t, effects).Refused; len(r) != 1 || r[0].Seq != 1 {
				t.Errorf("told %v", r)
			}
		})
	}
}

// A payee that refuses very much at once answers in pieces, for one answer would be longer than a message
// may be, never leave, and leave the payer waiting.
func TestManyRefusalsTakeSeveralAnswers(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	var frames []*channel.Frame
	var refused []channel.Refusal
	for range 20 {
		payments := make([]channel.Payment, channel.MaxFramePayments)
		for i := range payments {
			payments[i] = channel.Payment{ID: w.PaymentID(), Amount: 1}
			refused = append(refused, channel.Refusal{Seq: uint64(len(refused) + 1), Reason: channel.RefusedPolicy})
		}
		effects := step(t, &alice, channel.Pay{Payments: payments})
		effects = step(t, &alice, channel.Signed{Signature: channeltest.Sign(alice.Terms.Out.ID(), find[channel.Sign](t, effects).Total)})
		frames = append(frames, sent[*channel.Frame](t, effects))
	}
	step(t, &bob, channel.FramesReceived{Frames: frames})
	n := 0
	for _, e := range step(t, &bob, channel.Verified{OK: true, Refused: refused}) {
		if s, ok := e.(channel.Send); ok {
			ack := s.Msg.(*channel.Ack)
			if len(ack.Refused) > 8*channel.MaxFramePayments {
				t.Errorf("%d refusals in one answer", len(ack.Refused))
			}
			step(t, &alice, channel.Received{Msg: ack})
			n++
		}
	}
	if n != 3 || len(alice.Unacked) != 0 || alice.Out.Hash != bob.In.Hash || alice.Out.Credit() != 20*1024 {
		t.Errorf("%d answers; alice has %+v", n, alice.Out)
	}
}

// A gap is told once, with what there is; a new gap after progress is told again.
func TestGapIsToldOnce(t *testing.T) {
	w := opened(t)
	alice, bob := w.Alice.State, w.Bob.State
	one, two, three := pay(t, &alice, 1, 500), pay(t, &alice, 2, 600), pay(t, &alice, 3, 700)
	gap := func(want string, frames ...*channel.Frame) {
		t.Helper()
		if got := names(step(t, &bob, channel.FramesReceived{Frames: frames})); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	gap("Send Resync", two)
	gap("", three)
	gap("Verify", one, three) // what comes before the gap is taken
	step(t, &bob, channel.Verified{OK: true})
	gap("Send Resync", three)
	step(t, &bob, channel.Connected{})
	effects := step(t, &bob, channel.FramesReceived{Frames: []*channel.Frame{three}})
	r := sent[*channel.Resync](t, effects)
	if r.In.NextSeq != 2 || r.In.Total != 500 {
		t.Fatalf("told %+v", r.In)
	}
	effects = step(t, &alice, channel.Received{Msg: r})
	if sent[*channel.Frame](t, effects) != one {
		t.Error("alice does not send again from the first without an answer")
	}
}

// Answers that come behind a lost one are asked for again too: the one that is lost holds them up.
func TestAnswersBehindALostOne(t *testing.T) {
	w := opened(t)
	a, b := w.Alice, w.Bob
	b.Refuse = func(p channel.Payment) channel.RefuseReason {
		if p.Amount == 1 {
			return channel.RefusedPolicy
		}
		return channel.Accepted
	}
	for i := range 3 {
		a.Pay(channel.Payment{ID: channel.PaymentID{byte(i + 1)}, Amount: channel.Msat(i + 1)})
		for a.Pump() || a.Work() || b.Deliver() || b.Pump() || b.Work() {
		}
	}
	if n := len(*a.Mail()); n != 3 {
		t.Fatalf("%d answers, want one a frame", n)
	}
	*a.Mail() = (*a.Mail())[1:]
	for a.Deliver() || a.Work() {
	}
	var again []uint64
	for _, m := range *b.Mail() {
		again = append(again, m.(*channel.Frame).FirstSeq)
	}
	if fmt.Sprint(again) != "[1 2 3]" {
		t.Errorf("sent again: %v, want each once", again)
	}
	must(t, w.Quiet())
	must(t, w.Agreed())
}
