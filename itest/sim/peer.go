package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// peer is a node's machine: what stays when the program ends.
type peer struct {
	w      *World
	name   string
	id     channel.PeerID
	cfg    daemon.Config
	seed   []byte
	disk   *disk
	wallet *ledgertest.MemoryWallet
	scheme *bitcoin.Scheme
	given  channel.Sat
	skew   time.Duration // of its clock
	lives  int
	life   *life // nil while the program does not run

	away    bool  // its chain backend does not answer
	free    int64 // bytes on its disk
	hostile bool  // what it says is changed on its way out

	states map[channel.ID]*channel.State // as they are durable
	budget channel.Msat                  // signed and not refused
	made   map[[32]byte]bool             // transactions that were durable once

	bumped map[[32]byte]bool // of them those of the wallet
	backup []byte            // the owner's, newest that was kept
	copied bool              // it goes on from a backup or its seed
	sent   string            // last transaction of the wallet's
	event  uint64            // last that its reader saw
}

const plenty = 1 << 40

// life is one run of the program.
type life struct {
	p      *peer
	node   *daemon.Node
	host   *host
	chain  *ledgertest.MemoryChain
	cancel context.CancelFunc
	rng    *rand.Rand
	over   bool // it was killed: what its goroutines still do reaches nobody
	ended  bool // Run returned

	pruning bool
}

func (w *World) add(name string, change func(*daemon.Config)) *peer {
	cfg, err := daemon.DefaultConfig("simnet")
	w.must(err)
	cfg.Version = "sim"
	if change != nil {
		change(&cfg)
	}
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), w.plan.Seed))
	scheme, err := bitcoin.NewScheme("simnet")
	w.must(err)
	p := &peer{w: w, name: name, id: channel.PeerID("peer" + name), cfg: cfg, seed: append(seed[:], seed[:]...), scheme: scheme,
		states: map[channel.ID]*channel.State{}, made: map[[32]byte]bool{}, bumped: map[[32]byte]bool{}}
	p.cfg.FreeDisk, p.free = func() int64 { return p.free }, plenty
	p.disk = newDisk(p)
	p.wallet = w.chain.NewWallet(w.chain.NewChain(), fmt.Sprint(name, w.plan.Seed))
	w.peers[p.id] = p
	w.order = append(w.order, p)
	return p
}

// boot starts the program on what the disk holds.
func (p *peer) boot() {
	w := p.w
	p.lives++
	p.disk.open()
	w.trace.note("%s starts, life %d", p.name, p.lives)
	l := &life{p: p, chain: w.chain.NewChain(), rng: rand.New(rand.NewPCG(w.plan.Seed, binary.BigEndian.Uint64(p.seed)+uint64(p.lives)))}
	l.host = newHost(l)
	signer, err := bitcoin.NewSigner(p.scheme, p.seed, l.nonce)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	p.life = l
	l.node, err = daemon.New(p.cfg, daemon.Deps{Store: p.disk.mem, Journal: p.disk.journal, Backup: p.cipher(), Notices: p.disk.notices, Committer: committer{l}, Transport: l.host, Scheme: p.scheme,
		Signer: &signing{Signer: signer, l: l}, Wallet: &purse{MemoryWallet: p.wallet, l: l}, Chain: &view{MemoryChain: l.chain, l: l}, Log: w.log(p),
		Now:  func() time.Time { return time.Now().Add(p.skew) },
		Rand: l.random, Go: func(f func()) { w.sched.spawn(l, "work", f) }, After: func(d time.Duration, f func()) { w.after(l, d, f) },
		Woke: w.sched.yield})
	if err != nil {
		w.broken("P1", "%s does not start again: %v", p.name, err)
		p.life = nil
		cancel()
		return
	}
	w.sched.spawn(l, "run", func() {
		_ = l.node.Run(ctx)
		l.ended = true
	})
	w.watches(ctx, l)
}

func (l *life) random(b []byte) {
	for i := range b {
		b[i] = byte(l.rng.Uint32())
	}
}

func (l *life) nonce() (n [32]byte) {
	l.random(n[:])
	return n
}

func (w *World) log(p *peer) *slog.Logger {
	out := io.Discard
	if w.plan.Log != nil {
		out = w.plan.Log
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", p.name)
}

// kill ends the program at once, as SIGKILL or a loss of power does.
func (p *peer) kill(why string) {
	l := p.life
	if l == nil {
		return
	}
	p.w.trace.note("%s is killed: %s", p.name, why)
	l.over = true
	p.life = nil
	for _, c := range p.w.conns {
		if c.h == l.host {
			c.end(p.w.rng.IntN(2) == 0)
		}
	}
	l.host.closed = true
	p.disk.lose()
	l.cancel()
}

// stop ends the program as its owner does.
func (p *peer) stop() {
	l := p.life
	if l == nil || l.ended {
		return
	}
	p.w.trace.note("%s stops", p.name)
	l.cancel()
	p.w.until(p.name+" has stopped", func() bool { return l.ended || p.life != l })
	if p.life == l {
		p.kill("stopped")
		p.w.forget(p)
	}
}

// signing watches what is signed.
type signing struct {
	ledger.Signer
	l *life
}

func (s *signing) SignVoucher(lane ledger.Lane, index uint32, total channel.Msat) (channel.Signature, error) {
	if !s.l.over {
		s.l.p.w.signed(s.l, lane, total)
	}
	return s.Signer.SignVoucher(lane, index, total)
}

// purse is a wallet whose every call waits for its turn.
type purse struct {
	*ledgertest.MemoryWallet
	l *life
}

func (u *purse) enter() error { return u.l.reach() }

func (u *purse) NewAddress(ctx context.Context) (string, []byte, error) {
	if err := u.enter(); err != nil {
		return "", nil, err
	}
	return u.MemoryWallet.NewAddress(ctx)
}

func (u *purse) Balance(ctx context.Context) (ledger.Balance, error) {
	if err := u.enter(); err != nil {
		return ledger.Balance{}, err
	}
	return u.MemoryWallet.Balance(ctx)
}

func (u *purse) Fund(ctx context.Context, outs []ledger.Output, rate ledger.FeeRate, seal func(channel.Outpoint) ([]byte, error)) (ledger.Tx, error) {
	if err := u.enter(); err != nil {
		return ledger.Tx{}, err
	}
	return u.MemoryWallet.Fund(ctx, outs, rate, seal)
}

func (u *purse) Release(ctx context.Context, tx ledger.Tx) error {
	if err := u.enter(); err != nil {
		return err
	}
	return u.MemoryWallet.Release(ctx, tx)
}

func (u *purse) Record(ctx context.Context, tx ledger.Tx, label string) error {
	if err := u.enter(); err != nil {
		return err
	}
	return u.MemoryWallet.Record(ctx, tx, label)
}

// view is a chain backend whose every call waits for its turn.
type view struct {
	*ledgertest.MemoryChain
	l *life
}

// reach waits for a turn, and fails while the backend is away.
func (l *life) reach() error {
	l.p.w.sched.yield()
	if l.over || l.p.away {
		return fmt.Errorf("%w: switched off", ledger.ErrUnreachable)
	}
	return nil
}

func (v *view) Tip(ctx context.Context) (ledger.Block, error) {
	if err := v.l.reach(); err != nil {
		return ledger.Block{}, err
	}
	return v.MemoryChain.Tip(ctx)
}

func (v *view) BlockAt(ctx context.Context, height uint32) (ledger.Block, error) {
	if err := v.l.reach(); err != nil {
		return ledger.Block{}, err
	}
	return v.MemoryChain.BlockAt(ctx, height)
}

func (v *view) Matches(ctx context.Context, block [32]byte, w *ledger.Watch) ([]ledger.Match, error) {
	if err := v.l.reach(); err != nil {
		return nil, err
	}
	return v.MemoryChain.Matches(ctx, block, w)
}

func (v *view) Publish(ctx context.Context, tx ledger.Tx) error {
	if err := v.l.reach(); err != nil {
		return err
	}
	v.l.p.w.publishes(v.l.p, tx)
	err := v.MemoryChain.Publish(ctx, tx)
	v.l.p.w.trace.note("%s publishes %x: %v", v.l.p.name, tx.ID[:4], err)
	return err
}

func (v *view) TestAccept(ctx context.Context, tx ledger.Tx) error {
	if err := v.l.reach(); err != nil {
		return err
	}
	return v.MemoryChain.TestAccept(ctx, tx)
}

func (v *view) Unspent(ctx context.Context, o channel.Outpoint) (ledger.Output, uint32, error) {
	if err := v.l.reach(); err != nil {
		return ledger.Output{}, 0, err
	}
	return v.MemoryChain.Unspent(ctx, o)
}

func (v *view) EstimateFee(ctx context.Context, blocks uint32) (ledger.FeeRate, string, error) {
	if err := v.l.reach(); err != nil {
		return 0, "", err
	}
	return v.MemoryChain.EstimateFee(ctx, blocks)
}
