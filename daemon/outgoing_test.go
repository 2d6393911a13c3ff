package daemon

import (
	"slices"
	"testing"

	"github.com/runnel/runnel/channel"
)

// What is repeated leaves in the order of the repetition, also what still waited from before: a payee that
// gets the end of it first asks for the rest, and drops the end.
func TestRepeatedFramesLeaveInOrder(t *testing.T) {
	o := newOutgoing()
	frames := make([]*channel.Frame, 8)
	send := func(list []*channel.Frame) {
		for _, f := range list {
			if !o.again(f) {
				o.put([]byte{byte(f.FirstSeq)}, f)
			}
		}
	}
	for i := range frames {
		frames[i] = &channel.Frame{FirstSeq: uint64(i)}
	}
	left := func() (seqs []uint64) {
		for _, p := range o.take() {
			if p.frame != nil {
				if uint64(p.msg[0]) != p.frame.FirstSeq {
					t.Errorf("frame %d has the message of %d", p.frame.FirstSeq, p.msg[0])
				}
				seqs = append(seqs, p.frame.FirstSeq)
			}
		}
		return seqs
	}
	all := []uint64{0, 1, 2, 3, 4, 5, 6, 7}
	send(frames[5:]) // signed while the connection was away
	o.put([]byte("answer"), nil)
	send(frames)
	if got := left(); !slices.Equal(got, all) {
		t.Errorf("left %v", got)
	}
	for range 1000 { // a peer that asks and does not read
		send(frames)
	}
	if len(o.list) > 3*len(frames) {
		t.Errorf("%d parcels wait for %d frames", len(o.list), len(frames))
	}
	if got := left(); !slices.Equal(got, all) {
		t.Errorf("after many repetitions left %v", got)
	}
	send(frames[:2]) // what left is sent anew
	if got := left(); !slices.Equal(got, all[:2]) {
		t.Errorf("left %v", got)
	}
}
