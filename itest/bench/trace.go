package main

import (
	"bufio"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/runnel/runnel/channel"
)

const (
	traceFile = "../shared/traces/azure_llm_conv_2023.csv"
	speed     = 10                    // times real time
	tokenGap  = 30 * time.Millisecond // between two tokens of one answer, in real time: what a person reads
	traceSpan = 10 * time.Minute      // of the trace that is replayed, in real time
)

// answer is one request of the trace: when its answer begins, and how many tokens it has.
type answer struct {
	at     time.Duration
	tokens int
	given  int
}

func (a *answer) due() time.Duration { return (a.at + time.Duration(a.given)*tokenGap) / speed }

// answers is a heap of those that still have a token to give, the next one first.
type answers []*answer

func (h answers) Len() int           { return len(h) }
func (h answers) Less(i, j int) bool { return h[i].due() < h[j].due() }
func (h answers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *answers) Push(x any)        { *h = append(*h, x.(*answer)) }
func (h *answers) Pop() any {
	old := *h
	a := old[len(old)-1]
	*h = old[:len(old)-1]
	return a
}

// tokens replays people who talk to a language model: each token of each answer is a payment of its own.
func tokens(ctx context.Context, w *world) ([]row, error) {
	list, source, err := trace(time.Duration(float64(traceSpan) * min(w.scale, 1)))
	if err != nil {
		return nil, err
	}
	id, err := w.pair(ctx, 10_000_000)
	defer w.close()
	if err != nil {
		return nil, err
	}
	n, took, late, h, err := w.replay(ctx, id, list)
	if err != nil {
		return nil, err
	}
	return []row{{"T10", "a real trace, one payment a token: p50 / p99 at 10 x real time", "p99 < 20 ms", "1,000 x",
		millis(time.Duration(h.ValueAtQuantile(50))) + " / " + millis(time.Duration(h.ValueAtQuantile(99))),
		fmt.Sprintf("%s: %d requests, %s tokens in %s (%s), from the moment when a token is due to the payee's answer; the last payment left %s late",
			source, len(list), thousands(n), took.Round(time.Second), rate(n, took), late.Round(time.Millisecond))}}, w.agree(ctx, id)
}

// replay pays each token when it is due. What comes too late is not skipped: its delay counts.
func (w *world) replay(ctx context.Context, id channel.ID, list []*answer) (n int, took, late time.Duration, h *hdrhistogram.Histogram, err error) {
	stream := w.box.Node("alice").API.Stream(ctx)
	h = hdrhistogram.New(1, int64(time.Minute), 3)
	var mu sync.Mutex
	var failed atomic.Int64
	var all sync.WaitGroup
	waiting := answers(list)
	heap.Init(&waiting)
	start := time.Now()
	for len(waiting) > 0 {
		a := waiting[0]
		due := start.Add(a.due())
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		late = time.Since(due)
		all.Add(1)
		err := stream.Pay(channel.PayRequest{Target: id.String(), Amount: 1}, func(r channel.PayResult, err error) {
			if err != nil || r.Status != channel.PayAcknowledged {
				failed.Add(1)
			}
			mu.Lock()
			_ = h.RecordValue(int64(time.Since(due)))
			mu.Unlock()
			all.Done()
		})
		if err != nil {
			return 0, 0, 0, nil, err
		}
		n++
		if a.given++; a.given == a.tokens {
			heap.Pop(&waiting)
		} else {
			heap.Fix(&waiting, 0)
		}
	}
	all.Wait()
	took = time.Since(start)
	if k := failed.Load(); k > 0 {
		return 0, 0, 0, nil, fmt.Errorf("%d of %d payments failed", k, n)
	}
	return n, took, late, h, stream.Close()
}

// trace reads the real one where it is, and makes one of its shape otherwise.
func trace(span time.Duration) (list []*answer, source string, err error) {
	f, err := os.Open(traceFile)
	if errors.Is(err, os.ErrNotExist) {
		return synthetic(span), "a made-up trace of the real one's shape", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	var first time.Time
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ",")
		if len(fields) != 3 || fields[0] == "TIMESTAMP" {
			continue
		}
		at, err := time.Parse("2006-01-02 15:04:05.9999999", fields[0])
		if err != nil {
			return nil, "", err
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, "", err
		}
		if first.IsZero() {
			first = at
		}
		if at.Sub(first) < span && n > 0 {
			list = append(list, &answer{at: at.Sub(first), tokens: n})
		}
	}
	return list, fmt.Sprintf("the first %s of a public trace of a language model's service", span), lines.Err()
}

// synthetic has the rate and the mean length of the real trace: five and a half requests a second, of 211 tokens.
func synthetic(span time.Duration) (list []*answer) {
	rng := rand.New(rand.NewPCG(1, 2))
	for at := time.Duration(0); at < span; at += time.Duration(rng.ExpFloat64() * float64(time.Second) / 5.5) {
		list = append(list, &answer{at: at, tokens: 1 + int(rng.ExpFloat64()*210)})
	}
	return list
}
