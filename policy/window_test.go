package policy

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

var start = time.Date(2026, 1, 2, 3, 30, 0, 0, time.UTC)

func at(h float64) time.Time { return start.Add(time.Duration(h * float64(time.Hour))) }

func (w *Window) addAt(t *testing.T, hours float64, amount channel.Msat) uint32 {
	t.Helper()
	w.Advance(at(hours))
	hour, ok := w.Add(amount)
	if !ok {
		t.Fatalf("%d at hour %v was not counted", amount, hours)
	}
	return hour
}

func (w *Window) wantUsed(t *testing.T, hours float64, want channel.Msat) {
	t.Helper()
	w.Advance(at(hours))
	if w.Used() != want {
		t.Errorf("%d used at hour %v, want %d", w.Used(), hours, want)
	}
}

func TestWindowForgetsAfterADay(t *testing.T) {
	var w Window
	w.addAt(t, 0, 100)
	w.addAt(t, 1, 10)
	w.wantUsed(t, 24, 110)
	w.wantUsed(t, 24.49, 110)
	w.wantUsed(t, 24.5, 10) // the hour of the first one is over for 24 hours
	w.wantUsed(t, 25.5, 0)
	w.addAt(t, 30, 7)
	w.wantUsed(t, 1000, 0)
}

func TestClockSetBackRefillsNothing(t *testing.T) {
	var w Window
	w.addAt(t, 0, 100)
	w.wantUsed(t, -20, 100)
	w.addAt(t, -20, 10) // counts as of hour 0
	w.wantUsed(t, 24, 110)
	w.wantUsed(t, 25, 0)
}

func TestClockFarBackKeepsAllForADay(t *testing.T) {
	var w Window
	w.addAt(t, 0, 100)
	w.addAt(t, 10, 10)
	w.wantUsed(t, -100, 110)
	w.wantUsed(t, -76, 110)
	w.wantUsed(t, -75, 0)
}

// TestSwingingClock: a clock that swings around an hour ages nothing.
func TestSwingingClock(t *testing.T) {
	var w Window
	w.addAt(t, 0, 100)
	for range 100 {
		w.wantUsed(t, 0.6, 100)
		w.wantUsed(t, 0.4, 100)
	}
}

func TestWindowRelease(t *testing.T) {
	var w Window
	first := w.addAt(t, 0, 100)
	second := w.addAt(t, 5, 10)
	w.Release(second, 4)
	w.wantUsed(t, 5, 106)
	w.Release(second, 100) // never more than counts under that hour
	w.wantUsed(t, 5, 100)
	w.Release(second+1, 100)
	w.Release(first-1, 100)
	w.wantUsed(t, 5, 100)
	w.addAt(t, 26, 50)
	w.Release(first, 100) // forgotten: the bucket belongs to another hour now
	w.wantUsed(t, 26, 50)
}

// What is released must have been counted under that very hour: not later, and not a whole window ago,
// although it shares a place with it.
func TestReleaseOfAnotherHour(t *testing.T) {
	for name, hours := range map[string]int{"in the future": buckets, "of the last window": -buckets, "of long ago": -4 * buckets} {
		var w Window
		hour := w.addAt(t, 0, 100)
		w.Release(uint32(int(hour)+hours), 100)
		if w.Used() != 100 {
			t.Errorf("%s: %d left of 100", name, w.Used())
		}
	}
}

// At the beginning of time, where hours are small, and exactly one window back.
func TestClockNearTheEdges(t *testing.T) {
	hour := func(h int64) time.Time { return time.Unix(h*3600, 0) }
	want := func(w *Window, h int64, want channel.Msat) {
		t.Helper()
		w.Advance(hour(h))
		if w.Used() != want {
			t.Errorf("hour %d: %d used, want %d", h, w.Used(), want)
		}
	}
	var w Window
	w.Advance(hour(3))
	w.Add(100)
	want(&w, 5, 100)
	want(&w, 3+buckets-1, 100)
	want(&w, 3+buckets, 0) // it was counted under hour 3, and stayed there

	for _, h := range []int64{buckets, 1000} {
		var w Window
		w.Advance(hour(h))
		w.Add(100)
		want(&w, h-buckets, 100) // a whole window back: from now on that is the time
		want(&w, h-1, 100)
		want(&w, h, 0)
	}
}

// All the money that there is can be counted, and read again; so can what was counted in the first hour
// of all.
func TestDecodeWindowAtTheLimits(t *testing.T) {
	var rich, first Window
	rich.addAt(t, 0, NoLimit)
	first.Add(5)
	first.Advance(time.Unix(2*3600, 0))
	for _, w := range []Window{rich, first} {
		if again, err := DecodeWindow(w.Encode()); err != nil || again != w {
			t.Errorf("%+v, %v", again, err)
		}
	}
}

func TestWindowOverflow(t *testing.T) {
	var w Window
	w.addAt(t, 0, NoLimit)
	for _, amount := range []channel.Msat{1, NoLimit, 1<<64 - 1} {
		if _, ok := w.Add(amount); ok {
			t.Errorf("%d more than all the money was counted", amount)
		}
	}
	w.wantUsed(t, 0, NoLimit)
}

// TestWindowAgainstAList: with a clock that only goes forward, at least everything of the last 24 hours
// counts, and nothing of 25 hours ago; over encoding and decoding.
func TestWindowAgainstAList(t *testing.T) {
	type spent struct {
		at     time.Time
		amount channel.Msat
	}
	rapid.Check(t, func(rt *rapid.T) {
		var w Window
		var list []spent
		now := start
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(4*time.Hour)).Draw(rt, "later")))
			w.Advance(now)
			if rapid.Bool().Draw(rt, "add") {
				amount := channel.Msat(rapid.Uint64Range(1, 1000).Draw(rt, "amount"))
				if _, ok := w.Add(amount); !ok {
					rt.Fatal("not counted")
				}
				list = append(list, spent{now, amount})
			}
			decoded, err := DecodeWindow(w.Encode())
			if err != nil || decoded != w {
				rt.Fatalf("%+v became %+v, %v", w, decoded, err)
			}
			w = decoded
			var least, most channel.Msat
			for _, s := range list {
				if now.Sub(s.at) <= 24*time.Hour {
					least += s.amount
				}
				if now.Sub(s.at) < 25*time.Hour {
					most += s.amount
				}
			}
			if w.Used() < least || w.Used() > most {
				rt.Fatalf("%d used, must be %d to %d", w.Used(), least, most)
			}
		}
	})
}

func TestDecodeWindowIsStrict(t *testing.T) {
	var w Window
	w.addAt(t, 0, 300)
	w.addAt(t, 2, 5)
	good := w.Encode()
	if len(good) > 10 {
		t.Errorf("a small record has %d bytes", len(good))
	}
	full := append([]byte{1, 0, 1, 0, 0}, slices.Repeat([]byte{1}, buckets)...)
	if _, err := DecodeWindow(full); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty":           nil,
		"short":           good[:4],
		"version":         append([]byte{2}, good[1:]...),
		"torn number":     good[:len(good)-1],
		"zeros at end":    append(slices.Clone(good), 0),
		"too many":        append(slices.Clone(full), 1),
		"before 1970":     {1, 0, 0, 0, 0, 1, 1},
		"long number":     append(slices.Clone(good[:5]), 0x81, 0x00),
		"too much":        append(slices.Clone(good[:5]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"above 64 bits":   append(slices.Clone(good[:5]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"only the header": good[:3],
	} {
		if _, err := DecodeWindow(b); !errors.Is(err, ErrWindow) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeWindow(f *testing.F) {
	var w Window
	f.Add(w.Encode())
	w.Advance(start)
	w.Add(12345)
	f.Add(w.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := DecodeWindow(b)
		if err == nil && string(w.Encode()) != string(b) {
			t.Errorf("%x re-encodes to %x", b, w.Encode())
		}
	})
}
