package channel_test

import (
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

// told are the alerts of a channel whose blocks come one by one, with the heights at which they came.
func told(t *testing.T, s *channel.State, from, to uint32) (heights []uint32, texts []string) {
	t.Helper()
	for tip := from; tip <= to; tip++ {
		for _, e := range step(t, s, channel.Height{Tip: tip}) {
			if a, ok := e.(channel.Alert); ok {
				heights, texts = append(heights, tip), append(texts, a.Text)
			}
		}
	}
	return heights, texts
}

// The owner hears of each step to the end once, in time, and not again after a reorganisation or a restart.
func TestCalendar(t *testing.T) {
	s := open(t)
	h, expiry := s.Terms.Heights, s.Terms.Out.Expiry
	s.Terms.OpenedAt, s.Terms.In.Expiry = 0, expiry
	heights, texts := told(t, &s, s.Tip, expiry+2)
	want := []uint32{expiry - 2*h.CloseStop, expiry - h.CloseStop, expiry - h.Stop, expiry - h.Escalate, expiry}
	if len(heights) != len(want) {
		t.Fatalf("told at %v, want %v: %q", heights, want, texts)
	}
	for i, words := range []string{"open its successor", "can't be closed together", "no more payments", "rises with every block", "goes on"} {
		if heights[i] != want[i] || !strings.Contains(texts[i], words) {
			t.Errorf("at %d, want %d: %q", heights[i], want[i], texts[i])
		}
	}
	cold, err := s.MarshalCold()
	must(t, err)
	out, _ := s.Out.MarshalBinary()
	in, _ := s.In.MarshalBinary()
	again, err := channel.Load(cold, out, in, s.Unacked)
	must(t, err)
	step(t, &again, channel.Reorganised{Height: expiry - 5})
	if heights, texts := told(t, &again, expiry-5, expiry+5); len(heights) > 0 {
		t.Errorf("told again: %v %q", heights, texts)
	}
}

// Steps that were slept through are not told one after the other, and none is told where nothing happens.
func TestCalendarAfterSleep(t *testing.T) {
	s := open(t)
	expiry := s.Terms.Out.Expiry
	if _, texts := told(t, &s, expiry-5, expiry-5); len(texts) != 1 || !strings.Contains(texts[0], "5 blocks before the payer") {
		t.Errorf("%q", texts)
	}
	s = open(t)
	step(t, &s, channel.CloseTogether{Payout: []byte("wallet alice"), Initiator: true})
	s.In.Total = 0
	if heights, texts := told(t, &s, s.Tip, expiry-1); len(texts) > 0 {
		t.Errorf("told of a closing channel: %v %q", heights, texts)
	}
}
