package channeltest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/runnel/runnel/channel"
)

// Side is one peer: a machine, its disk, and the shell around both, reduced to what orders effects.
type Side struct {
	Name  string
	State channel.State
	Gone  bool // vanished for good
	Twin  *Twin
	Draws *DrawTwin // of the own lane
	// Letters are all authorisations that this side gave, as its program has them.
	Letters []Letter
	// Refuse is the policy of the payee.
	Refuse func(channel.Payment) channel.RefuseReason
	// Poor makes funding fail, Mute makes signing fail.
	Poor, Mute bool

	w        *World
	peer     *Side
	disk     Disk
	scanned  []uint64 // hashes of the blocks that were looked at
	turns    []*turn  // steps with effects that were not all carried out, oldest first
	jobs     []channel.Effect
	mail     []channel.Message
	frames   []*channel.Frame // arrived, not yet given to the machine
	checking bool             // an answer to Verify is due
	stepped  bool             // since the disk was compared with the state
	wait     []channel.Payment
	closes   map[[16]byte]*Tx
	asked    []channel.DrawOp // whose results are due
}

// Disk is what survives a crash.
type Disk struct {
	Cold, Out, In     []byte
	OutDraws, InDraws []byte
	Sent              map[uint64]*channel.Frame     // own frames by first sequence number
	Taken             map[uint64]channel.FrameFound // the peer's, with answers
	IDs               map[channel.PaymentID]bool    // of own payments
	Scanned           []uint64
}

func (d *Disk) clone() Disk {
	c := *d
	c.Sent, c.Taken, c.IDs = clone(d.Sent), clone(d.Taken), clone(d.IDs)
	return c
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// turn is what one step wants done: stored in one piece, then sent, then published, then the rest.
type turn struct {
	cold, out, in     []byte
	outDraws, inDraws []byte
	letters           []Letter
	saves             []channel.SaveFrame
	scanned           []uint64
	facts             []func() error
	sends             []channel.Message
	publish           []channel.OwnTx
	jobs              []channel.Effect
}

func (t *turn) stores() bool {
	return t.out != nil || t.outDraws != nil || t.inDraws != nil || len(t.saves) > 0 || t.scanned != nil || len(t.facts) > 0
}

func (t *turn) empty() bool {
	return !t.stores() && len(t.sends) == 0 && len(t.publish) == 0 && len(t.jobs) == 0
}

// feed steps the machine. What the shell does at once when the world is not Async follows.
func (s *Side) feed(in channel.Input) error {
	effects, err := s.step(in)
	if err != nil {
		return err
	}
	s.now(effects)
	return nil
}

func (s *Side) step(in channel.Input) ([]channel.Effect, error) {
	next, effects, err := s.w.Step(s.State, in)
	if err != nil {
		if !errors.Is(err, channel.KindWindow) { // that one only waits
			s.w.note("%s: %s is not taken: %v", s.Name, TellInput(in), err)
		}
		if k := channel.KindOf(err); k == channel.KindInvalid || k == channel.KindBadVoucher {
			s.w.blame("%s calls an event invalid: %s: %v", s.Name, TellInput(in), err)
		}
		return nil, err
	}
	s.State, s.stepped = next, true
	t := s.sort(effects)
	if !t.empty() {
		s.turns = append(s.turns, t)
	}
	return effects, nil
}

// sort puts effects into the order in which they are carried out.
func (s *Side) sort(effects []channel.Effect) *turn {
	t := &turn{}
	for _, e := range effects {
		switch e := e.(type) {
		case channel.Save:
			s.save(t, e.Cold)
		case channel.SaveFrame:
			t.saves = append(t.saves, e)
			if e.Out {
				s.each(t, e.Frame, nil, func(p channel.Payment, _ channel.RefuseReason) error { return s.Twin.Signed(p) })
			}
		case channel.Took:
			s.each(t, e.Frame, e.Refused, s.peer.Twin.Took)
		case channel.Answered:
			byChain := s.State.Phase == channel.PhaseClosing || s.State.Phase == channel.PhaseSettling || s.State.Phase.Final()
			s.each(t, e.Frame, e.Refused, func(p channel.Payment, r channel.RefuseReason) error { return s.Twin.Answered(p, r, byChain) })
		case channel.Send:
			t.sends = append(t.sends, e.Msg)
		case channel.Publish:
			t.publish = append(t.publish, e.Tx)
		case channel.Moved, channel.LaneChanged, channel.Alert, channel.Misbehaved:
			s.w.note("%s: %s", s.Name, TellEffect(e))
			s.w.judge(s, e)
		case channel.Sign, channel.Verify, channel.FindFrame, channel.CheckProof, channel.CheckNewest, channel.CheckDraw:
			if _, ok := e.(channel.Verify); ok {
				s.checking = true
			}
			if s.w.Async {
				s.jobs = append(s.jobs, e)
			}
		default:
			if !s.sortDraws(t, e) {
				t.jobs = append(t.jobs, e)
			}
		}
	}
	return t
}

func (s *Side) save(t *turn, cold bool) {
	if cold {
		b, err := s.State.MarshalCold()
		s.w.must(err)
		t.cold = b
	}
	t.out, _ = s.State.Out.MarshalBinary()
	t.in, _ = s.State.In.MarshalBinary()
}

func (s *Side) each(t *turn, f *channel.Frame, refused []channel.Refusal, fn func(channel.Payment, channel.RefuseReason) error) {
	for i, p := range f.Payments {
		r := channel.Accepted
		if len(refused) > 0 && refused[0].Seq == f.FirstSeq+uint64(i) {
			r, refused = refused[0].Reason, refused[1:]
		}
		t.facts = append(t.facts, func() error { return fn(p, r) })
	}
}

// now does what the shell does without waiting: signing, verifying, looking up.
func (s *Side) now(effects []channel.Effect) {
	if s.w.Async {
		return
	}
	for _, e := range effects {
		switch e.(type) {
		case channel.Sign, channel.Verify, channel.FindFrame, channel.CheckProof, channel.CheckNewest, channel.CheckDraw:
			s.do(e)
		}
	}
}

// Work carries out one effect: the durable part of a step, one message, one transaction.
func (s *Side) Work() bool {
	if len(s.turns) == 0 || s.Gone {
		return false
	}
	t := s.turns[0]
	switch {
	case t.stores():
		s.commit(t)
	case len(t.sends) > 0:
		s.send(t.sends[0])
		t.sends = t.sends[1:]
	case len(t.publish) > 0:
		s.publish(t.publish[0])
		t.publish = t.publish[1:]
	default:
		s.jobs = append(s.jobs, t.jobs...)
		t.jobs = nil
	}
	if t.empty() {
		s.turns = s.turns[1:]
	}
	s.w.tick(s)
	return true
}

func (s *Side) commit(t *turn) {
	d := &s.disk
	if t.cold != nil {
		d.Cold = t.cold
	}
	if t.out != nil {
		s.w.must(s.grows(d.Out, t.out))
		s.w.must(s.grows(d.In, t.in))
		d.Out, d.In = t.out, t.in
	}
	if t.outDraws != nil {
		d.OutDraws = t.outDraws
	}
	if t.inDraws != nil {
		d.InDraws = t.inDraws
	}
	if t.out == nil && (t.outDraws != nil || t.inDraws != nil) {
		s.w.fail("%s stores draws without the lane", s.Name)
	}
	for _, f := range t.saves {
		if !f.Out {
			d.Taken[f.Frame.FirstSeq] = channel.FrameFound{Stored: f.Frame, Ack: f.Ack}
			continue
		}
		d.Sent[f.Frame.FirstSeq] = f.Frame
		for _, p := range f.Frame.Payments {
			d.IDs[p.ID] = true
		}
	}
	if t.scanned != nil {
		d.Scanned = t.scanned
	}
	if !s.w.Bent {
		for _, f := range t.facts {
			s.w.must(f())
		}
	}
	t.cold, t.out, t.in, t.saves, t.scanned, t.facts = nil, nil, nil, nil, nil, nil
	s.Letters = append(s.Letters, t.letters...)
	t.outDraws, t.inDraws, t.letters = nil, nil, nil
}

// grows checks that a durable lane never falls behind an older one.
func (s *Side) grows(old, new []byte) error {
	var a, b channel.Lane
	if err := a.UnmarshalBinary(old); err != nil {
		return err
	}
	if err := b.UnmarshalBinary(new); err != nil {
		return err
	}
	if b.Total < a.Total || b.Spent < a.Spent || b.NextSeq < a.NextSeq || b.Acked < a.Acked {
		return fmt.Errorf("%s: a lane fell from %+v to %+v", s.Name, a, b)
	}
	return nil
}

func (s *Side) send(m channel.Message) {
	if !s.w.Connected || s.peer.Gone {
		s.w.note("%s -> nobody: %s", s.Name, TellMessage(m))
		return
	}
	s.w.note("%s -> %s: %s", s.Name, s.peer.Name, TellMessage(m))
	s.peer.mail = append(s.peer.mail, m)
}

func (s *Side) publish(tx channel.OwnTx) {
	t, err := ParseTx(tx.Raw)
	s.w.must(err)
	s.w.note("%s publishes a %s", s.Name, t.Kind)
	s.w.must(s.w.Chain.Publish(tx.Raw))
}

// Deliver hands over the oldest message on the way to this side.
func (s *Side) Deliver() bool {
	if len(s.mail) == 0 || s.Gone {
		return false
	}
	m := s.mail[0]
	s.mail = s.mail[1:]
	s.receive(m)
	return true
}

func (s *Side) receive(m channel.Message) {
	if f, ok := m.(*channel.Frame); ok {
		s.frames = append(s.frames, f)
		return
	}
	_ = s.feed(channel.Received{Msg: m})
}

// Pump gives waiting frames and payments to the machine.
func (s *Side) Pump() bool {
	if s.Gone {
		return false
	}
	frames := s.pumpFrames()
	return s.pumpPayments() || frames
}

func (s *Side) pumpFrames() bool {
	if s.checking || s.asked != nil || len(s.frames) == 0 { // one check at a time; meanwhile they wait
		return false
	}
	frames := s.frames
	s.frames = nil
	_ = s.feed(channel.FramesReceived{Frames: frames})
	return true
}

func (s *Side) pumpPayments() bool {
	if len(s.wait) == 0 || s.State.Signing() != nil {
		return false
	}
	effects, err := s.step(channel.Pay{Payments: s.wait})
	switch {
	case channel.KindOf(err) == channel.KindWindow:
		return false
	case err != nil:
		s.wait = s.wait[1:]
		return true
	}
	f := s.State.Signing()
	if f == nil {
		f = s.State.Unacked[len(s.State.Unacked)-1]
	}
	s.wait = s.wait[len(f.Payments):]
	s.now(effects)
	return true
}

// Pay offers payments. An id that was offered before pays nothing.
func (s *Side) Pay(payments ...channel.Payment) {
	for _, p := range payments {
		if !s.knows(p.ID) {
			s.wait = append(s.wait, p)
		}
	}
}

func (s *Side) knows(id channel.PaymentID) bool {
	has := func(list []channel.Payment) bool {
		return slices.ContainsFunc(list, func(p channel.Payment) bool { return p.ID == id })
	}
	if s.disk.IDs[id] || has(s.wait) {
		return true
	}
	if f := s.State.Signing(); f != nil && has(f.Payments) {
		return true
	}
	for _, t := range s.turns {
		for _, f := range t.saves {
			if f.Out && has(f.Frame.Payments) {
				return true
			}
		}
	}
	return false
}

// Scan looks at the next block, or at one block less if the chain is another one now.
func (s *Side) Scan() bool {
	if s.Gone {
		return false
	}
	blocks := s.w.Chain.Blocks
	n := 0
	for n < len(s.scanned) && n < len(blocks) && s.scanned[n] == blocks[n].Hash {
		n++
	}
	switch {
	case n < len(s.scanned):
		s.scanned = append([]uint64(nil), s.scanned[:n]...)
		_ = s.feed(channel.Reorganised{Height: Base + uint32(n)})
	case n < len(blocks):
		s.scanned = append(append([]uint64(nil), s.scanned...), blocks[n].Hash)
		s.look(blocks[n], Base+uint32(n))
	default:
		return false
	}
	s.turns = append(s.turns, &turn{scanned: s.scanned})
	return true
}

func (s *Side) look(b Block, height uint32) {
	for _, tx := range b.Txs {
		s.lookTx(tx, height, true, &s.State.Terms.Out)
		s.lookTx(tx, height, false, &s.State.Terms.In)
	}
	_ = s.feed(channel.Height{Tip: height})
}

func (s *Side) lookTx(tx *Tx, height uint32, out bool, terms *channel.LaneTerms) {
	if !terms.Exists() {
		return
	}
	for i, o := range tx.Outs {
		if o.Script == FundScript(terms.ID()) {
			_ = s.feed(channel.OutputSeen{Out: out, Output: channel.Output{
				Outpoint: channel.Outpoint{TxID: tx.ID(), Index: uint32(i)}, Value: o.Value, Height: height}})
		}
	}
	f := &s.State.InFunding
	if out {
		f = &s.State.OutFunding
	}
	for _, o := range tx.Spends {
		if o == f.Claimed {
			_ = s.feed(channel.SpendSeen{Out: out, Spend: spendOf(tx, *terms, height)})
		} else if sp := f.Spend; out && sp != nil && o == (channel.Outpoint{TxID: sp.TxID, Index: sp.RefundIndex}) {
			_ = s.feed(channel.SweepSeen{Height: height})
		} else if out {
			_ = s.feed(channel.ReturnSeen{Outpoint: o, Height: height})
		}
	}
}

func spendOf(tx *Tx, terms channel.LaneTerms, height uint32) channel.Spend {
	sp := channel.Spend{TxID: tx.ID(), Height: height}
	switch tx.Kind {
	case "settle":
		sp.Kind, sp.Total = channel.SpentSettled, tx.Total
		sp.RefundValue = terms.Deposit - tx.Total.SatCeil()
	case "refund":
		sp.Kind = channel.SpentRefunded
	}
	return sp
}

// Crash loses everything that is not on the disk, cuts the connection, and starts again.
func (s *Side) Crash() {
	s.w.note("%s crashes", s.Name)
	s.mail = nil
	s.lose()
	s.w.cut(s)
	s.restart()
}

func (s *Side) lose() {
	s.turns, s.jobs, s.frames, s.wait = nil, nil, nil, nil
	s.checking, s.closes, s.asked = false, map[[16]byte]*Tx{}, nil
}

func (s *Side) restart() {
	st, err := s.load()
	s.w.must(err)
	s.State = st
	s.scanned = s.disk.Scanned
	_ = s.feed(channel.DrawsLost{})
	_ = s.feed(channel.Height{Tip: Base + uint32(len(s.scanned)) - 1})
	for s.Scan() { // nothing is taken before the chain was looked at
	}
}

// Loads reports whether this side could start again.
func (s *Side) Loads() error {
	_, err := s.load()
	return err
}

func (s *Side) load() (channel.State, error) {
	unacked, err := s.disk.unacked()
	if err != nil {
		return channel.State{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	st, err := channel.Load(s.disk.Cold, s.disk.Out, s.disk.In, unacked)
	if err != nil {
		return st, err
	}
	return st.WithDraws(s.disk.OutDraws, s.disk.InDraws)
}

// unacked are the own frames that wait for an answer.
func (d *Disk) unacked() (frames []*channel.Frame, err error) {
	var out channel.Lane
	if err := out.UnmarshalBinary(d.Out); err != nil {
		return nil, err
	}
	for seq := out.Acked; seq < out.NextSeq; {
		f := d.Sent[seq]
		if f == nil {
			return nil, fmt.Errorf("the frame from %d on is not on the disk", seq)
		}
		frames, seq = append(frames, f), f.NextSeq()
	}
	return frames, nil
}

// Backup copies the disk; Restore starts from a copy.
func (s *Side) Backup() Disk { return s.disk.clone() }

func (s *Side) Restore(d Disk) {
	s.w.note("%s starts from an old backup", s.Name)
	s.lose()
	s.mail = nil
	s.w.cut(s)
	s.disk = d.clone()
	s.restart()
}
