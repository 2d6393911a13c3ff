package daemon

import (
	"cmp"

	"github.com/runnel/runnel/channel"
)

// A worker is one channel as a value: events go in, effects come out. It has no goroutine, clock or
// disk; a driver runs it (driver.go) and hands the results of effects back as events.
type worker struct {
	st        channel.State
	coalesce  bool
	connected bool
	queue     []*job           // wait to be signed, oldest first
	sent      []*job           // signed without an answer, one for each sequence number from the oldest unacked
	frames    []*channel.Frame // wait to be checked, oldest first
	checking  bool
	draws     []*drawJob                  // charges and what follows them, oldest first
	drawing   []*drawJob                  // whose results are due
	asks      []*askJob                   // wait to be authorised, oldest first
	asking    []*askJob                   // offered to the machine
	deny      func(*channel.DrawOp) error // the node's policy for what is charged

	gatherDraws bool // charges are on their way to the disk: what comes meanwhile shares the next write
	gather      bool // a frame of ours is on its way to the disk: what comes meanwhile shares the next one
}

// Events of a worker, beside every channel.Input.
type (
	payEvent struct {
		job *job
		in  *session // that the payer's program found: it may not have been greeted yet
	}
	frameEvent struct{ frame *channel.Frame }
)

// Effects of a worker, beside every channel.Effect.
type (
	// finished: the fate of a payment is known.
	finished struct {
		job    *job
		result channel.PayResult
	}
	// failed: nothing was signed for this payment.
	failed struct {
		job *job
		err error
	}
	// distrust ends the connection: the peer broke the protocol.
	distrust struct{ text string }
	// stale: an event came that the channel could not take; logged, nothing more.
	stale struct{ err error }
)

func newWorker(st channel.State, coalesce bool) *worker {
	w := &worker{st: st, coalesce: coalesce}
	for _, f := range st.Unacked {
		for _, p := range f.Payments {
			j := newJob(p, st.Terms.Peer, st.Terms.ID)
			j.take() // it is signed: nobody can give it up, or be told that nothing was signed
			w.sent = append(w.sent, j)
		}
	}
	return w
}

// Turn takes one event. The order of effects is the order in which they happened; which of them must
// wait for the disk is the driver's rule.
func (w *worker) Turn(event any) []any {
	var out []any
	switch e := event.(type) {
	case payEvent:
		w.queue = append(w.queue, e.job)
	case *drawJob:
		w.draws = append(w.draws, e)
	case *askJob:
		w.asks = append(w.asks, e)
	case frameEvent:
		w.frames = append(w.frames, e.frame)
	case channel.Connected:
		w.connected = true
		w.frames = nil
		out = w.step(e)
	case channel.Disconnected:
		w.connected = false
		w.frames = nil
		out = w.step(e)
	case channel.Signed:
		out = w.signed(e)
	case channel.Verified:
		w.checking = false
		out = w.step(e)
	case channel.Input:
		out = w.step(e)
	}
	return out
}

// Idle offers a portion of what waits to the channel: at most a frame's worth of payments each way. The
// driver calls it when it has no more events at hand, so that all that gathered travels together.
func (w *worker) Idle() []any {
	var out []any
	for len(w.frames) > 0 && !w.checking && len(out) == 0 {
		out = w.check()
	}
	if !w.gatherDraws && !w.checking {
		out = append(out, w.pumpDraws()...)
	}
	if w.gather {
		return out
	}
	out = append(out, w.pump()...)
	return append(out, w.pumpAsks()...)
}

// step runs the machine and turns its effects into the worker's.
func (w *worker) step(e channel.Input) []any {
	next, effects, err := channel.Step(w.st, e)
	if err != nil {
		return []any{blame(e, err)}
	}
	w.st = next
	out := make([]any, 0, len(effects))
	for _, eff := range effects {
		switch eff := eff.(type) {
		case channel.Answered:
			out = append(out, eff)
			out = append(out, w.answered(eff)...)
		case channel.Misbehaved:
			out = append(out, eff, distrust{eff.Text})
		case channel.Verify:
			w.checking = true
			out = append(out, eff)
		case channel.DrawsDone:
			out = append(out, drawsDone{w.drawing, eff.Results})
			w.drawing = nil
		case channel.Authorised:
			n := len(eff.Grants)
			out = append(out, authorised{w.asking[:n:n], eff, w.st.Stand(true)})
			w.asking = w.asking[n:]
		default:
			out = append(out, eff)
		}
	}
	return out
}

// blame says whose fault an error is: the peer's, if it sent what makes no sense.
func blame(e channel.Input, err error) any {
	_, message := e.(channel.Received)
	_, frames := e.(channel.FramesReceived)
	k := channel.KindOf(err)
	if (message || frames) && (k == channel.KindInvalid || k == channel.KindBadVoucher) {
		return distrust{err.Error()}
	}
	return stale{err}
}

// check hands waiting frames over: all of them, or one at a time where each signature is to be verified.
func (w *worker) check() []any {
	n, payments := 1, len(w.frames[0].Payments)
	for w.coalesce && n < len(w.frames) && payments < channel.MaxFramePayments {
		payments += len(w.frames[n].Payments)
		n++
	}
	frames := w.frames[:n:n]
	if w.frames = w.frames[n:]; len(w.frames) == 0 {
		w.frames = nil
	}
	return w.step(channel.FramesReceived{Frames: frames})
}

// pump offers waiting payments to the lane until one must wait or a signature is awaited.
func (w *worker) pump() (out []any) {
	for len(w.queue) > 0 && w.st.Signing() == nil {
		head := w.queue[0]
		payments := w.offer()
		if len(payments) == 0 { // its caller gave up before anything was signed
			out = append(out, w.reject(errCancelled))
			continue
		}
		if !w.connected {
			out = append(out, w.reject(errOffline(w.st.Terms.Peer)))
			continue
		}
		next, effects, err := channel.Step(w.st, channel.Pay{Payments: payments})
		if err != nil {
			for _, j := range w.queue[:len(payments)] {
				j.untake()
			}
			if channel.KindOf(err) == channel.KindWindow {
				return out // after the next answer
			}
			head.take()
			out = append(out, w.reject(err))
			continue
		}
		return append(out, w.paid(next, effects, len(payments))...)
	}
	return out
}

// offer claims waiting jobs for the next frame, so that their callers can't give up any more.
func (w *worker) offer() []channel.Payment {
	n := 1
	if w.coalesce {
		n = min(len(w.queue), channel.MaxFramePayments)
	}
	payments := make([]channel.Payment, 0, n)
	for _, j := range w.queue[:n] {
		if !j.take() {
			break
		}
		payments = append(payments, j.payment)
	}
	return payments
}

// paid adopts the state of a Pay that took a prefix of what was offered, and gives the rest back.
func (w *worker) paid(next channel.State, effects []channel.Effect, offered int) (out []any) {
	w.st = next
	f := w.st.Signing()
	if f == nil { // all from credit, under the newest voucher
		f = w.st.Unacked[len(w.st.Unacked)-1]
		defer w.taken(len(f.Payments))
	}
	for _, j := range w.queue[len(f.Payments):offered] {
		j.untake()
	}
	for _, e := range effects {
		out = append(out, e)
	}
	return out
}

func (w *worker) reject(err error) failed {
	j := w.queue[0]
	w.queue = w.queue[1:]
	return failed{j, err}
}

func (w *worker) signed(e channel.Signed) []any {
	f := w.st.Signing()
	out := w.step(e)
	if f == nil {
		return out
	}
	if w.st.Out.NextSeq != f.NextSeq() { // not signed, or the lane stopped meanwhile
		why := cmp.Or(e.Err, w.st.CanPay(), errCancelled)
		for _, j := range w.queue[:len(f.Payments)] {
			out = append(out, failed{j, why})
		}
		w.queue = w.queue[len(f.Payments):]
		return out
	}
	w.taken(len(f.Payments))
	return out
}

// taken moves the first n waiting jobs to those that have a sequence number.
func (w *worker) taken(n int) {
	w.sent = append(w.sent, w.queue[:n]...)
	w.queue = w.queue[n:]
}

func (w *worker) answered(a channel.Answered) (out []any) {
	refused := a.Refused
	for i, p := range a.Frame.Payments {
		seq := a.Frame.FirstSeq + uint64(i)
		r := channel.PayResult{ID: p.ID, Channel: w.st.Terms.ID, Amount: p.Amount, Total: a.Frame.Total, Status: channel.PayAcknowledged}
		if len(refused) > 0 && refused[0].Seq == seq {
			r.Status, r.Reason, refused = channel.PayRefused, refused[0].Reason, refused[1:]
		}
		if len(w.sent) == 0 {
			break
		}
		out = append(out, finished{w.sent[0], r})
		w.sent = w.sent[1:]
	}
	return out
}

// dropQueue fails what was not signed.
func (w *worker) dropQueue(err error) (out []failed) {
	for _, j := range w.queue {
		out = append(out, failed{j, err})
	}
	w.queue = nil
	return out
}
