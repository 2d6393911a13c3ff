package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

// payments is a run of payments from alice to bob with amounts from 1 to 1,000 msat, through the Go client
// that an app would use. At most window of them are under way at once.
type payments struct {
	d      *demo
	target string
	slots  chan struct{}
	stream *client.Stream

	mu      sync.Mutex
	latency *hdrhistogram.Histogram // under mu, in microseconds
	begin   time.Time
	last    time.Time // under mu; of the last answer
}

func (d *demo) start(ctx context.Context, target string, window int) *payments {
	return &payments{
		d: d, target: target, slots: make(chan struct{}, window), stream: d.box.Node("alice").API.Stream(ctx),
		latency: hdrhistogram.New(1, time.Minute.Microseconds(), 3), begin: time.Now(),
	}
}

// pay sends one payment as soon as the window has room. done, if not nil, is called with its answer.
func (p *payments) pay(ctx context.Context, done func()) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	e := p.d.sent.write(channel.Msat(1 + rand.Uint64N(1000)))
	req := channel.PayRequest{Target: p.target, Amount: e.amount, ID: e.id, HasID: true, Ref: "demo"}
	return p.stream.Pay(req, func(r channel.PayResult, err error) {
		p.d.sent.answer(e, r, err)
		p.record(time.Since(e.sent))
		<-p.slots
		if done != nil {
			done()
		}
	})
}

func (p *payments) record(latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	p.latency.RecordValue(min(latency.Microseconds(), p.latency.HighestTrackableValue()))
}

// count sends n payments and waits for their answers, with a progress bar.
func (p *payments) count(ctx context.Context, n int) error {
	bar := p.d.say.bar(n)
	for range n {
		if err := p.pay(ctx, func() { bar.Add(1) }); err != nil {
			return err
		}
	}
	if err := p.stream.Close(); err != nil {
		return err
	}
	return bar.Finish()
}

// facts are rate and latency.
func (p *payments) facts() [][2]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.latency.TotalCount()
	us := func(q float64) string {
		return (time.Duration(p.latency.ValueAtQuantile(q)) * time.Microsecond).Round(10 * time.Microsecond).String()
	}
	return [][2]string{
		{"payments a second", fmt.Sprintf("%.0f", float64(n)/p.last.Sub(p.begin).Seconds())},
		{"answered in, half of them (p50)", us(50)},
		{"answered in, 99 of 100 (p99)", us(99)},
	}
}

// finish waits for the answers of what was sent and asks again for those that did not come: the same id
// again pays once.
func (p *payments) finish(ctx context.Context) error {
	if err := p.stream.Close(); err != nil {
		return err
	}
	for _, e := range p.d.sent.open() {
		req := channel.PayRequest{Target: p.target, Amount: e.amount, ID: e.id, HasID: true, Ref: "demo"}
		r, err := p.d.box.Node("alice").API.Pay(ctx, req)
		p.d.sent.answer(e, r, err)
	}
	if left := len(p.d.sent.open()); left > 0 {
		return fmt.Errorf("the fate of %d payments stays unknown", left)
	}
	return nil
}
