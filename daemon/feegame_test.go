package daemon_test

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/p2p/p2ptest"
	"github.com/runnel/runnel/store"
)

// runs is how many games are played: RUNNEL_FEE_RUNS, or a few.
func runs(few int) int {
	if n, err := strconv.Atoi(os.Getenv("RUNNEL_FEE_RUNS")); err == nil && n > 0 {
		return n
	}
	return few
}

// seed is that of a game: its number, or RUNNEL_FEE_SEED for all.
func seed(i int) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("RUNNEL_FEE_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(i)
}

// game is one node with one channel on a chain whose miners want what they like, with nobody else but the
// one who would rather keep the money.
type game struct {
	t     *testing.T
	r     *rand.Rand
	seed  uint64
	net   *ledgertest.Memory
	chain *ledgertest.MemoryChain
	purse *ledgertest.MemoryWallet
	disk  *store.Memory
	node  *daemon.Node
	work  sync.WaitGroup

	scheme      *bitcoin.Scheme
	self, other *bitcoin.Signer
	heights     channel.Heights
	st          channel.State // as it was stored at first
	market      ledger.FeeRate
	last        channel.OwnTx // newest exit that was seen
	seen        map[[32]byte]channel.OwnTx
	out         bool // the own lane is what matters
}

func newGame(t *testing.T, seed uint64) *game {
	g := &game{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 7)), net: ledgertest.NewMemory(), disk: store.NewMemory(), heights: channel.RealHeights,
		seen: map[[32]byte]channel.OwnTx{}}
	if g.r.IntN(2) == 0 {
		g.heights = channel.TestHeights
	}
	g.chain = g.net.NewChain()
	g.purse = g.net.NewWallet(g.chain, "self")
	var err error
	g.scheme, err = bitcoin.NewScheme("simnet")
	must(t, err)
	g.self, g.other = g.signer("self"), g.signer("other")
	return g
}

func (g *game) signer(name string) *bitcoin.Signer {
	h := sha256.Sum256([]byte(fmt.Sprint(name, g.seed)))
	s, err := bitcoin.NewSigner(g.scheme, append(h[:], h[:]...), nonces(name))
	must(g.t, err)
	return s
}

// lane makes the terms of a lane and funds it.
func (g *game) lane(payer, payee *bitcoin.Signer, deposit channel.Sat) (terms channel.LaneTerms, f channel.Funding) {
	terms = channel.LaneTerms{Genesis: g.scheme.Genesis(), Expiry: g.net.Height() + g.heights.Stop + 30, Deposit: deposit}
	var err error
	terms.Payer, err = payer.PayerKey(1)
	must(g.t, err)
	terms.Refund, err = payer.RefundKey(1)
	must(g.t, err)
	terms.Payee, err = payee.PayeeKey(2)
	must(g.t, err)
	script, err := g.scheme.FundingScript(terms)
	must(g.t, err)
	o, err := g.net.Faucet(script, deposit)
	must(g.t, err)
	g.net.Mine(1)
	return terms, channel.Funding{Claimed: o, Ready: true, Seen: []channel.Output{{Outpoint: o, Value: deposit, Height: g.net.Height()}}}
}

// begin stores an open channel, either paid by the other or paying it, with a total vouchered.
func (g *game) begin(out bool, deposit channel.Sat, total channel.Msat) {
	g.out = out
	t := channel.Terms{ID: channel.ID{1}, Self: "peerself", Peer: "peerother", OutKey: 1, InKey: 2, Heights: g.heights,
		MaxUnacked: 1_000_000, Window: 256, OutConfs: 1, InConfs: 1, OpenedAt: g.net.Height()}
	g.st = channel.New(t)
	g.st.Phase = channel.PhaseOpen
	payer, terms, funding, lane := g.other, &g.st.Terms.In, &g.st.InFunding, &g.st.In
	payee := g.self
	if out {
		payer, payee, terms, funding, lane = g.self, g.other, &g.st.Terms.Out, &g.st.OutFunding, &g.st.Out
	}
	*terms, *funding = g.lane(payer, payee, deposit)
	if total > 0 {
		sig, err := payer.SignVoucher(ledger.Lane{Terms: *terms, Funding: funding.Claimed}, 1, total)
		must(g.t, err)
		lane.Total, lane.Spent, lane.Voucher, lane.NextSeq, lane.Acked = total, total, sig, 2, 2
	}
	records, err := daemon.Records(g.scheme, &g.st)
	must(g.t, err)
	b := new(store.Batch)
	for _, r := range records {
		b.Put(r[0], r[1])
	}
	_, err = g.disk.Apply([]*store.Batch{b})
	must(g.t, err)
	g.boot()
}

// at is the lane's terms.
func (g *game) at() channel.LaneTerms {
	if g.out {
		return g.st.Terms.Out
	}
	return g.st.Terms.In
}

// boot starts the node anew on its store. It has no goroutines of its own: turn drives it.
func (g *game) boot() {
	cfg, err := daemon.DefaultConfig("simnet")
	must(g.t, err)
	cfg.Heights = g.heights
	g.node, err = daemon.New(cfg, daemon.Deps{Store: g.disk, Committer: direct{g.disk}, Transport: p2ptest.NewNetwork().Host("peerself"), Scheme: g.scheme,
		Signer: g.self, Wallet: g.purse, Chain: g.chain, Log: g.log(),
		Go: func(f func()) { g.work.Add(1); go func() { defer g.work.Done(); f() }() }})
	must(g.t, err)
}

func (g *game) log() *slog.Logger {
	if os.Getenv("RUNNEL_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// direct is a committer without a goroutine.
type direct struct{ s *store.Memory }

func (d direct) Commit(b *store.Batch) error {
	errs, err := d.s.Apply([]*store.Batch{b})
	if err == nil && len(errs) > 0 {
		err = errs[0]
	}
	return err
}

func (d direct) Submit(b *store.Batch, done func(error)) { done(d.Commit(b)) }

// turn lets the node see the chain and do all that follows from it.
func (g *game) turn() {
	g.t.Helper()
	must(g.t, g.node.ScanOnce())
	g.work.Wait()
	g.work.Wait()
	st := g.state()
	exit := st.InFunding.Exit
	if g.out {
		exit = st.OutFunding.Exit
	}
	if exit != nil {
		if exit.Rate < g.last.Rate || exit.Fee < g.last.Fee {
			g.t.Fatalf("seed %d: the fee fell from %d sat (%d/kvB) to %d (%d/kvB)", g.seed, g.last.Fee, g.last.Rate, exit.Fee, exit.Rate)
		}
		g.last, g.seen[exit.TxID] = *exit, *exit
	}
}

func (g *game) state() channel.State { return g.node.State(g.st.Terms.ID) }

// spend is where the lane's money went, if it did.
func (g *game) spend() *channel.Spend {
	st := g.state()
	if g.out {
		return st.OutFunding.Spend
	}
	return st.InFunding.Spend
}

// mine adds a block in which the node's transaction is, if miners have it and it pays what they want.
func (g *game) mine() {
	for _, id := range g.net.Mempool() {
		if tx, ok := g.seen[id]; ok && tx.Rate >= uint64(g.market) {
			g.net.Mine(1)
			return
		}
	}
	g.net.MineEmpty(1)
}

// wants sets what miners want; mempools drop what pays far less (it is also what makes an output dust there,
// so it is not more). The estimate follows, or lies, or is gone.
func (g *game) wants(rate ledger.FeeRate) {
	g.market = rate
	g.net.SetMinFee(max(rate/20, 1000))
	g.net.SetEstimate([]ledger.FeeRate{rate, rate, rate / 2, 0}[g.r.IntN(4)])
}

// The payee settles at least six blocks before the payer can take the money back: with fees that rise fifty
// times, estimates that lie, a day offline, restarts, a reorganisation of up to six blocks, and somebody who
// replaces its transaction in every mempool once a block. No fee ever falls, and none is above its budget.
func TestSettlementWins(t *testing.T) {
	t.Parallel()
	for i := range runs(min(100, many/50)) {
		newGame(t, seed(i)).settle()
	}
}

func (g *game) settle() {
	g.t.Helper()
	total := channel.Msat(150_000_000 + g.r.Uint64N(800_000_000))
	g.begin(false, 1_000_000, total)
	base := ledger.FeeRate(1000 + g.r.IntN(9000))
	g.wants(base)
	g.turn()
	expiry, real := g.at().Expiry, g.heights == channel.RealHeights
	storm := expiry - g.heights.Stop + uint32(g.r.IntN(int(g.heights.Stop/2))) - 6
	away, back := uint32(0), uint32(0)
	if real && g.r.IntN(2) == 0 {
		away = expiry - g.heights.Stop - uint32(g.r.IntN(20))
		back = away + 144
	}
	reorg := expiry - 14 - uint32(g.r.IntN(int(g.heights.Stop)-10))
	foe := real && g.r.IntN(2) == 0
	for g.net.Height() < expiry-1 {
		h := g.net.Height()
		if h == storm {
			g.wants(base * 50)
		}
		if h == reorg && h > g.at().Expiry-g.heights.Stop {
			must(g.t, g.net.Reorg(1+g.r.IntN(6)))
		}
		if h >= away && h < back {
			g.mine()
			continue
		}
		if g.r.IntN(20) == 0 {
			g.boot()
		}
		g.turn()
		g.play(foe && h < expiry-8)
		g.mine()
	}
	g.turn()
	sp := g.spend()
	if sp == nil || sp.Kind != channel.SpentSettled || sp.Total != total || sp.Height > expiry-6 {
		g.t.Fatalf("seed %d: at block %d of %d: %+v; last %d sat at %d/kvB, wanted %d", g.seed, g.net.Height(), expiry, sp, g.last.Fee, g.last.Rate, g.market)
	}
	g.paid(total.SatCeil())
	fee := g.seen[sp.TxID].Fee
	if calm := sp.Height <= expiry-g.heights.Escalate; calm && fee > total.SatCeil()/4 || fee > total.SatCeil()*9/10 {
		g.t.Fatalf("seed %d: a fee of %d sat for %d sat", g.seed, fee, total.SatCeil())
	}
}

// paid checks what came home.
func (g *game) paid(value channel.Sat) {
	g.t.Helper()
	b, err := g.purse.Balance(g.t.Context())
	must(g.t, err)
	tx, ok := g.seen[g.spend().TxID]
	if got := b.Confirmed + b.Pending; !ok || got != value-tx.Fee {
		g.t.Fatalf("seed %d: %d sat came home, want %d - %d", g.seed, got, value, tx.Fee)
	}
}

// play is what happens between two blocks: the node publishes again some times, and a foe replaces its
// transaction once, and lets go of the replacement.
func (g *game) play(foe bool) {
	if !foe {
		return
	}
	at := g.r.IntN(3)
	for i := range 3 {
		if i == at {
			g.net.Evict(g.last.TxID)
			continue
		}
		g.node.ResendNow()
		g.work.Wait()
		g.work.Wait()
	}
}

// The payer has its refund although the payee settles in every mempool after each block, at a higher fee,
// and takes that back before it is mined: the fee never falls, and stays within a quarter.
func TestRefundWins(t *testing.T) {
	t.Parallel()
	for i := range runs(min(30, many/100)) {
		newGame(t, seed(i)).refunded()
	}
}

func (g *game) refunded() {
	g.t.Helper()
	total := channel.Msat(1_000_000 + g.r.Uint64N(300_000_000))
	g.begin(true, 1_000_000, total)
	g.wants(ledger.FeeRate(1000 + g.r.IntN(9000)))
	for g.net.Height() < g.at().Expiry {
		g.net.MineEmpty(1)
	}
	g.turn()
	payee := g.at().Payee
	script := append([]byte{0x51, 0x20}, payee[1:]...)
	for block := 0; g.spend() == nil; block++ {
		if block > 60 {
			g.t.Fatalf("seed %d: no refund after %d blocks", g.seed, block)
		}
		if g.r.IntN(10) == 0 {
			g.boot()
			g.turn()
		}
		at := g.r.IntN(3)
		for i := range 3 {
			if i != at {
				g.node.ResendNow()
				g.work.Wait()
				g.work.Wait()
				continue
			}
			rival, err := g.other.Settle([]ledger.SettleLane{{Lane: ledger.Lane{Terms: g.at(), Funding: g.st.OutFunding.Claimed}, Index: 2,
				Total: g.st.Out.Total, Signature: g.st.Out.Voucher}}, script, ledger.FeeRate(g.last.Rate*3+5000))
			if err == nil && g.net.Publish(rival.Raw) == nil {
				g.net.Evict(rival.ID)
			}
		}
		g.mine()
		g.turn()
	}
	if sp := g.spend(); sp.Kind != channel.SpentRefunded {
		g.t.Fatalf("seed %d: %+v", g.seed, sp)
	}
	if g.last.Fee > 1_000_000/4 {
		g.t.Fatalf("seed %d: a fee of %d sat", g.seed, g.last.Fee)
	}
	g.paid(1_000_000)
}
