package channel_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// op is one thing that happens in a world; A and B choose which.
type op struct {
	Kind string
	A, B int
}

// drawOps draws a story. Frequent kinds stand more than once. Rapid likes small numbers, so that they are
// scrambled: a story of zeros would be one in which nothing happens.
func drawOps(t *rapid.T, most int, kinds ...string) []op {
	one := rapid.Custom(func(t *rapid.T) op {
		return op{rapid.SampledFrom(kinds).Draw(t, "kind"), rapid.IntRange(0, 1).Draw(t, "a"), 0}
	})
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	ops := rapid.SliceOfN(one, most/2, most).Draw(t, "story")
	for i := range ops {
		ops[i].B = r.IntN(1 << 30)
	}
	return ops
}

// life is what happens to honest peers.
var life = []string{"pay", "pay", "pay", "go", "go", "go", "go", "go", "go", "connect", "connect", "cut", "crash", "mine", "picky",
	"authorise", "authorise", "draw", "draw", "draw", "draw", "void"}

// death is how channels end.
var death = []string{"pay", "authorise", "draw", "draw", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "go", "connect", "connect", "connect",
	"connect", "cut", "crash", "mine", "mine", "reorg", "shuffle", "close", "close", "close", "force"}

// play lets o happen.
func play(w *channeltest.World, o op) {
	s := w.Sides[o.A]
	if s.Gone {
		return
	}
	switch o.Kind {
	case "pay":
		for i := range 1 + o.B%3 {
			s.Pay(channel.Payment{ID: w.PaymentID(), Amount: channel.Msat(1 + (o.B>>2)%5_000_000), Ref: "ref"[:i%3]})
		}
	case "authorise":
		authorise(s, o.B)
	case "draw":
		draw(s, o.B)
	case "void":
		voids(s, o.B)
	case "go":
		goOn(w, o.B)
	case "connect":
		w.Connect()
	case "cut":
		w.Cut()
	case "crash":
		s.Crash()
	case "mine":
		w.Chain.Mine(1, o.B%4 == 0)
	case "reorg":
		w.Chain.Reorg(1+o.B%6, o.B%2 == 0)
	case "shuffle": // which of two transactions wins is the miners' choice
		if n := len(w.Chain.Mempool); n > 1 {
			w.Chain.Mempool = append(w.Chain.Mempool[n-1:], w.Chain.Mempool[:n-1]...)
		}
	case "picky":
		s.Refuse = picky(o.B)
	case "close":
		_ = s.Close()
	case "force":
		_ = s.Tell(channel.CloseAlone{})
	}
}

// authorise asks for some authorisations, of which one may raise another.
func authorise(s *channeltest.Side, n int) {
	var wishes []channel.Wish
	for i := range 1 + n%3 {
		w := channel.Wish{Max: channel.Msat((n >> (2 + i)) % 3_000_000)}
		if d := s.State.OutDraws; d != nil && len(d.Open) > 0 && n%5 == i {
			w = channel.Wish{Raise: d.Open[n%len(d.Open)].N, RaiseBy: channel.Msat(1 + n%700_000)}
		}
		wishes = append(wishes, w)
	}
	_ = s.Tell(channel.Authorise{Wishes: wishes})
}

// draw hands some letters of the peer's in, old ones too and in any order, and goes on with what runs.
func draw(s *channeltest.Side, n int) {
	var ops []channel.DrawOp
	r := rand.New(rand.NewPCG(uint64(n), 2))
	letters := s.Other().Letters
	for range 1 + n%6 {
		if len(letters) > 0 && r.IntN(3) > 0 {
			l := letters[max(0, len(letters)-1-r.IntN(8))]
			op := l.Charge(0)
			if l.Raise == 0 && l.Max > 0 {
				op.Amount = channel.Msat(r.Uint64N(uint64(l.Max) + 2)) // now and then more than it may
			}
			if r.IntN(9) == 0 {
				op.Signature[5] ^= 1
			}
			ops = append(ops, op)
		}
		if d := s.State.InDraws; d != nil && len(d.Running) > 0 && r.IntN(2) > 0 {
			run := d.Running[r.IntN(len(d.Running))]
			op := channel.DrawOp{Kind: channel.EndDraw, N: run.N, Amount: channel.Msat(r.Uint64N(uint64(run.Held) + 1))}
			if r.IntN(2) == 0 {
				op.Kind, op.Amount, op.Keep = channel.HoldDraw, channel.Msat(r.IntN(400_000)), op.Amount
			}
			ops = append(ops, op)
		}
	}
	_ = s.Draw(ops...)
}

// voids asks about some authorisations.
func voids(s *channeltest.Side, n int) {
	d := s.State.OutDraws
	if d == nil {
		return
	}
	var list []uint64
	for i, o := range d.Open {
		if (n>>(i%20))%2 == 0 {
			list = append(list, o.N)
		}
	}
	_ = s.Tell(channel.VoidDraws{N: list})
}

// rest lets what runs end, and what never arrived too.
func rest(w *channeltest.World) {
	for _, s := range w.Sides {
		voids(s, 0)
		for _, r := range runs(s) {
			_ = s.Draw(channel.DrawOp{Kind: channel.EndDraw, N: r.N, Amount: r.Held})
		}
	}
}

func runs(s *channeltest.Side) []channel.RunningDraw {
	if s.State.InDraws == nil {
		return nil
	}
	return append([]channel.RunningDraw(nil), s.State.InDraws.Running...)
}

// goOn lets some small things happen, in an order that depends on n.
func goOn(w *channeltest.World, n int) {
	r := rand.New(rand.NewPCG(uint64(n), 0))
	for range r.IntN(64) {
		s := w.Sides[r.IntN(2)]
		switch r.IntN(8) {
		case 0, 1, 2:
			s.Work()
		case 3, 4:
			s.Do(r.IntN(100))
		case 5:
			s.Deliver()
		case 6:
			s.Pump()
		case 7:
			s.Scan()
		}
	}
}

// picky refuses some payments by a rule that depends on n.
func picky(n int) func(channel.Payment) channel.RefuseReason {
	return func(p channel.Payment) channel.RefuseReason {
		if n%3 != 0 && (int(p.Amount)+n)%3 == 0 {
			return channel.RefusedPolicy
		}
		return channel.Accepted
	}
}

func newWorld(t *rapid.T) *channeltest.World {
	return channeltest.New(channeltest.Options{
		Deposit: rapid.SampledFrom([]channel.Sat{20_000, 100_000}).Draw(t, "deposit"), PeerDeposit: rapid.SampledFrom([]channel.Sat{0, 50_000}).Draw(t, "peer deposit"),
		Confirmations: uint32(rapid.IntRange(1, 3).Draw(t, "confirmations")), Window: uint32(rapid.IntRange(1, 8).Draw(t, "window")),
		MaxUnacked: channel.Msat(rapid.SampledFrom([]int{1, 1_000_000, 1_000_000_000}).Draw(t, "max unacked")), Async: rapid.Bool().Draw(t, "async")})
}

func must(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever is cut, lost, delayed or refused: no payment counts twice, nothing acknowledged is lost, money
// is conserved at every step, and at rest both books are equal.
func TestPaymentsSurviveEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		must(t, w.Open())
		for _, o := range drawOps(t, 60, life...) {
			play(w, o)
			must(t, w.Check())
		}
		must(t, w.Quiet())
		rest(w)
		must(t, w.Quiet())
		must(t, w.Agreed())
	})
}

// A network that repeats, reorders and swallows single messages, which no connection does, can stop a lane.
// It can't make a payment count twice, or two peers that still pay each other differ.
func TestDisorderCostsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		must(t, w.Open())
		w.Disordered = true
		l := &liar{r: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "disorder"), 1))}
		for _, o := range drawOps(t, 60, append([]string{"disorder", "disorder", "disorder", "go", "go"}, life...)...) {
			if o.Kind == "disorder" {
				l.bend(w.Sides[o.A])
			} else {
				play(w, o)
			}
			must(t, w.Check())
		}
		w.Cut()
		must(t, w.Quiet())
		stopped := false
		for _, s := range w.Sides {
			stopped = stopped || s.State.Phase != channel.PhaseOpen || s.State.Out.Frozen != channel.NotFrozen || s.State.In.Frozen != channel.NotFrozen
		}
		if !stopped {
			must(t, w.Agreed())
		}
	})
}

// Whatever order a stop, an offer, a cut, a crash, a reorganisation and the miners' choice come in: the
// channel ends, and each side has to the satoshi what is its own.
func TestEveryEndPaysExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		story := drawOps(t, 50, death...)
		if rapid.IntRange(0, 7).Draw(t, "early") > 0 {
			must(t, w.Open())
			story = append(drawOps(t, 50, life...), story...)
		}
		for _, o := range story {
			if o.Kind == "reorg" && (w.Alice.State.Phase.Final() || w.Bob.State.Phase.Final()) {
				continue // six blocks are final
			}
			play(w, o)
			must(t, w.Check())
		}
		must(t, end(w))
		must(t, paid(w))
	})
}

// Whatever state a peer vanishes in for good: the other gets its own, alone.
func TestVanishedPeerKeepsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		must(t, w.Open())
		kinds := append([]string{"close", "mine"}, life...)
		for _, o := range drawOps(t, 60, kinds...) {
			play(w, o)
		}
		gone := w.Sides[rapid.IntRange(0, 1).Draw(t, "gone")]
		s := gone.Other()
		w.Vanish(gone)
		for range 3 * channeltest.Expiry {
			must(t, w.Quiet())
			if s.State.Phase.Final() {
				break
			}
			w.Chain.Mine(1, false)
		}
		if s.State.Phase != channel.PhaseClosed && (s.State.Terms.Out.Exists() || s.State.In.Total > 0) {
			t.Fatalf("at block %d the channel is %s", w.Chain.Tip(), s.State.Phase)
		}
		least := s.State.SpentIn().SatCeil()
		if s.State.OutFunding.Tx != nil {
			least += s.State.Terms.Out.Deposit - s.State.Out.Total.SatCeil()
		}
		if got := w.Chain.Sum(channeltest.WalletScript(s.Name)) + w.Chain.Fees("close"); got < least {
			t.Fatalf("%s has %d sat, at least %d are its own", s.Name, got, least)
		}
	})
}

// end lets blocks come until nothing is at stake any more.
func end(w *channeltest.World) error {
	for range 2 * channeltest.Expiry {
		if err := w.Quiet(); err != nil {
			return err
		}
		if w.Alice.State.Phase.Final() && w.Bob.State.Phase.Final() {
			return nil
		}
		w.Chain.Mine(1, false)
	}
	return fmt.Errorf("at block %d the channel is %s and %s", w.Chain.Tip(), w.Alice.State.Phase, w.Bob.State.Phase)
}

// paid checks what each side has on the chain against the twins.
func paid(w *channeltest.World) error {
	fee := w.Chain.Fees("close")
	var short channel.Sat
	for _, s := range w.Sides {
		want := share(s, true) + share(s, false)
		got := w.Chain.Sum(channeltest.WalletScript(s.Name))
		if got > want || want-got != 0 && want-got != fee {
			return fmt.Errorf("%s has %d sat and should have %d, but for a fee of %d", s.Name, got, want, fee)
		}
		short += want - got
	}
	if short != fee {
		return fmt.Errorf("%d sat are missing, the fee was %d", short, fee)
	}
	return nil
}

// share is what a lane gives a side: by its spend, what was accepted (together), vouchered (settled) or
// nothing (refunded) for the payee, and the rest for the payer.
func share(s *channeltest.Side, out bool) channel.Sat {
	payer, payee, f, deposit := s, s.Other(), &s.State.OutFunding, s.State.Terms.Out.Deposit
	if !out {
		payer, payee, f, deposit = payee, payer, &s.State.InFunding, s.State.Terms.In.Deposit
	}
	_, funded := f.Claim()
	if !funded || deposit == 0 {
		return 0
	}
	taken := payee.State.In.Total.SatCeil()
	if f.Spend != nil && f.Spend.Kind == channel.SpentTogether {
		taken = (payer.Twin.Spent() + payer.Draws.Drawn()).SatCeil()
	}
	if out {
		return deposit - taken
	}
	return taken
}
