package itest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

// payeeMisdeeds are what a peer does that bob pays. bob pays 5 sat with an id of its own, and the foe
// answers the frame in its own way. exit is how `runnel pay` ends; then the truth comes, if it still can,
// and the same id asks for its fate: again is how that ends.
var payeeMisdeeds = []struct {
	name   string
	answer func(f *foe, d *deal, m *channel.Frame)
	exit   int
	says   string // of `runnel pay`
	truth  func(f *foe, d *deal, m *channel.Frame)
	again  int
	frozen string // why bob pays no more on this lane; empty if he does
}{
	{"silence", nothing, 5, `"code":"pending"`, proper, 0, ""},
	{"answers to more than was sent", func(f *foe, d *deal, m *channel.Frame) {
		a := ackOf(m)
		a.NextSeq += 7
		f.say(a)
	}, 5, `"code":"pending"`, proper, 0, ""},
	{"a refusal", func(f *foe, d *deal, m *channel.Frame) {
		a := ackOf(m)
		a.Spent = 0
		a.Refused = []channel.Refusal{{Seq: m.FirstSeq, Reason: channel.RefusedPolicy}}
		a.Hash = channel.LaneHash([32]byte{}, m.Lane, m.FirstSeq, m.Payments[0], channel.RefusedPolicy)
		f.say(a)
	}, 1, `"code":"payment_refused"`, nothing, 1, ""},
	{"a refusal for a reason of its own", func(f *foe, d *deal, m *channel.Frame) {
		a := ackOf(m)
		a.Spent = 0
		a.Refused = []channel.Refusal{{Seq: m.FirstSeq, Reason: 200}}
		a.Hash = channel.LaneHash([32]byte{}, m.Lane, m.FirstSeq, m.Payments[0], 200)
		f.say(a)
	}, 1, `"code":"payment_refused"`, nothing, 1, ""},
	{"another hash", func(f *foe, d *deal, m *channel.Frame) {
		a := ackOf(m)
		a.Hash[0] ^= 1
		f.say(a)
	}, 5, `"code":"pending"`, proper, 0, "the two books differ"},
	{"less spent than accepted", func(f *foe, d *deal, m *channel.Frame) {
		a := ackOf(m)
		a.Spent--
		f.say(a)
	}, 5, `"code":"pending"`, nothing, 5, "the two books differ"},
	{"more vouchered than signed", func(f *foe, d *deal, m *channel.Frame) {
		a := ackOf(m)
		a.Total += 1000
		f.say(a)
	}, 5, `"code":"pending"`, nothing, 5, "the two books differ"},
	{"loss of memory", proper, 0, `"status":"acknowledged"`, func(f *foe, d *deal, m *channel.Frame) {
		f.reconnect(func() error { return f.line.say(f.resync(d)) }) // next is 1 again
	}, 0, "the peer forgot acknowledged payments"},
}

func nothing(*foe, *deal, *channel.Frame) {}

func proper(f *foe, _ *deal, m *channel.Frame) { f.say(ackOf(m)) }

// ackOf is the proper answer to the first frame of a lane.
func ackOf(m *channel.Frame) *channel.Ack {
	return &channel.Ack{Lane: m.Lane, NextSeq: m.NextSeq(), Total: m.Total, Spent: m.Total,
		Hash: channel.LaneHash([32]byte{}, m.Lane, m.FirstSeq, m.Payments[0], channel.Accepted)}
}

// TestHostilePayee: what a payee answers can't move more than bob signed, nor make bob say that he paid
// what he did not, or that he did not pay what he may have.
func TestHostilePayee(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for i, m := range payeeMisdeeds {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			w := a.in(t)
			f := newFoe(w, "bob")
			d := f.deal(100_000, 50_000)
			w.published()
			w.check(w.Mine(w.ctx, 1))
			w.until("bob can pay", func() bool { return w.one("bob", "channel", d.id.String()).number("spendable_msat") > 0 })
			id := fmt.Sprintf("%032x", i+1)
			pay := func(exit int) outcome {
				timeout := "30s"
				if exit == 5 { // what is waited for does not come
					timeout = "1s"
				}
				return w.runnel("--node", "bob", "--json", "pay", d.id.String(), "5sat", "--id", id, "--timeout", timeout)
			}
			before := w.money("bob") + w.money("alice")
			paid := make(chan outcome, 1)
			go func() { paid <- pay(m.exit) }()
			frame, err := hear[*channel.Frame](f.line)
			w.check(err)
			m.answer(f, d, frame)
			if o := <-paid; o.code != m.exit || !strings.Contains(o.out+o.err, m.says) {
				t.Errorf("exit %d: %s%s", o.code, o.out, o.err)
			}
			m.truth(f, d, frame)
			if o := pay(m.again); o.code != m.again {
				t.Errorf("asked again: exit %d: %s%s", o.code, o.out, o.err)
			}
			w.kept(before, w.money("bob")+w.money("alice"), d.id.String())
			a.lane(w, d, m.frozen)
			a.unharmed(w, func() {})
			if m.frozen == "" {
				return
			}
			w.must("bob", "close", d.id.String(), "--force")
			a.settled(w, f, d)
		})
	}
}

// lane holds that the lane on which bob pays the foe took at most one payment, and whether it takes more.
func (a *arena) lane(w *world, d *deal, frozen string) {
	w.t.Helper()
	w.until("the lane is as it should be", func() bool {
		return strings.Contains(w.one("bob", "channel", d.id.String()).text("reason"), frozen)
	})
	c := w.one("bob", "channel", d.id.String())
	if sum := c.number("sent_msat") + c.number("credit_msat"); sum > 5000 {
		w.t.Errorf("%d msat are gone, 5000 were signed", sum)
	}
	o := w.runnel("--node", "bob", "--json", "pay", d.id.String(), "1sat", "--timeout", "1s")
	switch {
	case frozen == "" && o.code != 5: // signed, and the foe is silent
		w.t.Errorf("the lane takes no more: exit %d %s", o.code, o.err)
	case frozen != "" && (o.code != 4 || !strings.Contains(o.err, frozen)):
		w.t.Errorf("the lane takes more: exit %d %s%s", o.code, o.out, o.err)
	}
}
