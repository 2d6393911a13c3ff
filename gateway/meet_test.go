package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
	"github.com/runnel/runnel/gateway/gatewaytest"
)

// Transport and middleware meet, with two nodes in memory behind them.
type meeting struct {
	t    *testing.T
	twin *gatewaytest.Twin
	web  *http.Client
	pay  *gateway.Transport
	url  string
}

func meet(t *testing.T, service http.HandlerFunc, routes ...gateway.Route) *meeting {
	t.Helper()
	m := &meeting{t: t, twin: gatewaytest.New(10_000_000)}
	g, err := gateway.New(context.Background(), gateway.Config{Payee: m.twin.Payee(), Secret: make([]byte, 32), Routes: routes, UnpaidLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gateway.Middleware(g)(service))
	t.Cleanup(server.Close)
	m.pay = &gateway.Transport{Payer: m.twin.Payer(), Max: 1_000_000, Budget: gateway.NewBudget(5_000_000)}
	m.web, m.url = &http.Client{Transport: m.pay}, server.URL
	t.Cleanup(func() {
		if err := m.twin.Check(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *meeting) spent() channel.Msat {
	m.t.Helper()
	stand, err := m.twin.Payee().LaneStand(context.Background(), m.twin.Channel())
	if err != nil {
		m.t.Fatal(err)
	}
	return stand.Spent
}

func (m *meeting) get(path string) (string, gateway.Payment) {
	m.t.Helper()
	res, err := m.web.Get(m.url + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	p, _ := gateway.PaymentOf(res)
	return string(body), p
}

func greet(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }

func TestMeetRequests(t *testing.T) {
	m := meet(t, greet, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 25}})
	for range 3 {
		if body, p := m.get("/x"); body != "hello" || p.Cost != 25 || p.Receipt == nil || p.Err != nil {
			t.Errorf("%q %+v", body, p)
		}
	}
	if m.spent() != 75 || m.pay.Budget.Used() != 75 {
		t.Errorf("%d spent, %d of the budget used", m.spent(), m.pay.Budget.Used())
	}
}

func TestMeetManyAtOnce(t *testing.T) {
	const all = 64
	m := meet(t, greet, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 25}})
	var wg sync.WaitGroup
	for range all {
		wg.Go(func() {
			for range 4 {
				if body, p := m.get("/x"); body != "hello" || p.Cost != 25 || p.Err != nil {
					t.Errorf("%q %+v", body, p)
				}
			}
		})
	}
	wg.Wait()
	if m.spent() != 4*all*25 || m.twin.Running(m.twin.Channel()) != 0 {
		t.Errorf("%d spent", m.spent())
	}
}

// Both sides count the same events: empty ones, long ones, and a last one that the service did not end.
func TestMeetEventsOfAllKinds(t *testing.T) {
	long := strings.Repeat("long ", 40_000)
	m := meet(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data\n\n: a comment\n\ndata: %s\n\ndata:\r\n\r\ndata: the end is missing", long)
	}, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 10, Unit: gateway.UnitEvent}})
	for range 2 { // the second one is paid too: the first receipt was believed
		body, p := m.get("/")
		if p.Err != nil || p.Receipt == nil || p.Receipt.Units != 4 || p.Cost != 40 {
			t.Errorf("%+v", p)
		}
		if !strings.HasSuffix(body, "\ndata: the end is missing\n\n") || !strings.Contains(body, long) {
			t.Errorf("%d bytes end with %q", len(body), body[max(0, len(body)-60):])
		}
	}
}

func TestMeetStreamOfTokens(t *testing.T) {
	const all = 500
	service := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range all {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"w%d \"}}]}\n\n", i)
			w.(http.Flusher).Flush()
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
	m := meet(t, service, gateway.Route{Pattern: "POST /v1/chat", Price: gateway.Price{Amount: 20, Unit: gateway.UnitToken}})
	m.pay.Step = 2000
	res, err := m.web.Post(m.url+"/v1/chat", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	p, _ := gateway.PaymentOf(res)
	if err != nil || strings.Count(string(body), "content") != all || strings.Contains(string(body), "payment-") {
		t.Errorf("%d tokens, %v", strings.Count(string(body), "content"), err)
	}
	if p.Cost != all*20 || p.TopUps != 4 || p.Receipt == nil || p.Receipt.Units != all || m.spent() != all*20 || p.Err != nil {
		t.Errorf("%+v, %d spent", p, m.spent())
	}
}

// A reader that leaves pays for what was delivered.
func TestMeetReaderLeaves(t *testing.T) {
	service := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, "data: x\n\n"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
	m := meet(t, service, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 20, Unit: gateway.UnitEvent}})
	m.pay.Step = 1000
	res, err := m.web.Get(m.url + "/s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	p, _ := gateway.PaymentOf(res)
	for m.twin.Running(m.twin.Channel()) > 0 { // the server ends the draw when it notices
		time.Sleep(time.Millisecond)
	}
	if spent := m.spent(); spent > p.Authorised || p.Authorised > 2000 {
		t.Errorf("%d spent, %d authorised", spent, p.Authorised)
	}
}

func TestMeetBytes(t *testing.T) {
	const size = 3 << 20
	service := func(w http.ResponseWriter, r *http.Request) {
		for range size >> 15 {
			w.Write(make([]byte, 1<<15))
		}
	}
	m := meet(t, service, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 10, Unit: gateway.UnitByte, Per: 1 << 10}})
	m.pay.Step = 10_000 // 1 MiB at a time
	body, p := m.get("/file")
	if len(body) != size || p.Cost != size>>10*10 || p.Err != nil || p.Receipt == nil || m.spent() != p.Cost {
		t.Errorf("%d bytes, %+v, %d spent", len(body), p, m.spent())
	}
}

func TestMeetIdempotencyKey(t *testing.T) {
	calls := 0
	m := meet(t, func(w http.ResponseWriter, r *http.Request) { calls++; fmt.Fprint(w, calls) }, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 25}})
	for i := range 2 {
		req, _ := http.NewRequest("POST", m.url, strings.NewReader("x"))
		req.Header.Set("Idempotency-Key", "one")
		res, err := m.web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "1" {
			t.Errorf("%s", body)
		}
		res.Body.Close()
		if p, _ := gateway.PaymentOf(res); p.Cost != 25*channel.Msat(1-i) || p.Err != nil || !p.Over {
			t.Errorf("time %d: %+v", i, p)
		}
	}
	if m.spent() != 25 || calls != 1 {
		t.Errorf("%d spent for %d calls", m.spent(), calls)
	}
}

func TestMeetOpening(t *testing.T) {
	m := meet(t, greet, gateway.Route{Pattern: "/", Price: gateway.Price{Amount: 9_999_999}, SuggestedDeposit: 90_000_000})
	m.pay.Max, m.pay.Budget = 50_000_000, nil
	m.get("/")
	if _, err := m.web.Get(m.url); !isErr(err, gateway.WhyNoChannel) {
		t.Fatal(err)
	}
	m.pay.Open = &opener{}
	m.get("/")
}
