package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/runnel/runnel/channel"
)

// loneLatency: one payment at a time, through the API of the payer to the durable answer of the payee.
func loneLatency(ctx context.Context, w *world) ([]row, error) {
	id, err := w.pair(ctx, 10_000_000)
	defer w.close()
	if err != nil {
		return nil, err
	}
	api, n := w.box.Node("alice").API, w.count(4000)
	h := hdrhistogram.New(1, int64(10*time.Second), 3)
	for i := range n + n/10 {
		start := time.Now()
		if _, err := api.Pay(ctx, channel.PayRequest{Target: id.String(), Amount: 10}); err != nil {
			return nil, err
		}
		if i >= n/10 { // the first tenth warms up
			_ = h.RecordValue(int64(time.Since(start)))
		}
	}
	p50, p99 := time.Duration(h.ValueAtQuantile(50)), time.Duration(h.ValueAtQuantile(99))
	return []row{{"T1", "lone payment, app to durable answer and back, p50 / p99", "0.9 / 4 ms", "0.5 / 1 ms", millis(p50) + " / " + millis(p99),
		fmt.Sprintf("%d unary calls one after another over the unix socket, TCP loopback between two daemons", n)}}, nil
}

// load streams n payments and returns how long they took, the last answer included.
func (w *world) load(ctx context.Context, id channel.ID, n, inFlight int) (time.Duration, *hdrhistogram.Histogram, error) {
	stream := w.box.Node("alice").API.Stream(ctx)
	slots := make(chan struct{}, inFlight)
	var failed atomic.Int64
	var mu sync.Mutex
	h := hdrhistogram.New(1, int64(time.Minute), 3)
	var all sync.WaitGroup
	start := time.Now()
	for range n {
		slots <- struct{}{}
		all.Add(1)
		sent := time.Now()
		err := stream.Pay(channel.PayRequest{Target: id.String(), Amount: 10}, func(r channel.PayResult, err error) {
			if err != nil || r.Status != channel.PayAcknowledged {
				failed.Add(1)
			}
			mu.Lock()
			_ = h.RecordValue(int64(time.Since(sent)))
			mu.Unlock()
			<-slots
			all.Done()
		})
		if err != nil {
			return 0, nil, err
		}
	}
	all.Wait()
	took := time.Since(start)
	if err := stream.Close(); err != nil {
		return 0, nil, err
	}
	if k := failed.Load(); k > 0 {
		return 0, nil, fmt.Errorf("%d of %d payments failed", k, n)
	}
	return took, h, w.agree(ctx, id)
}

// agree checks that both books hold the same sum.
func (w *world) agree(ctx context.Context, id channel.ID) error {
	a, err := w.box.Node("alice").API.Channel(ctx, id.String())
	b, err2 := w.box.Node("bob").API.Channel(ctx, id.String())
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if a.Sent != b.Received || a.Credit != 0 {
		return fmt.Errorf("alice says %d msat, bob %d", a.Sent, b.Received)
	}
	return nil
}

// signedEach: every payment has its own signature, frame and verification.
func signedEach(ctx context.Context, w *world) ([]row, error) {
	id, err := w.pair(ctx, 10_000_000, "--coalesce=false")
	defer w.close()
	if err != nil {
		return nil, err
	}
	n := w.count(20_000)
	if _, _, err := w.load(ctx, id, n/10, 256); err != nil {
		return nil, err
	}
	took, h, err := w.load(ctx, id, n, 256)
	if err != nil {
		return nil, err
	}
	return []row{{"T2", "payments/s on one channel, each signed, verified and durable alone", "5,000", "12,000", rate(n, took),
		fmt.Sprintf("%d payments, 256 in flight, p50 %s, p99 %s", n, millis(time.Duration(h.ValueAtQuantile(50))), millis(time.Duration(h.ValueAtQuantile(99))))}}, nil
}

// coalesced: what waits travels together. The same run gives the disk that it took.
func coalesced(ctx context.Context, w *world) ([]row, error) {
	id, err := w.pair(ctx, 10_000_000)
	defer w.close()
	if err != nil {
		return nil, err
	}
	n := w.count(300_000)
	if _, _, err := w.load(ctx, id, n/10, 8192); err != nil {
		return nil, err
	}
	before := [2]int64{used(w.box.Node("alice").Dir), used(w.box.Node("bob").Dir)}
	took, h, err := w.load(ctx, id, n, 8192)
	if err != nil {
		return nil, err
	}
	var disk [2]int64
	for i, name := range []string{"alice", "bob"} {
		if err := w.box.Node(name).Stop(); err != nil {
			return nil, err
		}
		disk[i] = (used(w.box.Node(name).Dir) - before[i]) * 1000 / int64(n)
	}
	return []row{
		{"T3", "payments/s on one channel, coalesced, each with its own id", "200,000", "1.2 million", rate(n, took),
			fmt.Sprintf("%d payments, 8,192 in flight, p50 %s, p99 %s; shown beside T2, never alone", n,
				millis(time.Duration(h.ValueAtQuantile(50))), millis(time.Duration(h.ValueAtQuantile(99))))},
		{"T8", "disk for 1,000 payments, coalesced, payer / payee", "150 kB", "60 kB", fmt.Sprintf("%d / %d kB", disk[0]/1000, disk[1]/1000),
			"growth of both data directories in the same run, after a stop, journal included"},
	}, nil
}

func rate(n int, took time.Duration) string {
	return thousands(int(float64(n)/took.Seconds())) + "/s"
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// used is the space that a directory takes on the disk.
func used(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := os.Stat(path); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}
