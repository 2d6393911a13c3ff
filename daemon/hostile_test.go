package daemon_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// A payer that breaks the rules loses its connection, not the payee's money, and the channel goes on.
func TestPayerThatLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", nil)
	m := w.rogue("mallory")
	d := m.pays(bob, 1_000_000)
	other := m.propose(bob, 500_000)
	other.fund(500_000)
	hear[*channel.Ready](m)
	other.pay(7_000)
	d.pay(1_000, 2_000)
	d.pay(3_000)
	lies := []struct {
		name string
		cut  bool // the node ends the connection
		send func()
	}{
		{"garbage", true, func() { must(t, m.conn.Send([]byte("garbage, not a message"))) }},
		{"a wrong signature", true, func() { f := d.frame(1_000); f.Signature[7] ^= 1; must(t, m.send(f)) }},
		{"no signature", true, func() { f := d.frame(1_000); f.Signature = channel.Signature{}; must(t, m.send(f)) }},
		{"a total that is not signed", true, func() { f := d.frame(1_000); f.Total += 5_000; must(t, m.send(f)) }},
		{"a lower voucher", true, func() {
			f := d.frame(1_000)
			f.Total = d.total - 1_000
			f.Signature = d.sign(f.Total)
			must(t, m.send(f))
		}},
		{"payments above the voucher", true, func() {
			f := d.frame(1_000)
			f.Payments[0].Amount = 500_000
			must(t, m.send(f))
		}},
		{"an amount that overflows", true, func() {
			f := d.frame(1_000)
			f.Payments[0].Amount = 1<<64 - 1_000
			b, err := wire.Encode(f)
			if err != nil {
				b = []byte{0xff}
			}
			must(t, m.conn.Send(b))
		}},
		{"more than the deposit", true, func() {
			f := d.frame(1_000)
			f.Total = d.terms.Capacity() + 1
			must(t, m.send(f))
		}},
		{"another channel's voucher", true, func() {
			f := d.frame(8_000)
			f.Signature = other.sign(f.Total)
			must(t, m.send(f))
		}},
		{"a frame for nobody's lane", true, func() { f := d.frame(1_000); f.Lane[3] ^= 1; must(t, m.send(f)) }},
		{"a lane id that is the own one but for its end", true, func() { f := d.frame(1_000); f.Lane[31] ^= 1; must(t, m.send(f)) }},
		{"another funding", true, func() { d.name(channel.Outpoint{TxID: [32]byte{1}}) }},
		{"a skipped sequence number", false, func() {
			f := d.frame(1_000)
			f.FirstSeq++
			must(t, m.send(f))
			hear[*channel.Resync](m) // what came in one breath with the gap would have to come again
		}},
		{"an answer to nothing", true, func() { must(t, m.send(&channel.Ack{Lane: d.terms.ID(), NextSeq: 9})) }},
	}
	for _, lie := range lies {
		before := bob.State(d.id)
		t.Log(lie.name)
		lie.send()
		if lie.cut {
			d.again(bob)
			other.resync()
		}
		d.pay(1_000)
		other.pay(1_000)
		after := bob.State(d.id)
		if after.In.Frozen != channel.NotFrozen || after.In.Spent != before.In.Spent+1_000 || after.In.Total != d.total {
			t.Errorf("%s: before %+v, after %+v", lie.name, before.In, after.In)
		}
	}
	must(t, m.send(d.newest)) // the same frame again is answered, and pays nothing
	if a := hear[*channel.Ack](m); a.NextSeq != d.seq || a.Spent != bob.State(d.id).In.Spent {
		t.Errorf("the answer to a repeated frame is %+v", a)
	}
	altered := *d.newest
	altered.Payments = []channel.Payment{{ID: channel.PaymentID{99}, Amount: 1_000}}
	must(t, m.send(&altered))
	w.eventually("the lane is frozen", func() bool { return bob.State(d.id).In.Frozen == channel.FrozenAltered })
	if got := bob.State(d.id).In.Total; got != d.total {
		t.Errorf("bob can settle %d msat of %d", got, d.total)
	}
}

// A lane is ready only when exactly the agreed output is in the chain.
func TestWrongFundingIsNeverReady(t *testing.T) {
	t.Parallel()
	for name, fund := range map[string]func(d *deal){
		"too little": func(d *deal) { d.fund(999_999) },
		"too much":   func(d *deal) { d.fund(1_000_001) },
		"not there":  func(d *deal) { d.claim = channel.Outpoint{TxID: [32]byte{7}}; d.name(d.claim); d.r.w.chain.Mine(1) },
		"another output of it": func(d *deal) {
			script, _ := d.r.scheme.FundingScript(d.terms)
			o, err := d.r.w.chain.Faucet(script, 1_000_000)
			must(d.r.w.t, err)
			d.claim = channel.Outpoint{TxID: o.TxID, Index: 1} // the faucet's own change
			d.name(d.claim)
			d.r.w.chain.Mine(1)
		},
		"another script": func(d *deal) {
			wrong := d.terms
			wrong.Expiry--
			right := d.terms
			d.terms = wrong
			script, _ := d.r.scheme.FundingScript(wrong)
			d.terms = right
			o, err := d.r.w.chain.Faucet(script, 1_000_000)
			must(d.r.w.t, err)
			d.claim = o
			d.name(o)
			d.r.w.chain.Mine(1)
		},
		"in the mempool only": func(d *deal) { d.fund(1_000_000); must(d.r.w.t, d.r.w.chain.Reorg(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.chain.Mine(3)
			bob := w.start("bob", nil)
			w.synced(bob)
			m := w.rogue("mallory")
			m.dial(bob)
			d := m.propose(bob, 1_000_000)
			fund(d)
			w.synced(bob)
			if name == "in the mempool only" {
				if st := bob.State(d.id); st.InFunding.Ready {
					t.Error("ready without a block")
				}
				return
			}
			w.chain.Mine(3)
			w.synced(bob)
			must(t, m.send(d.frame(1_000)))
			if a, ok := listenFor[*channel.Ack](m, 200*time.Millisecond); ok {
				t.Errorf("bob took a payment on a lane without its funding: %+v", a)
			}
			if st := bob.State(d.id); st.InFunding.Ready || st.In.Spent > 0 {
				t.Errorf("ready %v, spent %d", st.InFunding.Ready, st.In.Spent)
			}
		})
	}
}

// A node that is asked for a deposit that it does not have refuses.
func TestAcceptorWithoutMoneyRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.fund(2_000_000)
	w.synced(bob)
	_, err := alice.Connect(w.ctx(), "/mem/p2p/"+string(w.id("bob")))
	must(t, err)
	_, err = alice.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 1_000_000, PeerDeposit: 200_000})
	if codeOf(err) != channel.CodePeerRefused {
		t.Errorf("open: %v", err)
	}
	if n := alice.onchain(); n != alice.given {
		t.Errorf("alice has %d sat", n)
	}
	if s, err := alice.Status(w.ctx()); err != nil || s.Wallet.Locked != 0 || s.Channels != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	alice.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 1_000_000}) // without it: yes
	if s, _ := alice.Status(w.ctx()); s.Channels != 1 {
		t.Errorf("%d channels", s.Channels)
	}
}

// A peer that asks for channel after channel, and gives each of them up, costs a bounded number of records.
func TestOpenSpamIsBounded(t *testing.T) {
	w := newWorld(t)
	bob := w.start("bob", nil)
	w.synced(bob)
	m := w.rogue("mallory")
	m.dial(bob)
	before := bob.disk.Size()
	accepted := 0
	end := time.Now().Add(2 * time.Second)
	for n := 0; n < 5_000 && time.Now().Before(end); n++ {
		o, _ := m.request(100_000)
		must(t, m.send(o))
		for {
			got, ok := <-m.heard
			if !ok {
				t.Fatal("cut off")
			}
			if a, ok := got.(*channel.Accept); ok {
				accepted++
				must(t, m.send(&channel.Refuse{Channel: a.Channel, Code: channel.DenyUnknownChannel, Text: "changed my mind"}))
				break
			}
			if _, ok := got.(*channel.Refuse); ok {
				break
			}
		}
	}
	w.eventually("nothing is left but lines of the log", func() bool {
		list, err := bob.Channels(w.ctx())
		return err == nil && len(list) == 0 && bob.disk.Size()-before < int64(600*(accepted+1))
	})
	if accepted > 102 {
		t.Errorf("%d channels were agreed with a peer that never funded one", accepted)
	}
}

// Opens and refusals at full speed from a peer that reads nothing: memory, goroutines and the event log
// stay small, and the node answers its owner at once.
func TestFloodFromAPeerThatReadsNothing(t *testing.T) {
	w := newWorld(t)
	w.net.QueueBytes = 64 << 10
	bob := w.start("bob", nil)
	m := w.rogue("mallory")
	d := m.pays(bob, 1_000_000)
	d.pay(1_000)
	conn := m.conn
	stop := make(chan struct{})
	done := make(chan struct{})
	before := bob.disk.Size()
	go func() {
		defer close(done)
		o, _ := m.request(1) // below the minimum: refused
		opens, _ := wire.Encode(o)
		refuse, _ := wire.Encode(&channel.Refuse{Channel: d.id, Code: "boo", Text: string(make([]byte, 0))})
		repeat, _ := wire.Encode(d.newest)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, b := range [][]byte{opens, refuse, repeat} {
				if conn.Send(b) != nil {
					return
				}
			}
		}
	}()
	// mallory's reader is stopped by a full channel of messages that nobody takes.
	worst, most := time.Duration(0), 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		begin := time.Now()
		_, err := bob.Status(w.ctx())
		must(t, err)
		_, err = bob.Channels(w.ctx())
		must(t, err)
		worst, most = max(worst, time.Since(begin)), max(most, runtime.NumGoroutine())
	}
	close(stop)
	_ = conn.Close()
	<-done
	t.Logf("status in %v at worst, %d goroutines at most, log grew by %d bytes", worst, most, bob.disk.Size()-before)
	if most > 500 {
		t.Errorf("%d goroutines", most)
	}
	if grew := bob.disk.Size() - before; grew > 64<<10 {
		t.Errorf("the store grew by %d bytes", grew)
	}
	if worst > 2*time.Second {
		t.Errorf("the owner waited %v", worst)
	}
}

// A stranger that speaks of a channel of others is cut off, whatever it says.
func TestStrangerOnAForeignChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", nil)
	m := w.rogue("mallory")
	d := m.pays(bob, 1_000_000)
	d.pay(5_000)
	good := d.frame(7_000) // as if the stranger had overheard it
	before := bob.State(d.id)
	s := w.rogue("stranger")
	for _, words := range []wire.Message{
		good, &channel.Ack{Lane: d.terms.ID(), NextSeq: 9}, &channel.Funded{Lane: d.terms.ID(), Funding: channel.Outpoint{TxID: [32]byte{1}}},
		&channel.Ready{Lane: d.terms.ID()}, &channel.Resync{Channel: d.id, Phase: channel.PhaseOpen, Acked: 1},
		&channel.Stop{Channel: d.id, Payout: make([]byte, 34)}, &channel.CloseOffer{Channel: d.id, Fee: 1_000, Nonces: make([][66]byte, 1)},
		&channel.CloseDone{Channel: d.id, Tx: []byte{1}}, &channel.Refuse{Channel: d.id, Code: channel.DenyUnknownChannel, Text: "gone"},
	} {
		s.dial(bob)
		must(t, s.send(words))
		s.dropped()
	}
	if after := bob.State(d.id); after.In != before.In || after.Phase != before.Phase || after.Closing.Peers != nil || after.InFunding.Claimed != before.InFunding.Claimed {
		t.Errorf("before %+v, after %+v", before.In, after.In)
	}
	d.pay(7_000)
}

// A frame that comes twice while its commit is on its way to the disk is answered twice and taken once.
func TestRepeatedFrameDuringItsCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.start("bob", nil)
	m := w.rogue("mallory")
	d := m.pays(bob, 1_000_000)
	slow := make(chan struct{})
	bob.disk.fault(func([]*store.Batch) error { <-slow; return nil })
	f := d.frame(5_000)
	for range 3 {
		must(t, m.send(f))
		time.Sleep(5 * time.Millisecond) // each by itself
	}
	if a, ok := listenFor[*channel.Ack](m, 20*time.Millisecond); ok {
		t.Errorf("answered before it was stored: %+v", a)
	}
	close(slow)
	for range 3 {
		if a := hear[*channel.Ack](m); a.NextSeq != 2 || a.Spent != 5_000 {
			t.Errorf("%+v", a)
		}
	}
	if st := bob.State(d.id); st.In.Frozen != channel.NotFrozen || st.In.Spent != 5_000 {
		t.Errorf("%+v", st.In)
	}
}
