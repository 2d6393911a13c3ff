package daemon

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/policy"
)

// Draws in a channel's worker and driver (protocol.md 14). What waits is handed over together: many charges are one
// step, one verified voucher and one write.

// drawJob is a charge, or what follows one.
type drawJob struct {
	op   channel.DrawOp
	ref  string
	done chan channel.DrawResult // takes one without waiting
}

func newDrawJob(op channel.DrawOp, ref string) *drawJob {
	return &drawJob{op: op, ref: ref, done: make(chan channel.DrawResult, 1)}
}

func (j *drawJob) finish(r channel.DrawResult) {
	select {
	case j.done <- r:
	default:
	}
}

// askJob is an authorisation that an own program asks for.
type askJob struct {
	wish    channel.Wish
	id      channel.PaymentID
	named   bool // the caller chose the id
	ref     string
	request [32]byte
	token   budget.Token
	state   atomic.Uint32 // as of a job
	done    chan struct{}
	once    sync.Once
	grant   granted // set before done is closed
	err     error
}

// granted is what came of an askJob.
type granted struct {
	channel.Grant
	Total     channel.Msat
	Signature channel.Signature
	Lane      channel.LaneStand
}

func (j *askJob) take() bool {
	return j.state.CompareAndSwap(jobWaiting, jobTaken) || j.state.Load() == jobTaken
}
func (j *askJob) untake()      { j.state.CompareAndSwap(jobTaken, jobWaiting) }
func (j *askJob) cancel() bool { return j.state.CompareAndSwap(jobWaiting, jobCancelled) }

func (j *askJob) finish(g granted, err error) {
	j.once.Do(func() {
		j.grant, j.err = g, err
		close(j.done)
	})
}

// Effects of a worker about draws.
type (
	drawsDone struct {
		jobs    []*drawJob
		results []channel.DrawResult
	}
	authorised struct {
		jobs []*askJob
		of   channel.Authorised
		lane channel.LaneStand
	}
	askFailed struct {
		job *askJob
		err error
	}
)

// A step takes at most so many of what waits, so that what it writes fits one batch of the store.
const (
	maxDrawOps = 256
	maxWishes  = 64
)

func (w *worker) pumpDraws() []any {
	if len(w.draws) == 0 {
		return nil
	}
	n := min(len(w.draws), maxDrawOps)
	ops := make([]channel.DrawOp, n)
	for i, j := range w.draws[:n] {
		ops[i] = j.op
		if j.op.Kind == channel.ChargeDraw || j.op.Kind == channel.HoldDraw && j.op.Amount > 0 {
			ops[i].Deny = w.deny(&j.op)
		}
	}
	w.drawing = w.draws[:n:n]
	if w.draws = w.draws[n:]; len(w.draws) == 0 {
		w.draws = nil
	}
	return w.step(channel.DrawOps{Ops: ops})
}

// pumpAsks offers waiting authorisations until one must wait or a signature is awaited.
func (w *worker) pumpAsks() (out []any) {
	for len(w.asks) > 0 && w.st.Signing() == nil && w.st.Authorising() == 0 {
		head := w.asks[0]
		if err := w.st.CanAuthorise(); err != nil {
			if channel.KindOf(err) == channel.KindWindow && w.connected {
				return out // after the resync
			}
			if channel.KindOf(err) == channel.KindWindow {
				err = errOffline(w.st.Terms.Peer)
			}
			out = append(out, w.refuseAsk(err))
			continue
		}
		wishes := w.offerAsks()
		if len(wishes) == 0 {
			out = append(out, w.refuseAsk(errCancelled))
			continue
		}
		w.asking = w.asks[:len(wishes):len(wishes)]
		effects, err := w.tryAsks(wishes)
		if err != nil {
			w.asking = nil
			for _, j := range w.asks[:len(wishes)] {
				j.untake()
			}
			if channel.KindOf(err) == channel.KindWindow {
				return out // after the next report
			}
			head.take()
			out = append(out, w.refuseAsk(err))
			continue
		}
		return append(out, effects...)
	}
	return out
}

func (w *worker) tryAsks(wishes []channel.Wish) ([]any, error) {
	if _, _, err := channel.Step(w.st, channel.Authorise{Wishes: wishes}); err != nil {
		return nil, err
	}
	return w.step(channel.Authorise{Wishes: wishes}), nil
}

func (w *worker) refuseAsk(err error) askFailed {
	j := w.asks[0]
	w.asks = w.asks[1:]
	return askFailed{j, err}
}

// offerAsks claims waiting jobs, so that their callers can't give up any more.
func (w *worker) offerAsks() (wishes []channel.Wish) {
	for _, j := range w.asks[:min(len(w.asks), maxWishes)] {
		if !j.take() {
			break
		}
		wishes = append(wishes, j.wish)
	}
	return wishes
}

// granted removes what was authorised from what waits; the rest of what was offered waits on.
func (w *worker) settleAsks(n int) {
	for _, j := range w.asking {
		j.untake()
	}
	w.asks, w.asking = w.asks[n:], nil
}

// drawn is what a driver remembers of draws beside the channel's record.
type drawn struct {
	refs   map[uint64]string         // of what is charged and runs, by n
	tokens map[uint64][]budget.Token // what the budget counts for an open authorisation, oldest first
	armed  bool                      // a voidTick will come
	idle   map[uint64]bool           // run, and nobody has touched them since an idleTick was armed; nil: none will come
	lost   bool                      // some ran when the program was ended
	blind  channel.Msat              // allowed without a look at the chain, of what is being carried out
}

type (
	askMail struct {
		job *askJob
		in  *session // nil: none
	}
	voidTick struct{}
	idleTick struct{}
)

func (m askMail) apply(d *driver, box *outbox) {
	if m.in != nil {
		d.meet(box, m.in)
	}
	d.turn(box, m.job)
}

func (d *driver) drawsInFlight() bool {
	for _, b := range d.boxes {
		if b.draws {
			return true
		}
	}
	return false
}

// deny is the node's policy for a charge, and for what a draw that runs holds beside.
func (d *driver) deny(op *channel.DrawOp) error {
	n := d.n
	if n.diskFull() {
		return channel.Faultf(channel.CodeDiskFull, "%s", n.diskText(n.guard.free.Load()))
	}
	if op.Amount == 0 { // a top-up takes nothing
		return nil
	}
	_, away := n.chain.unreachable()
	if away == nil {
		d.blindTaken = 0
	}
	limits := *n.limits.Load()
	if op.Kind == channel.HoldDraw { // a part of a payment
		limits.MinIncoming = 0
	}
	decision, reason := limits.AcceptPayment(policy.Incoming{Amount: op.Amount, Blind: away != nil, TakenBlind: d.blindTaken + d.drawn.blind, FreeDisk: n.guard.free.Load()})
	switch {
	case decision.Verdict == policy.Allow:
		if away != nil {
			d.drawn.blind += op.Amount
		}
		return nil
	case reason == channel.RefusedDisk:
		return channel.Faultf(channel.CodeDiskFull, "%s", decision.Text)
	case reason == channel.RefusedBlind:
		return channel.Faultf(channel.CodeChainUnreachable, "%s", decision.Text)
	}
	return decision.Err()
}

func (d *driver) drawsDone(box *outbox, e drawsDone) {
	charged := 0
	blind := d.drawn.blind > 0
	d.drawn.blind = 0
	for i, j := range e.jobs {
		r := &e.results[i]
		delete(d.drawn.idle, j.op.N)
		if blind && j.op.Kind != channel.EndDraw && r.Err == nil && !r.Charge.Repeated {
			d.blindTaken += j.op.Amount
		}
		if j.op.Kind == channel.ChargeDraw && r.Err == nil && !r.Charge.Repeated {
			charged++
			box.draws = true
			if r.Charge.Status == channel.DrawHeld && j.ref != "" {
				d.drawn.remember(j.op.N, j.ref)
			}
		}
		box.draws = box.draws || box.inDraws
	}
	d.n.metrics.charged(charged)
	d.armIdle()
	box.after = append(box.after, func(err error) {
		for i, j := range e.jobs {
			r := e.results[i]
			if err != nil {
				r = channel.DrawResult{Err: channel.Faultf(channel.CodeFailure, "local storage failed: %v", err)}
			}
			j.finish(r)
		}
	})
}

func (m *drawn) remember(n uint64, ref string) {
	if m.refs == nil {
		m.refs = map[uint64]string{}
	}
	m.refs[n] = ref
}

// authorised stores what was granted; its callers hear of it when that is durable.
func (d *driver) authorised(box *outbox, e authorised) {
	now := d.n.deps.Now()
	lane := keyOf(d.agreed.Out.ID())
	for i, g := range e.of.Grants {
		j := e.jobs[i]
		r := authorisedRecord{Time: now.UnixMilli(), ID: j.id, Max: j.wish.Max, Raise: g.Raise, RaiseBy: j.wish.RaiseBy,
			Total: e.of.Total, Signature: e.of.Signature, Request: j.request, Ref: j.ref}
		if g.Raise != 0 {
			r.RaisedTo = g.Max
		}
		b := r.encode()
		box.size += len(b)
		box.batch.Put(seqKey(prefixAuthorise, lane, g.N), b)
		box.batch.Put(idKey(j.id), encodeDrawID(lane, g.N))
		n := g.N
		if g.Raise != 0 {
			n = g.Raise
		}
		if j.token != (budget.Token{}) {
			d.drawn.count(n, j.token)
		}
		grant := granted{Grant: g, Total: e.of.Total, Signature: e.of.Signature, Lane: e.lane}
		box.after = append(box.after, func(err error) {
			if err == nil {
				j.finish(grant, nil)
			} else { // a disk that fails may show it at the next start: it stays counted
				d.n.jobs.suspect(j.id)
				j.finish(granted{}, channel.Faultf(channel.CodePending, "the authorisation %s could not be stored: %v", j.id, err).
					WithHint("ask again with the same id: it is not counted twice"))
			}
			d.n.jobs.forgetAsk(j)
		})
	}
	box.budget, box.frames = true, true
	d.w.settleAsks(len(e.of.Grants))
	d.n.metrics.authorised(len(e.of.Grants))
	d.armVoid()
}

func (m *drawn) count(n uint64, t budget.Token) {
	if m.tokens == nil {
		m.tokens = map[uint64][]budget.Token{}
	}
	m.tokens[n] = append(m.tokens[n], t)
}

// drew writes draws that ended into the history; of own ones the budget gets back what was not used.
func (d *driver) drew(box *outbox, e channel.Drew) {
	lane, total, dir := keyOf(d.agreed.In.ID()), d.w.st.In.Total, channel.Receiving
	if e.Out {
		lane, total, dir = keyOf(d.agreed.Out.ID()), d.w.st.Out.Total, channel.Sending
	}
	now := d.n.deps.Now().UnixMilli()
	for i, draw := range e.Draws {
		r := drawRecord{Time: now, N: draw.N, Amount: draw.Amount, Total: total}
		if e.Out {
			if a, err := d.asked(lane, draw.N); err == nil {
				r.ID, r.Ref = a.ID, a.Ref
			}
			if e.Max[i] > draw.Amount {
				d.unused(box, lane, draw.N, e.Max[i]-draw.Amount)
			}
			delete(d.drawn.tokens, draw.N)
		} else {
			copy(r.ID[:], lane[:])
			copy(r.ID[8:], seqKey(prefixDraw, lane, draw.N)[9:])
			r.Ref = d.drawn.refs[draw.N]
			delete(d.drawn.refs, draw.N)
		}
		box.batch.Put(seqKey(prefixDraw, lane, e.First+uint64(i)), r.encode())
	}
	box.entries = append(box.entries, entry{Kind: channel.EventPayment, Channel: d.id, Dir: dir, Lane: lane, First: e.First, Count: len(e.Draws), Draws: true})
}

// asked reads an authorisation, which was durable before the payee could draw for it.
func (d *driver) asked(lane laneKey, n uint64) (*authorisedRecord, error) {
	a, err := loadAuthorised(d.n.deps.Store, lane, n)
	if err != nil {
		d.n.log.Error("an authorisation can't be read", "channel", d.id, "n", n, "err", err)
	}
	return a, err
}

// unused gives an amount back to the budget, what was counted last first. After a restart nobody knows what
// raises were counted when: then they stay.
func (d *driver) unused(box *outbox, lane laneKey, n uint64, rest channel.Msat) {
	tokens := d.drawn.tokens[n]
	if tokens == nil {
		a, err := d.asked(lane, n)
		if err != nil {
			return
		}
		tokens = []budget.Token{budget.TokenAt(time.UnixMilli(a.Time), a.Max)}
	}
	for i := len(tokens) - 1; i >= 0 && rest > 0; i-- {
		t := tokens[i]
		t.Amount = min(t.Amount, rest)
		rest -= t.Amount
		d.n.budget.Release(t)
	}
	box.budget = true
}

// drawsOver ends what will never be reported. If the payee took all that was vouchered, it took this too.
func (d *driver) drawsOver(box *outbox, e channel.DrawsOver) {
	for _, o := range e.Open {
		if !e.Taken {
			d.unused(box, keyOf(d.agreed.Out.ID()), o.N, o.Max)
		}
		delete(d.drawn.tokens, o.N)
	}
}

// dropDraws fails what waits in a channel that can't be loaded.
func (d *driver) dropDraws(err error) {
	for _, j := range d.w.draws {
		j.finish(channel.DrawResult{Err: err})
	}
	for _, j := range d.w.asks {
		d.n.giveBack(j, err)
	}
	d.w.draws, d.w.asks = nil, nil
}

// voidAfter is how long an authorisation may be without a report before the payee is asked about it. What its
// request takes is usually seconds; a stream that runs on is not harmed by the question.
const voidAfter = 10 * time.Minute

func (d *driver) armVoid() {
	if o := d.w.st.OutDraws; !d.drawn.armed && o != nil && len(o.Open) > 0 && d.w.st.Phase == channel.PhaseOpen {
		d.drawn.armed = true
		d.n.deps.After(voidAfter, func() { d.post(voidTick{}) })
	}
}

func (voidTick) apply(d *driver, box *outbox) {
	d.drawn.armed = false
	if d.n.ctx.Err() != nil || d.w.st.OutDraws == nil {
		return
	}
	before := d.n.deps.Now().Add(-voidAfter).UnixMilli()
	var old []uint64
	for _, o := range d.w.st.OutDraws.Open {
		a, err := d.asked(keyOf(d.agreed.Out.ID()), o.N)
		if err == nil && a.Time <= before {
			old = append(old, o.N)
		}
	}
	if len(old) > 0 {
		d.turn(box, channel.VoidDraws{N: old})
	}
	d.armVoid()
}

// idleDraw is how long a draw runs without a word of the program that serves it. One that died says no more, and
// what it held would be nobody's until this node starts again.
const idleDraw = time.Hour

func (d *driver) armIdle() {
	in := d.w.st.InDraws
	if d.drawn.idle != nil || in == nil || len(in.Running) == 0 {
		return
	}
	d.drawn.idle = map[uint64]bool{}
	for _, r := range in.Running {
		d.drawn.idle[r.N] = true
	}
	d.n.deps.After(idleDraw, func() { d.post(idleTick{}) })
}

// apply ends what nobody has touched with what was kept; nothing on a record that is not proven, as after a crash.
func (idleTick) apply(d *driver, box *outbox) {
	idle := d.drawn.idle
	d.drawn.idle = nil
	if d.n.ctx.Err() != nil || d.w.st.InDraws == nil || d.w.st.In.Frozen == channel.FrozenUnproven {
		return
	}
	ended := 0
	for _, r := range d.w.st.InDraws.Running {
		if idle[r.N] {
			ended++
			d.turn(box, newDrawJob(channel.DrawOp{Kind: channel.EndDraw, N: r.N}, ""))
		}
	}
	if ended > 0 {
		d.alert(box, fmt.Sprintf("draws that end with what was kept, for the program that serves them has said nothing for an hour: %d", ended))
	}
	d.armIdle()
}
