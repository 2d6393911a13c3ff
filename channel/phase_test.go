package channel_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares with a file of testdata, or rewrites it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if !bytes.Equal(got, want) {
		a, b := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("%s:%d: want\n%s\ngot\n%s\n(-update rewrites the file)", path, i+1, a[i], b[i])
			}
		}
		t.Fatalf("%s has %d lines, got %d (-update rewrites it)", path, len(a), len(b))
	}
}

var phases = []channel.Phase{channel.PhaseNone, channel.PhaseAgreed, channel.PhaseOpen, channel.PhaseRecovering, channel.PhaseClosing,
	channel.PhaseSettling, channel.PhaseClosed, channel.PhaseAbandoned}

// The drawing in phase.go shows every edge of the table and no other.
func TestDrawingShowsTheEdges(t *testing.T) {
	source, err := os.ReadFile("phase.go")
	must(t, err)
	drawn := map[string]bool{}
	for _, line := range strings.Split(string(source), "\n") {
		line, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			continue
		}
		nodes := strings.Split(line, "──>")
		for i := 1; i < len(nodes); i++ {
			for _, from := range strings.Split(nodes[i-1], ",") {
				for _, to := range strings.Split(nodes[i], ",") {
					drawn[strings.TrimSpace(from)+" to "+strings.TrimSpace(to)] = true
				}
			}
		}
	}
	edges := 0
	for _, p := range phases {
		for _, q := range phases {
			if edge := p.String() + " to " + q.String(); p.CanMove(q) != drawn[edge] {
				t.Errorf("%s: in the table %v, in the drawing %v", edge, p.CanMove(q), drawn[edge])
			}
			if p.CanMove(q) {
				edges++
			}
			if p.Final() && p.CanMove(q) {
				t.Errorf("%s is final and leads to %s", p, q)
			}
		}
	}
	if edges != len(drawn) {
		t.Errorf("%d edges, %d drawn", edges, len(drawn))
	}
}

// lived is alice's side in each phase, with both lanes, payments behind her and one without an answer.
func lived(t *testing.T, p channel.Phase) channel.State {
	t.Helper()
	if p == channel.PhaseNone || p == channel.PhaseAgreed || p == channel.PhaseAbandoned {
		s := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000}).Alice.State
		if p == channel.PhaseAbandoned {
			step(t, &s, channel.CloseAlone{})
		}
		if p == channel.PhaseNone {
			s.Phase = p
		}
		return s
	}
	s := open(t)
	switch p {
	case channel.PhaseRecovering:
		step(t, &s, channel.Received{Msg: &channel.Resync{Channel: s.Terms.ID, Acked: 99, In: channel.LaneReport{NextSeq: s.Out.NextSeq}}})
	case channel.PhaseClosing:
		step(t, &s, channel.CloseTogether{Payout: []byte("wallet alice"), Initiator: true})
	case channel.PhaseSettling, channel.PhaseClosed:
		step(t, &s, channel.CloseAlone{})
	}
	if p == channel.PhaseClosed {
		for _, out := range []bool{true, false} {
			step(t, &s, channel.SpendSeen{Out: out, Spend: channel.Spend{TxID: [32]byte{8}, Height: s.Tip, Kind: channel.SpentTogether}})
		}
		step(t, &s, channel.Height{Tip: s.Tip + 6})
	}
	if s.Phase != p {
		t.Fatalf("built a channel that is %s, not %s", s.Phase, p)
	}
	return s
}

// open is alice's side of an open channel: she has paid and was paid, and her last payment has no answer.
func open(t *testing.T) channel.State {
	t.Helper()
	w := opened(t)
	w.Alice.Pay(channel.Payment{ID: channel.PaymentID{1}, Amount: 2_000_000})
	w.Bob.Pay(channel.Payment{ID: channel.PaymentID{2}, Amount: 3_000_000})
	must(t, w.Quiet())
	s := w.Alice.State
	pay(t, &s, 3, 500)
	return s
}

// occasion is an event with a name.
type occasion struct {
	name string
	in   channel.Input
}

// occasions are all events, each in the forms that make a difference, as they fit the open state.
func occasions(t *testing.T) []occasion {
	s := open(t)
	in, out := s.Terms.In.ID(), s.Terms.Out.ID()
	frame := func(seq uint64, amount, total channel.Msat) *channel.Frame {
		return &channel.Frame{Lane: in, FirstSeq: seq, Payments: []channel.Payment{{ID: channel.PaymentID{2}, Amount: amount}}, Total: total, Signature: channeltest.Sign(in, total)}
	}
	old := frame(1, 3_000_000, 3_000_000)
	oldAck := &channel.Ack{Lane: in, NextSeq: 2, Total: 3_000_000, Spent: 3_000_000, Hash: s.In.Hash}
	hash := channel.LaneHash(s.Out.Hash, out, 2, s.Unacked[0].Payments[0], channel.Accepted)
	report := channel.LaneReport{NextSeq: 3, Total: 2_000_500, Spent: 2_000_500, Signature: s.Unacked[0].Signature, Hash: hash}
	newer := channel.LaneReport{NextSeq: 9, Total: 5_000_000, Spent: 5_000_000, Signature: channeltest.Sign(out, 5_000_000)}
	older := channel.LaneReport{NextSeq: 1}
	otherBook := channel.LaneReport{NextSeq: 2, Total: 2_000_000, Spent: 2_000_000, Signature: s.Out.Voucher, Hash: [32]byte{9}}
	spend := func(k channel.SpendKind) channel.Spend {
		return channel.Spend{TxID: [32]byte{9}, Height: s.Tip, Kind: k, Total: 2_000_500, RefundValue: 97_999}
	}
	say := func(m channel.Message) channel.Input { return channel.Received{Msg: m} }
	resync := func(r channel.LaneReport, p channel.Phase) channel.Input {
		return say(&channel.Resync{Channel: s.Terms.ID, Phase: p, In: r, Funding: s.InFunding.Claimed, Ready: true, Acked: 2})
	}
	return []occasion{
		{"Pay", channel.Pay{Payments: []channel.Payment{{ID: channel.PaymentID{4}, Amount: 7}}}},
		{"Pay nothing", channel.Pay{}},
		{"Pay too much", channel.Pay{Payments: []channel.Payment{{Amount: 98_000_000}}}},
		{"Signed, not asked for", channel.Signed{}},
		{"FramesReceived, new", channel.FramesReceived{Frames: []*channel.Frame{frame(2, 9, 3_000_009)}}},
		{"FramesReceived, repeated", channel.FramesReceived{Frames: []*channel.Frame{old}}},
		{"FramesReceived, skipping", channel.FramesReceived{Frames: []*channel.Frame{frame(3, 9, 3_000_009)}}},
		{"FramesReceived, lower total", channel.FramesReceived{Frames: []*channel.Frame{frame(2, 9, 2_999_999)}}},
		{"FramesReceived, above capacity", channel.FramesReceived{Frames: []*channel.Frame{frame(2, 9, 49_000_001)}}},
		{"FramesReceived, other lane", channel.FramesReceived{Frames: []*channel.Frame{{Lane: out, FirstSeq: 2, Payments: old.Payments, Total: 9}}}},
		{"Verified, not asked for", channel.Verified{OK: true}},
		{"FrameFound, the same", channel.FrameFound{Got: old, Stored: old, Ack: oldAck}},
		{"FrameFound, altered", channel.FrameFound{Got: frame(1, 2_999_999, 3_000_000), Stored: old, Ack: oldAck}},
		{"ProofChecked, newer", channel.ProofChecked{OK: true, Report: newer}},
		{"ProofChecked, wrong", channel.ProofChecked{Report: newer}},
		{"NewestChecked", channel.NewestChecked{OK: true, Report: channel.LaneReport{NextSeq: 9, Total: 9_000_000, Spent: 9_000_000}}},
		{"FundingBuilt", channel.FundingBuilt{Outpoint: channel.Outpoint{TxID: [32]byte{5}}}},
		{"FundingFailed", channel.FundingFailed{}},
		{"CloseTogether", channel.CloseTogether{Payout: []byte("wallet alice"), Initiator: true}},
		{"CloseTogether, no script", channel.CloseTogether{}},
		{"CloseAlone", channel.CloseAlone{}},
		{"CloseBuilt", channel.CloseBuilt{Tx: channel.OwnTx{TxID: [32]byte{6}}}},
		{"ExitBuilt", channel.ExitBuilt{Tx: channel.OwnTx{TxID: [32]byte{7}}}},
		{"Connected", channel.Connected{}},
		{"Disconnected", channel.Disconnected{}},
		{"Ack", say(&channel.Ack{Lane: out, NextSeq: 3, Total: 2_000_500, Spent: 2_000_500, Hash: hash})},
		{"Ack, old", say(&channel.Ack{Lane: out, NextSeq: 2})},
		{"Ack, other book", say(&channel.Ack{Lane: out, NextSeq: 3, Total: 2_000_500, Spent: 2_000_499, Hash: hash})},
		{"Ack, never sent", say(&channel.Ack{Lane: out, NextSeq: 9})},
		{"Ack, other lane", say(&channel.Ack{Lane: in, NextSeq: 3})},
		{"Resync", resync(report, channel.PhaseOpen)},
		{"Resync, newer", resync(newer, channel.PhaseOpen)},
		{"Resync, forgetful", resync(older, channel.PhaseOpen)},
		{"Resync, other book", resync(otherBook, channel.PhaseOpen)},
		{"Resync, closed there", resync(report, channel.PhaseClosed)},
		{"Resync, other channel", say(&channel.Resync{})},
		{"Funded, other output", say(&channel.Funded{Lane: in, Funding: channel.Outpoint{TxID: [32]byte{3}}})},
		{"Funded, no such lane", say(&channel.Funded{})},
		{"Ready", say(&channel.Ready{Lane: out})},
		{"Newest", say(&channel.Newest{Lane: in, Out: channel.LaneReport{NextSeq: 9, Total: 9_000_000, Spent: 9_000_000}})},
		{"Newest, no such lane", say(&channel.Newest{Lane: out})},
		{"Ready, no such lane", say(&channel.Ready{})},
		{"Stop", say(&channel.Stop{Channel: s.Terms.ID, In: report, Payout: []byte("wallet bob")})},
		{"Stop, too much", say(&channel.Stop{Channel: s.Terms.ID, In: newer, Payout: []byte("wallet bob")})},
		{"Stop, other book", say(&channel.Stop{Channel: s.Terms.ID, In: otherBook, Payout: []byte("wallet bob")})},
		{"Stop, malformed", say(&channel.Stop{Channel: s.Terms.ID})},
		{"CloseOffer", say(&channel.CloseOffer{Channel: s.Terms.ID})},
		{"CloseSign", say(&channel.CloseSign{Channel: s.Terms.ID})},
		{"CloseDone", say(&channel.CloseDone{Channel: s.Terms.ID})},
		{"Refuse, unknown channel", say(&channel.Refuse{Channel: s.Terms.ID, Code: channel.DenyUnknownChannel})},
		{"Refuse, busy", say(&channel.Refuse{Channel: s.Terms.ID, Code: channel.DenyBusy})},
		{"Open", say(&channel.Open{})},
		{"BooksDiffer", channel.BooksDiffer{}},
		{"FramesLost", channel.FramesLost{}},
		{"Root", say(&channel.Root{})},
		{"Height, next", channel.Height{Tip: s.Tip + 1}},
		{"Height, CloseTimeout later", channel.Height{Tip: s.Tip + channel.CloseTimeout}},
		{"Height, Abandon later", channel.Height{Tip: channeltest.Base + s.Terms.Heights.Abandon}},
		{"Height, payer's stop", channel.Height{Tip: channeltest.Expiry - 26}},
		{"Height, payee's stop", channel.Height{Tip: channeltest.ExpiryBob - 24}},
		{"Height, expiry", channel.Height{Tip: channeltest.Expiry}},
		{"Height, guessed", channel.Height{Tip: channeltest.Expiry, Blind: true}},
		{"OutputSeen, own lane", channel.OutputSeen{Out: true, Output: gift(1, 100_000)}},
		{"OutputSeen, wrong value", channel.OutputSeen{Out: true, Output: gift(1, 330)}},
		{"SpendSeen, together", channel.SpendSeen{Out: true, Spend: spend(channel.SpentTogether)}},
		{"SpendSeen, settled", channel.SpendSeen{Out: true, Spend: spend(channel.SpentSettled)}},
		{"SpendSeen, refunded", channel.SpendSeen{Out: false, Spend: spend(channel.SpentRefunded)}},
		{"SweepSeen", channel.SweepSeen{Height: s.Tip}},
		{"Ask", channel.Ask{Tip: s.Tip}},
		{"Reorganised, funding gone", channel.Reorganised{Height: channeltest.Base + 1}},
		{"Reorganised, nothing of ours", channel.Reorganised{Height: channeltest.Base + 90}},
	}
}

// Every phase meets every event. The table is testdata/phases.txt: what happens, or why it is refused.
func TestEveryPhaseMeetsEveryEvent(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Every phase meets every event: the phase after it and the effects, or why it is refused.\n")
	b.WriteString("# Made by go test -run EveryPhase -update; read it when it changes.\n")
	all := occasions(t)
	for _, p := range phases {
		fmt.Fprintf(&b, "\n%s\n", p)
		s := lived(t, p)
		for _, o := range all {
			next, effects, err := checked(t.Fatal)(s, o.in)
			if err != nil {
				fmt.Fprintf(&b, "  %-30s refused: %s\n", o.name, channel.KindOf(err))
				continue
			}
			if next.Phase != p && !p.CanMove(next.Phase) {
				t.Errorf("%s: %s leads to %s", p, o.name, next.Phase)
			}
			fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-30s %-10s %s", o.name, next.Phase, names(effects)), " "))
		}
	}
	golden(t, "testdata/phases.txt", []byte(b.String()))
}

// Names are part of the API.
func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{channel.Phase(99).String(), "phase_99"},
		{channel.Kind(99).String(), "kind_99"},
		{channel.RefuseReason(99).String(), "reason_99"},
		{channel.RefusedDisk.String(), "disk_full"},
		{channel.KindCapacity.Error(), "insufficient_capacity"},
		{channel.FreezeReason(99).String(), "frozen"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
