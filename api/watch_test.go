package api_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

// eventLog is a node's log that outlives its servers.
type eventLog struct {
	mu     sync.Mutex
	events []channel.Event
	grown  chan struct{}
}

func newEventLog() *eventLog { return &eventLog{grown: make(chan struct{})} }

func (l *eventLog) add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, channel.Event{Seq: 2 * uint64(len(l.events)+1), Kind: channel.EventAlert, Text: "x"})
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *eventLog) after(since uint64) ([]channel.Event, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.events {
		if e.Seq > since {
			return append([]channel.Event(nil), l.events[i:]...), l.grown
		}
	}
	return nil, l.grown
}

func (l *eventLog) watch(ctx context.Context, since uint64, fn func(channel.Event) error) error {
	for {
		events, grown := l.after(since)
		for _, e := range events {
			if err := fn(e); err != nil {
				return err
			}
			since = e.Seq
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TestWatchOverRestarts: nothing lost, nothing twice, in order.
func TestWatchOverRestarts(t *testing.T) {
	log := newEventLog()
	node := &fakeNode{watch: log.watch}
	socket := filepath.Join(socketDir(t), "s")
	c := dial(t, socket, client.FollowRestarts())
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	const total = 400
	got := make(chan uint64, total+1)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Watch(ctx, 0, func(e channel.Event) error { got <- e.Seq; return nil })
	}()
	// Each server must deliver something, so that every restart cuts a stream that runs.
	next := uint64(2)
	for next <= 2*total {
		server, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, node)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			log.add()
		}
		for range 50 {
			if seq := <-got; seq != next {
				t.Fatalf("event %d came instead of %d", seq, next)
			}
			next += 2
		}
		shutdown(t, server)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestWatchEndsWithTheDaemon(t *testing.T) {
	log := newEventLog()
	log.add()
	server, c, _ := serve(t, &fakeNode{watch: log.watch})
	err := c.Watch(deadline(t), 0, func(channel.Event) error {
		go shutdown(t, server)
		return nil
	})
	if f := fault(t, err); f.Code != channel.CodeStopping || !f.Code.Retryable() {
		t.Errorf("%+v", f)
	}
}

func TestWatchEndsWithItsContextAndFunction(t *testing.T) {
	log := newEventLog()
	log.add()
	for _, options := range [][]client.Option{nil, {client.FollowRestarts()}} {
		_, plain, socket := serve(t, &fakeNode{watch: log.watch})
		_ = plain
		c := dial(t, socket, options...)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if err := c.Watch(ctx, 0, func(channel.Event) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline: %v", err)
		}
		cancel()
		ctx, cancel = context.WithCancel(deadline(t))
		if err := c.Watch(ctx, 0, func(channel.Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("cancel: %v", err)
		}
		// Even an error that looks like the daemon's ends it.
		for _, mine := range []error{errors.New("mine"), client.ErrUnreachable, channel.Faultf(channel.CodeStopping, "mine")} {
			if err := c.Watch(deadline(t), 0, func(channel.Event) error { return mine }); err != mine {
				t.Errorf("%v instead of %v", err, mine)
			}
		}
	}
}
