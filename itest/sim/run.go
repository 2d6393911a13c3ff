package sim

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// fill draws from the seed what the plan leaves open.
func (p *Plan) fill(rng *rand.Rand) {
	one := func(of int) bool { return rng.IntN(of) == 0 }
	if one(2) {
		p.Net = Net{Drop: rng.Float64() * 0.02, Repeat: rng.Float64() * 0.1, Reorder: rng.Float64() * 0.03}
	}
	if one(2) {
		p.Slow = rng.Float64() * 0.05
	}
	if one(2) {
		p.Disk = rng.Float64() * 0.04
	}
	if one(2) {
		p.Lazy = rng.Float64()
	}
	p.Crash = rng.Float64() * 0.002
	p.Turns = 1500 + rng.IntN(3000)
	p.Budget = 1_000_000_000_000
	if one(3) {
		p.Budget = 2_000_000 + channel.Msat(rng.IntN(20_000_000))
	}
	p.Deposit = []channel.Sat{25_000, 60_000, 1_000_000}[rng.IntN(3)]
	p.BlindCap = channel.Msat(rng.IntN(2) * rng.IntN(1_000_000))
	p.Third = one(4)
	p.Harm = one(3)
	p.Burn = one(4)
	p.Hostile = one(4)
}

// Run runs the simulation that follows from a plan. It must be called in a bubble of testing/synctest.
func Run(plan Plan) (r Result) {
	rng := rand.New(rand.NewPCG(plan.Seed, 1))
	plan.fill(rng)
	w := &World{plan: plan, rng: rng, trace: newTrace(plan.Trace), sched: newSched(), chain: ledgertest.NewMemory(),
		peers: map[channel.PeerID]*peer{}, cut: map[[2]channel.PeerID]bool{}, lanes: map[channel.LaneID]*book{}, fees: map[channel.Outpoint]paid{},
		keys: map[channel.Key]channel.LaneID{}}
	w.look = w.chain.NewChain()
	defer func() {
		if v := recover(); v != nil {
			s, ok := v.(stopped)
			if !ok {
				panic(v)
			}
			if len(w.violations) == 0 {
				w.broken("progress", "%s", s.why)
			}
		}
		w.leave()
		r = w.result()
	}()
	w.story()
	return r
}

func (w *World) result() Result {
	return Result{Seed: w.plan.Seed, Hash: w.trace.hash(), Violations: w.violations, Tail: w.trace.last, Steps: w.steps, Commits: w.commits,
		Messages: w.delivered, Payments: len(w.apps), Crashes: w.crashes, Blocks: w.chain.Height(), Elapsed: time.Since(w.trace.start)}
}

// leave ends all that still runs, so that the bubble can end.
func (w *World) leave() {
	for _, p := range w.order {
		p.kill("the end")
	}
	for range 1000 {
		w.settle()
		if _, alive := w.sched.waiting(); alive == 0 {
			return
		}
		time.Sleep(time.Second)
	}
	var b [1 << 20]byte
	panic("sim: a goroutine does not end\n" + string(b[:runtime.Stack(b[:], true)]))
}

// story is what happens, from the first block to the last.
func (w *World) story() {
	w.chain.Mine(8)
	alice, bob := w.add("alice", w.limit), w.add("bob", w.limit)
	if w.plan.Third {
		w.add("carol", w.limit)
	}
	w.calm = true
	for _, p := range w.order {
		p.boot()
		w.fund(p, 3_000_000)
	}
	w.mine(8) // no reorganisation takes the wallets' money away
	if alice.hostile = w.plan.Hostile; alice.hostile && w.rng.IntN(2) == 0 {
		w.cheat(alice, bob)
	}
	w.open(alice, bob, w.plan.Deposit, channel.Sat(w.rng.IntN(2)*200_000))
	if w.plan.Third {
		w.open(w.order[2], alice, 500_000, 0)
	}
	if w.rng.IntN(3) == 0 { // a second one between the same two
		w.open(bob, alice, 25_000, 0)
	}
	w.calm = false
	w.trouble(w.plan.Turns)
	w.rest()
	w.finish()
}

func (w *World) limit(c *daemon.Config) {
	c.Limits.AcceptPeerDeposit = 1_000_000
	c.Limits.Budget = w.plan.Budget
	c.Limits.BlindCap = w.plan.BlindCap
	c.SignEach = w.rng.IntN(2) == 0
}

// cheat opens a channel whose payer names an output of less than was agreed.
func (w *World) cheat(a, b *peer) {
	w.cheating = true
	done := false
	w.call(a, "open", func(ctx context.Context, n *daemon.Node) {
		defer func() { done = true }()
		if _, err := n.Connect(ctx, "/sim/p2p/"+string(b.id)); err == nil {
			_, err = n.Open(ctx, channel.OpenRequest{Peer: string(b.id), Deposit: 30_000})
			w.trace.note("%s opens and cheats: %v", a.name, err)
		}
	})
	w.until("an answer to an open", func() bool { return done })
	for range 4 {
		w.turns(200)
		w.mine(1)
	}
	w.audit()
	w.cheating = false
}

// fund gives a peer's wallet confirmed money.
func (w *World) fund(p *peer, sat channel.Sat) {
	_, script, err := p.wallet.NewAddress(context.Background())
	w.must(err)
	_, err = w.chain.Faucet(script, sat)
	w.must(err)
	p.given += sat
	w.mine(1)
	w.turns(50)
}

// turns lets so many things happen.
func (w *World) turns(n int) {
	for range n {
		w.step()
	}
}

func (w *World) mine(n int) {
	if w.late(); w.censored > 0 {
		w.censored--
		w.chain.MineEmpty(n)
	} else {
		w.chain.Mine(n)
	}
	w.trace.note("block %d", w.chain.Height())
}

// open opens a channel and mines until it can be used.
func (w *World) open(a, b *peer, deposit, peerDeposit channel.Sat) channel.ID {
	var id channel.ID
	for ok := false; !ok; {
		done := false
		w.call(a, "open", func(ctx context.Context, n *daemon.Node) {
			defer func() { done = true }()
			if _, err := n.Connect(ctx, "/sim/p2p/"+string(b.id)); err != nil {
				w.trace.note("%s can't connect: %v", a.name, err)
				return
			}
			r, err := n.Open(ctx, channel.OpenRequest{Peer: string(b.id), Deposit: deposit, PeerDeposit: peerDeposit})
			w.trace.note("%s opens: %v", a.name, err)
			id, ok = r.Channel, err == nil
		})
		w.until("an answer to an open", func() bool { return done })
		w.turns(100)
	}
	w.until("the channel is open", func() bool {
		if w.rng.IntN(300) == 0 {
			w.mine(1)
		}
		sa, sb := a.states[id], b.states[id]
		return sa != nil && sb != nil && sa.OutFunding.Ready && sb.InFunding.Ready && (peerDeposit == 0 || sa.InFunding.Ready && sb.OutFunding.Ready)
	})
	return id
}

// trouble is a time in which everything goes wrong.
func (w *World) trouble(turns int) {
	for range turns {
		w.step()
		if w.rng.Float64() < w.plan.Crash {
			w.crash(w.order[w.rng.IntN(len(w.order))])
		}
		if w.plan.Burn && w.rng.IntN(turns) == 0 {
			w.burn(w.order[w.rng.IntN(len(w.order))])
		}
		if w.rng.IntN(30) == 0 {
			w.event()
		}
	}
}

func (w *World) crash(p *peer) {
	if p.life == nil {
		return
	}
	w.crashes++
	p.kill("crash")
	w.forget(p)
	w.settle()
	if w.rng.IntN(3) > 0 {
		p.boot()
	}
}

// event is something that somebody does, or that goes wrong.
func (w *World) event() {
	p := w.order[w.rng.IntN(len(w.order))]
	switch w.rng.IntN(12) {
	case 10:
		w.inquire(p)
	case 11:
		w.owner(p)
	case 0, 1, 2:
		w.burst(p)
	case 3:
		w.again(p)
	case 4, 5:
		w.machine(p)
	case 6:
		w.network(p)
	case 7, 8:
		w.blocks(p)
	case 9:
		w.pass(time.Duration(w.rng.IntN(20_000)) * time.Millisecond)
	}
}

// machine is what happens to one peer's program, disk or clock.
func (w *World) machine(p *peer) {
	switch w.rng.IntN(6) {
	case 0, 1:
		if p.life == nil {
			p.boot()
		}
	case 2:
		w.spoil(p)
	case 3:
		w.fill(p)
	case 4:
		p.skew += time.Duration(w.rng.IntN(2*3600)-3600) * time.Second
		w.trace.note("%s clock is ahead by %v", p.name, p.skew)
	case 5:
		p.stop()
	}
}

// network is what happens to the connections of a peer.
func (w *World) network(p *peer) {
	if w.rng.IntN(2) == 0 {
		clear(w.cut)
		return
	}
	if q := w.order[w.rng.IntN(len(w.order))]; q != p {
		w.separate(p, q, w.rng.IntN(3) == 0)
	}
}

// blocks is what happens to the chain, or to a peer's view of it.
func (w *World) blocks(p *peer) {
	switch w.rng.IntN(8) {
	case 0, 1:
		w.mine(1)
	case 2:
		w.censored = 1 + w.rng.IntN(6)
		w.trace.note("miners take nothing for %d blocks", w.censored)
	case 3:
		w.reorganise(1 + w.rng.IntN(w.depth()))
	case 4:
		rates := []ledger.FeeRate{1_000, 2_000, 10_000, 50_000}
		rate := rates[w.rng.IntN(len(rates))]
		w.chain.SetEstimate(rate)
		w.chain.SetMinFee(max(1_000, rate/2))
		w.trace.note("a fee of %d", rate)
	case 5:
		for _, id := range w.chain.Mempool() {
			if w.rng.IntN(2) == 0 {
				w.chain.Evict(id)
				w.trace.note("nodes forget %x", id[:4])
			}
		}
	default:
		p.away = !p.away && w.rng.IntN(2) == 0
		w.trace.note("%s chain away: %v", p.name, p.away)
	}
}

// depth bounds a reorganisation: one that undoes what is six deep is beyond what a node prepares for.
func (w *World) depth() int {
	if w.closing {
		return 5
	}
	return 6
}

func (w *World) fill(p *peer) {
	if p.disk.fault != healthy && p.disk.fault != full {
		return
	}
	p.free = []int64{plenty, 1 << 20, 200 << 20}[w.rng.IntN(3)]
	if p.disk.fault = healthy; p.free != plenty && w.rng.IntN(2) == 0 {
		p.disk.fault = full
	}
	w.trace.note("%s disk: %d free, full: %v", p.name, p.free, p.disk.fault == full)
}

func (w *World) reorganise(depth int) {
	err := w.chain.Reorg(depth)
	w.trace.note("the last %d blocks are replaced: %v", depth, err)
	if w.rng.IntN(2) == 0 {
		w.mine(1)
	}
}

// burst makes several payments at once on a channel of the peer's.
func (w *World) burst(p *peer) {
	var mine []*book
	for _, b := range w.laneOrder {
		if b.payer == p {
			mine = append(mine, b)
		}
	}
	if len(mine) == 0 || p.life == nil {
		return
	}
	b := mine[w.rng.IntN(len(mine))]
	target := b.id.String()
	if b.payee != nil && w.rng.IntN(3) == 0 {
		target = string(b.payee.id)
	}
	amount := channel.Msat(1 + w.rng.IntN(100_000))
	if w.rng.IntN(8) == 0 {
		amount = channel.Msat(1 + w.rng.IntN(int(b.terms.Capacity()/3)))
	}
	for range 1 + w.rng.IntN(12) {
		a := w.pay(p, target, amount)
		if w.rng.IntN(4) == 0 { // the application asks twice at once
			a.asking = false
			w.ask(a)
		}
	}
	if w.rng.IntN(6) == 0 {
		w.spoil(p)
	}
}

// spoil has a peer's disk fail while it writes what was just asked for.
func (w *World) spoil(p *peer) {
	p.disk.nth, p.disk.next = 1+w.rng.IntN(4), []fault{failing, once}[w.rng.IntN(2)]
	w.trace.note("%s disk will fail", p.name)
}

// again asks for payments whose fate is not known, and for some whose fate is.
func (w *World) again(p *peer) {
	for _, a := range w.apps {
		if a.from == p && w.rng.IntN(4) == 0 {
			a.known = a.known && w.rng.IntN(2) == 0 // the application has forgotten, the node must not
			w.ask(a)
		}
	}
}
