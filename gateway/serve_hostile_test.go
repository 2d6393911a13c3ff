package gateway_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
	"github.com/runnel/runnel/gateway/gatewaytest"
)

// hostile is one thing that a client does who wants to be served for nothing, or to have others pay.
type hostile struct {
	name   string
	serves int          // how often the service is reached by all of it
	spent  channel.Msat // what the payer may have lost
	do     func(t *testing.T, s *counter)
}

// good is a paid request that was served.
func good(t *testing.T, s *counter, a ask) *http.Request {
	t.Helper()
	r := s.paid(a)
	s.do(r.Clone(context.Background())).wants(t, http.StatusOK, gateway.ProblemKind{})
	return r
}

// replayed sends the credential of a request with another one.
func replayed(t *testing.T, s *counter, from *http.Request, method, target, body string, status int) {
	t.Helper()
	r := s.request(method, target, body)
	r.Header = from.Header.Clone()
	if res := s.do(r); res.StatusCode != status {
		t.Errorf("%s %s: %s instead of %d: %s", method, target, res.Status, status, res.text)
	}
}

func hostiles() []hostile {
	paid := ask{target: "/paid", max: 1000}
	return append([]hostile{
		{"a replay gets the stored answer, and is not served again", 1, 1000, func(t *testing.T, s *counter) {
			replayed(t, s, good(t, s, paid), "GET", "/paid", "", 200)
		}},
		{"another method", 1, 1000, func(t *testing.T, s *counter) { replayed(t, s, good(t, s, paid), "POST", "/paid", "", 402) }},
		{"another path", 1, 1000, func(t *testing.T, s *counter) { replayed(t, s, good(t, s, paid), "GET", "/dear", "", 402) }},
		{"another query", 1, 1000, func(t *testing.T, s *counter) { replayed(t, s, good(t, s, paid), "GET", "/paid?more=1", "", 402) }},
		{"another body", 1, 1000, func(t *testing.T, s *counter) {
			replayed(t, s, good(t, s, ask{method: "POST", target: "/post", body: "a", max: 1000}), "POST", "/post", "b", 402)
		}},
		{"another host", 1, 1000, func(t *testing.T, s *counter) {
			r := good(t, s, paid)
			r = r.Clone(context.Background())
			r.Host = "other.example"
			if res := s.do(r); res.StatusCode != 402 {
				t.Error(res.Status)
			}
		}},
		{"another Idempotency-Key", 1, 1000, func(t *testing.T, s *counter) {
			r := good(t, s, ask{method: "POST", target: "/post", key: "a", max: 1000})
			r.Header.Set(gateway.HeaderIdempotency, "b")
			replayed(t, s, r, "POST", "/post", "", 402)
		}},
		{"after a restart of the node", 1, 1000, func(t *testing.T, s *counter) {
			r := good(t, s, paid)
			s.Restart()
			fresh := openBeside(t, s)
			replay := s.request("GET", "/paid", "")
			replay.Header = r.Header.Clone()
			replay.Host = strings.TrimPrefix(s.server.URL, "http://")
			replay.URL = must(t, fresh.server.URL+"/paid")
			fresh.do(replay).wants(t, http.StatusConflict, gateway.ProblemRepeated)
		}},
		{"a crash between charge and answer gives the charge back, and the credential is used up", 0, 0, func(t *testing.T, s *counter) {
			r := s.paid(paid)
			charge(t, s, r, 1000)
			s.Restart()
			s.do(r).wants(t, http.StatusConflict, gateway.ProblemRepeated)
		}},
		{"a hundred at once", 1, 1000, func(t *testing.T, s *counter) { parallel(t, s, s.paid(paid), 20) }},
		{"cancelled in the middle", 0, 0, func(t *testing.T, s *counter) {
			ctx, cancel := context.WithCancel(context.Background())
			r := s.paid(ask{target: "/slow", max: 1000}).WithContext(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			if res, err := s.server.Client().Transport.RoundTrip(r); err == nil {
				res.Body.Close()
			}
			s.ends()
		}},
		{"the service fails after payment", 0, 0, func(t *testing.T, s *counter) {
			if res := s.do(s.paid(ask{target: "/broken", max: 1000})); res.StatusCode != 500 || res.receipt != nil {
				t.Error(res.Status)
			}
		}},
		{"forged payer", 1, 1000, func(t *testing.T, s *counter) {
			r := s.paid(paid)
			r.Header["Runnel-Payer"] = []string{"somebody", "else"}
			r.Header["Runnel_payer"] = []string{"somebody"}
			if res := s.do(r); res.text != string(gatewaytest.PayerID) {
				t.Errorf("the service was told %q", res.text)
			}
		}},
		{"forged payer on a free route", 1, 0, func(t *testing.T, s *counter) {
			r := s.request("GET", "/free", "")
			r.Header["Runnel-Payer"] = []string{"somebody"}
			if res := s.do(r); res.text != "" {
				t.Errorf("the service was told %q", res.text)
			}
		}},
		{"a challenge of a stranger", 0, 0, func(t *testing.T, s *counter) {
			m := must2(gateway.NewMint([]byte(strings.Repeat("x", gateway.MinSecret))))
			c := s.challenge("GET", "/paid")
			if err := m.Sign(&c); err != nil {
				t.Fatal(err)
			}
			s.do(s.paid(ask{target: "/paid", max: 1000, challenge: c})).wants(t, 402, gateway.ProblemInvalidChallenge)
		}},
		{"a challenge with a longer life", 0, 0, func(t *testing.T, s *counter) {
			c := s.challenge("GET", "/paid")
			c.Expires = "2099-01-01T00:00:00Z"
			s.do(s.paid(ask{target: "/paid", max: 1000, challenge: c})).wants(t, 402, gateway.ProblemInvalidChallenge)
		}},
		{"an expired challenge", 0, 0, func(t *testing.T, s *counter) {
			m := must2(gateway.NewMint(secret()))
			c := s.challenge("GET", "/paid")
			c.Expires = "2020-01-01T00:00:00Z"
			if err := m.Sign(&c); err != nil {
				t.Fatal(err)
			}
			s.do(s.paid(ask{target: "/paid", max: 1000, challenge: c})).wants(t, 402, gateway.ProblemInvalidChallenge)
		}},
		{"the challenge of another realm under the same secret", 0, 0, func(t *testing.T, s *counter) {
			m := must2(gateway.NewMint(secret()))
			c := s.challenge("GET", "/paid")
			c.Realm = "another shop"
			if err := m.Sign(&c); err != nil {
				t.Fatal(err)
			}
			res := s.do(s.paid(ask{target: "/paid", max: 1000, challenge: c}))
			res.wants(t, 402, gateway.ProblemInvalidChallenge)
			if !strings.HasPrefix(res.problem.Detail, gateway.ErrUnknownChallenge.Error()) {
				t.Error(res.problem)
			}
		}},
		{"a challenge of a cheap route on a dear one", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{target: "/dear", max: 1000, challenge: s.challenge("GET", "/paid")})).wants(t, 402, gateway.ProblemBalance)
		}},
		{"another channel's voucher", 0, 0, func(t *testing.T, s *counter) {
			other := s.AddChannel(1_000_000)
			s.do(s.paid(ask{target: "/paid", max: 1000, change: func(_ *gateway.Credential, p *gateway.Payload) { p.Channel = other }})).wants(t, 402, gateway.ProblemVerification)
		}},
		{"a channel that is not there", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{target: "/paid", max: 1000, change: func(_ *gateway.Credential, p *gateway.Payload) { p.Channel = channel.ID{0xff} }})).wants(t, 410, gateway.ProblemChannelNotFound)
		}},
		{"a higher total", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{target: "/paid", max: 1000, change: func(_ *gateway.Credential, p *gateway.Payload) { p.Total += 1000 }})).wants(t, 402, gateway.ProblemVerification)
		}},
		{"a higher maximum", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{target: "/paid", max: 10, change: func(_ *gateway.Credential, p *gateway.Payload) { p.Max = 1000 }})).wants(t, 402, gateway.ProblemVerification)
		}},
		{"another n", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{target: "/paid", max: 1000, change: func(_ *gateway.Credential, p *gateway.Payload) { p.N += 7 }})).wants(t, 402, gateway.ProblemVerification)
		}},
		{"another signature", 0, 0, func(t *testing.T, s *counter) {
			if res := s.do(s.paid(ask{target: "/paid", max: 1000, change: func(_ *gateway.Credential, p *gateway.Payload) { p.Signature[0] ^= 1 }})); res.StatusCode != 402 {
				t.Error(res.Status)
			}
		}},
		{"authorised for less than the price", 0, 0, func(t *testing.T, s *counter) {
			res := s.do(s.paid(ask{target: "/paid", max: 999}))
			res.wants(t, 402, gateway.ProblemBalance)
			if res.problem.RequiredMax != 1000 {
				t.Errorf("%+v", res.problem)
			}
		}},
		{"somebody else as the source", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{target: "/paid", max: 1000, change: func(c *gateway.Credential, _ *gateway.Payload) { c.Source = "12D3KooWSomebody" }})).wants(t, 402, gateway.ProblemSigner)
		}},
		{"another payment method", 0, 0, func(t *testing.T, s *counter) {
			m := must2(gateway.NewMint(secret()))
			c := s.challenge("GET", "/paid")
			c.Method = "lightning"
			if err := m.Sign(&c); err != nil {
				t.Fatal(err)
			}
			s.do(s.paid(ask{target: "/paid", max: 1000, challenge: c})).wants(t, 400, gateway.ProblemMethodUnsupported)
		}},
		{"a raise instead of a payment", 0, 0, func(t *testing.T, s *counter) {
			first := s.paid(ask{target: "/paid", max: 1000})
			_ = first // authorises n = 1
			if res := s.do(s.paid(ask{target: "/paid", raise: 1, raiseBy: 5000})); res.StatusCode != 402 {
				t.Error(res.Status)
			}
		}},
		{"a management action does not reach the service", 0, 0, func(t *testing.T, s *counter) {
			for _, a := range []gateway.Action{gateway.ActionOpen, gateway.ActionTopUp} {
				s.do(s.paid(ask{method: "POST", target: "/post", max: 1000, action: a}))
			}
		}},
		{"a body above the limit", 0, 0, func(t *testing.T, s *counter) {
			s.do(s.paid(ask{method: "POST", target: "/post", body: strings.Repeat("b", 1<<20+1), max: 1000})).wants(t, 413, gateway.ProblemTooLarge)
		}},
		{"a header bomb", 0, 0, func(t *testing.T, s *counter) {
			r := s.request("GET", "/free", "")
			for i := range 200 {
				r.Header[fmt.Sprintf("X-Bomb-%d", i)] = []string{"b"}
			}
			s.do(r).wants(t, 431, gateway.ProblemHeaderTooLarge)
		}},
		{"a credential that is too long", 0, 0, func(t *testing.T, s *counter) {
			r := s.request("GET", "/paid", "")
			r.Header.Set("Authorization", "Payment "+strings.Repeat("A", gateway.MaxHeader+4))
			s.do(r).wants(t, 402, gateway.ProblemMalformed)
		}},
		{"two credentials", 0, 0, func(t *testing.T, s *counter) {
			a, b := s.paid(paid), s.paid(paid)
			a.Header["Authorization"] = append(a.Header["Authorization"], b.Header["Authorization"]...)
			s.do(a).wants(t, 400, gateway.ProblemBadRequest)
		}},
		{"a header that looks like Authorization", 0, 0, func(t *testing.T, s *counter) {
			r := s.paid(paid)
			r.Header["Idempotency_key"] = []string{"x"}
			s.do(r).wants(t, 400, gateway.ProblemBadRequest)
		}},
	}, rawHostiles()...)
}

// rawHostiles write to the connection what no library would.
func rawHostiles() []hostile {
	raw := func(text string, statuses ...int) func(*testing.T, *counter) {
		return func(t *testing.T, s *counter) {
			t.Helper()
			for _, status := range s.raw(text) {
				ok := false
				for _, want := range statuses {
					ok = ok || status == want
				}
				if !ok {
					t.Errorf("answered with %d", status)
				}
			}
		}
	}
	return []hostile{
		{"a request hidden behind chunks under a length", 0, 0, raw("POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 45\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /paid HTTP/1.1\r\nHost: x\r\n\r\n", 400, 402)},
		{"two lengths", 0, 0, raw("POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400)},
		{"a transfer coding that is not chunked", 0, 0, raw("POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400, 501)},
		{"two hosts", 0, 0, raw("GET /free HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400)},
		{"no host", 0, 0, raw("GET /free HTTP/1.1\r\n\r\n", 400)},
		{"a space before the colon", 0, 0, raw("GET /free HTTP/1.1\r\nHost: x\r\nAuthorization : Payment x\r\n\r\n", 400)},
		{"an absolute target", 0, 0, raw("GET http://x/free HTTP/1.1\r\nHost: x\r\n\r\n", 400)},
		{"a tunnel", 0, 0, raw("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 400)},
		{"a folded header", 0, 0, raw("GET /paid HTTP/1.1\r\nHost: x\r\nAuthorization: Payment\r\n e30\r\n\r\n", 400, 402)},
	}
}

// raw sends bytes and returns the statuses of what comes back.
func (s *counter) raw(text string) (statuses []int) {
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	src := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(src, nil)
		if err != nil {
			return statuses
		}
		statuses = append(statuses, res.StatusCode)
		s.read(res)
	}
}

// openBeside makes another gateway, without the memory of the first, over the same nodes.
func openBeside(t *testing.T, s *counter) *counter {
	t.Helper()
	fresh := openCounter(t, http.NotFoundHandler(), func(c *gateway.Config) { c.Payee = s.Payee() })
	return fresh
}

// charge does what the gateway does before it serves.
func charge(t *testing.T, s *counter, r *http.Request, amount channel.Msat) {
	t.Helper()
	c, err := gateway.ParseCredential(r.Header.Get("Authorization"))
	if err != nil {
		t.Fatal(err)
	}
	p := must2(c.SessionPayload())
	b := channel.Binding{Challenge: c.Challenge.ID, Method: r.Method, Authority: r.URL.Host, Target: r.URL.RequestURI(), Body: sha256.Sum256(nil)}
	if _, err := s.Payee().Charge(context.Background(), channel.ChargeRequest{Authorisation: p.Authorisation(b), Amount: amount}); err != nil {
		t.Fatal(err)
	}
}

// parallel sends a request many times at once. One is served; each other one gets its answer, or is told no.
func parallel(t *testing.T, s *counter, r *http.Request, times int) {
	t.Helper()
	var wg sync.WaitGroup
	var fine atomic.Int32
	for range times {
		wg.Go(func() {
			switch res := s.do(r.Clone(context.Background())); res.StatusCode {
			case http.StatusOK:
				fine.Add(1)
			case http.StatusConflict:
			default:
				t.Errorf("%s: %s", res.Status, res.text)
			}
		})
	}
	wg.Wait()
	if fine.Load() == 0 {
		t.Error("none was served")
	}
}

func TestHostileClients(t *testing.T) {
	list := hostiles()
	if len(list) < 30 {
		t.Fatalf("only %d cases", len(list))
	}
	for _, h := range list {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int32
			release := make(chan struct{})
			s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/broken":
					w.WriteHeader(http.StatusInternalServerError)
					return
				case "/slow":
					select {
					case <-r.Context().Done():
					case <-release:
					}
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				served.Add(1)
				fmt.Fprint(w, r.Header.Get(gateway.HeaderPayer))
			}), func(c *gateway.Config) {
				c.MaxBody = 1 << 20
				c.Routes = append(c.Routes, gateway.Route{Pattern: "/broken", Price: gateway.Price{Amount: 1000}}, gateway.Route{Pattern: "/slow", Price: gateway.Price{Amount: 1000}})
			})
			defer close(release)
			h.do(t, s)
			if int(served.Load()) != h.serves || s.spent() != h.spent {
				t.Errorf("served %d times and spent %d instead of %d and %d", served.Load(), s.spent(), h.serves, h.spent)
			}
		})
	}
}
