package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// tokens is a stall that streams events at a price each, and pauses when what it may take is used up.
type tokens struct {
	*stall
	count int                                   // events of the stream
	need  func(*gateway.NeedVoucher)            // changes a demand
	heads func(w http.ResponseWriter) (ok bool) // answers top-ups instead
	event func(i int) string                    // one of the stream; nil for a plain one
	begun chan struct{}                         // closed when the first demand went out
	once  sync.Once

	mu   sync.Mutex
	more *sync.Cond
	max  map[uint64]channel.Msat
	tops int
	gone int // streams whose reader left
}

func newTokens(price channel.Msat, count int) *tokens {
	s := &tokens{stall: newStall(price), count: count, max: map[uint64]channel.Msat{}, begun: make(chan struct{})}
	s.request.Unit = gateway.UnitToken
	s.more = sync.NewCond(&s.mu)
	s.serve = s.stream
	return s
}

func (s *tokens) stream(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodHead {
		s.tops++
		if s.heads == nil || s.heads(w) {
			s.max[p.Raise] = p.Max
			s.more.Broadcast()
		}
		return
	}
	defer context.AfterFunc(r.Context(), func() { s.mu.Lock(); defer s.mu.Unlock(); s.more.Broadcast() })()
	s.max[p.N] = p.Max
	w.Header().Set("Content-Type", "text/event-stream")
	used := channel.Msat(0)
	for i := range s.count {
		for used+s.request.Amount > s.max[p.N] {
			s.demand(w, p, used)
			before := s.max[p.N]
			for s.max[p.N] == before && r.Context().Err() == nil {
				s.more.Wait()
			}
			if r.Context().Err() != nil {
				s.gone++
				s.more.Broadcast()
				return
			}
		}
		used += s.request.Amount
		fmt.Fprint(w, s.token(i))
		w.(http.Flusher).Flush()
	}
	header, _ := receiptFor(p, used, func(r *gateway.Receipt) { r.Accepted, r.Spent, r.Units = p.Total, p.Total, uint64(s.count) }).Header()
	data, _ := gateway.DecodeBase64(header)
	fmt.Fprintf(w, "event: payment-receipt\ndata: %s\n\n", data)
}

func (s *tokens) demand(w http.ResponseWriter, p *gateway.Payload, used channel.Msat) {
	need := gateway.NeedVoucher{Channel: p.Channel, N: p.N, Max: used + s.request.Amount, Required: p.Total + s.request.Amount, Accepted: p.Total, Deposit: 1e9}
	if s.need != nil {
		s.need(&need)
	}
	data, err := need.Encode()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(w, "event: payment-need-voucher\ndata: %s\n\n", data)
	w.(http.Flusher).Flush()
	s.once.Do(func() { close(s.begun) })
}

func (s *tokens) token(i int) string {
	if s.event != nil {
		return s.event(i)
	}
	return fmt.Sprintf("id: %d\ndata: token %d\n\n", i, i)
}

func (s *tokens) wanted() string {
	var b strings.Builder
	for i := range s.count {
		b.WriteString(s.token(i))
	}
	return b.String()
}

func TestStreamPaysAsItGoes(t *testing.T) {
	s := newTokens(20, 200)
	v := newVisit(t, s.stall)
	v.transport.Max, v.transport.Step = 10_000, 500
	v.transport.Budget = gateway.NewBudget(5000)
	body, p := v.get("/")
	if body != s.wanted() {
		t.Errorf("%q", body)
	}
	if p.Cost != 4000 || p.Authorised != 4000 || p.TopUps != 7 || p.Receipt == nil || p.Receipt.Units != 200 || p.Err != nil || !p.Over {
		t.Errorf("%s", asJSON(p))
	}
	if used := v.transport.Budget.Used(); used != 4000 {
		t.Errorf("%d used", used)
	}
	for _, ask := range v.node.asked[1:] {
		if b := ask.Binding; ask.Raise != 1 || ask.Max != 0 || ask.RaiseBy != 500 || b.Method != "HEAD" || ask.Channel != lane.String() || b.IdempotencyKey != "" {
			t.Errorf("%+v", ask)
		}
	}
}

func TestStreamOfAPost(t *testing.T) {
	s := newTokens(20, 100)
	v := newVisit(t, s.stall)
	v.transport.Max, v.transport.PassEvents = 10_000, true
	res, err := v.client.Post(v.server.URL+"/chat", "application/json", strings.NewReader(`{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(body), "event: payment-need-voucher\n") != 1 || strings.Count(string(body), "event: payment-receipt\n") != 1 {
		t.Errorf("%q", body)
	}
	if p, _ := gateway.PaymentOf(res); p.Cost != 2000 || p.Authorised != 64*20*2 {
		t.Errorf("%+v", p)
	}
}

// The stream ends with an error at the last event that Max or the budget pay for.
func TestStreamEndsWhereTheMoneyEnds(t *testing.T) {
	for _, c := range []struct {
		max, budget channel.Msat
		why         error
	}{{1999, 5000, gateway.WhyMax}, {5000, 1999, gateway.WhyBudget}} {
		s := newTokens(20, 1000)
		v := newVisit(t, s.stall)
		v.transport.Max, v.transport.Step = c.max, 500
		v.transport.Budget = gateway.NewBudget(c.budget)
		res, err := v.client.Get(v.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if !errors.Is(err, c.why) || strings.Count(string(body), "data: token") != 99 {
			t.Errorf("%d tokens, %v", strings.Count(string(body), "data: token"), err)
		}
		if p, _ := gateway.PaymentOf(res); p.Authorised != 1999 || p.Cost != 1999 || !p.Over {
			t.Errorf("%+v", p)
		}
	}
}

func TestHostileStreams(t *testing.T) {
	for name, c := range map[string]struct {
		need func(*gateway.NeedVoucher)
		why  error
	}{
		"all money there is":       {func(n *gateway.NeedVoucher) { n.Max = channel.Msat(channel.MaxMoney) * 1000 }, gateway.WhyMax},
		"more than max":            {func(n *gateway.NeedVoucher) { n.Max = 1001 }, gateway.WhyMax},
		"another channel":          {func(n *gateway.NeedVoucher) { n.Channel[3]++ }, gateway.WhyStream},
		"another stream":           {func(n *gateway.NeedVoucher) { n.N++ }, gateway.WhyStream},
		"what it has already":      {func(n *gateway.NeedVoucher) { n.Max = 0 }, nil},
		"a voucher for all there ": {func(n *gateway.NeedVoucher) { n.Required = channel.Msat(channel.MaxMoney) * 1000 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTokens(10, 90)
			s.need = c.need
			v := newVisit(t, s.stall)
			v.transport.Step = 500
			if c.why == nil {
				if body, p := v.get("/"); body != s.wanted() || p.Authorised != 1000 {
					t.Errorf("%+v", p)
				}
				return
			}
			v.fails("/", c.why)
			v.signedOnly(1, 500)
		})
	}
}

// A stream that only ever asks for more is left.
func TestStreamThatOnlyTakes(t *testing.T) {
	s := newTokens(10, 1)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		if r.Method == http.MethodHead {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for range 100 {
			s.demand(w, p, p.Max)
		}
	}
	v := newVisit(t, s.stall)
	v.transport.Step, v.transport.Max = 10, 10_000
	v.fails("/", gateway.WhyStream)
	v.signedOnly(4, 40)
}

func TestTopUpIsRejected(t *testing.T) {
	s := newTokens(10, 90)
	s.heads = func(w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusGone)
		return false
	}
	v := newVisit(t, s.stall)
	v.transport.Step = 100
	var rejected *gateway.Rejected
	if err := v.fails("/", nil); !errors.As(err, &rejected) || rejected.Status != http.StatusGone {
		t.Errorf("%v", err)
	}
	v.signedOnly(2, 200)
}

// A challenge may end while a stream runs: the top-up takes the new one.
func TestTopUpWithANewChallenge(t *testing.T) {
	s := newTokens(10, 90)
	s.heads = func(w http.ResponseWriter) bool {
		if s.tops == 1 {
			s.challenge(w)
			w.WriteHeader(http.StatusPaymentRequired) // a HEAD has no body to say why
			return false
		}
		return true
	}
	v := newVisit(t, s.stall)
	v.transport.Step, v.transport.Max = 500, 10_000
	if body, p := v.get("/"); body != s.wanted() || p.Cost != 900 || p.TopUps != 1 {
		t.Errorf("%q, %+v", body, p)
	}
}

// Nobody reads, so nothing more is paid: neither after Close nor while a reader sleeps.
func TestStreamWithoutAReader(t *testing.T) {
	s := newTokens(10, 1000)
	v := newVisit(t, s.stall)
	v.transport.Step, v.transport.Max = 100, 100_000
	res, err := v.client.Get(v.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Scan()
	<-s.begun // it waits for money
	v.signedOnly(1, 100)
	res.Body.Close()
	s.mu.Lock()
	for s.gone == 0 {
		s.more.Wait()
	}
	s.mu.Unlock()
	v.signedOnly(1, 100)
	if p, _ := gateway.PaymentOf(res); !p.Over || p.Cost != 100 {
		t.Errorf("%+v", p)
	}
	if _, err := res.Body.Read(make([]byte, 10)); err == nil {
		t.Error("a closed body was read")
	}
}

func TestBytesAreToppedUpAhead(t *testing.T) {
	const size = 100_000
	s := newStall(10)
	s.request.Unit, s.request.Details.UnitSize = gateway.UnitByte, 1000
	var mu sync.Mutex
	more := sync.NewCond(&mu)
	allowed := channel.Msat(0)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		mu.Lock()
		defer mu.Unlock()
		allowed = p.Max
		more.Broadcast()
		if r.Method == http.MethodHead {
			return
		}
		w.Header().Set("Trailer", gateway.HeaderReceipt)
		for sent := 0; sent < size; sent += 1000 {
			for channel.Msat(sent/1000+1)*10 > allowed {
				more.Wait()
			}
			w.Write(make([]byte, 1000))
			w.(http.Flusher).Flush()
		}
		header, _ := receiptFor(p, size/100, func(r *gateway.Receipt) { r.Units = size }).Header()
		w.Header().Set(gateway.HeaderReceipt, header)
	}
	v := newVisit(t, s)
	v.transport.Step, v.transport.Max = 200, 2000
	body, p := v.get("/")
	if len(body) != size || p.Cost != size/100 || p.Err != nil || p.TopUps < 4 {
		t.Errorf("%d bytes, %+v", len(body), p)
	}
}
