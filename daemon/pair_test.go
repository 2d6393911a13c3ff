package daemon_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/p2p/p2ptest"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// world is a chain, a network and some nodes in one process.
type world struct {
	t     testing.TB
	chain *ledgertest.Memory
	net   *p2ptest.Network

	mu      sync.Mutex // guards the fields below
	members map[channel.PeerID]*member
	losing  func(from channel.PeerID, m wire.Message) bool
	gifts   map[channel.Outpoint]bool // that came to lanes from outside

	wrap func(wire.Transport) wire.Transport // of every node that is started from now on
	logs lastLines
}

// lastLines keeps the end of all nodes' logs, for a test that fails.
type lastLines struct {
	mu   sync.Mutex
	list []string
	next int
}

const keptLines = 200

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) < keptLines {
		l.list = append(l.list, string(b))
	} else {
		l.list[l.next%keptLines] = string(b)
	}
	l.next++
	return len(b), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.next % keptLines
	if len(l.list) < keptLines {
		from = 0
	}
	return strings.Join(append(slices.Clone(l.list[from:]), l.list[:from]...), "")
}

// member is a node that can be ended and started again on the same store.
type member struct {
	*daemon.Node
	w         *world
	name      string
	seed      []byte
	disk      *disk
	chain     *ledgertest.MemoryChain
	wallet    *ledgertest.MemoryWallet
	committer *store.Committer
	cancel    context.CancelFunc
	done      chan error
	change    func(*daemon.Config)
	wrap      func(*daemon.Deps) // puts something between a node and what it works with
	given     channel.Sat        // by fund
	cfg       daemon.Config
	scheme    *bitcoin.Scheme
	light     bool // its chain backend can't look outputs up
	journal   daemon.Journal
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, chain: ledgertest.NewMemory(), net: p2ptest.NewNetwork(), members: map[channel.PeerID]*member{}, gifts: map[channel.Outpoint]bool{}}
	if _, bench := t.(*testing.B); !bench {
		w.net.Drop(w.pass)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the nodes' logs:\n%s", w.logs.String())
		}
	})
	return w
}

func (w *world) id(name string) channel.PeerID { return channel.PeerID("peer" + name) }

func (w *world) start(name string, change func(*daemon.Config)) *member {
	seed := make([]byte, 64)
	h := sha256.Sum256([]byte(name))
	copy(seed, h[:])
	m := &member{w: w, name: name, seed: seed, disk: &disk{Memory: store.NewMemory()}, chain: w.chain.NewChain(), change: change}
	m.wallet = w.chain.NewWallet(m.chain, name)
	w.mu.Lock()
	w.members[w.id(name)] = m
	w.mu.Unlock()
	m.boot()
	w.t.Cleanup(m.halt)
	return m
}

func (m *member) boot() {
	t := m.w.t
	cfg, err := daemon.DefaultConfig("simnet")
	must(t, err)
	cfg.Version = "test"
	if m.change != nil {
		m.change(&cfg)
	}
	m.cfg = cfg
	scheme, err := bitcoin.NewScheme("simnet")
	must(t, err)
	m.scheme = scheme
	signer := m.signer()
	m.committer = store.NewCommitter(m.disk, store.Limits{})
	var out io.Writer = &m.w.logs
	if os.Getenv("RUNNEL_TEST_LOG") != "" {
		out = os.Stderr
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", m.name)
	deps := daemon.Deps{Store: m.disk, Committer: m.committer, Transport: m.w.net.Host(m.w.id(m.name)), Scheme: scheme,
		Signer: signer, Wallet: m.wallet, Chain: m.view(), Journal: m.journal, Backup: cipherOf(t, m.seed), Log: log}
	if m.w.wrap != nil {
		deps.Transport = m.w.wrap(deps.Transport)
	}
	if m.wrap != nil {
		m.wrap(&deps)
	}
	m.Node, err = daemon.New(cfg, deps)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	go func(n *daemon.Node) { m.done <- n.Run(ctx) }(m.Node)
}

// signer holds the member's keys.
func (m *member) signer() *bitcoin.Signer {
	m.w.t.Helper()
	s, err := bitcoin.NewSigner(m.scheme, m.seed, nonces(m.name))
	must(m.w.t, err)
	return s
}

func (m *member) view() ledger.Chain {
	if m.light {
		return light{m.chain}
	}
	return m.chain
}

func (m *member) halt() {
	if m.cancel == nil {
		return
	}
	m.cancel()
	m.cancel = nil
	select {
	case <-m.done:
	case <-time.After(20 * time.Second):
		m.w.t.Errorf("%s did not stop", m.name)
	}
	must(m.w.t, m.committer.Close())
}

func (m *member) restart() {
	m.halt()
	m.boot()
}

// nonces are fresh for each call and the same in each run.
func nonces(name string) func() [32]byte {
	var mu sync.Mutex
	var n uint64
	return func() [32]byte {
		mu.Lock()
		defer mu.Unlock()
		n++
		return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), n))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.t.Cleanup(cancel)
	return ctx
}

// fund gives a node's wallet confirmed money.
func (m *member) fund(sat channel.Sat) {
	m.w.t.Helper()
	_, script, err := m.wallet.NewAddress(m.w.ctx())
	must(m.w.t, err)
	_, err = m.w.chain.Faucet(script, sat)
	must(m.w.t, err)
	m.given += sat
	m.w.chain.Mine(1)
	m.w.eventually(m.name+" sees its money", func() bool {
		b, err := m.Balance(m.w.ctx())
		return err == nil && b.Onchain >= sat
	})
	m.w.synced(m)
}

// synced waits until nodes have scanned the tip.
func (w *world) synced(ms ...*member) {
	w.t.Helper()
	for _, m := range ms {
		w.eventually(m.name+" at the tip", func() bool {
			s, err := m.Status(w.ctx())
			return err == nil && s.Synced && s.Height == w.chain.Height()
		})
	}
}

func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if cond() {
			return
		}
	}
	for _, m := range w.members {
		w.t.Logf("%s: %q", m.name, m.Describe())
	}
	w.t.Fatalf("never: %s", what)
}

// open opens a channel from a to b and mines until both lanes are ready.
func (w *world) open(a, b *member, deposit, peerDeposit channel.Sat) channel.ID {
	w.t.Helper()
	_, err := a.Connect(w.ctx(), "/mem/p2p/"+string(w.id(b.name)))
	must(w.t, err)
	r, err := a.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id(b.name)), Deposit: deposit, PeerDeposit: peerDeposit})
	must(w.t, err)
	w.mineUntil("the channel is open", func() bool {
		i, err := a.Channel(w.ctx(), r.Channel.String())
		must(w.t, err)
		j, err := b.Channel(w.ctx(), r.Channel.String())
		must(w.t, err)
		return i.Spendable > 0 && (peerDeposit == 0 || j.Spendable > 0)
	}, a, b)
	return r.Channel
}

// mineUntil mines a block at a time until cond holds.
func (w *world) mineUntil(what string, cond func() bool, ms ...*member) {
	w.t.Helper()
	for range 40 {
		for range 100 {
			if cond() {
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		w.chain.Mine(1)
		w.synced(ms...)
	}
	for _, m := range w.members {
		w.t.Logf("%s: %q", m.name, m.Describe())
	}
	w.t.Fatalf("never: %s", what)
}

func (m *member) pay(target string, amount channel.Msat) channel.PayResult {
	m.w.t.Helper()
	r, err := m.Pay(m.w.ctx(), channel.PayRequest{Target: target, Amount: amount})
	must(m.w.t, err)
	return r
}

func (m *member) info(id channel.ID) channel.ChannelInfo {
	m.w.t.Helper()
	i, err := m.Channel(m.w.ctx(), id.String())
	must(m.w.t, err)
	return i
}

func addsPeerDeposit(c *daemon.Config) { c.Limits.AcceptPeerDeposit = 1_000_000 }

func TestOpenPayClose(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.fund(2_000_000)
	bob.fund(1_000_000)
	id := w.open(alice, bob, 1_000_000, 200_000)

	var sent, back channel.Msat
	for i := range 100 {
		amount := channel.Msat(1 + i*37%1000)
		r := alice.pay(id.String(), amount)
		if r.Status != channel.PayAcknowledged {
			t.Fatalf("payment %d is %s", i, r.Status)
		}
		sent += amount
	}
	for range 10 {
		bob.pay(string(w.id("alice")), 777)
		back += 777
	}
	if i := alice.info(id); i.Sent != sent || i.Received != back {
		t.Fatalf("alice: sent %d received %d, want %d and %d", i.Sent, i.Received, sent, back)
	}
	r, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	wantBob := channel.Sat(200_000) + sent.SatCeil() - back.SatCeil()
	if r.Kind != "coop" || r.Remote != wantBob || r.Local+r.Fee+r.Remote != 1_200_000 {
		t.Fatalf("close: %+v, want %d for bob", r, wantBob)
	}
	w.mineUntil("both closed", func() bool {
		return alice.info(id).Phase == channel.PhaseClosed && bob.info(id).Phase == channel.PhaseClosed
	}, alice, bob)
}

func TestKilledPayeeLosesNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(2_000_000)
	id := w.open(alice, bob, 1_000_000, 0)
	const n = 500
	fates := make(chan error, n)
	for i := range n {
		alice.PayAsync(channel.PayRequest{Target: id.String(), Amount: 10, HasID: true, ID: channel.PaymentID{1, byte(i >> 8), byte(i)}},
			func(_ channel.PayResult, err error) { fates <- err })
		if i == n/2 {
			bob.restart()
		}
	}
	acknowledged := 0
	for range n {
		if err := <-fates; err == nil {
			acknowledged++
		}
	}
	w.eventually("the books agree", func() bool {
		return alice.info(id).Sent == bob.info(id).Received && alice.info(id).Credit == 0
	})
	if got := bob.info(id).Received; got != channel.Msat(10*acknowledged) {
		t.Fatalf("bob has %d msat of %d acknowledged payments of 10", got, acknowledged)
	}
	t.Logf("%d of %d acknowledged", acknowledged, n)
}

func TestForcedSettlementAndRefund(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", addsPeerDeposit)
	alice.fund(2_000_000)
	bob.fund(1_000_000)
	id := w.open(alice, bob, 1_000_000, 200_000)
	alice.pay(id.String(), 123_456_789)
	bob.pay(id.String(), 5_000)
	alice.halt()
	r, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
	must(t, err)
	if r.Kind != "settle" || r.TxID == "" || r.RefundHeight == 0 {
		t.Fatalf("close: %+v", r)
	}
	for w.chain.Height() < r.RefundHeight {
		w.chain.Mine(1)
	}
	w.synced(bob)
	w.mineUntil("bob has his refund", func() bool { return bob.info(id).Phase == channel.PhaseClosed }, bob)
	b, err := bob.Balance(w.ctx())
	must(t, err)
	if b.Onchain < 1_000_000+123_457-5-2_000 || b.Onchain > 1_123_457 {
		t.Fatalf("bob has %d sat", b.Onchain)
	}
}
