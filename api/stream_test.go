package api_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

// payee is a PayAsync that answers in random order and keeps what it was asked.
type payee struct {
	mu      sync.Mutex
	asked   []channel.PayRequest
	waiting []func()
	hold    bool // answers only on release
}

func (p *payee) payAsync(r channel.PayRequest, done func(channel.PayResult, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	p.waiting = append(p.waiting, func() { done(answerTo(r)) })
	if !p.hold && len(p.waiting) >= 50 {
		p.flush()
	}
}

// flush answers what waits; the caller holds mu.
func (p *payee) flush() {
	all := p.waiting
	p.waiting = nil
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	go func() {
		for _, f := range all {
			f()
		}
	}()
}

func (p *payee) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = false
	p.flush()
}

func (p *payee) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// answerTo makes up an answer that depends on all of the request, so that mixed-up results are seen.
func answerTo(r channel.PayRequest) (channel.PayResult, error) {
	res := channel.PayResult{
		ID: r.ID, Channel: channel.ID{byte(r.Amount % 3), 1}, Amount: r.Amount, Total: r.Amount * 7, Status: channel.PayAcknowledged,
	}
	switch r.Amount % 100 {
	case 13:
		return channel.PayResult{}, channel.Faultf(channel.CodeInsufficient, "not %d", r.Amount)
	case 14:
		res.Status, res.Reason = channel.PayRefused, channel.RefusedPolicy
		return res, channel.Faultf(channel.CodeRefused, "refused %d", r.Amount)
	case 15:
		res.Status, res.Reason = channel.PayRefused, channel.RefusedClosed
	case 16:
		res.Status = channel.PayPending
		return res, channel.Faultf(channel.CodePending, "pending %d", r.Amount)
	}
	return res, nil
}

func idOf(n uint64) (id channel.PaymentID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestStreamOfManyPayments(t *testing.T) {
	p := &payee{}
	_, c, _ := serve(t, &fakeNode{payAsync: p.payAsync})
	stream := c.Stream(deadline(t))
	const total, workers = 10_000, 8
	answers := make([]atomic.Int32, total+1)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := uint64(w + 1); n <= total; n += workers {
				r := channel.PayRequest{Target: "abcd", Amount: channel.Msat(n), Ref: "r", ID: idOf(n), HasID: true}
				if n%2 == 0 {
					r.Target = "efgh"
				}
				if err := stream.Pay(r, func(res channel.PayResult, err error) {
					answers[n].Add(1)
					checkAnswer(t, r, res, err)
				}); err != nil {
					t.Errorf("%d: %v", n, err)
				}
			}
		}()
	}
	wg.Wait()
	p.release()
	eventually(t, "all are asked", func() bool { return p.count() == total })
	p.release()
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= total; n++ {
		if got := answers[n].Load(); got != 1 {
			t.Fatalf("payment %d has %d answers", n, got)
		}
	}
	for _, r := range p.asked {
		want := map[bool]string{true: "efgh", false: "abcd"}[r.Amount%2 == 0]
		if !r.HasID || r.ID != idOf(uint64(r.Amount)) || r.Target != want || r.Ref != "r" {
			t.Fatalf("asked for %+v", r)
		}
	}
}

func checkAnswer(t *testing.T, r channel.PayRequest, got channel.PayResult, err error) {
	want, wantErr := answerTo(r)
	if wantErr != nil && want == (channel.PayResult{}) {
		want = channel.PayResult{ID: r.ID, Amount: r.Amount} // not made
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var f, wantFault *channel.Fault
	if errors.As(err, &f) != errors.As(wantErr, &wantFault) || f != nil && *f != *wantFault {
		t.Errorf("%d: got %v, want %v", r.Amount, err, wantErr)
	}
}

func TestStreamKeepsOrder(t *testing.T) {
	p := &payee{}
	_, c, _ := serve(t, &fakeNode{payAsync: p.payAsync})
	stream := c.Stream(deadline(t))
	for n := 1; n <= 3000; n++ {
		if err := stream.Pay(channel.PayRequest{Target: "abcd", Amount: channel.Msat(n)}, func(channel.PayResult, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for p.count() < 3000 {
			time.Sleep(time.Millisecond)
		}
		p.release()
	}()
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	for i, r := range p.asked {
		if r.Amount != channel.Msat(i+1) {
			t.Fatalf("payment %d came as number %d", r.Amount, i+1)
		}
		if !r.HasID || r.ID == (channel.PaymentID{}) {
			t.Fatalf("no id: %+v", r)
		}
	}
}

// TestNonsenseInStream: it is refused one by one and harms nothing else.
func TestNonsenseInStream(t *testing.T) {
	p := &payee{}
	_, c, _ := serve(t, &fakeNode{payAsync: p.payAsync})
	stream := c.Stream(deadline(t))
	var faults, fine atomic.Int32
	for n := range 10 {
		r := channel.PayRequest{Target: "abcd", Amount: channel.Msat(n % 2)}
		if err := stream.Pay(r, func(res channel.PayResult, err error) {
			var f *channel.Fault
			switch {
			case err == nil && res.Status == channel.PayAcknowledged:
				fine.Add(1)
			case errors.As(err, &f) && f.Code == channel.CodeBadRequest:
				faults.Add(1)
			default:
				t.Errorf("%+v %v", res, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "five are asked", func() bool { return p.count() == 5 })
	p.release()
	if err := stream.Close(); err != nil || faults.Load() != 5 || fine.Load() != 5 {
		t.Fatalf("%v: %d faults, %d fine", err, faults.Load(), fine.Load())
	}
}

func TestStreamIsBounded(t *testing.T) {
	p := &payee{hold: true}
	socket := filepath.Join(socketDir(t), "s")
	serveAt(t, api.Config{Socket: socket, Log: quiet()}.ForTest(time.Minute, 10), &fakeNode{payAsync: p.payAsync})
	stream := dial(t, socket).Stream(deadline(t))
	var answered atomic.Int32
	for range 100 {
		if err := stream.Pay(channel.PayRequest{Target: "abcd", Amount: 1}, func(_ channel.PayResult, err error) {
			if err == nil {
				answered.Add(1)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the window is full", func() bool { return p.count() == 10 })
	time.Sleep(20 * time.Millisecond) // an eleventh would come now
	if n := p.count(); n != 10 {
		t.Fatalf("%d payments are under way in a window of 10", n)
	}
	closed := make(chan error, 1)
	go func() { closed <- stream.Close() }()
	for {
		select {
		case err := <-closed:
			if err != nil || answered.Load() != 100 {
				t.Fatalf("%v, %d answered", err, answered.Load())
			}
			return
		case <-time.After(time.Millisecond):
			p.release()
		}
	}
}

// TestClientGoesAway: what the node has stays with the node, and the client knows that it does not know.
func TestClientGoesAway(t *testing.T) {
	p := &payee{hold: true}
	server, c, _ := serve(t, &fakeNode{payAsync: p.payAsync})
	ctx, cancel := context.WithCancel(deadline(t))
	stream := c.Stream(ctx)
	var pending atomic.Int32
	for n := range 100 {
		if err := stream.Pay(channel.PayRequest{Target: "abcd", Amount: channel.Msat(n + 1)}, func(r channel.PayResult, err error) {
			var f *channel.Fault
			if errors.As(err, &f) && f.Code == channel.CodePending && r.Status == channel.PayPending && r.ID != (channel.PaymentID{}) {
				pending.Add(1)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are asked", func() bool { return p.count() == 100 })
	cancel()
	if err := stream.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if pending.Load() != 100 {
		t.Errorf("%d of 100 are reported as pending", pending.Load())
	}
	if err := stream.Pay(channel.PayRequest{Target: "abcd", Amount: 1}, nil); err == nil {
		t.Error("a payment on a dead stream")
	}
	shutdown(t, server) // the server's side must end although nothing was answered
	p.release()         // and late answers must not hurt
}

// TestShutdownDuringStream: every payment is either answered or known not to have been made, or pending.
func TestShutdownDuringStream(t *testing.T) {
	p := &payee{hold: true}
	server, c, _ := serve(t, &fakeNode{payAsync: p.payAsync})
	stream := c.Stream(deadline(t))
	var acknowledged, notMade, pending, other atomic.Int32
	pay := func() error {
		return stream.Pay(channel.PayRequest{Target: "abcd", Amount: 1}, func(_ channel.PayResult, err error) {
			var f *channel.Fault
			switch {
			case err == nil:
				acknowledged.Add(1)
			case !errors.As(err, &f):
				other.Add(1)
			case f.Code == channel.CodeStopping:
				notMade.Add(1)
			case f.Code == channel.CodePending:
				pending.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	for range 50 {
		if err := pay(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are asked", func() bool { return p.count() == 50 })
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { defer wg.Done(); shutdown(t, server) }()
	sent := 50
	for pay() == nil { // until the stream ends
		if sent++; sent == 60 {
			p.release()
		}
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	if err := stream.Close(); err == nil {
		t.Error("no error")
	}
	if int(acknowledged.Load()) != p.count() || other.Load() != 0 {
		t.Errorf("node took %d; %d acknowledged, %d not made, %d pending, %d other", p.count(), acknowledged.Load(), notMade.Load(), pending.Load(), other.Load())
	}
	if got := acknowledged.Load() + notMade.Load() + pending.Load(); int(got) != sent {
		t.Errorf("%d of %d have a fate", got, sent)
	}
}

// TestPanicDuringStream: the client learns that it does not know, and the server lives on.
func TestPanicDuringStream(t *testing.T) {
	_, c, _ := serve(t, &fakeNode{payAsync: func(channel.PayRequest, func(channel.PayResult, error)) { panic("boom") }})
	_, err := payAsync(deadline(t), c.PayAsync, channel.PayRequest{Target: "abcd", Amount: 1})
	if f := fault(t, err); f.Code != channel.CodePending {
		t.Errorf("%+v", f)
	}
	if _, err := c.Status(deadline(t)); err != nil {
		t.Error(err)
	}
}

// TestPayAsyncSurvivesRestarts: it opens a new stream by itself.
func TestPayAsyncSurvivesRestarts(t *testing.T) {
	node := &fakeNode{paid: channel.PayResult{ID: channel.PaymentID{1}, Status: channel.PayAcknowledged}}
	socket := filepath.Join(socketDir(t), "s")
	c := dial(t, socket)
	for range 3 {
		server, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, node)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := payAsync(deadline(t), c.PayAsync, channel.PayRequest{Target: "abcd", Amount: 1}); err != nil || r != node.paid {
			t.Errorf("%+v %v", r, err)
		}
		shutdown(t, server)
		eventually(t, "the client sees that the daemon is away", func() bool {
			_, err := payAsync(deadline(t), c.PayAsync, channel.PayRequest{Target: "abcd", Amount: 1})
			return errors.Is(err, client.ErrUnreachable)
		})
	}
}

func TestPayPending(t *testing.T) {
	node := &fakeNode{pay: func(ctx context.Context, r channel.PayRequest) (channel.PayResult, error) {
		<-ctx.Done()
		time.Sleep(100 * time.Millisecond) // a client that hangs up at its deadline misses the answer
		return channel.PayResult{ID: r.ID, Channel: channel.ID{9}, Amount: r.Amount, Total: 77}, channel.Faultf(channel.CodePending, "bob is away")
	}}
	_, c, socket := serve(t, node)
	req := channel.PayRequest{Target: "abcd", Amount: 7, ID: channel.PaymentID{5}, HasID: true}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r, err := c.Pay(ctx, req)
	if f := fault(t, err); f.Code != channel.CodePending || f.Text != "bob is away" {
		t.Errorf("%+v", f) // the daemon's own words, although the deadline has passed
	}
	if want := (channel.PayResult{ID: req.ID, Channel: channel.ID{9}, Amount: 7, Total: 77}); r != want {
		t.Errorf("%+v", r)
	}

	canceled, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	r, err = c.Pay(canceled, channel.PayRequest{Target: "abcd", Amount: 7})
	if f := fault(t, err); f.Code != channel.CodePending || r.ID == (channel.PaymentID{}) || r.Amount != 7 {
		t.Errorf("canceled: %+v %+v", r, f)
	}
	if _, err = c.Pay(canceled, req); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled before: %v", err)
	}

	status, body := curl(t, socket, "POST", "/runnel.v1.PaymentService/Pay", `{"target":"abcd","amount_msat":7,"timeout_ms":50}`)
	if status != 200 || !contains(body, `"status":"pending"`, `"message":"bob is away"`, `"retryable":true`) {
		t.Errorf("curl: %d %s", status, body)
	}
}

// TestDaemonDiesDuringPay: the fate is not known, and the client says so.
func TestDaemonDiesDuringPay(t *testing.T) {
	got, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	node := &fakeNode{pay: func(context.Context, channel.PayRequest) (channel.PayResult, error) {
		close(got)
		<-end // never answers, whatever its context says
		return channel.PayResult{}, errors.New("late")
	}}
	server, c, _ := serve(t, node)
	go func() {
		<-got
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ctx)
	}()
	r, err := c.Pay(deadline(t), channel.PayRequest{Target: "abcd", Amount: 7})
	if f := fault(t, err); f.Code != channel.CodePending || r.Status != channel.PayPending || r.ID == (channel.PaymentID{}) || f.Hint == "" {
		t.Errorf("%+v %+v", r, f)
	}
}
