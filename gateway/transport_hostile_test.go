package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// Offers that make no sense are not paid, and nothing is signed for them.
func TestHostileOffers(t *testing.T) {
	base := `{"amount":"20","currency":"msat","recipient":"` + string(shop) + `","unitType":"request"}`
	for name, request := range map[string]string{
		"another currency":         strings.Replace(base, "msat", "sat", 1),
		"amount 0":                 strings.Replace(base, `"20"`, `"0"`, 1),
		"a negative amount":        strings.Replace(base, `"20"`, `"-20"`, 1),
		"an amount with a point":   strings.Replace(base, `"20"`, `"2.0"`, 1),
		"a number for an amount":   strings.Replace(base, `"20"`, `20`, 1),
		"an amount above all":      strings.Replace(base, `"20"`, `"2100000000000000001"`, 1),
		"an amount that overflows": strings.Replace(base, `"20"`, fmt.Sprintf("%q", fmt.Sprint(uint64(math.MaxUint64))), 1),
		"more than 64 bits":        strings.Replace(base, `"20"`, `"18446744073709551636"`, 1),
		"nobody":                   strings.Replace(base, string(shop), "", 1),
		"no unit":                  strings.Replace(base, `,"unitType":"request"`, "", 1),
		"no JSON":                  "hello",
		"a list":                   "[]",
		"two amounts":              strings.Replace(base, `"amount":"20"`, `"amount":"20","amount":"21"`, 1),
		"a unit of size 0":         strings.Replace(base, `"unitType"`, `"methodDetails":{"unitSize":"0"},"unitType"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStall(20)
			v := newVisit(t, s)
			v.transport.Max = math.MaxUint64
			v.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.challenge(w, func(c *gateway.Challenge) { c.Request = gateway.EncodeBase64([]byte(request)) })
				s.refuse(w, gateway.ProblemPaymentRequired.Problem("pay"))
			})
			v.fails("/", gateway.WhyOffer)
			v.signedOnly(0, 0)
		})
	}
}

func TestHostileHeaders(t *testing.T) {
	for name, set := range map[string]func(h http.Header){
		"a huge challenge":       func(h http.Header) { h.Set("WWW-Authenticate", `Payment id="`+strings.Repeat("x", 100_000)+`"`) },
		"a quote without an end": func(h http.Header) { h.Set("WWW-Authenticate", `Payment id="x`) },
		"a thousand challenges": func(h http.Header) {
			for range 1000 {
				h.Add("WWW-Authenticate", `Payment id="x", realm="r", method="runnel", intent="session", request="AA"`)
			}
		},
	} {
		v := newVisit(t, newStall(20))
		v.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			set(w.Header())
			w.WriteHeader(402)
		})
		t.Log(name)
		v.fails("/", gateway.WhyOffer)
		v.signedOnly(0, 0)
	}
}

// A server that takes every payment and asks for another one gets what one request may cost, and no more.
func TestEndless402(t *testing.T) {
	s := newStall(20)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		s.challenge(w)
		s.refuse(w, gateway.ProblemInvalidChallenge.Problem("try once more"))
	}
	v := newVisit(t, s)
	err := v.fails("/", nil)
	var rejected *gateway.Rejected
	if !errors.As(err, &rejected) || !errors.Is(err, &gateway.Problem{ProblemKind: gateway.ProblemInvalidChallenge}) || rejected.Authorised != 40 {
		t.Errorf("%v: %+v", err, rejected)
	}
	v.signedOnly(2, 40)
	v.fails("/", nil) // it begins unpaid again
	v.signedOnly(4, 80)
}

// What the server says about a rejected payment arrives, and is told apart from what was never paid.
func TestRejections(t *testing.T) {
	for _, kind := range []gateway.ProblemKind{
		gateway.ProblemMalformed, gateway.ProblemVerification, gateway.ProblemSignature, gateway.ProblemSigner, gateway.ProblemDeposit,
		gateway.ProblemChannelNotFound, gateway.ProblemChannelFinalized, gateway.ProblemMethodUnsupported, gateway.ProblemRefused,
		gateway.ProblemRepeated, gateway.ProblemIdempotencyReused, gateway.ProblemIdempotencyRunning, gateway.ProblemIdempotencyGone,
	} {
		s := newStall(20)
		s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
			if kind.Status == http.StatusPaymentRequired {
				s.challenge(w)
			}
			s.refuse(w, kind.Problem("the reason is 42"))
		}
		v := newVisit(t, s)
		err := v.fails("/", nil)
		var rejected *gateway.Rejected
		var unpaid *gateway.Unpaid
		if !errors.As(err, &rejected) || errors.As(err, &unpaid) || rejected.Status != kind.Status || rejected.Problem.ProblemKind != kind ||
			!strings.Contains(err.Error(), "the reason is 42") {
			t.Errorf("%s: %v", kind.Title, err)
		}
		v.signedOnly(1, 20)
		if p := v.payments(); len(p) != 1 || p[0].Cost != 20 {
			t.Errorf("%s: a rejected payment may still be taken: %+v", kind.Title, p)
		}
	}
}

func TestInsufficientBalance(t *testing.T) {
	s := newStall(20)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		if p.Max < 300 {
			s.challenge(w)
			problem := gateway.ProblemBalance.Problem("it takes 300")
			problem.RequiredMax = 300
			s.refuse(w, problem)
			return
		}
		s.receipt(w, nil, p)
	}
	v := newVisit(t, s)
	if _, p := v.get("/"); p.Authorised != 320 || p.Cost != 20 {
		t.Errorf("%+v", p)
	}
	v.transport.Max = 319
	v.fails("/", gateway.WhyMax)
}

func TestAnotherPayee(t *testing.T) {
	s := newStall(20)
	s.expires = time.Second
	v := newVisit(t, s)
	v.get("/")
	s.request.Recipient = "16Uiu2HAmThief"
	v.fails("/", gateway.WhyRecipient)
	v.fails("/elsewhere", gateway.WhyRecipient)
	s.realm = "another realm" // does not help on a route that is known
	v.fails("/", gateway.WhyRecipient)
	v.transport.AllowRise = true
	v.fails("/", gateway.WhyRecipient)
	v.signedOnly(1, 20)
}

func TestWrongReceipts(t *testing.T) {
	for name, lie := range map[string]func(*gateway.Receipt){
		"more than authorised":    func(r *gateway.Receipt) { r.Amount = 21 },
		"all money there is":      func(r *gateway.Receipt) { r.Amount = channel.Msat(channel.MaxMoney) * 1000 },
		"spent above vouchers":    func(r *gateway.Receipt) { r.Spent = r.Accepted + 1 },
		"vouchers never signed":   func(r *gateway.Receipt) { r.Accepted++ },
		"another channel":         func(r *gateway.Receipt) { r.Channel[0]++ },
		"another payment method":  func(r *gateway.Receipt) { r.Method = "lightning" },
		"vouchers of all and all": func(r *gateway.Receipt) { r.Accepted = channel.Msat(channel.MaxMoney) * 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStall(20)
			s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
				s.receipt(w, nil, p, lie)
				fmt.Fprint(w, "the goods")
			}
			v := newVisit(t, s)
			body, p := v.get("/")
			var bad *gateway.BadReceipt
			if body != "the goods" || !errors.As(p.Err, &bad) || p.Receipt != nil || p.Cost != 20 {
				t.Errorf("%q, %+v", body, p)
			}
			v.fails("/", gateway.WhyDistrust)
			v.fails("/other", gateway.WhyDistrust)
			v.signedOnly(1, 20)
		})
	}
	t.Run("nonsense", func(t *testing.T) {
		s := newStall(20)
		s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
			w.Header().Set(gateway.HeaderReceipt, "!!!")
		}
		v := newVisit(t, s)
		if _, p := v.get("/"); p.Err == nil || p.Cost != 20 {
			t.Errorf("%+v", p)
		}
	})
}

// Others on the channel let vouchers grow too: the node knows.
func TestReceiptOfASharedChannel(t *testing.T) {
	s := newStall(20)
	v := newVisit(t, s)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		v.node.mu.Lock()
		v.node.total += 5000 // another program's
		v.node.mu.Unlock()
		s.receipt(w, nil, p, func(r *gateway.Receipt) { r.Accepted += 5000; r.Spent = r.Accepted })
	}
	if _, p := v.get("/"); p.Err != nil || p.Receipt == nil {
		t.Errorf("%+v", p)
	}
}

func TestSnapshots(t *testing.T) {
	snapshot := func(accepted channel.Msat, sig channel.Signature) *gateway.Snapshot {
		return &gateway.Snapshot{Channel: lane, Accepted: accepted, Signature: sig}
	}
	for _, c := range []struct {
		name string
		s    *gateway.Snapshot
		why  error
	}{
		{"older than the node's", snapshot(7, channel.Signature{1}), nil},
		{"the node's newest", snapshot(40, signature(40)), nil},
		{"the newest total under a foreign signature", snapshot(40, channel.Signature{1}), gateway.WhySnapshot},
		{"above what the node ever signed", snapshot(61, signature(61)), gateway.WhySnapshot},
		{"what is being signed, by somebody else", snapshot(60, channel.Signature{1}), gateway.WhySnapshot},
		{"all money there is", snapshot(channel.Msat(channel.MaxMoney)*1000, signature(1)), gateway.WhySnapshot},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStall(20)
			v := newVisit(t, s)
			v.get("/")
			s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
				if p.Total == 40 {
					s.request.Details.Snapshot = c.s
					s.challenge(w)
					s.request.Details.Snapshot = nil
					s.refuse(w, gateway.ProblemBalance.Problem("the books are behind"))
					return
				}
				s.receipt(w, nil, p)
			}
			if c.why == nil {
				v.get("/")
			} else {
				v.fails("/", c.why)
			}
			if want := map[bool]int{true: 3, false: 2}[c.why == nil]; s.paid() != want {
				t.Errorf("%d payments were shown, want %d", s.paid(), want)
			}
		})
	}
}

func TestBodyShorterThanPaid(t *testing.T) {
	s := newStall(1)
	s.request.Unit = gateway.UnitByte
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		w.Header().Set("Trailer", gateway.HeaderReceipt)
		fmt.Fprint(w, "ten bytes.")
		header, _ := receiptFor(p, 11, func(r *gateway.Receipt) { r.Units = 11 }).Header()
		w.Header().Set(gateway.HeaderReceipt, header)
	}
	v := newVisit(t, s)
	res, err := v.client.Get(v.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if p, _ := gateway.PaymentOf(res); string(body) != "ten bytes." || err != nil || p.Err == nil || p.Cost != 11 || !p.Over {
		t.Errorf("%q, %v, %+v", body, err, p)
	}
	v.fails("/", gateway.WhyDistrust)
}

// A body that breaks off is an error and no more than a broken body.
func TestBrokenBody(t *testing.T) {
	s := newStall(20)
	s.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		s.receipt(w, nil, p)
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	}
	v := newVisit(t, s)
	res, err := v.client.Get(v.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); string(body) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", body, err)
	}
}

// Nothing of a payment is sent to a server behind another address, also if a name hides that.
func TestCredentialStaysAtItsAuthority(t *testing.T) {
	s := newStall(20)
	v := newVisit(t, s)
	v.get("/")
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a credential reached another server")
		}
	}))
	defer thief.Close()
	req, _ := http.NewRequest("GET", thief.URL, nil)
	req.Host = strings.TrimPrefix(v.server.URL, "http://")
	res, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}
