package itest

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/wire"
	"github.com/runnel/runnel/wire/wirepb"
)

// misdeeds are what a peer with a real channel does to bob. After each one bob is the same process with
// the same money, alice's channel works in both directions, and so does the foe's own once it behaves
// again, unless the misdeed ends that.
var misdeeds = []struct {
	name string
	do   func(f *foe, d *deal)
	says string // in bob's log
	cut  bool   // the connection is ended
	over bool   // the channel takes no more payments
}{
	{"garbage", func(f *foe, _ *deal) { f.sayRaw(noise(200)) }, "malformed", true, false},
	{"an empty envelope", func(f *foe, _ *deal) { f.sayRaw([]byte{0x0a, 0x00}) }, "hello", true, false},
	{"a second hello", func(f *foe, _ *deal) { f.say(hello()) }, "no place here", true, false},
	{"a payment of nothing", func(f *foe, d *deal) { f.sayFrame(d, func(m *wirepb.Frame) { m.Payments[0].Amount = 0 }) }, "is 0", true, false},
	{"sequence number 0", func(f *foe, d *deal) { f.sayFrame(d, func(m *wirepb.Frame) { m.FirstSeq = 0 }) }, "out of range", true, false},
	{"sequence numbers that overflow", func(f *foe, d *deal) { f.sayFrame(d, func(m *wirepb.Frame) { m.FirstSeq = 1<<64 - 1 }) }, "out of range", true, false},
	{"a sum that overflows", func(f *foe, d *deal) {
		f.sayFrame(d, func(m *wirepb.Frame) {
			m.Payments = append(m.Payments, proto.CloneOf(m.Payments[0]))
			m.Payments[0].Amount, m.Payments[1].Amount = 1<<63, 1<<63
		})
	}, "overflows", true, false},
	{"more money than there is", func(f *foe, d *deal) { f.sayFrame(d, func(m *wirepb.Frame) { m.Payments[0].Amount = 1 << 62 }) },
		"more than all money", true, false},
	{"a reference that writes to terminals", func(f *foe, d *deal) { f.sayFrame(d, func(m *wirepb.Frame) { m.Payments[0].Ref = "\x1b[2J" }) },
		"control characters", true, false},
	{"too many payments", func(f *foe, d *deal) {
		f.sayFrame(d, func(m *wirepb.Frame) {
			for range channel.MaxFramePayments {
				m.Payments = append(m.Payments, m.Payments[0])
			}
		})
	}, "malformed", true, false},
	{"a short signature", func(f *foe, d *deal) { f.sayFrame(d, func(m *wirepb.Frame) { m.Signature = m.Signature[:63] }) }, "signature has 63 bytes", true, false},
	{"an encoding of its own", func(f *foe, d *deal) {
		b, err := wire.Encode(f.frame(d, 1000))
		f.try(err)
		f.sayRaw(append(b, 0)) // a byte more than the message has
	}, "malformed", true, false},

	{"a lower voucher", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Total = d.total - 1000
		f.sign(d, m, m.Total)
		f.say(m)
	}, "does not cover the payments", true, false},
	{"a voucher that covers too little", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Total = d.total + 999
		f.sign(d, m, m.Total)
		f.say(m)
	}, "does not cover the payments", true, false},
	{"the newest voucher again, for a new payment", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Total = d.total
		f.sign(d, m, m.Total)
		f.say(m)
	}, "does not cover the payments", true, false},
	{"a voucher over nothing", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Total = 0
		f.say(m)
	}, "does not cover the payments", true, false},
	{"a voucher above the deposit", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Total = d.out.Capacity() + 1
		f.say(m)
	}, "is above the lane's", true, false},
	{"a bad signature", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Signature[5] ^= 1
		f.say(m)
	}, "the signature over 6001000 msat is wrong", true, false},
	{"the signature of another total", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		f.sign(d, m, m.Total-1)
		f.say(m)
	}, "the signature over 6001000 msat is wrong", true, false},
	{"good frames before a bad one", func(f *foe, d *deal) { // the good one counts
		good := f.frame(d, 1)
		f.say(good)
		f.acked(d, good)
		m := f.frame(d, 1000)
		m.Signature[5] ^= 1
		f.say(m)
	}, "the signature over 6001001 msat is wrong", true, false},
	{"another channel's voucher", func(f *foe, d *deal) {
		other := f.deal(50_000, 0)
		stolen := f.frame(other, 1000)
		m := f.frame(d, 1000)
		m.Signature = stolen.Signature
		f.say(m)
	}, "the signature over 6001000 msat is wrong", true, false},
	{"a voucher for another output of the same lane", func(f *foe, d *deal) {
		script, err := f.scheme.FundingScript(d.out)
		f.try(err)
		twin := *d
		twin.funding = f.pay(script, d.out.Deposit)
		f.try(f.w.Mine(f.w.ctx, 1))
		f.say(f.frame(&twin, 1000))
	}, "the signature over 6001000 msat is wrong", true, false},
	{"another output for a lane in use", func(f *foe, d *deal) {
		o := d.funding
		o.TxID[0] ^= 1
		f.say(&channel.Funded{Lane: d.out.ID(), Funding: o})
	}, "names another funding output", true, false},
	{"another peer's lane", func(f *foe, _ *deal) {
		victim := newFoe(f.w, f.victim)
		theirs := victim.deal(50_000, 0)
		f.say(victim.frame(theirs, 1000))
	}, "no part in", true, false},
	{"another peer's channel", func(f *foe, _ *deal) {
		theirs := newFoe(f.w, f.victim).deal(50_000, 0)
		f.say(&channel.Stop{Channel: theirs.id, Payout: payTo(1)})
	}, "no part in", true, false},
	{"a lane that nobody has", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.Lane[0] ^= 1
		f.say(m)
	}, "no part in", true, false},

	{"a skipped sequence number", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.FirstSeq += 5
		f.say(m)
		r, err := hear[*channel.Resync](f.line)
		f.try(err)
		if r.In.NextSeq != d.seq || r.In.Total != d.total {
			f.w.t.Errorf("bob says he has %+v", r.In)
		}
	}, "", false, false},
	{"an old frame again", func(f *foe, d *deal) {
		m := f.frame(d, 7)
		f.say(m)
		f.acked(d, m)
		f.say(m, m, m)
		for range 3 {
			again, err := hear[*channel.Ack](f.line)
			f.try(err)
			if again.NextSeq != m.NextSeq() || again.Total != m.Total || again.Spent != m.Total {
				f.w.t.Errorf("the answer to a repetition is %+v", again)
			}
		}
	}, "", false, false},
	{"an answer to payments that were not made", func(f *foe, d *deal) {
		f.say(&channel.Ack{Lane: d.in.ID(), NextSeq: 5, Total: 10, Spent: 10}, &channel.Ack{Lane: d.out.ID(), NextSeq: 5, Total: 10, Spent: 10})
	}, "", false, false},
	{"payments that bob never made", func(f *foe, d *deal) {
		r := f.resync(d)
		r.In = channel.LaneReport{NextSeq: 9, Total: 40_000_000, Spent: 40_000_000, Signature: channel.Signature(noise(64))}
		f.say(r)
	}, "payments that we never made", true, false},
	{"a stop that claims more than bob signed", func(f *foe, d *deal) {
		f.say(&channel.Stop{Channel: d.id, In: channel.LaneReport{NextSeq: 9, Total: 40_000_000, Spent: 40_000_000}, Payout: payTo(1)})
	}, "claims more than we signed", true, false},
	{"closes out of nowhere", func(f *foe, d *deal) {
		f.say(&channel.CloseOffer{Channel: d.id, Attempt: [16]byte{1}, Fee: 1000, Nonces: [][66]byte{{2}, {2}}},
			&channel.CloseSign{Channel: d.id, Attempt: [16]byte{1}, Nonces: [][66]byte{{2}, {2}}, Partials: [][32]byte{{1}, {1}}},
			&channel.CloseDone{Channel: d.id, Tx: []byte("a transaction that takes it all")})
	}, "", false, false},

	{"a used sequence number with other content", func(f *foe, d *deal) {
		m := f.frame(d, 1000)
		m.FirstSeq, m.Total = d.seq-1, d.total
		f.sign(d, m, m.Total)
		f.say(m)
	}, "came again with other content", true, true},
	{"answers that bob never gave", func(f *foe, d *deal) {
		r := f.resync(d)
		r.Acked = d.seq + 7
		f.say(r)
	}, "our record is too old", false, true},
	{"a close that goes nowhere", func(f *foe, d *deal) {
		f.say(&channel.Stop{Channel: d.id, In: channel.LaneReport{NextSeq: 1}, Payout: payTo(1)})
		_, err := hear[*channel.Stop](f.line)
		f.try(err)
		f.say(&channel.CloseOffer{Channel: d.id, Attempt: [16]byte{1}, Fee: 5000, Nonces: [][66]byte{{2}, {3}}},
			&channel.CloseOffer{Channel: d.id, Attempt: [16]byte{2}, Fee: 1, Nonces: [][66]byte{{2}}},
			&channel.CloseOffer{Channel: d.id, Attempt: [16]byte{3}, Fee: 1 << 60, Nonces: [][66]byte{{2}, {2}}},
			&channel.CloseSign{Channel: d.id, Attempt: [16]byte{1}, Nonces: [][66]byte{{2}, {2}}, Partials: [][32]byte{{1}, {1}}},
			&channel.CloseDone{Channel: d.id, Tx: []byte("a transaction that takes it all")})
	}, "", false, true},
}

func (f *foe) sayRaw(b []byte) {
	f.w.t.Helper()
	f.try(f.line.conn.Send(b))
}

// sayFrame sends a frame that Encode would refuse.
func (f *foe) sayFrame(d *deal, spoil func(*wirepb.Frame)) {
	f.w.t.Helper()
	b, err := wire.Encode(f.frame(d, 1000))
	f.try(err)
	var e wirepb.Envelope
	f.try(proto.Unmarshal(b, &e))
	spoil(e.GetFrame())
	b, err = proto.MarshalOptions{Deterministic: true}.Marshal(&e)
	f.try(err)
	f.sayRaw(b)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	b[0] |= 0x80 // never a small varint, so never a message
	return b
}

// payTo is a standard output script of nobody.
func payTo(b byte) []byte { return append([]byte{0x51, 0x20}, bytes.Repeat([]byte{b}, 32)...) }

// arena is alice and bob with a channel both ways, and bob's process as it was at the start.
type arena struct {
	*world
	pid    int
	bobs   string // peer ids
	alices string
}

func newArena(t *testing.T) *arena {
	w := pair(t)
	a := &arena{world: w, pid: w.Node("bob").PID()}
	w.open("alice", "bob", 1_000_000, 200_000)
	a.bobs, a.alices = w.one("bob", "status").text("peer_id"), w.one("alice", "status").text("peer_id")
	return a
}

// unharmed holds that what do does changes nothing: bob is the same process with the same money, and
// alice's channel with him works both ways.
func (a *arena) unharmed(w *world, do func()) {
	w.t.Helper()
	before := w.money("bob") + w.money("alice")
	do()
	a.alive(w)
	w.kept(before, w.money("bob")+w.money("alice"), "")
	a.honest(w)
}

func (a *arena) alive(w *world) {
	w.t.Helper()
	if n := w.Node("bob"); !n.Running() || n.PID() != a.pid {
		w.t.Fatal("bob is gone")
	}
}

// honest pays between alice and bob.
func (a *arena) honest(w *world) {
	w.t.Helper()
	w.must("alice", "pay", a.bobs, "1sat")
	w.must("bob", "pay", a.alices, "1sat")
}

// TestHostilePeer: every misdeed on a real channel ends well.
func TestHostilePeer(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	type end struct {
		f *foe
		d *deal
	}
	var ends []end
	for _, m := range misdeeds {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			w := a.in(t)
			f := newFoe(w, "bob")
			d := f.deal(100_000, 50_000)
			said, before := w.logged("bob", m.says), w.money("bob")+w.money("alice")
			m.do(f, d)
			if m.cut {
				f.cut()
			}
			if m.says != "" {
				w.says("bob", m.says, said)
			}
			a.alive(w)
			w.kept(before, w.money("bob")+w.money("alice"), d.id.String())
			a.unharmed(w, f.connect)
			if !m.over {
				f.goesOn(d)
			}
			if got := w.one("bob", "channel", d.id.String()).number("received_msat"); got != int64(d.total) {
				t.Errorf("bob has %d msat of %d", got, d.total)
			}
			ends = append(ends, end{f, d})
		})
	}
	t.Run("settled", func(t *testing.T) {
		w := a.in(t)
		for _, e := range ends {
			w.must("bob", "close", e.d.id.String(), "--force")
		}
		for _, e := range ends {
			a.settled(w, e.f, e.d)
		}
		a.honest(w)
	})
}

// settled holds that the chain gives bob exactly what the foe signed.
func (a *arena) settled(w *world, f *foe, d *deal) {
	w.t.Helper()
	funding, err := w.Tx(w.ctx, channel.TxIDString(d.funding.TxID))
	w.check(err)
	var raw bytes.Buffer
	w.until("bob settles "+d.id.String(), func() bool {
		tx, ok, err := w.Spender(w.ctx, funding, d.funding.Index)
		w.check(err)
		if ok {
			w.check(tx.Serialize(&raw))
		}
		return ok
	})
	spend, err := f.scheme.ParseSpend(ledger.Lane{Terms: d.out, Funding: d.funding}, raw.Bytes())
	w.check(err)
	if spend.Kind != ledger.SpendSettle || spend.Total != d.total {
		w.t.Errorf("settled %+v, signed %d", spend, d.total)
	}
}
