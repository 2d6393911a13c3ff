package itest

import (
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// TestFlood: peers that say too much, too slowly, or something else. alice pays meanwhile.
func TestFlood(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	w := a.world
	addr, err := w.Node("bob").Address(w.ctx)
	w.check(err)
	hello, err := wire.Encode(hello())
	w.check(err)
	var slow sync.WaitGroup
	patient := func(name string, r *raw, frames [][]byte, do func(network.Stream) error) {
		s, err := r.stream(w.ctx, frames...)
		w.check(err)
		slow.Go(func() {
			if err := do(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	a.unharmed(w, func() {
		patient("silence", newRaw(t, addr), nil, ended)
		patient("a message that does not end", newRaw(t, addr), [][]byte{framed(hello), {0, 0, 4, 0}}, func(s network.Stream) error {
			return endedWriting(s, []byte{1}, 50*time.Millisecond)
		})
		patient("questions without reading the answers", newRaw(t, addr), [][]byte{framed(hello)}, func(s network.Stream) error {
			return endedWriting(s, questions(), 0)
		})
		for name, frames := range map[string][]byte{
			"an oversized message": {0xff, 0xff, 0xff, 0xff}, "one byte too many": {0, 4, 0, 1}, "HTTP": []byte("GET / HTTP/1.1\r\n\r\n"),
			"an empty hello": framed([]byte{0x0a, 0}), "noise": framed(noise(wire.MaxMessage)), "a hello twice": append(framed(hello), framed(hello)...),
		} {
			patient(name, newRaw(t, addr), [][]byte{frames}, ended)
		}
	})
	t.Run("crowd", func(t *testing.T) { a.crowd(t, addr, hello) })
	slow.Wait()
	a.unharmed(w, func() {})
}

// questions are many small messages that ask for larger answers.
func questions() []byte {
	var b []byte
	for range 1000 {
		m, err := wire.Encode(&channel.Resync{Channel: channel.ID(noise(32)), Phase: channel.PhaseOpen})
		if err != nil {
			panic(err)
		}
		b = append(b, framed(m)...)
	}
	return b
}

// maxMemory is loose: what a daemon with this many peers may have at most.
const maxMemory = 400 << 20

// crowd is many peers, each of which makes bob hold as much as it can.
func (a *arena) crowd(t *testing.T, addr string, hello []byte) {
	w := a.in(t)
	before := w.memory("bob")
	almost := framed(noise(wire.MaxMessage))
	almost = almost[:len(almost)-1]
	var streams []network.Stream
	a.unharmed(w, func() {
		for i := range 64 {
			s, err := newRaw(t, addr).stream(w.ctx, framed(hello), almost)
			if err != nil {
				t.Fatalf("peer %d: %v", i, err)
			}
			streams = append(streams, s)
		}
	})
	now := w.memory("bob")
	t.Logf("bob takes %d MB, %d MB before", now>>20, before>>20)
	if now > maxMemory {
		t.Errorf("more than %d MB", maxMemory>>20)
	}
	for _, s := range streams {
		s.Reset()
	}
}
