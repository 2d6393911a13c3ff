package daemon

import (
	"errors"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/receipt"
	"github.com/runnel/runnel/wire"
)

// Roots of lane logs (protocol.md 13). Nothing here is on the way of a payment: the log is read from the store,
// where it is durable, and hashed and signed beside the channel. The channel only learns what came of it.

const (
	// rootEvery is after how many payments a root is signed while more keep coming.
	rootEvery = 1024

	// rootQuiet is how long a lane must have rested before a root is signed over what is new.
	rootQuiet = time.Second

	// rootPatience is how long a root may stay without an answer before the next one is sent. Until then one
	// is on its way at most, so that a payer that is slow gets fewer and not more.
	rootPatience = 10 * time.Second

	// maxRootSkew is how far a payee's clock may be off before its payer refuses to sign the time it says.
	maxRootSkew = 2 * time.Hour
)

// roots is what a channel's driver knows about the roots of its lanes.
type roots struct {
	spoken bool // the peer understands roots in the present session
	in     rootsIn
	out    rootsOut
}

// rootsIn is the payee's side: it signs.
type rootsIn struct {
	newest  newest
	book    *laneBook   // up to the newest root that was signed; its job has it while busy
	sent    *signedRoot // newest
	waiting bool        // sent has no answer
	sentAt  time.Time
	busy    bool // a root is being made
	again   bool // another one was asked for meanwhile
	judging bool // an answer from before a restart is being compared with the log
	fresh   int  // payments since the newest root
	mark    int  // fresh at the last tick
	armed   bool // a tick will come
}

// rootsOut is the payer's side: it compares and signs, too.
type rootsOut struct {
	newest newest
	book   *laneBook     // up to the newest root that was right
	busy   bool          // a root is being checked
	later  *channel.Root // newest one that waits for that, or for answers that are still to come
}

// newest is the checkpoint in the store, read when it is first needed.
type newest struct {
	c    *checkpoint
	read bool
}

// signedRoot is a root that we signed as payee, with the tree below it.
type signedRoot struct {
	channel.Root
	peaks []receipt.Hash
}

// Mail about roots: what the peer says, what the work beside the channel found, the clock.
type (
	rootTick   struct{}
	rootWanted struct{ out bool } // somebody waits for a checkpoint over all that there is
	rootMade   struct {
		root *signedRoot // nil: the log is empty
		book *laneBook
		err  error
	}
	ackJudged struct {
		c   *checkpoint // nil: the log is not what we signed
		err error
	}
	rootChecked struct {
		root    *channel.Root
		forged  bool        // the signature is wrong
		differs bool        // and the signature is right
		c       *checkpoint // otherwise
		book    *laneBook
		err     error
	}
	// rootEvent is a message of the peer's.
	rootEvent struct{ msg channel.Message }
)

func (d *driver) checkpoint(out bool) *checkpoint {
	k, terms := &d.roots.in.newest, d.w.st.Terms.In
	if out {
		k, terms = &d.roots.out.newest, d.w.st.Terms.Out
	}
	if !k.read && terms.Exists() {
		c, err := loadCheckpoint(d.n.deps.Store, checkpointKey(keyOf(terms.ID())))
		if err != nil {
			d.n.log.Error("a checkpoint can't be read", "channel", d.id, "err", err)
		}
		k.c, k.read = c, true
	}
	return k.c
}

// meetRoots begins a session: what has no checkpoint yet gets one soon.
func (d *driver) meetRoots(s *session) {
	d.roots.spoken = s.roots
	d.roots.out.later = nil
	in := &d.roots.in
	in.waiting = false
	next := d.w.st.In.NextSeq
	if !s.roots || !d.w.st.Terms.In.Exists() || next == 1 {
		return
	}
	if c := d.checkpoint(false); c == nil || c.Size < next-1 {
		in.fresh = max(in.fresh, 1)
		d.armRoots()
	}
}

// rootsTaken counts payments that were answered.
func (d *driver) rootsTaken(box *outbox, payments int) {
	if !d.roots.spoken {
		return
	}
	in := &d.roots.in
	in.fresh += payments
	if in.fresh >= rootEvery && !d.rootOnItsWay() {
		d.makeRoot(box)
	}
	d.armRoots()
}

func (d *driver) rootOnItsWay() bool {
	in := &d.roots.in
	return in.busy || in.waiting && d.n.deps.Now().Sub(in.sentAt) < rootPatience
}

func (d *driver) armRoots() {
	if in := &d.roots.in; !in.armed && in.fresh > 0 {
		in.armed = true
		d.n.deps.After(rootQuiet, func() { d.post(rootTick{}) })
	}
}

func (rootTick) apply(d *driver, box *outbox) {
	in := &d.roots.in
	in.armed = false
	if d.n.ctx.Err() != nil || !d.roots.spoken || in.fresh == 0 {
		return
	}
	if in.fresh == in.mark && !d.rootOnItsWay() {
		d.makeRoot(box)
	}
	in.mark = in.fresh
	d.armRoots()
}

// endRoots signs over all when the channel takes no more payments.
func (d *driver) endRoots(box *outbox, phase channel.Phase) {
	if (phase == channel.PhaseClosing || phase == channel.PhaseSettling) && d.roots.in.fresh > 0 {
		d.makeRoot(box)
	}
}

func (m rootWanted) apply(d *driver, box *outbox) {
	switch {
	case !d.roots.spoken:
	case m.out:
		box.sends = append(box.sends, &channel.RootRequest{Lane: d.w.st.Terms.Out.ID()})
	default:
		d.makeRoot(box)
	}
}

func (m rootEvent) apply(d *driver, box *outbox) {
	switch m := m.msg.(type) {
	case *channel.Root:
		d.rootReceived(box, m)
	case *channel.RootAck:
		d.rootAnswered(box, m)
	case *channel.RootRequest:
		if !d.isLane(m.Lane, false) {
			d.blame(box, "the peer asks for a root of a lane on which it does not pay")
			return
		}
		d.makeRoot(box)
	}
}

func (d *driver) isLane(id channel.LaneID, out bool) bool {
	terms := d.w.st.Terms.In
	if out {
		terms = d.w.st.Terms.Out
	}
	return terms.Exists() && terms.ID() == id
}

func (d *driver) blame(box *outbox, text string) {
	d.perform(box, []any{channel.Misbehaved{Text: text}, distrust{text}})
}

// behind runs job beside the channel once everything that happened so far is durable, the answers that may
// wait for the next commit too; failed is called when it can't.
func (d *driver) behind(box *outbox, job, failed func()) {
	if d.lazy != nil {
		box.merge(d.lazy)
		d.lazy = nil
	}
	box.after = append(box.after, func(err error) {
		if err != nil || !d.n.spawn(job) {
			failed()
		}
	})
}

// makeRoot has a root made over all that is answered, and sent.
func (d *driver) makeRoot(box *outbox) {
	in := &d.roots.in
	if !d.roots.spoken || !d.w.st.Terms.In.Exists() {
		return
	}
	if in.busy {
		in.again = true
		return
	}
	in.busy, in.again, in.fresh, in.mark = true, false, 0, 0
	terms, b, last := d.w.st.Terms, in.book, in.sent
	in.book = nil
	d.behind(box, func() { d.post(d.n.signRoot(&terms, b, last)) }, func() { in.busy = false })
}

// signRoot is the payee's job.
func (n *Node) signRoot(t *channel.Terms, b *laneBook, last *signedRoot) (m rootMade) {
	if b == nil {
		if b, m.err = n.openBook(t.In.ID()); m.err != nil {
			return m
		}
	}
	if m.err = b.read(n.deps.Store, 0); m.err != nil || b.at.Size == 0 {
		return m
	}
	m.book = b
	r := &signedRoot{Root: channel.Root{Log: b.root()}, peaks: b.tree.Peaks()}
	if last != nil && last.Log.Same(r.Log) {
		m.root = last
		return m
	}
	r.Log.Time = uint64(max(0, n.deps.Now().Unix()))
	r.Signature, m.err = n.deps.Signer.SignRoot(t.In, ledger.LaneKeys{Lane: t.InKey}, r.Log)
	m.root = r
	return m
}

// openBook continues a lane's log from its newest checkpoint. One that can't be read is of no more use than
// none: what it saved is done again.
func (n *Node) openBook(lane channel.LaneID) (*laneBook, error) {
	for _, key := range [][]byte{checkpointKey(keyOf(lane)), baseKey(keyOf(lane))} {
		c, err := loadCheckpoint(n.deps.Store, key)
		if err == nil && c != nil {
			return bookAt(lane, c)
		}
		if err != nil && !errors.Is(err, errCheckpoint) {
			return nil, err
		}
	}
	return bookAt(lane, nil)
}

func (m rootMade) apply(d *driver, box *outbox) {
	in := &d.roots.in
	in.busy = false
	if m.err != nil {
		d.n.log.Error("a lane's log could not be signed", "channel", d.id, "err", m.err)
		return
	}
	if in.book = m.book; m.root != nil {
		in.sent = m.root
		if d.roots.spoken {
			in.waiting, in.sentAt = true, d.n.deps.Now()
			root := m.root.Root
			box.sends = append(box.sends, &root)
		}
	}
	if in.again {
		d.makeRoot(box)
	}
}

// rootAnswered takes the payer's signature over a root of ours.
func (d *driver) rootAnswered(box *outbox, m *channel.RootAck) {
	in, terms := &d.roots.in, d.w.st.Terms.In
	if !d.isLane(m.Log.Lane, false) {
		d.blame(box, "the peer signed a root of a lane on which it does not pay")
		return
	}
	if c := d.checkpoint(false); c != nil && m.Log.Size <= c.Size {
		in.waiting = in.waiting && in.sent.Log.Size > c.Size
		return
	}
	scheme := d.n.deps.Scheme
	if scheme.VerifyRoot(terms, true, m.Log, m.Payer) != nil {
		d.blame(box, "the payer's signature over a root is wrong")
		return
	}
	c := &checkpoint{Checkpoint: channel.Checkpoint{LogRoot: m.Log, Payee: m.Payee, Payer: m.Payer}}
	if s := in.sent; s != nil && s.Log == m.Log && s.Signature == m.Payee {
		c.peaks = s.peaks
		d.keepCheckpoint(box, false, c)
		return
	}
	if scheme.VerifyRoot(terms, false, m.Log, m.Payee) != nil {
		d.blame(box, "the peer answers a root that we did not sign")
		return
	}
	if !in.judging { // a root from before a restart
		in.judging = true
		lane := terms.ID()
		d.behind(box, func() { d.post(d.n.judgeAck(lane, c)) }, func() { in.judging = false })
	}
}

// judgeAck looks whether our log still has what we once signed.
func (n *Node) judgeAck(lane channel.LaneID, c *checkpoint) (m ackJudged) {
	b, err := n.openBook(lane)
	if err == nil {
		err = b.read(n.deps.Store, c.Size)
	}
	switch {
	case err != nil:
		m.err = err
	case b.root().Same(c.LogRoot):
		c.peaks = b.tree.Peaks()
		m.c = c
	}
	return m
}

func (m ackJudged) apply(d *driver, box *outbox) {
	d.roots.in.judging = false
	switch c := d.checkpoint(false); {
	case m.c != nil && (c == nil || c.Size < m.c.Size):
		d.keepCheckpoint(box, false, m.c)
	case m.c == nil:
		d.n.log.Error("the log of a lane does not have what was signed", "channel", d.id, "err", m.err)
		d.perform(box, []any{channel.Alert{Peers: true, Text: "the peer shows payments under our signature that our log of the lane that pays us does not have: " +
			"our record is too old or damaged; restore the newest backup, then close the channel"}})
	}
}

// keepCheckpoint stores what both sides signed.
func (d *driver) keepCheckpoint(box *outbox, out bool, c *checkpoint) {
	k := &d.roots.in.newest
	if out {
		k = &d.roots.out.newest
	} else {
		d.roots.in.waiting = false
	}
	k.c, k.read = c, true
	box.batch.Put(checkpointKey(keyOf(c.Lane)), c.encode())
}

// rootReceived judges a root of the payee's.
func (d *driver) rootReceived(box *outbox, m *channel.Root) {
	st, out := &d.w.st, &d.roots.out
	c := d.checkpoint(true)
	switch {
	case !d.isLane(m.Log.Lane, true):
		d.blame(box, "the peer signed a root of a lane on which it is not paid")
	case st.Out.Frozen != channel.NotFrozen: // the books differ, and that is known
	case m.Log.Size >= st.Out.NextSeq:
		d.blame(box, "the peer signed a root over payments that were never made")
	case c != nil && m.Log.Size < c.Size: // old
	case c != nil && m.Log.Same(c.LogRoot): // our answer was lost
		box.sends = append(box.sends, c.ack())
	case m.Log.Size >= st.Out.Acked || out.busy: // its answers are still to come
		out.later = m
	case d.skewed(m.Log.Time):
		d.perform(box, []any{channel.Alert{Peers: true, Text: "the peer's clock and ours are more than two hours apart: no receipts for payments to it until they agree"}})
	default:
		out.busy = true
		terms, b := st.Terms, out.book
		out.book = nil
		d.behind(box, func() { d.post(d.n.checkRoot(&terms, b, c, m)) }, func() { out.busy = false })
	}
}

func (d *driver) skewed(at uint64) bool {
	return d.n.deps.Now().Sub(time.Unix(int64(at), 0)).Abs() > maxRootSkew
}

func (c *checkpoint) ack() *channel.RootAck {
	return &channel.RootAck{Log: c.LogRoot, Payee: c.Payee, Payer: c.Payer}
}

// checkRoot is the payer's job.
func (n *Node) checkRoot(t *channel.Terms, b *laneBook, c *checkpoint, r *channel.Root) (m rootChecked) {
	m.root = r
	if err := n.deps.Scheme.VerifyRoot(t.Out, false, r.Log, r.Signature); err != nil {
		m.forged, m.book = true, b
		return m
	}
	if b == nil || c == nil || b.at.Size != c.Size {
		if b, m.err = n.openBook(t.Out.ID()); m.err != nil {
			return m
		}
	}
	if m.err = b.read(n.deps.Store, r.Log.Size); m.err != nil {
		return m
	}
	if m.differs = !b.root().Same(r.Log); m.differs {
		return m
	}
	sig, err := n.deps.Signer.SignRoot(t.Out, ledger.LaneKeys{Lane: t.OutKey, Payer: true}, r.Log)
	if m.err = err; err == nil {
		m.book = b
		m.c = &checkpoint{channel.Checkpoint{LogRoot: r.Log, Payee: r.Signature, Payer: sig}, b.tree.Peaks()}
	}
	return m
}

func (m rootChecked) apply(d *driver, box *outbox) {
	out := &d.roots.out
	out.busy, out.book = false, m.book
	switch {
	case m.err != nil:
		d.n.log.Error("a root could not be compared with our log", "channel", d.id, "err", m.err)
	case m.forged:
		d.blame(box, "the payee's signature over a root is wrong")
	case m.differs:
		d.turn(box, channel.BooksDiffer{})
	default:
		d.keepCheckpoint(box, true, m.c)
		box.sends = append(box.sends, m.c.ack())
	}
	d.laterRoot(box)
}

// laterRoot judges a root that had to wait.
func (d *driver) laterRoot(box *outbox) {
	m := d.roots.out.later
	if m == nil || d.roots.out.busy || m.Log.Size >= d.w.st.Out.Acked {
		return
	}
	d.roots.out.later = nil
	d.rootReceived(box, m)
}

// isRoot reports whether a message is only for peers that know roots.
func isRoot(m wire.Message) bool {
	switch m.(type) {
	case *channel.Root, *channel.RootAck, *channel.RootRequest:
		return true
	}
	return false
}

// isDraws reports whether a message is only for peers that know draws.
func isDraws(m wire.Message) bool {
	switch m.(type) {
	case *channel.Draws, *channel.DrawsAck, *channel.DrawsVoid:
		return true
	}
	return false
}
