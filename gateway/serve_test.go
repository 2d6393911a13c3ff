package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
	"github.com/runnel/runnel/gateway/gatewaytest"
)

// hello is a service that says what it was asked.
func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
	})
}

func TestPaidRequest(t *testing.T) {
	s := openCounter(t, hello(), nil)
	res := s.do(s.request("GET", "/paid", ""))
	res.wants(t, http.StatusPaymentRequired, gateway.ProblemPaymentRequired)
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Error("a challenge can be cached")
	}
	res = s.do(s.paid(ask{target: "/paid", max: 1000}))
	res.wants(t, http.StatusOK, gateway.ProblemKind{})
	r := res.receipt
	if res.text != "GET /paid " || r == nil || r.Amount != 1000 || r.Spent != 1000 || r.Accepted != 1000 || r.N != 1 || r.Channel != s.Channel() || res.Header.Get("Cache-Control") != "private" {
		t.Errorf("%q %+v", res.text, r)
	}
	if s.spent() != 1000 || s.count(gateway.OutcomePaid) != 1 {
		t.Errorf("spent %d", s.spent())
	}
}

// One challenge serves many requests: no round trip for each.
func TestChallengeIsUsedAgain(t *testing.T) {
	s := openCounter(t, hello(), nil)
	c := s.challenge("GET", "/paid")
	for range 5 {
		s.do(s.paid(ask{target: "/paid", max: 1000, challenge: c})).wants(t, http.StatusOK, gateway.ProblemKind{})
	}
	body := "some text"
	if res := s.do(s.paid(ask{method: "POST", target: "/post", body: body, max: 1000, challenge: c})); res.text != "POST /post "+body {
		t.Errorf("%s: %s", res.Status, res.text)
	}
	if s.spent() != 6000 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestRoutesAndRefusals(t *testing.T) {
	s := openCounter(t, hello(), nil)
	s.do(s.request("GET", "/free", "")).wants(t, http.StatusOK, gateway.ProblemKind{})
	s.do(s.request("GET", "/unknown", "")).wants(t, http.StatusNotFound, gateway.ProblemNotSold)
	for _, path := range []string{"/free//", "/free/../paid", "/free%2f..%2fpaid", "/./free", "//free", "/free\\x"} {
		r := s.request("GET", "/", "")
		r.URL.Opaque = path
		res, err := s.server.Client().Transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
	r := s.request("GET", "/paid", "")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	s.do(r).wants(t, http.StatusNotImplemented, gateway.ProblemUpgrade)
	r = s.request("GET", "/paid", "")
	r.Header.Set("Accept-Payment", "tempo/charge")
	s.do(r).wants(t, http.StatusPaymentRequired, gateway.ProblemPaymentRequired)
}

func TestPriceFromTheAnswer(t *testing.T) {
	price := atomic.Value{}
	price.Store("250")
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Price", price.Load().(string)) }), nil)
	res := s.do(s.paid(ask{target: "/asked", max: 1000}))
	if res.receipt == nil || res.receipt.Amount != 250 || res.Header.Get("X-Price") != "" {
		t.Errorf("%+v", res.receipt)
	}
	for _, text := range []string{"", "1001", "nonsense", "-1"} {
		price.Store(text)
		if res := s.do(s.paid(ask{target: "/asked", max: 2000})); res.receipt == nil || res.receipt.Amount != 1000 {
			t.Errorf("%q: %+v", text, res.receipt)
		}
	}
}

func TestUpstreamFailureIsNotCharged(t *testing.T) {
	status := atomic.Int32{}
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }), nil)
	for _, code := range []int{500, 502, 503, 404, 304, 302} {
		status.Store(int32(code))
		res := s.do(s.paid(ask{target: "/paid", max: 1000}))
		if res.StatusCode != code || res.receipt != nil || s.spent() != 0 {
			t.Errorf("%d: %s, spent %d", code, res.Status, s.spent())
		}
	}
	if s.count(gateway.OutcomeGivenBack) != 6 {
		t.Error("the charges were not given back")
	}
}

func TestProxy(t *testing.T) {
	var seen http.Header
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		fmt.Fprint(w, "from ", r.URL.Path)
	}))
	defer service.Close()
	base := must(t, service.URL+"/base")
	up, err := gateway.NewUpstream(gateway.Upstream{URL: base, Header: http.Header{"authorization": {"Bearer own"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := openCounter(t, up, nil)
	r := s.paid(ask{target: "/paid", max: 1000})
	r.Header["Runnel-Payer"] = []string{"forged"}
	r.Header["runnel_payer"] = []string{"forged"}
	r.Header["RUNNEL.Payer"] = []string{"forged"}
	r.Header.Set("Connection", "Runnel-Payer")
	r.Header.Set("X-HTTP-Method-Override", "DELETE")
	if res := s.do(r); res.text != "from /base/paid" {
		t.Fatalf("%s %s", res.Status, res.text)
	}
	for name := range seen {
		if folded := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name)); strings.HasPrefix(folded, "runnel-payer") && name != gateway.HeaderPayer || strings.Contains(folded, "override") {
			t.Errorf("%s reaches the service", name)
		}
	}
	if seen.Get(gateway.HeaderPayer) != string(gatewaytest.PayerID) || seen.Get("Authorization") != "Bearer own" {
		t.Errorf("the service sees %v", seen)
	}
	service.Close()
	s.do(s.paid(ask{target: "/paid", max: 1000})).wants(t, http.StatusBadGateway, gateway.ProblemUpstream)
	if s.spent() != 1000 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestIdempotency(t *testing.T) {
	var runs atomic.Int32
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "run ", runs.Add(1)) }), nil)
	first := s.paid(ask{method: "POST", target: "/post", body: "a", key: "k1", max: 1000})
	s.do(first).wants(t, http.StatusOK, gateway.ProblemKind{})
	again := s.do(s.paid(ask{method: "POST", target: "/post", body: "a", key: "k1", max: 1000}))
	if again.text != "run 1" || again.Header.Get("Idempotent-Replayed") != "true" || again.receipt == nil || s.spent() != 1000 {
		t.Errorf("%s %q, spent %d", again.Status, again.text, s.spent())
	}
	s.do(s.paid(ask{method: "POST", target: "/post", body: "b", key: "k1", max: 1000})).wants(t, http.StatusUnprocessableEntity, gateway.ProblemIdempotencyReused)
	// the very same credential gets its answer too
	repeat := s.request("POST", "/post", "a")
	repeat.Header = first.Header.Clone()
	if res := s.do(repeat); res.text != "run 1" || runs.Load() != 1 || s.spent() != 1000 {
		t.Errorf("%s %q, spent %d", res.Status, res.text, s.spent())
	}
}

// What was paid and is not kept is not charged again under its key: whoever wants it twice says so with another one.
func TestIdempotencyOfWhatIsNotKept(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: a\n\n")
		case "/asked":
			fmt.Fprint(w, "half")
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write(make([]byte, 100))
		}
	}), func(c *gateway.Config) { c.StoredAnswer = 99 })
	for _, target := range []string{"/paid", "/bytes", "/events", "/asked"} {
		before := s.spent()
		res, err := s.server.Client().Transport.RoundTrip(s.paid(ask{target: target, key: target, max: 1000}))
		if err == nil {
			s.read(res)
		}
		s.ends()
		cost := s.spent() - before
		if cost == 0 {
			t.Errorf("%s was not charged", target)
		}
		again := s.do(s.paid(ask{target: target, key: target, max: 1000}))
		again.wants(t, http.StatusConflict, gateway.ProblemIdempotencyGone)
		if again.Header.Get("Retry-After") != "" || s.spent() != before+cost {
			t.Errorf("%s: %v, spent %d and not %d", target, again.Header, s.spent(), before+cost)
		}
		if target == "/paid" {
			s.do(s.paid(ask{target: "/bytes", key: target, max: 1000})).wants(t, http.StatusUnprocessableEntity, gateway.ProblemIdempotencyReused)
			s.do(s.paid(ask{target: target, key: "other", max: 1000})).wants(t, http.StatusOK, gateway.ProblemKind{})
		}
	}
}

// What the service refused was given back, and the same key tries again.
func TestIdempotencyOfWhatFailed(t *testing.T) {
	var runs atomic.Int32
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if runs.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}), nil)
	s.do(s.paid(ask{target: "/paid", key: "k", max: 1000})).wants(t, http.StatusBadGateway, gateway.ProblemKind{})
	s.do(s.paid(ask{target: "/paid", key: "k", max: 1000})).wants(t, http.StatusOK, gateway.ProblemKind{})
	if s.spent() != 1000 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestFreeAllowanceAndRateLimit(t *testing.T) {
	s := openCounter(t, hello(), func(c *gateway.Config) { c.FreeRequests, c.UnpaidLimit = 2, 3 })
	for _, want := range []int{200, 200, 402, 402, 402, 429} {
		if res := s.do(s.request("GET", "/paid", "")); res.StatusCode != want {
			t.Fatalf("%s instead of %d", res.Status, want)
		}
	}
}

func TestManagement(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the service was asked") }), nil)
	s.do(s.paid(ask{method: "POST", target: "/post", max: 3000, action: gateway.ActionOpen})).wants(t, http.StatusOK, gateway.ProblemKind{})
	res := s.do(s.paid(ask{method: "HEAD", target: "/paid", max: 0}))
	if res.StatusCode != http.StatusOK || s.spent() != 0 {
		t.Errorf("%s, spent %d", res.Status, s.spent())
	}
	s.do(s.paid(ask{target: "/paid", action: gateway.ActionTopUp})).wants(t, http.StatusBadRequest, gateway.ProblemBadRequest)
	s.do(s.paid(ask{target: "/paid", action: gateway.ActionClose})).wants(t, http.StatusAccepted, gateway.ProblemKind{})
	s.do(s.paid(ask{target: "/paid", max: 1000})).wants(t, http.StatusGone, gateway.ProblemChannelFinalized)
}

func TestReloadKeepsRequests(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		fmt.Fprint(w, "old")
	}), nil)
	var res *answer
	var wg sync.WaitGroup
	r := s.paid(ask{target: "/paid", max: 1000})
	wg.Go(func() { res = s.do(r) })
	<-entered
	c := gateway.Config{Payee: s.Payee(), Secret: secret(), Realm: "shop", Routes: []gateway.Route{{Pattern: "/paid", Price: gateway.Price{Amount: 9000}}}}
	if err := s.gw.Reload(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	fresh := s.challenge("GET", "/paid")
	if o := must2(fresh.SessionRequest()); o.Amount != 9000 {
		t.Errorf("the new price is %d", o.Amount)
	}
	close(leave)
	wg.Wait()
	if res.text != "old" || s.spent() != 1000 {
		t.Errorf("%s, spent %d", res.text, s.spent())
	}
	c.Routes = nil
	if err := s.gw.Reload(context.Background(), c); err == nil {
		t.Error("nothing to sell is taken")
	}
}

func TestCORSAndDiscovery(t *testing.T) {
	s := openCounter(t, hello(), nil)
	r := s.request("OPTIONS", "/paid", "")
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Method", "GET")
	r.Header.Set("Access-Control-Request-Headers", "authorization")
	res := s.do(r)
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	r = s.request("GET", "/paid", "")
	r.Header.Set("Origin", "https://app.example")
	if res = s.do(r); !strings.Contains(res.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
		t.Errorf("%v", res.Header)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Info struct {
				Offers []struct{ Intent, Method, Amount, Currency string }
			} `json:"x-payment-info"`
			Responses map[string]any
		}
	}
	res = s.do(s.request("GET", "/openapi.json", ""))
	if err := json.Unmarshal([]byte(res.text), &doc); err != nil {
		t.Fatal(err)
	}
	op := doc.Paths["/post"]["post"]
	if len(op.Info.Offers) != 1 || op.Info.Offers[0].Amount != "1000" || op.Info.Offers[0].Currency != "msat" || op.Responses["402"] == nil {
		t.Errorf("%s", res.text)
	}
}

func TestBrowserPage(t *testing.T) {
	s := openCounter(t, hello(), nil)
	r := s.request("GET", "/paid", "")
	r.Header.Set("Accept", "text/html,*/*")
	page := s.do(r)
	page.wants(t, http.StatusPaymentRequired, gateway.ProblemKind{})
	if !strings.Contains(page.text, "runnel:fetch?url=") || !strings.Contains(page.text, "data:image/png") || !strings.Contains(page.text, "1000 msat") {
		t.Fatal(page.text)
	}
	cookie := page.Cookies()[0]
	unlock := "/.well-known/runnel/unlock/" + cookie.Value
	if res := s.do(s.request("GET", unlock+"/state", "")); !strings.Contains(res.text, "false") {
		t.Error(res.text)
	}
	s.do(s.paid(ask{target: unlock, max: 1000})).wants(t, http.StatusOK, gateway.ProblemKind{})
	if res := s.do(s.request("GET", unlock+"/state", "")); !strings.Contains(res.text, "true") {
		t.Error(res.text)
	}
	r = s.request("GET", "/paid", "")
	r.AddCookie(cookie)
	if res := s.do(r); res.text != "GET /paid " {
		t.Errorf("%s %s", res.Status, res.text)
	}
	r = s.request("GET", "/paid", "")
	r.AddCookie(cookie)
	s.do(r).wants(t, http.StatusPaymentRequired, gateway.ProblemPaymentRequired)
	if s.spent() != 1000 {
		t.Errorf("spent %d", s.spent())
	}
}

// A node that can't charge closes the shop: nothing is served for nothing.
func TestFailsClosed(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the service was asked") }), nil)
	for _, code := range []channel.Code{channel.CodeDiskFull, channel.CodeNotReady, channel.CodeStopping, channel.CodeFailure, channel.CodePending} {
		s.Fail(channel.Faultf(code, "no"))
		s.do(s.paid(ask{target: "/paid", max: 1000})).wants(t, http.StatusServiceUnavailable, gateway.ProblemUnavailable)
	}
	s.Fail(fmt.Errorf("no fault at all"))
	s.do(s.paid(ask{target: "/paid", max: 1000})).wants(t, http.StatusServiceUnavailable, gateway.ProblemUnavailable)
	s.Fail(channel.Faultf(channel.CodeLimit, "policy"))
	s.do(s.paid(ask{target: "/paid", max: 1000})).wants(t, http.StatusForbidden, gateway.ProblemRefused)
	if s.spent() != 0 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestConfigErrors(t *testing.T) {
	twin := gatewaytest.New(1000)
	for name, routes := range map[string][]gateway.Route{
		"no price":          {{Pattern: "/a"}},
		"free with a price": {{Pattern: "/a", Free: true, Price: gateway.Price{Amount: 1}}},
		"a bad pattern":     {{Pattern: "GET a", Price: gateway.Price{Amount: 1}}},
		"two of one":        {{Pattern: "/a", Free: true}, {Pattern: "/a", Free: true}},
		"an unknown unit":   {{Pattern: "/a", Price: gateway.Price{Amount: 1, Unit: "yard"}}},
		"nothing":           nil,
	} {
		if _, err := gateway.New(context.Background(), gateway.Config{Payee: twin.Payee(), Secret: secret(), Routes: routes}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
