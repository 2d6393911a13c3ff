package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const (
	// maxWaiting bounds how many payments of a stream wait for an answer at once.
	maxWaiting = 1024
	// retryPause is how long a stream rests after a failure that may pass by itself.
	retryPause = 250 * time.Millisecond
	// lastAnswers is how long an interrupted stream still waits for answers.
	lastAnswers = 3 * time.Second
)

const streamHelp = `Make many payments, one every so often, until --count or --for is reached or
Ctrl-C ends it. Either way a summary follows.

Payments go out on time and don't wait for each other's answers; --every 0
sends as fast as the node takes them. AMOUNT may be a range such as
1msat..1sat: each payment draws its own. Count and sum are of payments that
the payee acknowledged; failed ones are those that it refused or that could
not be made. The stream ends early when going on makes no sense, for example
when the channel is empty.`

type streamFlags struct {
	target    string
	low, high channel.Msat
	every     time.Duration
	count     int
	lasts     time.Duration
	ref       string
	timeout   time.Duration
}

func streamCommand(a *app) *cobra.Command {
	var f streamFlags
	cmd := &cobra.Command{
		Use:   "stream PEER|CHANNEL AMOUNT --every DURATION",
		Short: "Make many payments, with progress",
		Long:  streamHelp,
		Example: `  runnel stream 16Uiu2HAm9x 1sat --every 10ms --for 1m
  runnel stream 16Uiu2HAm9x 1msat..1sat --every 0 --count 10000 --json`,
		Args: takes(2, 2, func(args []string) (err error) {
			if f.low, f.high, err = amount.ParseRange(args[1]); err == nil {
				err = checkRef(f.ref)
			}
			return err
		}),
		ValidArgsFunction: a.completeTargets,
		RunE:              a.verb(func(c *call) error { return c.stream(f) }),
	}
	addFlag(cmd, &f.every, "every", "`DURATION` between two payments, such as 10ms", parseEvery)
	addFlag(cmd, &f.count, "count", "end after `N` payments", parseCount)
	addFlag(cmd, &f.lasts, "for", "end after `DURATION`, such as 1m", parsePositive)
	refFlag(cmd, &f.ref)
	f.timeout = 30 * time.Second
	timeoutFlag(cmd, &f.timeout)
	cmd.MarkFlagRequired("every")
	cmd.MarkFlagsMutuallyExclusive("count", "for")
	return cmd
}

func parseEvery(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	return parsePositive(s)
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, usage("write a number such as 1000", "%q is not a count of payments", s)
	}
	return n, nil
}

func (c *call) stream(f streamFlags) error {
	target, err := c.peer(c.args[0])
	if err != nil {
		return err
	}
	f.target = target
	run := newStream(c.node, f)
	stop := c.watchStream(run, f)
	run.send(c.ctx)
	late := run.settle(c.ctx)
	stop()
	view, t := run.summary()
	if t.fatal != nil && t.acked+t.refused+t.pending+late == 0 {
		return t.fatal
	}
	if err := c.show(view, func(u *ui) { printStream(u, view, t, late) }); err != nil {
		return err
	}
	return c.streamError(t, late)
}

// streamError picks what the exit code tells.
func (c *call) streamError(t tally, late int) error {
	hint := "the answers of those that are open: runnel payments --json | jq 'select(.status != \"acknowledged\")'"
	switch {
	case c.ctx.Err() != nil:
		return &interruption{text: fmt.Sprintf("interrupted after %s", plural(t.sent, "payment", "payments"))}
	case t.fatal != nil:
		return t.fatal
	case late+t.pending > 0:
		return channel.Faultf(channel.CodePending, "%s pending", plural(late+t.pending, "payment is", "payments are")).WithHint("%s", hint)
	case t.last != nil:
		return t.last
	case t.refused > 0:
		return channel.Faultf(channel.CodeRefused, "the payee refused %s: %s", plural(t.refused, "payment", "payments"), t.reason)
	}
	return nil
}

// stream is a run of payments: one sender, and answers that come from elsewhere.
type stream struct {
	node  api.Node
	flags streamFlags
	slots chan struct{} // one for each payment without an answer

	mu    sync.Mutex
	tally tally // under mu
}

// tally is what is known so far.
type tally struct {
	latency     *hdrhistogram.Histogram // of acknowledged payments, in microseconds
	begin, end  time.Time
	sent        int
	acked       int
	sum         channel.Msat // acknowledged
	refused     int
	reason      channel.RefuseReason
	failed      int
	last        error // of a payment that was not made
	pending     int
	fatal       error // why going on makes no sense
	pausedUntil time.Time
}

func newStream(node api.Node, f streamFlags) *stream {
	s := &stream{node: node, flags: f, slots: make(chan struct{}, maxWaiting)}
	s.tally.latency = hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
	s.tally.begin = time.Now()
	return s
}

// send pays on schedule until the end is reached, ctx ends or nothing more can be paid.
func (s *stream) send(ctx context.Context) {
	if s.flags.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.flags.lasts)
		defer cancel()
	}
	for i := 0; s.flags.count == 0 || i < s.flags.count; i++ {
		if !sleepUntil(ctx, s.tally.begin.Add(time.Duration(i)*s.flags.every)) || !sleepUntil(ctx, s.pause()) {
			return
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if s.dead() {
			<-s.slots
			return
		}
		s.payOne()
	}
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	if d := time.Until(t); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

func (s *stream) pause() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.pausedUntil
}

func (s *stream) dead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.fatal != nil
}

func (s *stream) payOne() {
	s.mu.Lock()
	s.tally.sent++
	s.mu.Unlock()
	sum := s.flags.low
	if span := s.flags.high - s.flags.low; span > 0 {
		sum += channel.Msat(rand.Uint64N(uint64(span) + 1))
	}
	start := time.Now()
	req := channel.PayRequest{Target: s.flags.target, Amount: sum, Ref: s.flags.ref, ID: newPaymentID(), HasID: true}
	s.node.PayAsync(req, func(r channel.PayResult, err error) {
		s.answered(r, err, time.Since(start))
		<-s.slots
	})
}

func (s *stream) answered(r channel.PayResult, err error, latency time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tally
	t.end = time.Now()
	var fault *channel.Fault
	switch {
	case err != nil && isPending(err):
		t.pending++
	case err != nil:
		t.failed, t.last = t.failed+1, err
		if errors.As(err, &fault) && fault.Code.Retryable() {
			t.pausedUntil = t.end.Add(retryPause)
		} else {
			t.fatal = err
		}
	case r.Status == channel.PayAcknowledged:
		t.acked, t.sum = t.acked+1, t.sum+r.Amount
		t.latency.RecordValue(min(max(1, latency.Microseconds()), t.latency.HighestTrackableValue()))
	case r.Status == channel.PayRefused:
		t.refused, t.failed, t.reason = t.refused+1, t.failed+1, r.Reason
	default:
		t.pending++
	}
}

// settle waits for the answers that are still open and returns how many did not come.
func (s *stream) settle(ctx context.Context) (late int) {
	limit := time.NewTimer(s.flags.timeout)
	defer limit.Stop()
	cut := context.AfterFunc(ctx, func() { limit.Reset(min(lastAnswers, s.flags.timeout)) })
	defer cut()
	for free := 0; free < cap(s.slots); free++ {
		select {
		case s.slots <- struct{}{}:
		case <-limit.C:
			return cap(s.slots) - free
		}
	}
	return 0
}

func (s *stream) summary() (streamView, tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tally
	v := streamView{Count: t.acked, Sent: uint64(t.sum), Failed: t.failed}
	if t.acked > 0 {
		v.P50, v.P99 = t.latency.ValueAtQuantile(50), t.latency.ValueAtQuantile(99)
	}
	if d := t.end.Sub(t.begin).Seconds(); d > 0 {
		v.Rate = float64(int64(float64(t.acked)/d*10)) / 10
	}
	return v, t
}

func printStream(u *ui, v streamView, t tally, late int) {
	u.line("%s %s, %s in %s (%.1f/s)", plural(v.Count, "payment", "payments"), u.word("acknowledged"),
		u.bold(amount.Msat(channel.Msat(v.Sent))), shortDuration(max(0, t.end.Sub(t.begin))), v.Rate)
	if v.Count > 0 {
		u.line("answers in %s (p50), %s (p99)", shortDuration(time.Duration(v.P50)*time.Microsecond),
			shortDuration(time.Duration(v.P99)*time.Microsecond))
	}
	if v.Failed > 0 {
		u.line("%s", u.red(count(v.Failed)+" failed"))
	}
	if n := t.pending + late; n > 0 {
		u.line("%s", u.yellow(count(n)+" pending"))
	}
}

// watchStream shows progress to a person and returns what ends that.
func (c *call) watchStream(s *stream, f streamFlags) (stop func()) {
	if c.json || !c.errTTY {
		return func() {}
	}
	most := f.count
	if most == 0 {
		most = -1
	}
	bar := progressbar.NewOptions(most, progressbar.OptionSetWriter(c.err), progressbar.OptionSetWidth(24),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(most > 0), progressbar.OptionClearOnFinish(), progressbar.OptionEnableColorCodes(c.notes().colour))
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				v, t := s.summary()
				bar.Set(v.Count + v.Failed)
				bar.Describe(fmt.Sprintf("%s, %.0f/s", amount.Msat(t.sum), v.Rate))
			case <-quit:
				bar.Finish()
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}
