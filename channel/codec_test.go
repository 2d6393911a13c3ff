package channel_test

import (
	"bytes"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

func fullLane() channel.Lane {
	l := channel.Lane{Total: 1 << 50, Spent: 1<<50 - 3, NextSeq: 1 << 40, Acked: 1<<40 - 7, Frozen: channel.FrozenRegress}
	for i := range l.Voucher {
		l.Voucher[i] = byte(i)
	}
	for i := range l.Hash {
		l.Hash[i] = byte(100 + i)
	}
	return l
}

func TestLaneRecord(t *testing.T) {
	for _, l := range []channel.Lane{{NextSeq: 1, Acked: 1}, fullLane()} {
		b, err := l.MarshalBinary()
		must(t, err)
		if len(b) != 130 {
			t.Errorf("a record of %d bytes", len(b))
		}
		var got channel.Lane
		must(t, got.UnmarshalBinary(b))
		if got != l {
			t.Errorf("got %+v, want %+v", got, l)
		}
	}
}

func TestDamagedLaneRecord(t *testing.T) {
	full := fullLane()
	good, _ := full.MarshalBinary()
	for name, damage := range map[string]func([]byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"short":               func(b []byte) []byte { return b[:129] },
		"long":                func(b []byte) []byte { return append(b, 0) },
		"other version":       func(b []byte) []byte { b[0]++; return b },
		"zeros":               func(b []byte) []byte { clear(b); return b },
		"zeros but version":   func(b []byte) []byte { clear(b[1:]); return b },
		"spent above total":   func(b []byte) []byte { b[9]++; return b },
		"answered above next": func(b []byte) []byte { b[25]++; return b },
	} {
		var l channel.Lane
		if err := l.UnmarshalBinary(damage(bytes.Clone(good))); err == nil {
			t.Errorf("%s: taken as %+v", name, l)
		}
	}
}

// What is taken is written again as the same bytes.
func FuzzLane(f *testing.F) {
	full, empty := fullLane(), channel.Lane{NextSeq: 1, Acked: 1}
	for _, l := range []channel.Lane{full, empty} {
		b, _ := l.MarshalBinary()
		f.Add(b)
		f.Add(b[:20])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var l channel.Lane
		if l.UnmarshalBinary(b) != nil {
			return
		}
		again, err := l.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x, %v", b, again, err)
		}
		if l.Spent > l.Total || l.Acked > l.NextSeq {
			t.Fatalf("taken: %+v", l)
		}
	})
}

func records(t testing.TB, s channel.State) (cold, out, in []byte) {
	t.Helper()
	cold, err := s.MarshalCold()
	if err != nil {
		t.Fatal(err)
	}
	out, _ = s.Out.MarshalBinary()
	in, _ = s.In.MarshalBinary()
	return cold, out, in
}

// A state of any phase comes back as it was, but for what belongs to the run of the program.
func TestLoad(t *testing.T) {
	for _, p := range phases {
		s := lived(t, p)
		cold, out, in := records(t, s)
		got, err := channel.Load(cold, out, in, s.Unacked)
		must(t, err)
		again, out2, in2 := records(t, got)
		if !bytes.Equal(again, cold) || !bytes.Equal(out2, out) || !bytes.Equal(in2, in) || got.UnackedSum() != s.UnackedSum() || got.Synced {
			t.Errorf("%s: %s\nis loaded as\n%s", p, cold, again)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	s := open(t)
	pay(t, &s, 9, 3)
	cold, out, in := records(t, s)
	older := bytes.Replace(cold, []byte(`{"Version":1,`), []byte(`{"Version":2,`), 1)
	for name, c := range map[string]struct {
		cold, out, in []byte
		unacked       []*channel.Frame
	}{
		"no record":          {nil, out, in, s.Unacked},
		"no JSON":            {cold[:len(cold)/2], out, in, s.Unacked},
		"newer version":      {older, out, in, s.Unacked},
		"own lane damaged":   {cold, out[1:], in, s.Unacked},
		"peer's damaged":     {cold, out, in[1:], s.Unacked},
		"no frames":          {cold, out, in, nil},
		"first frame gone":   {cold, out, in, s.Unacked[1:]},
		"last frame gone":    {cold, out, in, s.Unacked[:1]},
		"frames in disarray": {cold, out, in, []*channel.Frame{s.Unacked[1], s.Unacked[0]}},
	} {
		if _, err := channel.Load(c.cold, c.out, c.in, c.unacked); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

// No record makes the machine panic, and what is loaded is stored again as it is.
func FuzzLoad(f *testing.F) {
	s := channeltest.New(channeltest.Options{Deposit: 100_000, PeerDeposit: 50_000}).Alice.State
	cold, out, in := records(f, s)
	f.Add(cold, out, in)
	f.Add([]byte(`{"Version":1,"Phase":5,"InFunding":{"Seen":[{"Value":7}],"Spend":{"Kind":1}}}`), out, in)
	f.Add([]byte(`{"Version":1}`), []byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, cold, out, in []byte) {
		s, err := channel.Load(cold, out, in, nil)
		if err != nil {
			return
		}
		cold2, out2, in2 := records(t, s)
		again, err := channel.Load(cold2, out2, in2, nil)
		if err != nil || channel.Snapshot(again) != channel.Snapshot(s) {
			t.Fatalf("%s is stored as %s, %v", cold, cold2, err)
		}
		for _, e := range []channel.Input{channel.Height{Tip: s.Terms.In.Expiry}, channel.Connected{}, channel.CloseAlone{}, channel.Reorganised{Height: 1}} {
			s, _, _ = channel.Step(s, e)
		}
		_ = s.Info()
	})
}
