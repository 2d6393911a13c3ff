package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

const (
	// streamWindow is how many payments of one stream may wait for their results, as many as a daemon
	// takes from one stream.
	streamWindow = 16 << 10

	// streamBatch bounds the payments of one message; the daemon takes messages of 4 MiB.
	streamBatch = 1024
)

// errClosed is what Pay returns after Close.
var errClosed = errors.New("the stream was closed")

// Stream makes many payments over one connection. What waits travels together, so many payments at once
// cost little each. It is safe for concurrent use; payments keep the order of the calls.
type Stream struct {
	c      *Client
	wire   *connect.BidiStreamForClient[runnelv1.PayStreamRequest, runnelv1.PayStreamResponse]
	ctx    context.Context
	cancel context.CancelFunc
	work   chan struct{} // there is something for the writer
	over   chan struct{} // reader and writer are done and every result was given

	mu     sync.Mutex
	room   sync.Cond // a slot became free, or the stream ended
	slots  []slot    // by tag
	free   []uint64  // tags that are not in use
	queue  []uint64  // tags that the writer has not taken
	ids    []byte    // random bytes for ids
	ending bool
	err    error
}

// slot is one payment that waits for its result.
type slot struct {
	req  channel.PayRequest
	done func(channel.PayResult, error)
	sent bool
}

// Stream opens a stream. When ctx ends, it ends at once.
func (c *Client) Stream(ctx context.Context) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{
		c: c, ctx: ctx, cancel: cancel, wire: c.streams.PayStream(ctx),
		work: make(chan struct{}, 1), over: make(chan struct{}),
	}
	s.room.L = &s.mu
	// HTTP/2 watches the context only until the answer starts and after the request has ended.
	stop := context.AfterFunc(ctx, func() {
		_ = s.wire.CloseResponse()
		_ = s.wire.CloseRequest()
	})
	written := make(chan struct{})
	go func() { defer close(written); s.write() }()
	go func() {
		defer close(s.over)
		err := s.read()
		cancel()
		stop()
		<-written
		s.finish(err)
	}()
	return s
}

// Pay sends one payment. done gets what Client.Pay would return, once, from another goroutine, in the
// order in which payments complete; it must not block. While too many payments wait for their results,
// Pay does. An error means that the stream has ended: this payment was not sent and done is not called.
func (s *Stream) Pay(req channel.PayRequest, done func(channel.PayResult, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.ending && len(s.free) == 0 && len(s.slots) == streamWindow {
		s.room.Wait()
	}
	if s.err != nil {
		return s.err
	}
	if s.ending {
		return errClosed
	}
	if !req.HasID {
		req.ID, req.HasID = s.newID(), true
	}
	s.queue = append(s.queue, s.put(slot{req: req, done: done}))
	if len(s.queue) == 1 {
		s.wakeWriter()
	}
	return nil
}

// Close sends what waits, waits for all results and ends the stream. The error says why results are
// missing; it is nil when none are.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.ending = true
	s.room.Broadcast()
	s.mu.Unlock()
	s.wakeWriter()
	<-s.over
	if errors.Is(s.err, errClosed) {
		return nil
	}
	return s.err
}

// newID draws from a buffer: one system call for 256 ids.
func (s *Stream) newID() (id channel.PaymentID) {
	if len(s.ids) == 0 {
		s.ids = make([]byte, 256*len(id))
		_, _ = rand.Read(s.ids) // never fails
	}
	s.ids = s.ids[copy(id[:], s.ids):]
	return id
}

func (s *Stream) put(p slot) (tag uint64) {
	if n := len(s.free); n > 0 {
		tag, s.free = s.free[n-1], s.free[:n-1]
		s.slots[tag] = p
		return tag
	}
	s.slots = append(s.slots, p)
	return uint64(len(s.slots) - 1)
}

func (s *Stream) wakeWriter() {
	select {
	case s.work <- struct{}{}:
	default: // it is awake
	}
}

// write sends what waits until Close, or until the stream is broken: the reader then sees why.
func (s *Stream) write() {
	if s.wire.Send(nil) != nil { // opens the stream
		return
	}
	for {
		batch, last := s.next()
		switch {
		case batch != nil:
			if s.wire.Send(batch) != nil {
				return
			}
		case last:
			_ = s.wire.CloseRequest() // the reader sees a failure
			return
		default:
			select {
			case <-s.work:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// next takes a batch from the queue; last is true when there will be none any more.
func (s *Stream) next() (batch *runnelv1.PayStreamRequest, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), streamBatch)
	if n == 0 {
		return nil, s.ending
	}
	batch = &runnelv1.PayStreamRequest{Payments: make([]*runnelv1.StreamPayment, n)}
	batch.Target = s.slots[s.queue[0]].req.Target
	for i, tag := range s.queue[:n] {
		p := &s.slots[tag]
		p.sent = true
		batch.Payments[i] = runnelv1.NewStreamPayment(tag, p.req)
		if p.req.Target == batch.Target {
			batch.Payments[i].Target = ""
		}
	}
	s.queue = s.queue[:copy(s.queue, s.queue[n:])]
	return batch, false
}

// read gives out results until the stream ends, and returns why it did.
func (s *Stream) read() error {
	for {
		m, err := s.wire.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return s.c.failure(s.ctx, err)
		}
		answered, err := s.match(m)
		for _, a := range answered {
			a.done(a.result, a.err)
		}
		if err != nil {
			return s.c.strange(err)
		}
	}
}

type answer struct {
	done   func(channel.PayResult, error)
	result channel.PayResult
	err    error
}

// match finds the payments of results and frees their slots.
func (s *Stream) match(m *runnelv1.PayStreamResponse) ([]answer, error) {
	common, err := (&runnelv1.StreamResult{}).Value(m.GetChannelId())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.room.Broadcast()
	out := make([]answer, 0, len(m.GetResults()))
	for _, r := range m.GetResults() {
		tag := r.GetTag()
		if tag >= uint64(len(s.slots)) || !s.slots[tag].sent {
			return out, fmt.Errorf("a result for payment %d, which does not wait for one", tag)
		}
		a, err := parse(r, common.Channel)
		if err != nil {
			return out, err
		}
		a.done = s.slots[tag].done
		s.slots[tag] = slot{}
		s.free = append(s.free, tag)
		out = append(out, a)
	}
	return out, nil
}

func parse(r *runnelv1.StreamResult, common channel.ID) (answer, error) {
	result, err := r.Value("")
	if err != nil {
		return answer{}, err
	}
	if r.GetChannelId() == "" {
		result.Channel = common
	}
	if f := r.GetError().Value(); f != nil {
		return answer{result: result, err: f}, nil
	}
	return answer{result: result}, nil
}

// finish ends the stream with err, nil for an orderly end, and reports every payment without a result:
// those that were sent are pending.
func (s *Stream) finish(err error) {
	for _, a := range s.abandon(err) {
		a.done(a.result, a.err)
	}
}

func (s *Stream) abandon(err error) []answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.room.Broadcast()
	var left []answer
	lost := err
	if err == nil { // the daemon has ended the stream although results are missing
		lost = &Unreachable{Socket: s.c.socket, Sent: true, Err: io.ErrUnexpectedEOF}
	}
	for _, p := range s.slots {
		if p.done == nil {
			continue
		}
		a := answer{done: p.done, result: channel.PayResult{ID: p.req.ID, Amount: p.req.Amount}, err: fateOfUnsent(lost)}
		if p.sent {
			a.err = fateOfSent(lost)
		}
		left = append(left, a)
	}
	s.slots, s.free, s.queue = nil, nil, nil
	s.err = err
	if err == nil {
		s.err = errClosed
		if len(left) > 0 {
			s.err = lost
		}
	}
	return left
}

// fateOfSent is fate for a payment that left without a result: only if there was no connection at all did
// nothing happen.
func fateOfSent(err error) error {
	var gone *Unreachable
	if errors.As(err, &gone) && !gone.Sent {
		return gone
	}
	var f *channel.Fault
	if errors.As(err, &f) {
		err = errors.New(f.Text)
	}
	return fate(err)
}

func fateOfUnsent(err error) error {
	var gone *Unreachable
	if errors.As(err, &gone) && gone.Sent {
		return &Unreachable{Socket: gone.Socket, Err: gone.Err}
	}
	return err
}

// sharedStream is the stream of PayAsync: opened when it is needed, and again when it broke.
type sharedStream struct {
	mu     sync.Mutex
	stream *Stream
	closed bool
}

// PayAsync queues a payment on a stream that all such payments share. done gets what Pay would return,
// once, from another goroutine; it must not block. While too many payments wait for their results,
// PayAsync does.
func (c *Client) PayAsync(req channel.PayRequest, done func(channel.PayResult, error)) {
	for {
		s, err := c.shared.get(c)
		if err == nil {
			err = s.Pay(req, done)
		}
		if err == nil {
			return
		}
		if s == nil {
			go done(channel.PayResult{ID: req.ID, Amount: req.Amount}, err)
			return
		}
		c.shared.drop(s)
	}
}

func (h *sharedStream) get(c *Client) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, channel.Faultf(channel.CodeStopping, "the client was closed")
	}
	if h.stream == nil {
		h.stream = c.Stream(context.Background())
	}
	return h.stream, nil
}

// drop forgets a broken stream; the next get opens another one.
func (h *sharedStream) drop(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stream == s {
		h.stream = nil
	}
}

func (h *sharedStream) close() {
	h.mu.Lock()
	s := h.stream
	h.stream, h.closed = nil, true
	h.mu.Unlock()
	if s != nil {
		s.cancel()
		<-s.over
	}
}
