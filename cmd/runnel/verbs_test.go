package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

func TestRequests(t *testing.T) {
	s := newSession(t)
	must := func(line string) {
		t.Helper()
		if o := s.line(line); o.code != 0 {
			t.Fatalf("runnel %s: exit %d, %s", line, o.code, o.err)
		}
	}
	must("send tb1q 0.001btc --fee-rate 1.5")
	if n := s.node; n.sat != 100_000 || n.all || n.rate != 1500 {
		t.Errorf("send: %d, %v, %d", n.sat, n.all, n.rate)
	}
	must("send tb1q all")
	if n := s.node; n.sat != 0 || !n.all || n.rate != 0 {
		t.Errorf("send all: %d, %v, %d", n.sat, n.all, n.rate)
	}
	must("open bob --deposit 1_000_000sat --peer-deposit 200_000sat --expiry 30d --fee-rate 2 -y")
	want := channel.OpenRequest{Peer: "bob", Deposit: 1_000_000, PeerDeposit: 200_000, Expiry: 4320, FeeRate: 2000}
	if s.node.open != want {
		t.Errorf("open: %+v", s.node.open)
	}
	must("close 3fa9 --to tb1q --fee-rate 3")
	if s.node.close != (channel.CloseRequest{Channel: "3fa9", FeeRate: 3000, To: "tb1q"}) {
		t.Errorf("close: %+v", s.node.close)
	}
	must("settle --all --below-fee 5 --fee-rate 2 -y")
	if got := s.node.settle; !got.All || len(got.Channels) > 0 || got.BelowFee != 5000 || got.FeeRate != 2000 || got.DryRun {
		t.Errorf("settle: %+v", got)
	}
	must("settle 3fa9 71c0 --dry-run")
	if got := s.node.settle; got.All || strings.Join(got.Channels, " ") != "3fa9 71c0" || !got.DryRun {
		t.Errorf("settle: %+v", got)
	}
	must("pay bob 25sat --ref coffee --id " + payID)
	if p := s.node.pay[0]; p.Target != "bob" || p.Amount != 25_000 || p.Ref != "coffee" || p.ID.String() != payID || !p.HasID {
		t.Errorf("pay: %+v", p)
	}
	must("payments --channel 3fa9 --peer 16Ui --since 24h --limit 7")
	if f := s.node.filter; f != (channel.PaymentFilter{Channel: "3fa9", Peer: "16Ui", Since: noon.Add(-24 * time.Hour).UnixMilli(), Limit: 7}) {
		t.Errorf("payments: %+v", f)
	}
	must("watch --since 41")
	if s.node.since != 41 {
		t.Errorf("watch: %d", s.node.since)
	}
}

func TestMultiaddrConnectsByItself(t *testing.T) {
	for _, line := range []string{"pay %s 1sat", "open %s --deposit 20_000sat -y", "stream %s 1sat --every 0 --count 1"} {
		s := newSession(t)
		o := s.line(strings.Replace(line, "%s", "/ip4/1.2.3.4/tcp/9745/p2p/"+bob, 1))
		if o.code != 0 || !s.node.was("connect") {
			t.Errorf("%s: exit %d, asked %v", line, o.code, s.node.asked)
		}
		if len(s.node.pay) == 1 && s.node.pay[0].Target != bob || s.node.was("open") && s.node.open.Peer != bob {
			t.Errorf("%s: %+v %+v", line, s.node.pay, s.node.open)
		}
	}
}

func TestPayFates(t *testing.T) {
	for _, c := range []struct {
		name string
		res  channel.PayResult
		err  error
		exit int
		says string
	}{
		{"refused", channel.PayResult{Status: channel.PayRefused, Reason: channel.RefusedPolicy}, nil, exitFailed, "policy"},
		{"pending", channel.PayResult{}, channel.Faultf(channel.CodePending, "no answer yet"), exitPending, "--id " + payID},
		{"lost", channel.PayResult{}, context.DeadlineExceeded, exitPending, "--id " + payID},
	} {
		s := newSession(t)
		s.node.payRes, s.node.payErr = c.res, c.err
		line := "pay bob 25sat --json --id " + payID
		if c.name == "lost" {
			line += " --timeout 1ns"
		}
		o := s.line(line)
		var v payView
		if err := json.Unmarshal([]byte(o.out), &v); err != nil {
			t.Fatalf("%s: %v: %q", c.name, err, o.out)
		}
		want := strings.Replace(c.name, "lost", "pending", 1)
		if o.code != c.exit || v.Status != want || v.Payment != payID || v.Amount != 25_000 || !strings.Contains(o.err, c.says) {
			t.Errorf("%s: exit %d, %+v, %s", c.name, o.code, v, o.err)
		}
	}
}

func TestPayDrawsItsID(t *testing.T) {
	s := newSession(t)
	s.line("pay bob 1sat")
	s.line("pay bob 1sat")
	if a, b := s.node.pay[0], s.node.pay[1]; !a.HasID || a.ID == b.ID || a.ID == (channel.PaymentID{}) {
		t.Errorf("%s, %s", a.ID, b.ID)
	}
}

func TestOpenAsks(t *testing.T) {
	s := newSession(t)
	s.terminal = true
	for answer, code := range map[string]int{"y\n": 0, "Yes\n": 0, "n\n": 4, "\n": 4, "": 4, "yep\n": 4} {
		s.node, s.in = newFake(), answer
		o := s.line("open bob --deposit 1_000_000sat")
		if o.code != code || s.node.was("open") != (code == 0) {
			t.Errorf("answer %q: exit %d, asked %v", answer, o.code, s.node.asked)
		}
		for _, part := range []string{"1,000,000 sat", "308 sat", "310 sat", "If the peer vanishes your deposit returns about 30 Mar 2026 (block 154,176)"} {
			if !strings.Contains(o.err, part) {
				t.Errorf("the question does not show %q:\n%s", part, o.err)
			}
		}
	}
}

func TestSettleAsks(t *testing.T) {
	s := newSession(t)
	s.terminal = true
	for answer, code := range map[string]int{"y\n": 0, "n\n": 4, "": 4} {
		s.node, s.in = newFake(), answer
		o := s.line("settle --all")
		if o.code != code || s.node.was("settle") != (code == 0) {
			t.Errorf("answer %q: exit %d, asked %v", answer, o.code, s.node.asked)
		}
		for _, part := range []string{"1,250,000 sat", "fee of 445 sat at 1.25 sat/vB", "uneconomic", "200,000 sat, return about"} {
			if !strings.Contains(o.err, part) {
				t.Errorf("the question does not show %q:\n%s", part, o.err)
			}
		}
	}
}

func TestOpenInterruptedQuestion(t *testing.T) {
	s := newSession(t)
	s.terminal = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.ctx = ctx
	if o := s.line("open bob --deposit 1_000_000sat"); o.code != exitInterrupted && o.code != exitRefused || s.node.was("open") {
		t.Errorf("exit %d, asked %v", o.code, s.node.asked)
	}
}

func phases(infos ...channel.ChannelInfo) []channel.ChannelInfo {
	for i := range infos {
		infos[i].Channel = chan1
	}
	return infos
}

func TestOpenWaits(t *testing.T) {
	s := newSession(t)
	s.node.polls = phases(
		channel.ChannelInfo{Phase: channel.PhaseAgreed, Required: 3, Confirmations: 1},
		channel.ChannelInfo{Phase: channel.PhaseAgreed, Required: 3, Confirmations: 1},
		channel.ChannelInfo{Phase: channel.PhaseAgreed, Required: 3, Confirmations: 3},
		channel.ChannelInfo{Phase: channel.PhaseOpen, Required: 3, Confirmations: 3, Spendable: 999_000_000},
	)
	o := s.line("open bob --deposit 1_000_000sat -y --wait")
	want := "1/3 confirmations, ~20 min\n3/3 confirmations, waiting for the peer\n"
	if o.code != 0 || o.err != want || !strings.Contains(o.out, "open, spendable 999,000 sat") {
		t.Errorf("exit %d\n%s%s", o.code, o.out, o.err)
	}
	s.node.polls = phases(channel.ChannelInfo{Phase: channel.PhaseOpen, Spendable: 1})
	if o = s.line("open bob --deposit 1_000_000sat -y --wait --json"); o.code != 0 || o.err != "" || !strings.Contains(o.out, `"phase":"open"`) {
		t.Errorf("exit %d\n%s%s", o.code, o.out, o.err)
	}
	s.node.polls = phases(channel.ChannelInfo{Phase: channel.PhaseAbandoned, Reason: "never funded"})
	if o = s.line("open bob --deposit 1_000_000sat -y --wait"); o.code != exitRefused || !strings.Contains(o.err, "never funded") {
		t.Errorf("exit %d\n%s%s", o.code, o.out, o.err)
	}
}

func TestCloseWaits(t *testing.T) {
	s := newSession(t)
	s.node.polls = phases(channel.ChannelInfo{Phase: channel.PhaseClosing, Reason: "1 of 6 blocks deep"}, channel.ChannelInfo{Phase: channel.PhaseClosed})
	if o := s.line("close 3fa9 --wait"); o.code != 0 || o.err != "closing: 1 of 6 blocks deep\n" || !strings.HasSuffix(o.out, "closed for good\n") {
		t.Errorf("exit %d\n%s%s", o.code, o.out, o.err)
	}
}

func TestWaitingEndsWithCtrlC(t *testing.T) {
	s := newSession(t)
	s.node.polls = phases(channel.ChannelInfo{Phase: channel.PhaseClosing})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	s.ctx = ctx
	if o := s.line("close 3fa9 --wait"); o.code != exitInterrupted || !strings.Contains(o.err, "runnel channel 3fa9c1d2") {
		t.Errorf("exit %d\n%s%s", o.code, o.out, o.err)
	}
}

func streamed(t *testing.T, o outcome) streamView {
	t.Helper()
	var v streamView
	if err := json.Unmarshal([]byte(o.out), &v); err != nil {
		t.Fatalf("%v: %q %s", err, o.out, o.err)
	}
	return v
}

func TestStream(t *testing.T) {
	s := newSession(t)
	o := s.line("stream bob 1msat..3msat --every 0 --count 3000 --json --ref x")
	v := streamed(t, o)
	var sum channel.Msat
	seen := map[channel.PaymentID]bool{}
	for _, p := range s.node.pay {
		if seen[p.ID] || p.Amount < 1 || p.Amount > 3 || p.Ref != "x" || p.Target != "bob" {
			t.Fatalf("%+v", p)
		}
		seen[p.ID], sum = true, sum+p.Amount
	}
	if o.code != 0 || v.Count != 3000 || v.Failed != 0 || v.Sent != uint64(sum) || v.P50 < 1 || v.P99 < v.P50 || v.Rate <= 0 {
		t.Errorf("exit %d, %+v, sum %d", o.code, v, sum)
	}
}

func TestStreamFates(t *testing.T) {
	acked := channel.PayResult{Status: channel.PayAcknowledged}
	for _, c := range []struct {
		name          string
		nth           func(i int) (channel.PayResult, error)
		exit          int
		count, failed int
	}{
		{"one refused", func(i int) (channel.PayResult, error) {
			if i == 3 {
				return channel.PayResult{Status: channel.PayRefused, Reason: channel.RefusedPolicy}, nil
			}
			return acked, nil
		}, exitFailed, 9, 1},
		{"one failed and passed", func(i int) (channel.PayResult, error) {
			if i == 3 {
				return acked, channel.Faultf(channel.CodePeerUnreachable, "away")
			}
			return acked, nil
		}, exitFailed, 9, 1},
		{"one pending", func(i int) (channel.PayResult, error) {
			if i == 3 {
				return acked, channel.Faultf(channel.CodePending, "unknown")
			}
			return acked, nil
		}, exitPending, 9, 0},
	} {
		s := newSession(t)
		s.node.payNth = c.nth
		o := s.line("stream bob 1sat --every 1ms --count 10 --json")
		v := streamed(t, o)
		if o.code != c.exit || v.Count != c.count || v.Failed != c.failed || len(s.node.pay) != 10 {
			t.Errorf("%s: exit %d, %+v, %d sent, %s", c.name, o.code, v, len(s.node.pay), o.err)
		}
	}
}

func TestStreamEndsWhenEmpty(t *testing.T) {
	s := newSession(t)
	s.node.payNth = func(i int) (channel.PayResult, error) {
		if i >= 5 {
			return channel.PayResult{}, channel.Faultf(channel.CodeInsufficient, "0 sat left")
		}
		return channel.PayResult{Status: channel.PayAcknowledged}, nil
	}
	o := s.line("stream bob 1sat --every 2ms --json")
	if v := streamed(t, o); o.code != exitRefused || v.Count != 5 || v.Failed < 1 || !strings.Contains(o.err, "0 sat left") {
		t.Errorf("exit %d, %+v, %s", o.code, v, o.err)
	}
	s.node.payNth = func(int) (channel.PayResult, error) { return channel.PayResult{}, errors.New("broken") }
	if o = s.line("stream bob 1sat --every 2ms --json"); o.code != exitFailed || o.out != "" {
		t.Errorf("nothing paid at all: exit %d, stdout %q", o.code, o.out)
	}
}

func TestStreamCtrlC(t *testing.T) {
	s := newSession(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	s.ctx = ctx
	o := s.line("stream bob 1sat --every 1ms")
	if o.code != exitInterrupted || !strings.Contains(o.out, "acknowledged") || !strings.Contains(o.err, "interrupted after") {
		t.Errorf("exit %d\n%s%s", o.code, o.out, o.err)
	}
}

func TestStreamWithoutAnswers(t *testing.T) {
	s := newSession(t)
	s.node.silent = true
	o := s.line("stream bob 1sat --every 0 --count 7 --timeout 10ms --json")
	if v := streamed(t, o); o.code != exitPending || v.Count != 0 || v.Failed != 0 || !strings.Contains(o.err, "7 payments are pending") {
		t.Errorf("exit %d, %+v, %s", o.code, v, o.err)
	}
}

func TestStreamFor(t *testing.T) {
	s := newSession(t)
	if o := s.line("stream bob 1sat --every 1ms --for 20ms --json"); o.code != 0 || streamed(t, o).Count == 0 {
		t.Errorf("exit %d, %s%s", o.code, o.out, o.err)
	}
}

func TestWatchShowsOnlyNewEvents(t *testing.T) {
	s := newSession(t)
	if o := s.line("watch --json"); strings.Count(o.out, "\n") != 4 {
		t.Errorf("new events: %q", o.out)
	}
	s.node.old = true
	if o := s.line("watch --json"); o.out != "" {
		t.Errorf("old events without --since: %q", o.out)
	}
	if o := s.line("watch --json --since 0"); strings.Count(o.out, "\n") != 4 {
		t.Errorf("old events with --since 0: %q", o.out)
	}
}

func TestChannelsHidesClosedOnes(t *testing.T) {
	s := newSession(t)
	s.node.channels[0].Phase = channel.PhaseClosed
	o := s.line("channels")
	if strings.Contains(o.out, "3fa9c1d2") || !strings.Contains(o.out, "1 closed channel is not shown") {
		t.Errorf("%s", o.out)
	}
	if o = s.line("channels --all"); !strings.Contains(o.out, "3fa9c1d2") {
		t.Errorf("%s", o.out)
	}
	if o = s.line("channels --json"); strings.Count(o.out, "\n") != 2 {
		t.Errorf("%s", o.out)
	}
}

func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"pay ":             bob + "\tpeer",
		"pay 3f":           chan1.String() + "\tspendable",
		"stream ":          bob,
		"open 16Uiu2HAmB":  bob + "\tconnected, 2 channels",
		"close ":           chan1.String() + "\topen",
		"settle 3fa9 ":     chan2.String() + "\tagreed",
		"channel 3fa9c1d3": chan2.String() + "\tagreed",
		"connect ":         bob,
		"disconnect ":      bob,
		"bump ":            txid,
		"send tb1q ":       "all",
		"payments --peer ": bob,
		"--network ":       "testnet4",
		"pa":               "payments",
	} {
		s := newSession(t)
		args := append([]string{"__complete"}, strings.Split(line, " ")...)
		if o := s.run(args...); !strings.Contains(o.out, want) {
			t.Errorf("%q: want %q in %q", line, want, o.out)
		}
	}
	s := newSession(t)
	s.node.err = errors.New("broken")
	if o := s.run("__complete", "close", "x"); strings.Contains(o.out, "broken") {
		t.Errorf("%q", o.out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if o := newSession(t).line("completion " + shell); o.code != 0 || len(o.out) < 1000 {
			t.Errorf("completion %s: exit %d", shell, o.code)
		}
	}
}

func TestSince(t *testing.T) {
	a := &app{now: func() time.Time { return noon }}
	for text, want := range map[string]time.Time{
		"24h":                  noon.Add(-24 * time.Hour),
		"7d":                   noon.AddDate(0, 0, -7),
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31T08:00:00Z": time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC),
	} {
		if got, err := a.parseSince(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1h", "0d", "yesterday", "2026-13-01", "d"} {
		if got, err := a.parseSince(text); err == nil {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestShortIDs(t *testing.T) {
	a, b := channel.ID{1, 2, 3, 4, 5, 6}, channel.ID{1, 2, 3, 4, 5, 7}
	short := shortIDs([]channel.ID{a, b, a})
	if short[a] == short[b] || len(short[a]) != 12 {
		t.Errorf("%v", short)
	}
	if short = shortIDs([]channel.ID{a, a}); short[a] != "01020304" {
		t.Errorf("%v", short)
	}
}
