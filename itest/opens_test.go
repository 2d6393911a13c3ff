package itest

import (
	"bytes"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// TestHostileOpens: channels that nobody should agree to, and deposits that are not what was agreed.
func TestHostileOpens(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for _, o := range badOpens {
		t.Run(o.name, func(t *testing.T) {
			w := a.in(t)
			f := newFoe(w, "bob")
			a.unharmed(w, func() {
				m := f.open(100_000, 0)
				o.spoil(m)
				f.say(m)
				refused, err := hear[*channel.Refuse](f.line)
				f.try(err)
				t.Logf("%s: %s", refused.Code, refused.Text)
				for _, c := range w.ask("bob", "channels") {
					if c.text("peer_id") == f.host.ID().String() {
						t.Errorf("bob has a channel: %v", c)
					}
				}
			})
		})
	}
	for _, m := range wrongFundings {
		t.Run(m.name, func(t *testing.T) { a.wrongFunding(t, m.pay) })
	}
	t.Run("too_many", a.tooManyOpens)
}

var badOpens = []struct {
	name  string
	spoil func(*channel.Open)
}{
	{"no_deposit", func(o *channel.Open) { o.Deposit = 0 }},
	{"small_deposit", func(o *channel.Open) { o.Deposit = channel.MinDeposit - 1 }},
	{"all_money_and_more", func(o *channel.Open) { o.Deposit = 1<<64 - 1 }},
	{"more_than_bob_adds", func(o *channel.Open) { o.PeerDeposit = 1_000_001 }},
	{"more_than_bob_has", func(o *channel.Open) { o.PeerDeposit = 1<<64 - 1 }},
	{"expired", func(o *channel.Open) { o.Expiry = 1 }},
	{"expires_soon", func(o *channel.Open) { o.Expiry = o.Tip + channel.TestHeights.MinLife - 2 }},
	{"never_expires", func(o *channel.Open) { o.Expiry = 1<<32 - 1 }},
	{"another_chain", func(o *channel.Open) { o.Tip += 100 }},
	{"no_window", func(o *channel.Open) { o.Window = 0 }},
	{"nothing_unanswered", func(o *channel.Open) { o.MaxUnacked = 0 }},
	{"key_off_the_curve", func(o *channel.Open) { o.Payer = channel.Key(append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)) }},
	{"key_of_zeros", func(o *channel.Open) { o.Payer = channel.Key{} }},
	{"equal_keys", func(o *channel.Open) { o.Refund = o.Payer }},
	{"endless_confirmations", func(o *channel.Open) { o.PeerDeposit, o.Confirmations = 50_000, 1_000_000 }},
	{"no_key_for_bobs_lane", func(o *channel.Open) { o.PeerDeposit, o.Payee = 50_000, channel.Key{} }},
}

// wrongFundings pay something else than what was agreed, and name the output that vouchers are to spend.
var wrongFundings = []struct {
	name string
	pay  func(f *foe, d *deal, script []byte) channel.Outpoint
}{
	{"funded_by_nothing", func(f *foe, d *deal, script []byte) channel.Outpoint {
		return channel.Outpoint{TxID: [32]byte(noise(32))}
	}},
	{"funded_too_low", func(f *foe, d *deal, script []byte) channel.Outpoint { return f.pay(script, d.out.Deposit-1) }},
	{"funded_too_high", func(f *foe, d *deal, script []byte) channel.Outpoint { return f.pay(script, d.out.Deposit+1) }},
	{"funded_elsewhere", func(f *foe, d *deal, script []byte) channel.Outpoint { return f.pay(payTo(0x79), d.out.Deposit) }},
	{"funded_at_the_refund_script", func(f *foe, d *deal, script []byte) channel.Outpoint {
		refund, err := f.scheme.RefundScript(d.out)
		f.try(err)
		return f.pay(refund, d.out.Deposit)
	}},
	{"funded_beside", func(f *foe, d *deal, script []byte) channel.Outpoint {
		o := f.pay(script, d.out.Deposit)
		o.Index ^= 1
		return o
	}},
}

// wrongFunding: on such an output nothing is taken; with the right one the channel opens.
func (a *arena) wrongFunding(t *testing.T, pay func(*foe, *deal, []byte) channel.Outpoint) {
	w := a.in(t)
	f := newFoe(w, "bob")
	d := f.agree(100_000, 0)
	script, err := f.scheme.FundingScript(d.out)
	w.check(err)
	a.unharmed(w, func() {
		d.funding = pay(f, d, script)
		f.say(&channel.Funded{Lane: d.out.ID(), Funding: d.funding})
		w.check(w.Mine(w.ctx, 6))
		f.say(f.frame(d, 1_000_000))
		var r *channel.Resync
		f.reconnect(func() (err error) { // what was said before is done by the time that the resync comes
			if err = f.line.say(f.resync(d)); err == nil {
				r, err = hear[*channel.Resync](f.line)
			}
			return err
		})
		if r.Ready || r.In.NextSeq != 1 || r.In.Total != 0 || r.Phase != channel.PhaseAgreed {
			t.Errorf("bob took it: %+v", r)
		}
	})
	f.fund(d)
	f.must(d, 6_000_000)
	w.must("bob", "close", d.id.String(), "--force")
	a.settled(w, f, d)
	w.check(w.Mine(w.ctx, 1)) // so that bob has the money before the next one looks
}

// tooManyOpens: opens cost the asker nothing, so they are bounded.
func (a *arena) tooManyOpens(t *testing.T) {
	w := a.in(t)
	f := newFoe(w, "bob")
	a.unharmed(w, func() {
		const asked = 60
		for range asked {
			f.say(f.open(100_000, 0))
			f.keys += 2
		}
		accepted := 0
		for range asked {
			m, err := hear[wire.Message](f.line)
			w.check(err)
			switch m.(type) {
			case *channel.Accept:
				accepted++
			case *channel.Refuse:
			default:
				t.Errorf("bob says %T", m)
			}
		}
		if accepted > 10 {
			t.Errorf("%d channels of one peer wait for funding", accepted)
		}
	})
}
