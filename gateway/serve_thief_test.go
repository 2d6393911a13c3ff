package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// A payer that closes its channel while its request is being served, or a node that restarts then, ends the draw with
// nothing. What the service answers then is not given away, and no receipt says that it was paid.
func TestNothingLeavesForAChargeThatEnded(t *testing.T) {
	var s *counter
	secret := "the secret of the house"
	s = openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Restart() // ends what runs, as a stop of the payer's does
		if r.URL.Path == "/tokens" {
			w.Header().Set("Content-Type", "application/json")
			secret = `{"usage":{"completion_tokens":9},"text":"` + secret + `"}`
		}
		_, _ = w.Write([]byte(secret))
	}), nil)
	for _, target := range []string{"/paid", "/dear", "/tokens"} {
		res := s.do(s.paid(ask{target: target, max: 5000}))
		if strings.Contains(res.text, "secret") || res.receipt != nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s %s %+v", target, res.Status, res.text, res.receipt)
		}
	}
	if s.spent() != 0 || s.count(gateway.OutcomePaid) > 0 {
		t.Errorf("spent %d, %v", s.spent(), s.outcomes)
	}
}

// A page opens when its charge is in the books, and not before.
func TestPageIsNotOpenedByAChargeThatEnded(t *testing.T) {
	var s *counter
	s = openCounter(t, hello(), func(c *gateway.Config) {
		c.Payee = &restarts{c.Payee, func() { s.Restart() }}
		c.Routes = append(c.Routes, gateway.Route{Pattern: "/lenient", Price: gateway.Price{Amount: 1000}, GiveBackBroken: true})
	})
	for _, target := range []string{"/paid", "/lenient"} {
		r := s.request("GET", target, "")
		r.Header.Set("Accept", "text/html")
		cookie := s.do(r).Cookies()[0]
		unlock := "/.well-known/runnel/unlock/" + cookie.Value
		s.do(s.paid(ask{target: unlock, max: 1000})).wants(t, http.StatusServiceUnavailable, gateway.ProblemUnavailable)
		if res := s.do(s.request("GET", unlock+"/state", "")); !strings.Contains(res.text, "false") {
			t.Error(res.text)
		}
		r = s.request("GET", target, "")
		r.AddCookie(cookie)
		s.do(r).wants(t, http.StatusPaymentRequired, gateway.ProblemPaymentRequired)
	}
}

// restarts is a node that restarts before a draw is ended.
type restarts struct {
	gateway.Payee
	restart func()
}

func (p *restarts) EndDraw(ctx context.Context, id channel.ID, n uint64, used channel.Msat) (channel.Charge, error) {
	p.restart()
	return p.Payee.EndDraw(ctx, id, n, used)
}

// A client that goes away while its request is being charged leaves no draw behind that holds its credit for good.
func TestClientThatLeavesWhileCharged(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("served to nobody") }), nil)
	slow := &leaves{Payee: s.Payee()}
	gw, err := gateway.New(context.Background(), gateway.Config{Payee: slow, Secret: secret(), Realm: "shop", Routes: routes()})
	if err != nil {
		t.Fatal(err)
	}
	r := s.paid(ask{target: "/paid", max: 1000})
	ctx, cancel := context.WithCancel(context.Background())
	slow.leave = cancel
	in := httptest.NewRequest("GET", s.server.URL+"/paid", nil).WithContext(ctx)
	in.RequestURI, in.Header = "/paid", r.Header
	gateway.Middleware(gw)(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), in)
	if s.Running(s.Channel()) != 0 || s.spent() != 0 || slow.charged != 1 {
		t.Errorf("%d run, spent %d, charged %d times", s.Running(s.Channel()), s.spent(), slow.charged)
	}
}

// leaves is a node that charges although the caller is gone by then.
type leaves struct {
	gateway.Payee
	leave   func()
	charged int
}

func (p *leaves) Charge(ctx context.Context, req channel.ChargeRequest) (channel.Charge, error) {
	c, err := p.Payee.Charge(context.WithoutCancel(ctx), req)
	p.charged++
	p.leave()
	if ctx.Err() != nil {
		return channel.Charge{}, channel.Faultf(channel.CodePending, "not durable yet")
	}
	return c, err
}

// Who names a channel and can't prove that it is theirs is told nothing of where it stands.
func TestStrangersLearnNothingOfAChannel(t *testing.T) {
	s := openCounter(t, hello(), func(c *gateway.Config) {
		c.Routes = append(c.Routes, gateway.Route{Pattern: "/delta", Price: gateway.Price{Amount: 1000}, MinVoucherDelta: 3000})
	})
	s.do(s.paid(ask{target: "/paid", max: 1000})).wants(t, http.StatusOK, gateway.ProblemKind{})
	wrong := func(_ *gateway.Credential, p *gateway.Payload) { p.MAC[0] ^= 1 }
	small := s.do(s.paid(ask{target: "/paid", max: 500, change: wrong}))
	small.wants(t, http.StatusPaymentRequired, gateway.ProblemBalance)
	delta := s.do(s.paid(ask{target: "/delta", max: 1000, change: wrong}))
	delta.wants(t, http.StatusPaymentRequired, gateway.ProblemDelta)
	for _, res := range []*answer{small, delta} {
		list := must2(gateway.ParseChallenges(res.Header.Get("WWW-Authenticate")))
		if r := must2(list[0].SessionRequest()); res.problem.RequiredTopUp != 0 || r.Details.Snapshot != nil {
			t.Errorf("%s %+v", res.text, r.Details)
		}
	}
	for _, figure := range []string{"1500", "2500"} { // by which the voucher, or the total, goes on
		if strings.Contains(delta.text, figure) {
			t.Errorf("told: %s", delta.text)
		}
	}
}

// Any path that can be asked for can be paid: what the history says of it is text.
func TestEveryPathCanBePaid(t *testing.T) {
	for _, path := range []string{"/a%0Ab", "/" + strings.Repeat("%C3%A9", 40), "/a%FFb"} {
		p := &refs{}
		s := openCounter(t, hello(), func(c *gateway.Config) {
			p.Payee = c.Payee
			c.Payee, c.Routes = p, []gateway.Route{{Pattern: "/", Price: gateway.Price{Amount: 1000}}}
		})
		s.do(s.paid(ask{target: path, max: 1000})).wants(t, http.StatusOK, gateway.ProblemKind{})
		if p.ref == "" || !utf8.ValidString(p.ref) || strings.ContainsFunc(p.ref, unicode.IsControl) || len(p.ref) > channel.MaxRefBytes {
			t.Errorf("%s: %q", path, p.ref)
		}
	}
}

type refs struct {
	gateway.Payee
	ref string
}

func (p *refs) Charge(ctx context.Context, req channel.ChargeRequest) (channel.Charge, error) {
	p.ref = req.Ref
	return p.Payee.Charge(ctx, req)
}
