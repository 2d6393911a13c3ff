package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/runnel/runnel/gateway"
)

const sold = `[gateway]
listen = %q
upstream = %q

[[gateway.route]]
path = "GET /free"
free = true

[[gateway.route]]
path = "GET /paid"
price = "10msat"
`

// paidRequests: the same proxy in front of the same service, with and without payment.
func paidRequests(ctx context.Context, w *world) ([]row, error) {
	upstream, stop, err := service()
	if err != nil {
		return nil, err
	}
	defer stop()
	at, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "gateway.toml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(sold, at, upstream)), 0o600); err != nil {
		return nil, err
	}
	w.sells = []string{"--config", file}
	id, err := w.pair(ctx, 10_000_000)
	defer w.close()
	if err != nil {
		return nil, err
	}
	idle := &http.Transport{MaxIdleConnsPerHost: 64}
	defer idle.CloseIdleConnections()
	pays := &gateway.Transport{Payer: w.box.Node("alice").API, Max: 100, Base: idle}
	free, paid := buyer{&http.Client{Transport: idle}, "http://" + at + "/free"}, buyer{&http.Client{Transport: pays}, "http://" + at + "/paid"}

	n, lone := w.count(20_000), w.count(3_000)
	var took [2]time.Duration
	var alone [2]time.Duration
	for i, b := range []buyer{free, paid} {
		if _, _, err := b.buy(ctx, n/10, 64); err != nil { // warms up
			return nil, err
		}
		if took[i], _, err = b.buy(ctx, n, 64); err != nil {
			return nil, err
		}
		_, h, err := b.buy(ctx, lone, 1)
		if err != nil {
			return nil, err
		}
		alone[i] = time.Duration(h.ValueAtQuantile(50))
	}
	share := took[0].Seconds() / took[1].Seconds()
	return []row{
		{"T5", "paid requests/s through the gateway, against the same proxy unpaid", "0.4 x", "0.9 x", fmt.Sprintf("%.2f x (%s, unpaid %s)", share, rate(n, took[1]), rate(n, took[0])),
			fmt.Sprintf("%d requests each, 64 connections kept alive; payer, service, proxy and both daemons on these cores; each request its own authorisation and charge, durable on both sides", n)},
		{"T6", "added p50 latency of payment in a paid request", "0.7 ms", "0.25 ms", millis(alone[1] - alone[0]),
			fmt.Sprintf("%d requests one after another: p50 %s paid, %s unpaid", lone, millis(alone[1]), millis(alone[0]))},
	}, w.agree(ctx, id)
}

// service is what is sold: small answers, at once.
func service() (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"answer":"forty-two"}`)
	})}
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String(), func() { _ = s.Close() }, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// buyer asks for one thing again and again.
type buyer struct {
	client *http.Client
	url    string
}

func (b buyer) buy(ctx context.Context, n, workers int) (time.Duration, *hdrhistogram.Histogram, error) {
	h := hdrhistogram.New(1, int64(time.Minute), 3)
	var mu sync.Mutex
	jobs := make(chan struct{}, n)
	for range n {
		jobs <- struct{}{}
	}
	close(jobs)
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range workers {
		group.Go(func() error {
			for range jobs {
				sent := time.Now()
				if err := b.once(ctx); err != nil {
					return err
				}
				mu.Lock()
				_ = h.RecordValue(int64(time.Since(sent)))
				mu.Unlock()
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start), h, err
}

func (b buyer) once(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", b.url, res.Status)
	}
	return nil
}
