package daemon

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// driver runs one worker. Its goroutine lives while there is mail and is gone while the channel idles.
type driver struct {
	n    *Node
	num  uint64 // in the order of adoption
	id   channel.ID
	peer channel.PeerID

	scripts laneScripts
	agreed  channel.Terms // never change
	secrets laneSecrets

	mu      sync.Mutex // guards mail and running
	space   sync.Cond  // mail was taken
	mail    []any
	running bool

	phase atomic.Uint32 // of the channel, as far as events were handled; for a look without waiting
	lost  atomic.Bool   // frames came that a full disk could not take

	// Only the running goroutine touches the rest.
	w          *worker
	boxes      []*outbox // on their way to the disk, oldest first
	turning    *outbox   // what this turn made so far
	chained    []byte    // own lane's record as the last of them writes it; nil in a new channel
	commits    uint64
	lazy       *outbox                 // answers that may wait for the next commit
	recent     map[uint64]*frameRecord // frames taken in a commit that is on its way
	roots      roots
	close      closeAttempt
	giveback   giveback
	exits      exits
	drawn      drawn
	blindTaken channel.Msat    // since the chain was last seen
	met        uint64          // number of the newest session with the peer that the channel knows
	held       bool            // its part of the chain is still being read: nothing is published for it
	alerts     allowance       // for what the peer can cause again and again
	watchers   []chan struct{} // closed after the next turn: waiting API calls look again
}

// carried is mail that says itself what to do: about roots and draws.
type carried interface{ apply(d *driver, box *outbox) }

// Mail of a driver, beside the events of its worker.
type (
	committed struct {
		box *outbox
		err error
	}
	flushLazy struct{}
	// republish sends a transaction out again, behind all that is on its way to the disk: it may be of that.
	republish struct{ tx channel.OwnTx }
	// met and parted tell that a session with the peer began and ended, said what the peer says in it.
	met    struct{ s *session }
	parted struct{ s *session }
	said   struct {
		s     *session
		event any
	}
	// inspect runs fn on the state between two events.
	inspect struct{ fn func(*driver) }
	// applied is an event whose effects must be durable before done is called.
	applied struct {
		event any
		done  func(error)
	}
)

// outbox is what one run over the mail wants done: first stored, then sent, then published and told.
type outbox struct {
	batch     store.Batch
	lanes     bool // the lane records change
	cold      bool // everything changes
	budget    bool
	peer      channel.PeerID // whose account changes with it
	frames    bool           // holds frames or authorisations of ours
	draws     bool           // holds charges
	outDraws  bool           // the record of draws on the own lane changes
	inDraws   bool           // that on the other
	size      int            // of the frames in it, in bytes
	entries   []entry
	sends     []channel.Message
	publish   []channel.OwnTx
	forget    []*job
	taken     []uint64 // first sequence numbers in recent
	after     []func(error)
	afterSend []func()
	broken    error // a record could not be made: the box fails like one that can't be written
}

func (b *outbox) stores() bool {
	return b.lanes || b.cold || len(b.batch.Ops) > 0 || len(b.entries) > 0
}

// lazyOnly reports whether the box holds nothing that anybody waits for.
func (b *outbox) lazyOnly() bool {
	return !b.cold && len(b.sends) == 0 && len(b.publish) == 0 && len(b.after) == 0 && len(b.afterSend) == 0 && len(b.taken) == 0
}

func (b *outbox) merge(older *outbox) {
	b.batch.Ops = append(older.batch.Ops, b.batch.Ops...)
	b.entries = append(older.entries, b.entries...)
	b.forget = append(older.forget, b.forget...)
	b.lanes = b.lanes || older.lanes
	b.budget = b.budget || older.budget
	b.outDraws, b.inDraws = b.outDraws || older.outDraws, b.inDraws || older.inDraws
}

// lazyDelay bounds how long an answer waits for a commit to travel with. It is on nobody's path: the
// application has its answer, and after a crash the peer repeats it.
const lazyDelay = 20 * time.Millisecond

// newDriver makes the driver of a channel; record is the own lane's record, nil when there is none yet.
func newDriver(n *Node, st channel.State, record []byte) *driver {
	d := &driver{n: n, id: st.Terms.ID, peer: st.Terms.Peer, w: newWorker(st, !n.cfg.SignEach), recent: map[uint64]*frameRecord{},
		alerts: allowance{burst: 20, every: time.Minute}}
	d.space.L = &d.mu
	d.agreed = st.Terms
	d.drawn.lost = st.InDraws != nil && len(st.InDraws.Running) > 0
	d.w.deny = d.deny
	d.phase.Store(uint32(st.Phase))
	if record != nil {
		d.chained, d.commits = record, binary.BigEndian.Uint64(record[len(record)-8:])
	}
	return d
}

// load reads the channel as it was last durable.
func (d *driver) load() (channel.State, error) {
	st, record, err := loadChannel(d.n.deps.Store, d.id)
	if err == nil {
		d.chained, d.commits = record, binary.BigEndian.Uint64(record[len(record)-8:])
	}
	return st, err
}

func (d *driver) post(m ...any) {
	d.mu.Lock()
	d.mail = append(d.mail, m...)
	start := !d.running
	d.running = true
	d.mu.Unlock()
	if start {
		d.n.deps.Go(d.run)
	}
}

// maxMail is how many messages of a peer may wait at one channel. Beyond it the connection is not read,
// so that a flood stays in the sender's socket.
const maxMail = 512

// postBounded is post for what comes from a peer: it waits while too much is there.
func (d *driver) postBounded(m any) {
	d.mu.Lock()
	for len(d.mail) > maxMail {
		d.space.Wait()
	}
	d.mu.Unlock()
	d.n.woke()
	d.post(m)
}

func (d *driver) take() []any {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space.Broadcast()
	mail := d.mail
	d.mail = nil
	d.running = len(mail) > 0
	return mail
}

func (d *driver) run() {
	for mail := d.take(); len(mail) > 0; mail = d.take() {
		box := &outbox{}
		d.turning = box
		acted := false
		for _, m := range mail {
			_, looking := m.(inspect)
			acted = acted || !looking
			d.handle(box, m)
		}
		for more := true; more; {
			more = d.gather(box)
			d.flush(box)
			box = &outbox{}
			d.turning = box
		}
		d.phase.Store(uint32(d.w.st.Phase))
		if acted {
			d.wake()
		}
	}
}

// gather adds what waits until the box is as large as one write should be. It reports whether more waits.
func (d *driver) gather(box *outbox) (more bool) {
	for len(box.batch.Ops) < boxOps && box.size < boxBytes {
		d.w.gather = d.w.coalesce && (box.frames || d.framesInFlight())
		d.w.gatherDraws = box.draws || d.drawsInFlight()
		effects := d.w.Idle()
		if len(effects) == 0 {
			return false
		}
		d.perform(box, effects)
	}
	return true
}

// A box that has reached one of these takes no more, so that with one more frame of each direction on
// top it still fits a transaction of the store (store.Limits).
const (
	boxOps   = 1024
	boxBytes = 128 << 10
)

// framesInFlight reports whether a commit with an own frame is on its way. While it is, payments gather:
// one signature and one write for all of them, and no timer, for a lone payment finds nothing in flight.
func (d *driver) framesInFlight() bool {
	for _, b := range d.boxes {
		if b.frames {
			return true
		}
	}
	return false
}

func (d *driver) wake() {
	for _, c := range d.watchers {
		close(c)
	}
	d.watchers = nil
}

func (d *driver) handle(box *outbox, m any) {
	switch m := m.(type) {
	case committed:
		if err := d.committed(m); err != nil { // what this turn made of the state that was dropped goes with it
			d.fail(box, err)
			*box = outbox{}
		}
	case flushLazy:
		if d.lazy != nil {
			box.merge(d.lazy)
			d.lazy = nil
			box.after = append(box.after, func(error) {})
		}
	case inspect:
		m.fn(d)
	case republish:
		box.publish = append(box.publish, m.tx)
	case met:
		d.meet(box, m.s)
	case payEvent:
		d.meet(box, m.in)
		d.turn(box, m)
	case parted:
		if m.s.num == d.met {
			d.close.session, d.giveback.session, d.roots.spoken = nil, nil, false
			d.turn(box, channel.Disconnected{})
		}
	case said:
		if _, pays := m.event.(frameEvent); pays && d.n.diskFull() {
			d.lost.Store(true) // not even a refusal can be stored
			return
		}
		if m.s.num >= d.met { // what an older session still had to say is over
			d.meet(box, m.s)
			if r, ok := m.event.(carried); ok {
				r.apply(d, box)
			} else {
				d.turn(box, m.event)
			}
		}
	case carried:
		m.apply(d, box)
	case applied:
		d.turn(box, m.event)
		box.after = append(box.after, m.done)
	default:
		d.turn(box, m)
	}
}

// meet greets the peer, once for each session. A message can come before the word that its session began.
func (d *driver) meet(box *outbox, s *session) {
	if s.num <= d.met {
		return
	}
	d.met = s.num
	d.close.session = nil // its nonces belong to one connection: the next one begins a new attempt
	d.turn(box, channel.Connected{Draws: s.draws})
	d.meetRoots(s)
	d.armVoid()
}

func (d *driver) turn(box *outbox, event any) { d.perform(box, d.w.Turn(event)) }

// flush hands the box to the disk, or, when there is nothing to store, behind what is on its way.
func (d *driver) flush(box *outbox) {
	if d.lazy != nil && !box.stores() && len(box.sends) > 0 { // what is sent may speak of it
		box.merge(d.lazy)
		d.lazy = nil
	}
	if !box.stores() {
		if len(d.boxes) > 0 {
			last := d.boxes[len(d.boxes)-1]
			last.sends = append(last.sends, box.sends...)
			last.publish = append(last.publish, box.publish...)
			last.after = append(last.after, box.after...)
			last.afterSend = append(last.afterSend, box.afterSend...)
			return
		}
		d.release(box, nil)
		return
	}
	if d.lazy != nil {
		box.merge(d.lazy)
		d.lazy = nil
	} else if box.lazyOnly() {
		d.n.deps.After(lazyDelay, func() { d.post(flushLazy{}) })
	}
	if box.lazyOnly() && box.broken == nil {
		d.lazy = box
		return
	}
	d.early(box)
	if err := d.encode(box); err != nil {
		d.boxes = append(d.boxes, box)
		_ = d.committed(committed{box, err})
		return
	}
	d.boxes = append(d.boxes, box)
	box.peer = d.peer
	d.n.submit(box, func(err error) { d.post(committed{box, err}) })
}

func (d *driver) encode(box *outbox) error {
	if box.broken != nil {
		return box.broken
	}
	if box.cold {
		b, err := d.w.st.MarshalCold()
		if err != nil {
			return err
		}
		box.batch.Put(channelKey(d.id), b)
	}
	if box.cold || box.lanes {
		out, _ := d.w.st.Out.MarshalBinary()
		in, _ := d.w.st.In.MarshalBinary()
		// Each commit builds on the one before: if that one failed, this one must not be written.
		if !planted("commits unchained") {
			box.batch.Expect(laneRecordKey(d.id, true), d.chained)
		}
		d.commits++
		d.chained = binary.BigEndian.AppendUint64(out, d.commits)
		box.batch.Put(laneRecordKey(d.id, true), d.chained)
		box.batch.Put(laneRecordKey(d.id, false), in)
		d.encodeDraws(box)
	}
	return nil
}

// committed is the second half of "store, send, publish". After a failed write the speculative state is dropped
// and the error returned.
func (d *driver) committed(c committed) error {
	if len(d.boxes) == 0 || d.boxes[0] != c.box {
		return nil // dropped with a failed one before it
	}
	d.boxes = d.boxes[1:]
	if c.err != nil && !planted("failed write ignored") {
		d.n.log.Error("nothing could be stored: the channel goes back to its last durable state", "channel", d.id, "err", c.err)
		for _, b := range append([]*outbox{c.box}, d.boxes...) {
			d.fail(b, c.err)
		}
		d.boxes = nil
		d.reload(c.err)
		return c.err
	}
	d.release(c.box, nil)
	return nil
}

func (d *driver) release(box *outbox, err error) {
	for _, seq := range box.taken {
		delete(d.recent, seq)
	}
	for _, m := range box.sends {
		d.n.send(d.peer, m)
	}
	for _, tx := range box.publish {
		d.n.publish(d, tx)
	}
	for _, j := range box.forget {
		d.n.jobs.forget(j)
	}
	for _, f := range box.afterSend {
		f()
	}
	for _, f := range box.after {
		f(err)
	}
}

func (d *driver) fail(box *outbox, err error) {
	for _, f := range box.after {
		f(err)
	}
}

// storeRetry is how long after a failed write a channel looks at the chain again.
const storeRetry = time.Second

// reload drops the speculative state. What was signed in it never left this node.
func (d *driver) reload(cause error) {
	d.n.drop(d.peer, "local storage failed")
	d.n.deps.After(storeRetry, func() { // what the chain asked for may be among what was dropped
		_, away := d.n.chain.unreachable()
		if tip, ok := d.n.chain.tip(); ok && away == nil && d.n.ctx.Err() == nil && d.n.chain.scanned.Load() {
			d.post(channel.Height{Tip: tip.Height})
		}
	})
	draws := d.w.draws // not handed over yet: a state that is loaded again can still take it
	d.lazy, d.recent, d.roots = nil, map[uint64]*frameRecord{}, roots{}
	st, err := d.load()
	if err != nil {
		d.n.log.Error("a channel can't be loaded: it takes no part in anything until the next start", "channel", d.id, "err", err)
		d.w.st.Phase = channel.PhaseRecovering
		for _, e := range d.w.dropQueue(err) {
			d.n.abandon(e.job, e.err)
		}
		d.dropDraws(err)
		return
	}
	old := d.w
	st.Tip = old.st.Tip
	d.w = newWorker(st, old.coalesce)
	d.w.deny, d.w.draws, d.w.asks = d.deny, draws, old.asks
	signed := map[channel.PaymentID]*job{}
	for _, j := range old.sent {
		signed[j.payment.ID] = j
	}
	for i, j := range d.w.sent {
		if k := signed[j.payment.ID]; k != nil {
			d.w.sent[i] = k
			delete(signed, j.payment.ID)
		} else {
			d.n.jobs.renew(j) // its answer was not stored and comes again
		}
	}
	for _, j := range old.sent {
		if signed[j.payment.ID] == nil {
			continue
		}
		d.n.unknown(j, cause)
	}
	for _, j := range old.queue {
		d.n.abandon(j, channel.Faultf(channel.CodeFailure, "local storage failed, nothing was signed: %v", cause))
	}
}

// unknown ends a job whose frame could not be stored. It was not sent; but a disk that fails may show at
// the next start what it did not confirm, and then the payment is made. So it stays counted, and only the
// same id is safe to ask with again.
func (n *Node) unknown(j *job, cause error) {
	if planted("unknown called failed") {
		n.abandon(j, cause)
		return
	}
	fault := channel.Faultf(channel.CodePending, "the payment %s could not be stored: %v", j.payment.ID, cause).
		WithHint("ask again with --id %s: it is not paid twice", j.payment.ID)
	n.jobs.suspect(j.payment.ID)
	j.finish(channel.PayResult{ID: j.payment.ID, Channel: j.channel, Amount: j.payment.Amount}, fault)
	n.jobs.forget(j)
}
