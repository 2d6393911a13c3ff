package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
	"github.com/runnel/runnel/gateway/gatewaytest"
)

// counter is a gateway in front of a service, and a client that can pay and cheat.
type counter struct {
	*gatewaytest.Twin
	t      testing.TB
	gw     *gateway.Gateway
	server *httptest.Server

	mu       sync.Mutex
	outcomes []gateway.Outcome
}

func secret() []byte { return bytes.Repeat([]byte("s"), gateway.MinSecret) }

// openCounter sells what service answers.
func openCounter(t testing.TB, service http.Handler, change func(*gateway.Config)) *counter {
	t.Helper()
	s := &counter{Twin: gatewaytest.New(1_000_000_000), t: t}
	c := gateway.Config{Payee: s.Payee(), Secret: secret(), Realm: "shop", UnpaidLimit: -1, Observe: s.observe, Routes: routes()}
	if change != nil {
		change(&c)
	}
	gw, err := gateway.New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	s.gw, s.server = gw, httptest.NewServer(gateway.Middleware(gw)(service))
	t.Cleanup(func() {
		s.server.Close()
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		for id := range map[channel.ID]bool{s.Channel(): true} {
			if n := s.Running(id); n > 0 {
				t.Errorf("%d draws were never ended", n)
			}
		}
	})
	return s
}

func routes() []gateway.Route {
	return []gateway.Route{
		{Pattern: "/free", Free: true},
		{Pattern: "/paid", Price: gateway.Price{Amount: 1000}},
		{Pattern: "/dear", Price: gateway.Price{Amount: 5000}},
		{Pattern: "POST /post", Price: gateway.Price{Amount: 1000}},
		{Pattern: "/asked", Price: gateway.Price{Amount: 1000, Header: "X-Price"}},
		{Pattern: "/bytes", Price: gateway.Price{Amount: 2, Unit: gateway.UnitByte, Per: 1024}},
		{Pattern: "/events", Price: gateway.Price{Amount: 10, Unit: gateway.UnitEvent}},
		{Pattern: "/tokens", Price: gateway.Price{Amount: 20, Unit: gateway.UnitToken}},
		{Pattern: "/seconds", Price: gateway.Price{Amount: 7, Unit: gateway.UnitSecond}},
	}
}

func (s *counter) observe(o gateway.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = append(s.outcomes, o)
}

func (s *counter) count(k gateway.OutcomeKind) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outcomes {
		if o.Kind == k {
			n++
		}
	}
	return n
}

// spent is what the payer has lost.
func (s *counter) spent() channel.Msat {
	l, err := s.Payee().LaneStand(context.Background(), s.Channel())
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Spent
}

// challenge is what an unpaid request gets.
func (s *counter) challenge(method, target string) gateway.Challenge {
	s.t.Helper()
	res := s.do(s.request(method, target, ""))
	list, err := gateway.ParseChallenges(res.Header.Values("WWW-Authenticate")...)
	if err != nil || res.StatusCode != http.StatusPaymentRequired {
		s.t.Fatalf("%s %s: %s, %v", method, target, res.Status, err)
	}
	return list[0]
}

func (s *counter) request(method, target, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(method, s.server.URL+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// ask is a request and how it is paid.
type ask struct {
	method, target, body string
	key                  string
	max                  channel.Msat
	raise                uint64
	raiseBy              channel.Msat
	action               gateway.Action
	challenge            gateway.Challenge
	change               func(*gateway.Credential, *gateway.Payload)
	binding              func(*channel.Binding)
	channel              string
}

// paid is a request with its payment.
func (s *counter) paid(a ask) *http.Request {
	s.t.Helper()
	if a.method == "" {
		a.method = http.MethodGet
	}
	if a.action == "" {
		a.action = gateway.ActionVoucher
	}
	if a.challenge.ID == "" {
		method := a.method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		a.challenge = s.challenge(method, a.target)
	}
	r := s.request(a.method, a.target, a.body)
	if a.key != "" {
		r.Header.Set(gateway.HeaderIdempotency, a.key)
	}
	b := channel.Binding{Challenge: a.challenge.ID, Method: a.method, Authority: strings.TrimPrefix(s.server.URL, "http://"), Target: a.target,
		Body: sha256.Sum256([]byte(a.body)), IdempotencyKey: a.key}
	if a.binding != nil {
		a.binding(&b)
	}
	res, err := s.Payer().Authorise(context.Background(), channel.AuthoriseRequest{Channel: a.channel, Max: a.max, Raise: a.raise, RaiseBy: a.raiseBy, Binding: b})
	if err != nil {
		s.t.Fatal(err)
	}
	p := gateway.PayloadOf(a.action, &res.Authorisation)
	c := &gateway.Credential{Challenge: a.challenge, Source: string(gatewaytest.PayerID)}
	if a.change != nil {
		a.change(c, p)
	}
	if c.Payload == nil {
		if c.Payload, err = p.Encode(); err != nil {
			s.t.Fatal(err)
		}
	}
	header, err := c.Header()
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", header)
	return r
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	text    string
	readErr error
	problem *gateway.Problem
	receipt *gateway.Receipt
}

func (s *counter) do(r *http.Request) *answer {
	s.t.Helper()
	res, err := s.server.Client().Transport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.read(res)
}

func (s *counter) read(res *http.Response) *answer {
	s.t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	a := &answer{Response: res, text: string(body), readErr: err}
	if res.Header.Get("Content-Type") == gateway.ContentTypeProblem && len(body) > 0 {
		if a.problem, err = gateway.ParseProblem(body); err != nil {
			s.t.Fatal(err)
		}
	}
	header := res.Header.Get(gateway.HeaderReceipt)
	if header == "" {
		header = res.Trailer.Get(gateway.HeaderReceipt)
	}
	if header != "" {
		if a.receipt, err = gateway.ParseReceipt(header); err != nil {
			s.t.Fatal(err)
		}
	}
	return a
}

// wants checks an answer.
func (a *answer) wants(t testing.TB, status int, kind gateway.ProblemKind) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s: %s", a.Status, a.text)
	}
	if kind.Title != "" && (a.problem == nil || a.problem.ProblemKind != kind) {
		t.Fatalf("got %+v instead of %q", a.problem, kind.Title)
	}
}
