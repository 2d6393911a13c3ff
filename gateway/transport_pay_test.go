package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

func isErr(err, target error) bool { return errors.Is(err, target) }

func TestFirstAsksThenPaysAtOnce(t *testing.T) {
	v := newVisit(t, newStall(20))
	for i := range 5 {
		body, p := v.get("/weather?day=1")
		if body != "GET /weather " || p.Cost != 20 || !p.Over || p.Receipt == nil || p.Receipt.N != uint64(i+1) || p.Err != nil {
			t.Fatalf("%q, %s", body, asJSON(p))
		}
	}
	if v.stall.unpaid != 1 || v.stall.paid() != 5 {
		t.Errorf("%d unpaid requests and %d paid ones for 5", v.stall.unpaid, v.stall.paid())
	}
	v.signedOnly(5, 100)
	if len(v.payments()) != 5 {
		t.Errorf("told of %d payments", len(v.payments()))
	}
	v.get("/other") // another price, perhaps: it has to ask
	if v.stall.unpaid != 2 {
		t.Errorf("%d unpaid requests", v.stall.unpaid)
	}
	for _, ask := range v.node.asked {
		b := ask.Binding
		if b.Method != "GET" || !strings.Contains(v.server.URL, b.Authority) || b.Target != "/weather?day=1" && b.Target != "/other" || b.Challenge == "" || ask.Max != 20 || ask.Peer != string(shop) {
			t.Errorf("%+v", ask)
		}
		if strings.Contains(ask.Ref, "day") || !strings.HasPrefix(ask.Ref, "GET ") {
			t.Errorf("reference %q", ask.Ref)
		}
	}
}

func TestExpiredChallengeIsNotUsed(t *testing.T) {
	s := newStall(20)
	s.expires = time.Second // less than the margin
	v := newVisit(t, s)
	v.get("/")
	v.get("/")
	if s.unpaid != 2 {
		t.Errorf("%d unpaid requests", s.unpaid)
	}
}

// A server that does not know its challenges any more is asked again, and the second try is paid within Max.
func TestChallengeThatWasForgotten(t *testing.T) {
	s := newStall(20)
	v := newVisit(t, s)
	v.get("/")
	var first atomic.Bool
	first.Store(true)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		if first.Swap(false) {
			s.challenge(w)
			s.refuse(w, gateway.ProblemInvalidChallenge.Problem("expired"))
			return
		}
		s.receipt(w, nil, p)
	}
	if _, p := v.get("/"); p.Authorised != 40 || p.Cost != 20 {
		t.Errorf("%+v", p)
	}
	first.Store(true)
	v.transport.Max = 39
	err := v.fails("/", gateway.WhyMax)
	var u *gateway.Unpaid
	if !errors.As(err, &u) || u.Authorised != 20 {
		t.Errorf("%v: %+v", err, u)
	}
}

func TestManyInFlight(t *testing.T) {
	const all = 64
	v := newVisit(t, newStall(20))
	v.transport.Budget = gateway.NewBudget(all * 20)
	var wg sync.WaitGroup
	var good, over atomic.Int64
	for range all + 10 {
		wg.Go(func() {
			res, err := v.client.Get(v.server.URL + "/")
			switch {
			case err == nil:
				good.Add(1)
				res.Body.Close()
			case isErr(err, gateway.WhyBudget):
				over.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if good.Load() != all || over.Load() != 10 {
		t.Errorf("%d served, %d over the budget", good.Load(), over.Load())
	}
	v.signedOnly(all, all*20)
	seen := map[uint64]bool{}
	for _, p := range v.stall.payments {
		if seen[p.N] {
			t.Errorf("n %d was used twice", p.N)
		}
		seen[p.N] = true
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name        string
		max, budget channel.Msat
		why         error
	}{
		{"equal to max", 20, 1000, nil},
		{"one above max", 19, 1000, gateway.WhyMax},
		{"max of nothing", 0, 1000, gateway.WhyMax},
		{"equal to the budget", 1000, 20, nil},
		{"one above the budget", 1000, 19, gateway.WhyBudget},
		{"a budget of nothing", 1000, 0, gateway.WhyBudget},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVisit(t, newStall(20))
			v.transport.Max, v.transport.Budget = c.max, gateway.NewBudget(c.budget)
			if c.why == nil {
				v.get("/")
				return
			}
			v.fails("/", c.why)
			v.signedOnly(0, 0)
		})
	}
}

func TestPriceRise(t *testing.T) {
	s := newStall(20)
	v := newVisit(t, s)
	s.expires = time.Second // every request asks
	v.get("/")
	s.request.Amount = 21
	v.fails("/", gateway.WhyRise)
	v.signedOnly(1, 20)
	s.request.Amount = 19 // it may fall
	v.get("/")
	s.request.Amount = 20
	v.fails("/", gateway.WhyRise)
	v.transport.AllowRise = true
	v.get("/")
	s.request.Unit = gateway.UnitToken
	v.transport.AllowRise = false
	v.fails("/", gateway.WhyRise)
}

func TestBodyGoesTwice(t *testing.T) {
	for name, body := range map[string]func() io.Reader{
		"with GetBody":    func() io.Reader { return strings.NewReader("ping") },
		"without GetBody": func() io.Reader { return io.MultiReader(strings.NewReader("ping")) },
	} {
		v := newVisit(t, newStall(20))
		res, err := v.client.Post(v.server.URL+"/echo", "text/plain", body())
		if err != nil {
			t.Fatal(name, err)
		}
		got, _ := io.ReadAll(res.Body)
		if string(got) != "POST /echo ping" {
			t.Errorf("%s: %q", name, got)
		}
		if v.stall.keys[0] == "" || v.stall.keys[0] != v.node.asked[0].Binding.IdempotencyKey {
			t.Errorf("%s: Idempotency-Key %q", name, v.stall.keys[0])
		}
	}
}

func TestBodyThatCantGoTwice(t *testing.T) {
	v := newVisit(t, newStall(20))
	long := func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 2<<20))) }
	for range 2 { // unpaid at first, then known to cost
		_, err := v.client.Post(v.server.URL+"/", "", long())
		if !isErr(err, gateway.WhyBody) || !strings.Contains(err.Error(), "GetBody") {
			t.Fatal(err)
		}
		v.signedOnly(0, 0)
	}
}

func TestIdempotencyKeyOfTheCaller(t *testing.T) {
	v := newVisit(t, newStall(20))
	req, _ := http.NewRequest("POST", v.server.URL, strings.NewReader("x"))
	req.Header.Set("Idempotency-Key", "order-42")
	if _, err := v.client.Do(req); err != nil {
		t.Fatal(err)
	}
	if v.stall.keys[0] != "order-42" {
		t.Errorf("%q", v.stall.keys[0])
	}
	if req.Header.Get("Authorization") != "" {
		t.Error("the caller's request was changed")
	}
}

// An answer that got lost is asked for again with the same payment.
func TestLostAnswer(t *testing.T) {
	s := newStall(20)
	var lost atomic.Bool
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		if !lost.Swap(true) {
			panic(http.ErrAbortHandler)
		}
		s.receipt(w, nil, p)
	}
	v := newVisit(t, s)
	if _, p := v.get("/"); p.Cost != 20 || p.Authorised != 20 {
		t.Errorf("%+v", p)
	}
	v.signedOnly(1, 20)
	if len(s.payments) < 2 || s.payments[0].N != s.payments[1].N {
		t.Errorf("%s", asJSON(s.payments))
	}
}

func TestRedirects(t *testing.T) {
	other := newStall(20)
	far := httptest.NewServer(other)
	defer far.Close()
	near := newStall(20)
	near.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		http.Redirect(w, r, far.URL+"/there", http.StatusFound)
	}
	v := newVisit(t, near)
	res, err := v.client.Get(v.server.URL + "/here")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if other.unpaid != 1 || other.paid() != 1 || near.paid() != 1 {
		t.Errorf("%d unpaid and %d paid there, %d paid here", other.unpaid, other.paid(), near.paid())
	}
	for _, ask := range v.node.asked {
		if strings.Contains(far.URL, ask.Binding.Authority) != (ask.Binding.Target == "/there") {
			t.Errorf("a payment for another place: %+v", ask.Binding)
		}
	}
	// Both together may cost what one request may cost.
	near.request.Amount, other.request.Amount = 20, 20
	v = newVisit(t, near)
	v.transport.Max = 39
	v.fails("/here", gateway.WhyMax)
	v.signedOnly(1, 20)
}

func TestOther402Passes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("WWW-Authenticate", `Payment id="a", realm="r", method="lightning", intent="charge", request="cQ"`)
		w.WriteHeader(402)
		fmt.Fprint(w, "pay with something else")
	}))
	defer server.Close()
	client := &http.Client{Transport: &gateway.Transport{Payer: newPurse(), Max: 1000}}
	res, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if _, paid := gateway.PaymentOf(res); res.StatusCode != 402 || string(body) != "pay with something else" || paid {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func TestFreeIsFree(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %d %s", body, r.ContentLength, r.Header.Get("Idempotency-Key"))
	}))
	defer server.Close()
	client := &http.Client{Transport: &gateway.Transport{Payer: newPurse(), Max: 1000}}
	for _, body := range []io.Reader{strings.NewReader("hello"), io.MultiReader(strings.NewReader("hello"))} {
		res, err := client.Post(server.URL, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(res.Body); string(got) != "hello 5 " {
			t.Errorf("%q", got)
		}
	}
	res, err := client.Post(server.URL, "text/plain", io.MultiReader(bytes.NewReader(make([]byte, 3<<20))))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(res.Body); len(got) < 3<<20 {
		t.Errorf("%d bytes came back", len(got))
	}
}

func TestServerErrorsGiveTheChargeBack(t *testing.T) {
	s := newStall(20)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		s.refuse(w, gateway.ProblemUpstream.Problem("gone"))
	}
	v := newVisit(t, s)
	res, err := v.client.Get(v.server.URL)
	if err != nil || res.StatusCode != 502 {
		t.Fatal(res, err)
	}
	if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), "gone") {
		t.Errorf("%q", body)
	}
	if p, ok := gateway.PaymentOf(res); !ok || p.Cost != 0 || !p.Over {
		t.Errorf("%+v", p)
	}
}

type opener struct {
	allow error
	asked []gateway.Opening
	looks int
}

func (o *opener) Allow(_ context.Context, p gateway.Opening) error {
	o.asked = append(o.asked, p)
	return o.allow
}
func (o *opener) Progress(channel.ChannelInfo) { o.looks++ }

func TestOpening(t *testing.T) {
	visitWithout := func() *visit {
		v := newVisit(t, newStall(20))
		v.node.closed, v.node.looks = true, 2
		return v
	}
	v := visitWithout()
	err := v.fails("/", gateway.WhyNoChannel)
	var u *gateway.Unpaid
	if errors.As(err, &u); u.Deposit != 50_000 || u.Price != 20 || u.Recipient != shop || len(v.node.opens)+len(v.node.dialed) != 0 {
		t.Errorf("%+v, %+v, %v", u, v.node.opens, v.node.dialed)
	}

	v = visitWithout()
	no := &opener{allow: errors.New("the person said no")}
	v.transport.Open = no
	if err := v.fails("/", gateway.WhyNoChannel); !strings.Contains(err.Error(), "said no") || len(v.node.opens) != 0 {
		t.Errorf("%v, %+v", err, v.node.opens)
	}
	if len(no.asked) != 1 || no.asked[0].Plan.Deposit != 50_000 || no.asked[0].Plan.OpenFee != 308 || no.asked[0].Origin != v.server.URL {
		t.Errorf("%+v", no.asked)
	}

	v = visitWithout()
	v.transport.Open, v.transport.MaxDeposit = no, 19_999
	if err := v.fails("/", gateway.WhyNoChannel); !strings.Contains(err.Error(), "20000 sat") || len(no.asked) != 1 {
		t.Error(err)
	}

	v = visitWithout()
	yes := &opener{}
	v.transport.Open, v.transport.MaxDeposit = yes, 30_000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if res, err := v.client.Get(v.server.URL); err != nil || res.StatusCode != 200 {
				t.Error(res, err)
			}
		})
	}
	wg.Wait()
	if len(v.node.opens) != 1 || v.node.opens[0].Deposit != 30_000 || len(yes.asked) != 1 || yes.looks == 0 || len(v.node.dialed) != 1 {
		t.Errorf("opened %+v, asked %d times, %d looks, dialed %v", v.node.opens, len(yes.asked), yes.looks, v.node.dialed)
	}
}

// A server can't send the node to addresses of others, or to a payee without a channel.
func TestConnecting(t *testing.T) {
	away := func(channel.AuthoriseRequest) error {
		return channel.Faultf(channel.CodePeerUnreachable, "the peer is not connected")
	}
	s := newStall(20)
	s.request.Details.Addrs = []string{"/ip4/10.0.0.1/tcp/22", "/ip4/10.0.0.1/tcp/22/p2p/somebody", "/ip4/127.0.0.1/tcp/9/p2p/" + string(shop)}
	v := newVisit(t, s)
	tries := 0
	v.node.fail = func(r channel.AuthoriseRequest) error {
		if tries++; tries < 3 {
			return away(r)
		}
		return nil
	}
	v.get("/")
	if len(v.node.dialed) != 1 || v.node.dialed[0] != s.request.Details.Addrs[2] {
		t.Errorf("%v", v.node.dialed)
	}

	v = newVisit(t, s)
	s.request.Recipient = "16Uiu2HAmStranger"
	s.request.Details.Addrs = []string{"/ip4/127.0.0.1/tcp/9/p2p/16Uiu2HAmStranger"}
	v.node.fail = away
	v.fails("/", gateway.WhyNoChannel)
	if len(v.node.dialed) != 0 {
		t.Errorf("the node was sent to %v", v.node.dialed)
	}
}

func TestCancelled(t *testing.T) {
	v := newVisit(t, newStall(20))
	ctx, cancel := context.WithCancel(context.Background())
	v.node.fail = func(channel.AuthoriseRequest) error { cancel(); return ctx.Err() }
	v.transport.Budget = gateway.NewBudget(100)
	req, _ := http.NewRequestWithContext(ctx, "GET", v.server.URL, nil)
	if _, err := v.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if used := v.transport.Budget.Used(); used != 20 {
		t.Errorf("it is not known whether the node signed, and %d msat count", used)
	}
}

func TestNodeRefuses(t *testing.T) {
	v := newVisit(t, newStall(20))
	v.transport.Budget = gateway.NewBudget(100)
	v.node.fail = func(channel.AuthoriseRequest) error {
		return channel.Faultf(channel.CodeLimit, "the day's budget is used")
	}
	err := v.fails("/", gateway.WhyNode)
	var fault *channel.Fault
	if !errors.As(err, &fault) || fault.Code != channel.CodeLimit || v.transport.Budget.Used() != 0 {
		t.Errorf("%v, %d used", err, v.transport.Budget.Used())
	}
	v.node.fail, v.node.late = nil, channel.Faultf(channel.CodePending, "no answer")
	v.fails("/", gateway.WhyNode)
	if v.transport.Budget.Used() != 20 {
		t.Errorf("%d used", v.transport.Budget.Used())
	}
}

// Routes that differ in a number only are not asked one by one.
func TestSiblings(t *testing.T) {
	s := newStall(20)
	v := newVisit(t, s)
	for i := range 10 {
		if body, p := v.get(fmt.Sprintf("/items/%d", i)); body != fmt.Sprintf("GET /items/%d ", i) || p.Cost != 20 {
			t.Errorf("%q %+v", body, p)
		}
	}
	if s.unpaid != 2 || s.paid() != 10 {
		t.Errorf("%d unpaid requests and %d paid ones for 10 routes", s.unpaid, s.paid())
	}
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		if p.Max < 50 {
			s.challenge(w)
			s.refuse(w, gateway.ProblemInvalidChallenge.Problem("this one costs 50"))
			return
		}
		s.receipt(w, nil, p)
	}
	s.request.Amount = 50
	if _, p := v.get("/items/dear"); p.Cost != 50 || p.Authorised != 70 {
		t.Errorf("%+v", p)
	}
	before := s.unpaid
	v.get("/items/11") // the folder has several prices: it asks again
	if s.unpaid != before+1 {
		t.Errorf("%d unpaid requests", s.unpaid-before)
	}
	v.get("/other/1")
	if s.unpaid != before+2 {
		t.Errorf("%d unpaid requests", s.unpaid-before)
	}
}
