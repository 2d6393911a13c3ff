package itest

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/wire"
)

// foe is a peer that has real channels with a daemon, and misbehaves when a test wants it to. It can't be
// dialled.
type foe struct {
	*raw
	scheme *bitcoin.Scheme
	signer *bitcoin.Signer
	w      *world
	victim string // name of the daemon
	line   *line
	keys   uint32 // next unused index
}

// deal is a channel as the foe knows it. out pays the daemon, in pays the foe.
type deal struct {
	id            channel.ID
	out, in       channel.LaneTerms
	outKey, inKey uint32
	funding       channel.Outpoint
	seq           uint64 // of the next payment
	total         channel.Msat
}

// newFoe is one that said hello to the daemon.
func newFoe(w *world, victim string) *foe {
	w.t.Helper()
	addr, err := w.Node(victim).Address(w.ctx)
	w.check(err)
	f := &foe{raw: newRaw(w.t, addr), w: w, victim: victim}
	var seed [64]byte
	rand.Read(seed[:])
	f.scheme, err = bitcoin.NewScheme("simnet")
	f.try(err)
	f.signer, err = bitcoin.NewSigner(f.scheme, seed[:], bitcoin.SystemRandom)
	f.try(err)
	f.connect()
	return f
}

func (f *foe) try(err error) {
	f.w.t.Helper()
	f.w.check(err)
}

// connect begins a new connection, with hello. The daemon keeps offenders away for a while, and it dials peers with
// which it has channels; when that fails, since a foe takes no streams, it drops the connections to it, also one
// that comes right then. So what is said next may have to be said again: see reconnect.
func (f *foe) connect() {
	f.w.t.Helper()
	f.reconnect(func() error { return nil })
}

// reconnect connects and has an exchange with the daemon, as often as it takes to get through.
func (f *foe) reconnect(exchange func() error) {
	f.w.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f.tryConnect(); err == nil {
			if err = exchange(); err == nil {
				return
			}
		}
	}
	f.try(err)
}

// goesOn pays once more over a new connection.
func (f *foe) goesOn(d *deal) {
	f.w.t.Helper()
	f.again(d, f.frame(d, 1000))
}

// again sends a frame over a new connection.
func (f *foe) again(d *deal, m *channel.Frame) {
	f.w.t.Helper()
	f.reconnect(func() error {
		if err := f.line.say(f.resync(d), m); err != nil {
			return err
		}
		return f.heard(d, m)
	})
}

func (f *foe) tryConnect() error {
	if f.line != nil { // with the whole connection: the daemon ends what has no stream, soon or late
		f.line.conn.Close()
		if err := f.host.Network().ClosePeer(f.to.ID); err != nil {
			return err
		}
	}
	s, err := f.stream(f.w.ctx)
	if err != nil {
		return err
	}
	f.line = listen(newRawConn(s))
	if err := f.line.say(hello()); err != nil {
		return err
	}
	_, err = hear[*wire.Hello](f.line)
	return err
}

func (f *foe) say(messages ...wire.Message) {
	f.w.t.Helper()
	f.try(f.line.say(messages...))
}

// open is an Open that a daemon accepts.
func (f *foe) open(deposit, peerDeposit channel.Sat) *channel.Open {
	f.w.t.Helper()
	tip, err := f.w.Chain.Height(f.w.ctx)
	f.try(err)
	o := &channel.Open{Deposit: deposit, PeerDeposit: peerDeposit, Expiry: tip + 144, PeerExpiry: tip + 144, Tip: tip,
		MaxUnacked: 10_000_000, Window: channel.DefaultWindow, Confirmations: 1}
	rand.Read(o.Nonce[:])
	o.Payer, err = f.signer.PayerKey(f.keys)
	f.try(err)
	o.Refund, err = f.signer.RefundKey(f.keys)
	f.try(err)
	o.Payee, err = f.signer.PayeeKey(f.keys + 1)
	f.try(err)
	return o
}

// agree agrees on a channel with the daemon.
func (f *foe) agree(deposit, peerDeposit channel.Sat) *deal {
	f.w.t.Helper()
	o := f.open(deposit, peerDeposit)
	f.try(f.line.say(o))
	a, err := hear[*channel.Accept](f.line)
	f.try(err)
	d := &deal{id: channel.NewID(channel.PeerID(f.host.ID().String()), f.line.conn.Peer(), o.Nonce), outKey: f.keys, inKey: f.keys + 1, seq: 1}
	f.keys += 2
	genesis := f.scheme.Genesis()
	d.out = channel.LaneTerms{Genesis: genesis, Payer: o.Payer, Payee: a.Payee, Refund: o.Refund, Expiry: o.Expiry, Deposit: o.Deposit}
	if peerDeposit > 0 {
		d.in = channel.LaneTerms{Genesis: genesis, Payer: a.Payer, Payee: o.Payee, Refund: a.Refund, Expiry: o.PeerExpiry, Deposit: a.PeerDeposit}
	}
	f.try(f.line.say(f.resync(d)))
	return d
}

// resync is the truth about a deal.
func (f *foe) resync(d *deal) *channel.Resync {
	r := &channel.Resync{Channel: d.id, Phase: channel.PhaseOpen, Funding: d.funding, Acked: d.seq}
	if d.in.Exists() {
		r.In.NextSeq, r.Ready = 1, true
	}
	return r
}

// pay sends coins to a script and returns the output.
func (f *foe) pay(script []byte, sat channel.Sat) channel.Outpoint {
	f.w.t.Helper()
	txid, err := f.w.Chain.FundScript(f.w.ctx, script, uint64(sat))
	f.try(err)
	tx, err := f.w.Tx(f.w.ctx, txid)
	f.try(err)
	for i, o := range tx.TxOut {
		if string(o.PkScript) == string(script) {
			return channel.Outpoint{TxID: tx.TxHash(), Index: uint32(i)}
		}
	}
	f.w.t.Fatal("the faucet paid somebody else")
	return channel.Outpoint{}
}

// fund pays the deposit and waits until the daemon takes payments.
func (f *foe) fund(d *deal) {
	f.w.t.Helper()
	script, err := f.scheme.FundingScript(d.out)
	f.try(err)
	d.funding = f.pay(script, d.out.Deposit)
	funded := &channel.Funded{Lane: d.out.ID(), Funding: d.funding}
	err = f.line.say(funded)
	f.try(f.w.Mine(f.w.ctx, 1))
	if err == nil {
		_, err = hear[*channel.Ready](f.line)
	}
	if err == nil {
		return
	}
	f.reconnect(func() error { // the daemon dropped a connection that was made while it dialled
		if err := f.line.say(f.resync(d), funded); err != nil {
			return err
		}
		r, err := hear[*channel.Resync](f.line)
		if err == nil && !r.Ready {
			_, err = hear[*channel.Ready](f.line)
		}
		return err
	})
}

// deal is a channel that works, on which 6,000 sat were paid: enough to be worth a settlement.
func (f *foe) deal(deposit, peerDeposit channel.Sat) *deal {
	f.w.t.Helper()
	d := f.agree(deposit, peerDeposit)
	f.fund(d)
	f.must(d, 2_000_000, 2_000_000, 2_000_000)
	if peerDeposit > 0 {
		f.w.until("the daemon funds its own lane", func() bool {
			return f.w.one(f.victim, "channel", d.id.String()).text("funding_txid") != ""
		})
	}
	return d
}

// frame is a proper frame that continues a deal.
func (f *foe) frame(d *deal, amounts ...channel.Msat) *channel.Frame {
	f.w.t.Helper()
	m := &channel.Frame{Lane: d.out.ID(), FirstSeq: d.seq, Total: d.total}
	for _, a := range amounts {
		p := channel.Payment{Amount: a, Ref: "foe"}
		rand.Read(p.ID[:])
		m.Payments = append(m.Payments, p)
		m.Total += a
	}
	f.sign(d, m, m.Total)
	return m
}

// sign makes the signature of a frame one over a total, which may be another than the frame's.
func (f *foe) sign(d *deal, m *channel.Frame, total channel.Msat) {
	f.w.t.Helper()
	var err error
	m.Signature, err = f.signer.SignVoucher(ledger.Lane{Terms: d.out, Funding: d.funding}, d.outKey, total)
	f.try(err)
}

// must makes proper payments, each in a frame of its own, which must be acknowledged.
func (f *foe) must(d *deal, amounts ...channel.Msat) {
	f.w.t.Helper()
	for _, a := range amounts {
		m := f.frame(d, a)
		err := f.line.say(m)
		if err == nil {
			err = f.heard(d, m)
		}
		if err != nil { // see connect: it may have been dropped
			f.again(d, m)
		}
	}
}

// acked waits for the answer to a frame and takes note of it.
func (f *foe) acked(d *deal, m *channel.Frame) {
	f.w.t.Helper()
	f.try(f.heard(d, m))
}

func (f *foe) heard(d *deal, m *channel.Frame) error {
	f.w.t.Helper()
	ack, err := hear[*channel.Ack](f.line)
	if err != nil {
		return err
	}
	if ack.NextSeq != m.NextSeq() || ack.Total != m.Total || len(ack.Refused) > 0 {
		f.w.t.Fatalf("acknowledged %+v, sent %+v", ack, m)
	}
	d.seq, d.total = m.NextSeq(), m.Total
	return nil
}

// cut waits until the daemon has ended the connection.
func (f *foe) cut() {
	f.w.t.Helper()
	_, err := f.line.cut()
	f.try(err)
}

// money is what a node says of its money, without phases and heights.
func (w *world) money(node string) string {
	w.t.Helper()
	var b strings.Builder
	all := w.one(node, "balance")
	fmt.Fprintf(&b, "%s has %d sat on the chain\n", node, all.number("onchain_sat")+all.number("pending_sat")+all.number("locked_sat"))
	for _, c := range w.ask(node, "channels") {
		fmt.Fprintf(&b, "  %s sent %v received %v credit %v\n", c.text("channel_id"), c["sent_msat"], c["received_msat"], c["credit_msat"])
	}
	return b.String()
}

// kept holds that nothing of what money said has changed, but for one channel (if one is named) and new ones.
func (w *world) kept(before, after, except string) {
	w.t.Helper()
	for _, line := range strings.Split(before, "\n") {
		if exempt := except != "" && strings.Contains(line, except); !exempt && !strings.Contains(after, line) {
			w.t.Errorf("money was: %s\nand is:\n%s", line, after)
		}
	}
}

// logged is how often a daemon's log has a text.
func (w *world) logged(node, text string) int {
	w.t.Helper()
	b, err := os.ReadFile(w.Node(node).Log)
	w.check(err)
	return strings.Count(string(b), text)
}

// says waits until a daemon's log has a text more often than before.
func (w *world) says(node, text string, before int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s logs %q", node, text), func() bool { return w.logged(node, text) > before })
}

// memory is the resident memory of a daemon, or 0 where the system does not tell.
func (w *world) memory(node string) (bytes int64) {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Node(node).PID()))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscanf(rest, "%d kB", &bytes)
			return bytes << 10
		}
	}
	return 0
}

// in lets a world report to a subtest.
func (w *world) in(t testing.TB) *world {
	sub := *w
	sub.t = t
	return &sub
}
