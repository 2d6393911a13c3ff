package daemon_test

import (
	"crypto/sha256"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/p2p/p2ptest"
	"github.com/runnel/runnel/wire"
)

// rogue is a peer that speaks the protocol by hand, so that it can break it.
type rogue struct {
	w      *world
	name   string
	host   *p2ptest.Host
	scheme *bitcoin.Scheme
	signer *bitcoin.Signer
	conn   wire.Conn
	heard  chan wire.Message // closed when the connection ended
	feats  []uint32          // features that it says to know
	keys   uint32
}

// deal is a lane that a rogue pays on or is paid on.
type deal struct {
	r      *rogue
	id     channel.ID
	terms  channel.LaneTerms
	key    uint32
	claim  channel.Outpoint
	seq    uint64
	total  channel.Msat
	newest *channel.Frame
	hashes map[uint64][32]byte // of a lane that pays the rogue, by next sequence number
}

func (w *world) rogue(name string) *rogue {
	w.t.Helper()
	scheme, err := bitcoin.NewScheme("simnet")
	must(w.t, err)
	h := sha256.Sum256([]byte(name))
	seed := append(h[:], h[:]...)
	signer, err := bitcoin.NewSigner(scheme, seed, nonces(name))
	must(w.t, err)
	r := &rogue{w: w, name: name, host: w.net.Host(w.id(name)), scheme: scheme, signer: signer}
	w.t.Cleanup(func() { _ = r.host.Close() })
	return r
}

func (r *rogue) hello() *wire.Hello {
	return &wire.Hello{Versions: []uint32{wire.Version}, Genesis: r.scheme.Genesis(), Features: r.feats, Agent: "rogue"}
}

// dial connects to a node and says hello.
func (r *rogue) dial(m *member) {
	r.w.t.Helper()
	r.w.eventually(r.name+" is connected", func() bool {
		conn, err := r.host.Dial(r.w.ctx(), string(r.w.id(m.name)))
		if err != nil {
			return false
		}
		r.conn = conn
		if r.send(r.hello()) != nil {
			return false
		}
		b, err := conn.Recv()
		if err != nil {
			return false
		}
		h, _ := wire.Decode(b)
		_, ok := h.(*wire.Hello)
		return ok
	})
	r.listen()
}

// await takes the next connection that a node begins.
func (r *rogue) await() {
	r.w.t.Helper()
	conn, err := r.host.Accept(r.w.ctx())
	must(r.w.t, err)
	r.conn = conn
	must(r.w.t, r.send(r.hello()))
	_, err = conn.Recv()
	must(r.w.t, err)
	r.listen()
}

func (r *rogue) listen() {
	heard := make(chan wire.Message, 4096)
	r.heard = heard
	go func(conn wire.Conn) {
		defer close(heard)
		for {
			b, err := conn.Recv()
			if err != nil {
				return
			}
			if m, err := wire.Decode(b); err == nil {
				select {
				case heard <- m:
				case <-conn.Done():
				}
			}
		}
	}(r.conn)
}

func (r *rogue) send(m wire.Message) error {
	b, err := wire.Encode(m)
	must(r.w.t, err)
	return r.conn.Send(b)
}

// hear waits for the next message of type M, and skips others.
func hear[M wire.Message](r *rogue) M {
	r.w.t.Helper()
	m, ok := listenFor[M](r, 10*time.Second)
	if !ok {
		r.w.t.Fatalf("%s heard no %T", r.name, m)
	}
	return m
}

func listenFor[M wire.Message](r *rogue, within time.Duration) (m M, ok bool) {
	late := time.After(within)
	for {
		select {
		case got, open := <-r.heard:
			if !open {
				return m, false
			}
			if m, ok := got.(M); ok {
				return m, true
			}
		case <-late:
			return m, false
		}
	}
}

// dropped waits until the node has ended the connection.
func (r *rogue) dropped() {
	r.w.t.Helper()
	select {
	case <-r.conn.Done():
	case <-time.After(10 * time.Second):
		r.w.t.Fatal("the node keeps the connection")
	}
}

// request is an Open with fresh keys.
func (r *rogue) request(deposit channel.Sat) (*channel.Open, uint32) {
	r.w.t.Helper()
	key := r.keys
	r.keys += 2
	o := &channel.Open{Nonce: [16]byte{byte(key), byte(key >> 8), byte(key >> 16), 1}, Deposit: deposit, Expiry: r.w.chain.Height() + 144,
		PeerExpiry: r.w.chain.Height() + 144, Tip: r.w.chain.Height(), MaxUnacked: 100_000_000, Window: 256, Confirmations: 1}
	var err error
	o.Payer, err = r.signer.PayerKey(key)
	must(r.w.t, err)
	o.Refund, err = r.signer.RefundKey(key)
	must(r.w.t, err)
	o.Payee, err = r.signer.PayeeKey(key + 1)
	must(r.w.t, err)
	return o, key
}

// propose agrees on a lane from the rogue to a node. Nothing is funded yet.
func (r *rogue) propose(m *member, deposit channel.Sat) *deal {
	r.w.t.Helper()
	o, key := r.request(deposit)
	must(r.w.t, r.send(o))
	a := hear[*channel.Accept](r)
	d := &deal{r: r, id: channel.NewID(r.host.Self(), r.w.id(m.name), o.Nonce), key: key, seq: 1,
		terms: channel.LaneTerms{Genesis: r.scheme.Genesis(), Payer: o.Payer, Payee: a.Payee, Refund: o.Refund, Expiry: o.Expiry, Deposit: deposit}}
	if a.Channel != d.id {
		r.w.t.Fatalf("accepted %s, asked for %s", a.Channel, d.id)
	}
	d.resync()
	return d
}

func (d *deal) resync() {
	d.r.w.t.Helper()
	must(d.r.w.t, d.r.send(&channel.Resync{Channel: d.id, Phase: channel.PhaseOpen, Funding: d.claim, Acked: 1}))
}

// fund pays sat to the lane's script, names the output and mines.
func (d *deal) fund(sat channel.Sat) {
	w := d.r.w
	w.t.Helper()
	script, err := d.r.scheme.FundingScript(d.terms)
	must(w.t, err)
	d.claim, err = w.chain.Faucet(script, sat)
	must(w.t, err)
	d.name(d.claim)
	w.chain.Mine(1)
}

func (d *deal) name(o channel.Outpoint) {
	d.r.w.t.Helper()
	must(d.r.w.t, d.r.send(&channel.Funded{Lane: d.terms.ID(), Funding: o}))
}

// pays opens a lane on which a rogue pays a node.
func (r *rogue) pays(m *member, deposit channel.Sat) *deal {
	r.w.t.Helper()
	r.dial(m)
	d := r.propose(m, deposit)
	d.fund(deposit)
	hear[*channel.Ready](r)
	return d
}

// again connects anew after the node has cut the rogue off.
func (d *deal) again(m *member) {
	d.r.w.t.Helper()
	d.r.dropped()
	d.r.dial(m)
	d.resync()
}

// frame is the next frame, signed as it should be.
func (d *deal) frame(amounts ...channel.Msat) *channel.Frame {
	d.r.w.t.Helper()
	f := &channel.Frame{Lane: d.terms.ID(), FirstSeq: d.seq, Total: d.total}
	for i, a := range amounts {
		f.Payments = append(f.Payments, channel.Payment{ID: channel.PaymentID{byte(d.seq), byte(d.seq >> 8), byte(i)}, Amount: a})
		f.Total += a
	}
	f.Signature = d.sign(f.Total)
	return f
}

func (d *deal) sign(total channel.Msat) channel.Signature {
	d.r.w.t.Helper()
	sig, err := d.r.signer.SignVoucher(ledger.Lane{Terms: d.terms, Funding: d.claim}, d.key, total)
	must(d.r.w.t, err)
	return sig
}

// pay makes a payment as it should be made, and waits until it is answered.
func (d *deal) pay(amounts ...channel.Msat) *channel.Ack {
	d.r.w.t.Helper()
	f := d.frame(amounts...)
	must(d.r.w.t, d.r.send(f))
	d.seq, d.total, d.newest = f.NextSeq(), f.Total, f
	for {
		a := hear[*channel.Ack](d.r)
		if a.NextSeq == d.seq {
			return a
		}
	}
}

// paid opens a lane on which a node pays a rogue.
func (r *rogue) paid(m *member, deposit channel.Sat) *deal {
	r.w.t.Helper()
	opened := make(chan error, 1)
	go func() {
		_, err := m.Open(r.w.ctx(), channel.OpenRequest{Peer: "/mem/p2p/" + string(r.host.Self()), Deposit: deposit})
		opened <- err
	}()
	r.await()
	d := r.accept(hear[*channel.Open](r), m)
	must(r.w.t, <-opened)
	d.claim = hear[*channel.Funded](r).Funding
	r.w.eventually("the funding is on its way", func() bool { return len(r.w.chain.Mempool()) > 0 })
	r.w.chain.Mine(1)
	must(r.w.t, r.send(&channel.Ready{Lane: d.terms.ID()}))
	r.w.synced(m)
	r.w.eventually("the lane pays", func() bool { return m.info(d.id).Spendable > 0 })
	return d
}

// accept agrees to a node's Open.
func (r *rogue) accept(o *channel.Open, m *member) *deal {
	r.w.t.Helper()
	key := r.keys
	r.keys++
	payee, err := r.signer.PayeeKey(key)
	must(r.w.t, err)
	d := &deal{r: r, id: channel.NewID(r.host.Self(), r.w.id(m.name), o.Nonce), key: key, seq: 1,
		terms: channel.LaneTerms{Genesis: r.scheme.Genesis(), Payer: o.Payer, Payee: payee, Refund: o.Refund, Expiry: o.Expiry, Deposit: o.Deposit}}
	must(r.w.t, r.send(&channel.Accept{Channel: d.id, Payee: payee, Confirmations: 1, MaxUnacked: 10_000_000, Window: 256}))
	hear[*channel.Resync](r)
	d.report(nil)
	return d
}

// report sends the payee's resync, as it should be or changed.
func (d *deal) report(change func(*channel.Resync)) {
	d.r.w.t.Helper()
	r := &channel.Resync{Channel: d.id, Phase: channel.PhaseOpen, Ready: d.claim != channel.Outpoint{}, Acked: 1, In: channel.LaneReport{NextSeq: 1}}
	if f := d.newest; f != nil {
		r.In = channel.LaneReport{NextSeq: f.NextSeq(), Total: f.Total, Spent: f.Total, Signature: f.Signature}
	}
	if change != nil {
		change(r)
	}
	must(d.r.w.t, d.r.send(r))
}

// take hears a frame and answers it, as it should be or changed.
func (d *deal) take(change func(*channel.Ack)) *channel.Frame {
	d.r.w.t.Helper()
	f := hear[*channel.Frame](d.r)
	if f.FirstSeq != d.seq {
		d.r.w.t.Fatalf("heard frame %d, expected %d", f.FirstSeq, d.seq)
	}
	var hash [32]byte
	if d.hashes != nil {
		hash = d.hashes[f.FirstSeq]
	} else {
		d.hashes = map[uint64][32]byte{}
	}
	for i, p := range f.Payments {
		hash = channel.LaneHash(hash, f.Lane, f.FirstSeq+uint64(i), p, channel.Accepted)
	}
	a := &channel.Ack{Lane: f.Lane, NextSeq: f.NextSeq(), Total: f.Total, Spent: f.Total, Hash: hash}
	if change == nil {
		d.seq, d.total, d.newest, d.hashes[f.NextSeq()] = f.NextSeq(), f.Total, f, hash
	} else {
		change(a)
	}
	must(d.r.w.t, d.r.send(a))
	return f
}
