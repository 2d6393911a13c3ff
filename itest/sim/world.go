package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing/synctest"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// Plan is what a simulation is made of. All that is not set follows from the seed.
type Plan struct {
	Seed  uint64
	Trace io.Writer // gets every line; nil for none
	Log   io.Writer // gets what the nodes log; nil for none

	Net    Net
	Slow   float64 // share of messages and writes that take their time
	Lazy   float64 // share of writes that take longer than a message or two
	Disk   float64 // share of writes that fail
	Crash  float64 // chance of a crash at each step
	Turns  int     // steps in which faults happen
	Budget channel.Msat
	Third  bool // a third peer
	Burn   bool // a peer's machine is lost, and its owner has a backup or the seed
	Harm   bool // a copy of the books is now and then older than the other, or gone

	Deposit  channel.Sat
	BlindCap channel.Msat
	Hostile  bool // one peer says what suits it
}

// Net is how often the network does to a message what it should not.
type Net struct{ Drop, Repeat, Reorder float64 }

// Result is what became of a simulation.
type Result struct {
	Seed       uint64
	Hash       string   // of the trace
	Violations []string // of promises
	Tail       []string // newest lines of the trace
	Steps      int
	Commits    int
	Messages   int
	Payments   int
	Crashes    int
	Blocks     uint32
	Elapsed    time.Duration // in the simulated world
}

// World is the chain, the network and the nodes.
type World struct {
	plan     Plan
	rng      *rand.Rand
	trace    *trace
	sched    *sched
	chain    *ledgertest.Memory
	peers    map[channel.PeerID]*peer
	order    []*peer
	conns    []*conn
	cut      map[[2]channel.PeerID]bool
	later    []timer
	calm     bool                    // no faults any more
	closing  bool                    // channels end
	censored int                     // blocks that miners will leave empty
	cheating bool                    // a payer names another output than its lane's
	look     *ledgertest.MemoryChain // nobody's view of the chain
	heard    [][]byte                // from hostile peers
	gift     channel.Outpoint        // less than was agreed
	gifts    []*book
	keys     map[channel.Key]channel.LaneID

	lanes     map[channel.LaneID]*book
	laneOrder []*book
	burned    bool // a machine was lost
	apps      []*payment
	fees      map[channel.Outpoint]paid // of the dearest transaction that a peer published for an output

	violations []string
	steps      int
	commits    int
	delivered  int
	crashes    int
}

// timer is work that a node asked to be done later.
type timer struct {
	at   time.Time
	life *life
	run  func()
}

// hold keeps something back for a while.
type hold struct{ at time.Time }

func (h *hold) over() bool { return !time.Now().Before(h.at) }

// brief is draw for a shorter while and a share of its own.
func (h *hold) brief(w *World, share float64) {
	if h.draw(w); !w.calm && h.at.IsZero() && w.rng.Float64() < share {
		h.at = time.Now().Add(time.Duration(w.rng.IntN(200)) * time.Millisecond)
	}
}

func (h *hold) draw(w *World) {
	h.at = time.Time{}
	if !w.calm && w.rng.Float64() < w.plan.Slow {
		h.at = time.Now().Add(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
	}
}

// stopped ends a simulation that can't go on.
type stopped struct{ why string }

func (w *World) must(err error) {
	if err != nil {
		panic(stopped{err.Error()})
	}
}

// broken notes that a promise does not hold.
func (w *World) broken(promise, format string, args ...any) {
	text := promise + ": " + fmt.Sprintf(format, args...)
	w.trace.note("BROKEN %s", text)
	if len(w.violations) < 20 {
		w.violations = append(w.violations, text)
	}
}

func (w *World) after(l *life, d time.Duration, f func()) {
	if !l.over {
		w.later = append(w.later, timer{at: time.Now().Add(d), life: l, run: f})
	}
}

// ring makes timers that are due ready.
func (w *World) ring() {
	kept := w.later[:0]
	for _, t := range w.later {
		switch {
		case t.life.over:
		case time.Now().Before(t.at):
			kept = append(kept, t)
		default:
			w.sched.spawn(t.life, "timer", t.run)
		}
	}
	w.later = kept
}

// settle waits until no goroutine can go on by itself.
func (w *World) settle() {
	time.Sleep(time.Microsecond)
	synctest.Wait()
	for t := w.sched.dead(); t != nil; t = w.sched.dead() {
		w.sched.let(t)
		synctest.Wait()
	}
}

// step does one of the things that can happen now, or lets time go by.
func (w *World) step() {
	w.steps++
	synctest.Wait() // for those whom something outside a step made go on
	w.ring()
	if w.rng.IntN(64) == 0 || !w.something() {
		w.pass(time.Duration(1+w.rng.IntN(60)) * time.Millisecond)
	}
	w.settle()
	if w.check(); len(w.violations) > 0 {
		panic(stopped{w.violations[0]})
	}
}

// something lets one of all the things that can happen now happen.
func (w *World) something() bool {
	ready, _ := w.sched.waiting()
	n := ready
	for _, p := range w.order {
		if p.disk.waits() {
			n++
		}
	}
	kept := w.conns[:0]
	for _, c := range w.conns {
		if c.ended && len(c.inbox) == 0 {
			continue
		}
		kept = append(kept, c)
		if c.waits() {
			n++
		}
	}
	clear(w.conns[len(kept):])
	w.conns = kept
	if n == 0 {
		return false
	}
	w.happen(w.rng.IntN(n), ready)
	return true
}

func (w *World) happen(i, ready int) {
	if i < ready {
		t := w.sched.next(func([]*task) int { return i })
		w.trace.note("go %s", t)
		w.sched.let(t)
		return
	}
	i -= ready
	for _, p := range w.order {
		if p.disk.waits() {
			if i == 0 {
				p.disk.turn()
				return
			}
			i--
		}
	}
	for _, c := range w.conns {
		if c.waits() {
			if i == 0 {
				c.turn()
				return
			}
			i--
		}
	}
}

// pass lets time go by.
func (w *World) pass(d time.Duration) {
	for _, t := range w.later {
		if left := time.Until(t.at); left > 0 {
			d = min(d, left)
		}
	}
	time.Sleep(d)
}

// patience bounds how many steps something may take.
const patience = 150_000

// until goes on until cond holds. What never happens ends the simulation.
func (w *World) until(what string, cond func() bool) {
	for i := 0; !cond(); i++ {
		if i > patience {
			w.broken("progress", "never: %s%s", what, w.standing())
			panic(stopped{"never: " + what})
		}
		w.step()
	}
}

// standing is where every channel stands.
func (w *World) standing() (text string) {
	for _, b := range w.laneOrder {
		for _, p := range []*peer{b.payer, b.payee} {
			if st := b.state(p); st != nil {
				f := st.InFunding
				if p == b.payer {
					f = st.OutFunding
				}
				text += fmt.Sprintf("; %s's %s of %s: %s, out %d/%d, in %d/%d, seen %d, spend %+v, height %d of %d", p.name, b.terms.ID().String()[:6], b.payer.name,
					st.Phase, st.Out.Spent, st.Out.Total, st.In.Spent, st.In.Total, len(f.Seen), f.Spend, w.chain.Height(), b.terms.Expiry)
			}
		}
	}
	return text
}

func pair(a, b *peer) [2]channel.PeerID {
	if a.id > b.id {
		a, b = b, a
	}
	return [2]channel.PeerID{a.id, b.id}
}

// apart reports whether two peers can't reach each other.
func (w *World) apart(a, b *peer) bool { return w.cut[pair(a, b)] }

// separate ends the connection of two peers, and keeps them apart if it is to last.
func (w *World) separate(a, b *peer, last bool) {
	w.cut[pair(a, b)] = last
	for _, c := range w.conns {
		if c.h.l.p == a && c.peer == b.id {
			c.end(w.rng.IntN(2) == 0)
		}
	}
}
