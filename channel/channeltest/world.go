// Package channeltest plays two machines of package channel against each other: with a fake signer, a
// network that cuts, a disk that forgets what was not stored, and a chain of a few lines, all in one
// goroutine and in an order that the test chooses. It knows nothing of real keys, transactions or time.
//
//	w := channeltest.New(channeltest.Options{Deposit: 100_000})
//	w.Open()
//	w.Alice.Pay(channel.Payment{ID: w.PaymentID(), Amount: 5})
//	err := w.Quiet()
package channeltest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/runnel/runnel/channel"
)

// Options of a world. Zero values take defaults.
type Options struct {
	Deposit, PeerDeposit channel.Sat // alice's lane; bob's, 0 for none
	Confirmations        uint32
	MaxUnacked           channel.Msat
	Window               uint32
	External             bool // alice funds from some other wallet
	Async                bool
	Log                  func(string)
}

// World is all there is.
type World struct {
	Alice, Bob *Side
	Sides      [2]*Side
	Chain      *Chain
	Connected  bool

	// Async completes signatures, verifications and look-ups later, in any order; otherwise at once.
	Async bool
	// Disordered means that the network repeats, reorders and swallows: blame and frozen lanes are in
	// order. Bent means that somebody lies or forgets: the twins are not asked then either.
	Disordered, Bent bool
	// CrashAt crashes the side that carries out the so-manieth effect. Ticks counts them.
	CrashAt, Ticks int
	// Step is the machine.
	Step func(channel.State, channel.Input) (channel.State, []channel.Effect, error)
	// Log hears what happens.
	Log func(string)

	salts uint64
	errs  []error
}

// Expiry of alice's lane; bob's ends later.
const (
	Expiry    = Base + 150
	ExpiryBob = Base + 155
)

// New is a world in which the terms were just agreed.
func New(o Options) *World {
	if o.Window == 0 {
		o.Window = channel.DefaultWindow
	}
	if o.MaxUnacked == 0 {
		o.MaxUnacked = 1_000_000_000
	}
	if o.Confirmations == 0 {
		o.Confirmations = 1
	}
	w := &World{Chain: NewChain(), Async: o.Async, Log: o.Log, Step: channel.Step}
	a, b := lane(1, Expiry, o.Deposit), lane(2, ExpiryBob, o.PeerDeposit)
	t := channel.Terms{ID: channel.NewID("alice", "bob", [16]byte{7}), Nonce: [16]byte{7}, Heights: channel.TestHeights,
		MaxUnacked: o.MaxUnacked, Window: o.Window, OutConfs: o.Confirmations, InConfs: o.Confirmations, OpenedAt: Base}
	ta, tb := t, t
	ta.Self, ta.Peer, ta.Opener, ta.Out, ta.In, ta.External = "alice", "bob", true, a, b, o.External
	tb.Self, tb.Peer, tb.Out, tb.In = "bob", "alice", b, a
	w.Alice, w.Bob = w.side("alice", ta), w.side("bob", tb)
	w.Alice.peer, w.Bob.peer = w.Bob, w.Alice
	w.Sides = [2]*Side{w.Alice, w.Bob}
	return w
}

func lane(n byte, expiry uint32, deposit channel.Sat) channel.LaneTerms {
	if deposit == 0 {
		return channel.LaneTerms{}
	}
	return channel.LaneTerms{Genesis: [32]byte{n}, Payer: channel.Key{2, n, 1}, Payee: channel.Key{2, n, 2}, Refund: channel.Key{2, n, 3},
		Expiry: expiry, Deposit: deposit}
}

func (w *World) side(name string, t channel.Terms) *Side {
	s := &Side{Name: name, State: channel.New(t), Twin: NewTwin(), Draws: NewDrawTwin(), w: w, closes: map[[16]byte]*Tx{}}
	cold, err := s.State.MarshalCold()
	w.must(err)
	s.scanned = []uint64{w.Chain.Blocks[0].Hash}
	s.disk = Disk{Cold: cold, Sent: map[uint64]*channel.Frame{}, Taken: map[uint64]channel.FrameFound{}, IDs: map[channel.PaymentID]bool{}, Scanned: s.scanned}
	s.disk.Out, _ = s.State.Out.MarshalBinary()
	s.disk.In, _ = s.State.In.MarshalBinary()
	return s
}

// Other is the peer of a side.
func (s *Side) Other() *Side { return s.peer }

// Disk is what this side would find after a crash.
func (s *Side) Disk() *Disk { return &s.disk }

// Mail is what is on its way to this side, oldest first. A test may change it.
func (s *Side) Mail() *[]channel.Message { return &s.mail }

// Tell gives the machine an event.
func (s *Side) Tell(in channel.Input) error { return s.feed(in) }

func (w *World) salt() uint64 { w.salts++; return w.salts }

// PaymentID is a fresh one.
func (w *World) PaymentID() (id channel.PaymentID) {
	binary.BigEndian.PutUint64(id[8:], w.salt())
	return id
}

func (w *World) note(format string, args ...any) {
	if w.Log != nil {
		w.Log(fmt.Sprintf(format, args...))
	}
}

// fail notes what must never happen, blame what must not happen among honest peers.
func (w *World) fail(format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf(format, args...))
}

func (w *World) must(err error) {
	if err != nil {
		w.errs = append(w.errs, err)
	}
}

func (w *World) blame(format string, args ...any) {
	if !w.Bent && !w.Disordered {
		w.fail(format, args...)
	}
}

func (w *World) judge(s *Side, e channel.Effect) {
	switch e := e.(type) {
	case channel.Misbehaved:
		w.blame("%s blames an honest peer: %s", s.Name, e.Text)
	}
}

func (w *World) tick(s *Side) {
	w.Ticks++
	if w.Ticks == w.CrashAt {
		s.Crash()
	}
}

// Connect lets the two talk. Both begin with a resync.
func (w *World) Connect() {
	if w.Connected || w.Alice.Gone || w.Bob.Gone {
		return
	}
	w.Connected = true
	w.note("connected")
	for _, s := range w.Sides {
		s.mail, s.frames = nil, nil
		_ = s.feed(channel.Connected{Draws: true})
	}
}

// Cut ends the connection. What was on its way is lost.
func (w *World) Cut() { w.cut(nil) }

func (w *World) cut(crashed *Side) {
	if !w.Connected {
		return
	}
	w.Connected = false
	w.note("disconnected")
	for _, s := range w.Sides {
		s.mail, s.frames = nil, nil
		s.closes = map[[16]byte]*Tx{}
		if s != crashed && !s.Gone {
			_ = s.feed(channel.Disconnected{})
		}
	}
}

// Vanish takes a side away for good.
func (w *World) Vanish(s *Side) {
	w.note("%s vanishes", s.Name)
	s.Gone = true
	w.cut(s)
}

// Close asks a side's owner to close together.
func (s *Side) Close() error {
	return s.feed(channel.CloseTogether{Payout: []byte(WalletScript(s.Name)), Initiator: true})
}

// Quiet connects the two and lets everything happen that is due, until nothing is.
func (w *World) Quiet() error {
	for range 100_000 {
		w.Connect()
		if !w.Round() {
			return w.Check()
		}
		if err := errors.Join(w.errs...); err != nil {
			return err
		}
	}
	return errors.Join(errors.New("the two never come to rest"), w.Check())
}

// Round does one thing of each kind that is due.
func (w *World) Round() (did bool) {
	for _, s := range w.Sides {
		for _, act := range []func() bool{s.Work, func() bool { return s.Do(0) }, s.Deliver, s.Pump, s.Scan} {
			did = act() || did
		}
	}
	return did
}

// Open funds and confirms, until both lanes take payments.
func (w *World) Open() error {
	for range 4 {
		if err := w.Quiet(); err != nil {
			return err
		}
		w.Chain.Mine(int(w.Alice.State.Terms.OutConfs), false)
	}
	return w.Quiet()
}

// MineQuiet mines block by block and lets everything happen that each block asks for.
func (w *World) MineQuiet(n int) error {
	for range n {
		w.Chain.Mine(1, false)
		if err := w.Quiet(); err != nil {
			return err
		}
	}
	return nil
}

// Check reports everything that is wrong, now or before.
func (w *World) Check() error {
	errs := append([]error(nil), w.errs...)
	for _, s := range w.Sides {
		if !s.Gone {
			errs = append(errs, s.check()...)
		}
	}
	if !w.Bent {
		errs = append(errs, checkLane(w.Alice, w.Bob)...)
		errs = append(errs, checkLane(w.Bob, w.Alice)...)
	}
	return errors.Join(errs...)
}

func (s *Side) check() (errs []error) {
	for _, l := range []struct {
		lane  channel.Lane
		terms channel.LaneTerms
	}{{s.State.Out, s.State.Terms.Out}, {s.State.In, s.State.Terms.In}} {
		if l.lane.Spent > l.lane.Total || l.lane.Total > l.terms.Capacity() {
			errs = append(errs, fmt.Errorf("%s: spent %d, total %d, capacity %d", s.Name, l.lane.Spent, l.lane.Total, l.terms.Capacity()))
		}
		if l.lane.Frozen != channel.NotFrozen && !s.w.Bent && !s.w.Disordered {
			errs = append(errs, fmt.Errorf("%s: a lane froze: %s", s.Name, l.lane.Frozen))
		}
	}
	if s.State.In.Total > 0 && !Valid(s.State.Terms.In.ID(), s.State.In.Total, s.State.In.Voucher) {
		errs = append(errs, fmt.Errorf("%s holds a voucher that is not valid", s.Name))
	}
	if len(s.turns) == 0 && s.stepped {
		s.stepped = false
		errs = append(errs, s.checkDisk()...)
	}
	return errs
}

// checkDisk checks that a crash now would lose nothing.
func (s *Side) checkDisk() (errs []error) {
	t := &turn{}
	s.save(t, true)
	if !bytes.Equal(t.cold, s.disk.Cold) || !bytes.Equal(t.out, s.disk.Out) || !bytes.Equal(t.in, s.disk.In) || !s.sameDraws() {
		errs = append(errs, fmt.Errorf("%s: the state was changed and not saved: %s", s.Name, difference(string(t.cold), string(s.disk.Cold))))
	}
	unacked, err := s.disk.unacked()
	if err != nil {
		errs = append(errs, err)
	}
	if !slices.Equal(unacked, s.State.Unacked) {
		errs = append(errs, fmt.Errorf("%s: %d frames wait for an answer, %d after a crash", s.Name, len(s.State.Unacked), len(unacked)))
	}
	return errs
}

func (s *Side) sameDraws() bool {
	var out, in []byte
	if d := s.State.OutDraws; d != nil {
		out, _ = d.MarshalBinary()
	}
	if d := s.State.InDraws; d != nil {
		in, _ = d.MarshalBinary()
	}
	nothing := (*channel.InDraws)(&channel.InDraws{})
	empty, _ := nothing.MarshalBinary()
	return bytes.Equal(out, s.disk.OutDraws) && (bytes.Equal(in, s.disk.InDraws) || s.disk.InDraws == nil && bytes.Equal(in, empty))
}

func difference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-60)
	return fmt.Sprintf("%q and %q", a[from:min(len(a), i+40)], b[from:min(len(b), i+40)])
}

// checkLane checks one lane between honest peers against each other and against the twin.
func checkLane(payer, payee *Side) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("lane %s -> %s: "+format, append([]any{payer.Name, payee.Name}, args...)...))
	}
	var out, in channel.Lane // durable
	if err := errors.Join(out.UnmarshalBinary(payer.disk.Out), in.UnmarshalBinary(payee.disk.In)); err != nil {
		return []error{err}
	}
	twin := payer.Twin
	got := payee.State.In
	if got.Total > out.Total || got.NextSeq > out.NextSeq {
		bad("the payee has %d msat and %d payments, the payer only stored %d and %d", got.Total, got.NextSeq-1, out.Total, out.NextSeq-1)
	}
	resolved := payer.State.Phase == channel.PhaseClosing || payer.State.Phase == channel.PhaseSettling || payer.State.Phase.Final()
	if payer.State.Out.Acked > in.NextSeq && !resolved {
		bad("%d payments were acknowledged, the payee only stored %d", payer.State.Out.Acked-1, in.NextSeq-1)
	}
	if payer.State.Out.Spent > in.Spent {
		bad("the payer counts %d msat as spent, the payee %d", payer.State.Out.Spent, in.Spent)
	}
	if payer.State.Out.Acked == in.NextSeq && !resolved && (payer.State.Out.Hash != in.Hash || payer.State.Out.Spent != in.Spent) {
		bad("the books differ after %d payments", in.NextSeq-1)
	}
	if in.Spent != twin.Spent() {
		bad("spent is %d msat, the twin says %d", in.Spent, twin.Spent())
	}
	if err := checkDraws(payer, payee); err != nil {
		bad("%w", err)
	}
	asked := payer.Asked()
	if in.Credit() > twin.Refused()+asked+twin.sum(func(e *Entry) bool { return e.Taken == nil && asked > 0 }) {
		bad("credit of %d msat, only %d were refused and %d authorised", in.Credit(), twin.Refused(), asked)
	}
	if out.Total > twin.Signable()+asked {
		bad("vouchered %d msat, the payments sum up to %d and %d were authorised", out.Total, twin.Signable(), asked)
	}
	for _, e := range twin.Payments {
		if e.Told != nil && e.Taken != nil && *e.Taken == channel.Accepted && *e.Told != channel.Accepted && payer.State.OutFunding.Spend != nil &&
			payer.State.OutFunding.Spend.Kind != channel.SpentRefunded {
			bad("payment %s was accepted and the payer was told %s", e.ID, *e.Told)
		}
	}
	return errs
}

// Agreed reports what two peers at rest with an open channel still see differently.
func (w *World) Agreed() error {
	var errs []error
	for _, s := range w.Sides {
		if n := s.Twin.Open(); n > 0 {
			errs = append(errs, fmt.Errorf("%d payments of %s's have no answer", n, s.Name))
		}
		out, in := s.State.Out, s.peer.State.In
		if !s.State.Terms.Out.Exists() {
			continue
		}
		if out.Total != in.Total && (s.Asked() == 0 || out.Total < in.Total) || out.Spent != in.Spent || out.NextSeq != in.NextSeq || out.Acked != in.NextSeq || out.Hash != in.Hash {
			errs = append(errs, fmt.Errorf("%s's lane: %+v and %+v", s.Name, out, in))
		}
		if a, b := s.State.OutDraws, s.peer.State.InDraws; a != nil && b != nil && (a.Count != b.Count || a.Hash != b.Hash || a.Drawn != b.Drawn || b.Told != b.Count) {
			errs = append(errs, fmt.Errorf("%s's draws: %d of %d msat, and %d of %d of which %d are told", s.Name, a.Count, a.Drawn, b.Count, b.Drawn, b.Told))
		}
	}
	return errors.Join(errs...)
}
