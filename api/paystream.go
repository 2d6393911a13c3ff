package api

import (
	"context"
	"errors"
	"io"
	"sync"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

const (
	// streamWindow bounds what one stream has waiting: enough to keep a million payments a second busy
	// over an answer of 10 ms, and some megabytes of memory. Who sends more waits.
	streamWindow = 16 << 10

	// streamBatch bounds the results of one message to about 100 KiB.
	streamBatch = 1024
)

type payStream = connect.BidiStream[runnelv1.PayStreamRequest, runnelv1.PayStreamResponse]

// PayStream reads payments in this goroutine and writes results in another one. When the client closes
// its side it gets the results that are missing; when it goes away, nothing that was handed to the node
// is taken back.
func (s paymentService) PayStream(ctx context.Context, stream *payStream) error {
	ctx, cancel := context.WithCancel(ctx)
	w := newWindow(s.window)
	sent := make(chan error, 1)
	go func() {
		err := w.deliver(ctx, stream.Send)
		if err != nil {
			cancel()
			stopReading(ctx)
		}
		sent <- err
		close(sent)
	}()
	defer func() { cancel(); <-sent }() // also when the node panics: nothing may be sent after the return
	defer stopReadingWith(s.stopping, ctx)()

	err := s.receive(ctx, stream, w)
	w.end()
	if sendErr := <-sent; sendErr != nil {
		return sendErr
	}
	return err
}

// receive hands payments to the node until the client has no more.
func (s paymentService) receive(ctx context.Context, stream *payStream, w *window) error {
	for {
		m, err := stream.Receive()
		if cause := context.Cause(s.stopping); cause != nil && err != nil {
			return cause
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := knownFields(m); err != nil {
			return err
		}
		if err := s.submit(ctx, m, w); err != nil {
			return err
		}
	}
}

func (s paymentService) submit(ctx context.Context, m *runnelv1.PayStreamRequest, w *window) error {
	free := 0
	for i, p := range m.GetPayments() {
		if free == 0 {
			var err error
			if free, err = w.acquire(ctx, len(m.Payments)-i); err != nil {
				return err
			}
		}
		free--
		s.payOne(m.GetTarget(), p, w)
	}
	return nil
}

func (s paymentService) payOne(target string, p *runnelv1.StreamPayment, w *window) {
	tag := p.GetTag()
	r, err := p.Value(target)
	if err == nil {
		err = checkPay(r)
	}
	if f := knownFields(p); err == nil && f != nil {
		err = f
	}
	if cause := context.Cause(s.stopping); err == nil && cause != nil {
		err = cause
	}
	if err != nil {
		w.add(streamed{tag, notMade(r), faultOf(err)})
		return
	}
	s.node.PayAsync(r, func(result channel.PayResult, err error) {
		result, told, err := outcome(r, result, err)
		if err != nil {
			result, told = notMade(r), faultOf(err)
		}
		w.add(streamed{tag, result, told})
	})
}

// notMade is what the result of a payment says that was not made.
func notMade(r channel.PayRequest) channel.PayResult {
	return channel.PayResult{ID: r.ID, Amount: r.Amount}
}

// streamed is one result on its way out.
type streamed struct {
	tag    uint64
	result channel.PayResult
	told   *channel.Fault
}

// window holds what one stream has waiting. A place is taken by acquire and given back when the result
// was written, so a client that does not read its results can't make the node hold more.
type window struct {
	limit int
	ready chan struct{} // a result was added, or the end came
	room  chan struct{} // places were given back

	mu    sync.Mutex
	taken int
	added []streamed
	spare []streamed // the slice that deliver has finished with
	ended bool
}

func newWindow(limit int) *window {
	return &window{limit: limit, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// acquire takes between 1 and n places and waits until there is one. Only one goroutine may call it.
func (w *window) acquire(ctx context.Context, n int) (int, error) {
	for {
		if got := w.tryAcquire(n); got > 0 {
			return got, nil
		}
		select {
		case <-w.room:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (w *window) tryAcquire(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := min(n, w.limit-w.taken)
	w.taken += got
	return got
}

func (w *window) release(n int) {
	w.mu.Lock()
	w.taken -= n
	w.mu.Unlock()
	wake(w.room)
}

// add never blocks.
func (w *window) add(r streamed) {
	w.mu.Lock()
	w.added = append(w.added, r)
	first := len(w.added) == 1
	w.mu.Unlock()
	if first {
		wake(w.ready)
	}
}

// end tells that no place will be acquired any more.
func (w *window) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	wake(w.ready)
}

// take returns all results that wait. last is true when there are none and none will come.
func (w *window) take() (all []streamed, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.added) == 0 {
		return nil, w.ended && w.taken == 0
	}
	all, w.added, w.spare = w.added, w.spare[:0], nil
	return all, false
}

func (w *window) reuse(s []streamed) {
	clear(s) // results hold text
	w.mu.Lock()
	w.spare = s
	w.mu.Unlock()
}

// deliver writes results as they come, everything that waits at once, until the last one or ctx ends.
func (w *window) deliver(ctx context.Context, send func(*runnelv1.PayStreamResponse) error) error {
	for {
		all, last := w.take()
		if last {
			return nil
		}
		for rest := all; len(rest) > 0; {
			n := min(len(rest), streamBatch)
			if err := send(response(rest[:n])); err != nil {
				return err
			}
			w.release(n)
			rest = rest[n:]
		}
		if len(all) > 0 {
			w.reuse(all)
			continue
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// response names the channel once if all results are of one, as they mostly are.
func response(batch []streamed) *runnelv1.PayStreamResponse {
	m := &runnelv1.PayStreamResponse{Results: make([]*runnelv1.StreamResult, len(batch))}
	common := commonChannel(batch)
	if common != (channel.ID{}) {
		m.ChannelId = common.String()
	}
	for i, r := range batch {
		if r.result.Channel == common {
			r.result.Channel = channel.ID{}
		}
		m.Results[i] = runnelv1.NewStreamResult(r.tag, r.result, r.told)
	}
	return m
}

func commonChannel(batch []streamed) channel.ID {
	first := batch[0].result.Channel
	for _, r := range batch[1:] {
		if r.result.Channel != first {
			return channel.ID{}
		}
	}
	return first
}
