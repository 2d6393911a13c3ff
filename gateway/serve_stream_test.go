package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

func sse(w http.ResponseWriter, events ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range events {
		fmt.Fprintf(w, "data: %s\n\n", e)
		_ = http.NewResponseController(w).Flush()
	}
}

// eventReader reads a stream as a client does, one event at a time.
type eventReader struct {
	t   testing.TB
	src *bufio.Reader
}

func (s *counter) stream(r *http.Request) (*http.Response, *eventReader) {
	s.t.Helper()
	res, err := s.server.Client().Transport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", res.Status, s.read(res).text)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	return res, &eventReader{s.t, bufio.NewReader(res.Body)}
}

// next returns the name and the data of an event, or an empty name and data at the end.
func (e *eventReader) next() (name, data string) {
	e.t.Helper()
	for {
		line, err := e.src.ReadString('\n')
		if err != nil {
			return "", ""
		}
		line = strings.TrimRight(line, "\n")
		if line == "" {
			return name, data
		}
		if v, ok := strings.CutPrefix(line, "event: "); ok {
			name = v
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			data += v
		}
	}
}

func (e *eventReader) wants(name, data string) string {
	e.t.Helper()
	gotName, gotData := e.next()
	if gotName != name || data != "" && gotData != data {
		e.t.Fatalf("got %q %q instead of %q %q", gotName, gotData, name, data)
	}
	return gotData
}

// The first event reaches the client before the service has written the second.
func TestEventsPassAtOnce(t *testing.T) {
	arrived := make(chan struct{})
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sse(w, "one")
		select {
		case <-arrived:
		case <-r.Context().Done():
			t.Error("the first event did not arrive")
		}
		sse(w, "two")
	}), nil)
	_, events := s.stream(s.paid(ask{target: "/events", max: 500}))
	events.wants("", "one")
	close(arrived)
	events.wants("", "two")
	r, err := gateway.ParseReceiptEvent([]byte(events.wants(gateway.EventReceipt, "")))
	if err != nil || r.Amount != 20 || r.Units != 2 || r.Spent != 20 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, data := events.next(); data != "" {
		t.Errorf("%q follows the receipt", data)
	}
	if s.spent() != 20 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestStreamPausesAndResumes(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 10 {
			sse(w, fmt.Sprint(i))
		}
	}), nil)
	_, events := s.stream(s.paid(ask{target: "/events", max: 30}))
	max, topUps := channel.Msat(30), 0
	for i := range 10 {
		name, data := events.next()
		if name == gateway.EventNeedVoucher {
			n, err := gateway.ParseNeedVoucher([]byte(data))
			if err != nil || n.N != 1 || n.Max != max+10 || n.Accepted != max || n.Required != max+10 || n.Channel != s.Channel() {
				t.Fatalf("%s: %+v, %v", data, n, err)
			}
			if s.spent() != max {
				t.Errorf("spent %d while it waits", s.spent())
			}
			res := s.do(s.paid(ask{method: "HEAD", target: "/events", raise: n.N, raiseBy: 30}))
			if res.StatusCode != http.StatusOK {
				t.Fatal(res.Status)
			}
			max, topUps = max+30, topUps+1
			name, data = events.next()
		}
		if name != "" || data != fmt.Sprint(i) {
			t.Fatalf("got %q %q", name, data)
		}
	}
	r, err := gateway.ParseReceiptEvent([]byte(events.wants(gateway.EventReceipt, "")))
	if err != nil || r.Amount != 100 || topUps != 3 || s.spent() != 100 {
		t.Errorf("%+v, %v, %d top-ups, spent %d", r, err, topUps, s.spent())
	}
}

func TestStreamEndsWithoutVoucher(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sse(w, "1", "2", "3", "4") }),
		func(c *gateway.Config) { c.Pause = 10 * time.Millisecond })
	_, events := s.stream(s.paid(ask{target: "/events", max: 25}))
	events.wants("", "1")
	events.wants("", "2")
	events.wants(gateway.EventNeedVoucher, "")
	r, err := gateway.ParseReceiptEvent([]byte(events.wants(gateway.EventReceipt, "")))
	if err != nil || r.Amount != 20 || s.spent() != 20 {
		t.Errorf("%+v, %v, spent %d", r, err, s.spent())
	}
}

// ends waits until the draws of a counter have ended.
func (s *counter) ends() {
	s.t.Helper()
	for s.Running(s.Channel()) > 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestClientThatGoesAwayPaysForWhatItGot(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sse(w, "1", "2", "3")
		<-r.Context().Done()
	}), nil)
	res, events := s.stream(s.paid(ask{target: "/events", max: 1000}))
	for i := range 3 {
		events.wants("", fmt.Sprint(i+1))
	}
	res.Body.Close()
	s.ends()
	if s.spent() != 30 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestBrokenStreamIsPaidAsFarAsItCame(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sse(w, "1", "2")
		panic(http.ErrAbortHandler)
	}), nil)
	res, events := s.stream(s.paid(ask{target: "/events", max: 1000}))
	events.wants("", "1")
	events.wants("", "2")
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a broken stream looks whole")
	}
	s.ends()
	if s.spent() != 20 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestBytes(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 5000)) }), nil)
	res := s.do(s.paid(ask{target: "/bytes", max: 100}))
	if len(res.text) != 5000 || res.receipt == nil || res.receipt.Amount != 10 || res.receipt.Units != 5000 || s.spent() != 10 {
		t.Errorf("%d bytes, %+v, spent %d", len(res.text), res.receipt, s.spent())
	}
}

// A body that is not paid to its end breaks off, and does not look whole.
func TestBytesBreakOffUnpaid(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}), func(c *gateway.Config) { c.Pause = 10 * time.Millisecond })
	res := s.do(s.paid(ask{target: "/bytes", max: 130}))
	if res.readErr == nil || len(res.text) != 64<<10 || s.spent() != 128 {
		t.Errorf("%d bytes, %v, spent %d", len(res.text), res.readErr, s.spent())
	}
}

// What passes is not kept.
func TestLargeAnswerInLittleMemory(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		t.Skip("it passes a gigabyte")
	}
	var peak atomic.Uint64
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 64<<10)
		for sent := int64(0); sent < size; sent += int64(len(piece)) {
			if _, err := w.Write(piece); err != nil {
				t.Error(err)
				return
			}
			if sent%(8<<20) == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapInuse))
			}
		}
	}), nil)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	res, _ := s.stream(s.paid(ask{target: "/bytes", max: channel.Msat(size / 1024 * 2)}))
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || n != size || s.spent() != channel.Msat(size/1024*2) {
		t.Errorf("%d bytes, %v, spent %d", n, err, s.spent())
	}
	if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

func TestTokens(t *testing.T) {
	var stream, whole string
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("the service may compress: %q", r.Header.Get("Accept-Encoding"))
		}
		if whole != "" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, whole)
			return
		}
		sse(w, strings.Split(stream, "|")...)
	}), nil)
	for _, tc := range []struct {
		name, stream, whole string
		units               uint64
	}{
		{"plain events", "a|b|c", "", 3},
		{"deltas", `{"choices":[{"delta":{"role":"assistant"}}]}|{"choices":[{"delta":{"content":"a"}}]}|{"choices":[{"delta":{"content":"b"}}]}|{"choices":[{"delta":{},"finish_reason":"stop"}]}|[DONE]`, "", 2},
		{"usage", `{"choices":[{"delta":{"content":"a"}}]}|{"choices":[],"usage":{"completion_tokens":7}}|[DONE]`, "", 7},
		{"a whole answer", "", `{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":11}}`, 11},
		{"no usage", "", `{"answer":42}`, 1},
	} {
		stream, whole = tc.stream, tc.whole
		before := s.spent()
		res := s.do(s.paid(ask{target: "/tokens", max: 1000}))
		r := res.receipt
		if tc.whole == "" {
			_, data, _ := strings.Cut(res.text, "event: payment-receipt\ndata: ")
			r, _ = gateway.ParseReceiptEvent([]byte(strings.TrimSpace(data)))
		} else if res.text != tc.whole {
			t.Errorf("%s: %q", tc.name, res.text)
		}
		if r == nil || r.Units != tc.units || s.spent()-before != channel.Msat(20*tc.units) {
			t.Errorf("%s: %+v, spent %d\n%s", tc.name, r, s.spent()-before, res.text)
		}
	}
	whole = `{"usage":{"completion_tokens":51}}`
	before := s.spent()
	res := s.do(s.paid(ask{target: "/tokens", max: 1000}))
	res.wants(t, http.StatusPaymentRequired, gateway.ProblemBalance)
	if res.problem.RequiredMax != 1020 || s.spent() != before {
		t.Errorf("%+v, spent %d", res.problem, s.spent()-before)
	}
}

func TestCompressedUsageIsNotServed(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		sse(w, "a")
	}), nil)
	s.do(s.paid(ask{target: "/events", max: 1000})).wants(t, http.StatusBadGateway, gateway.ProblemUpstream)
	if s.spent() != 0 {
		t.Errorf("spent %d", s.spent())
	}
}

func TestSeconds(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sse(w, "a")
		clock.Add(int64(2500 * time.Millisecond))
		sse(w, "b")
	}), func(c *gateway.Config) { c.Now = func() time.Time { return time.Unix(0, clock.Load()) } })
	res := s.do(s.paid(ask{target: "/seconds", max: 1000}))
	if s.spent() != 21 || !strings.Contains(res.text, "payment-receipt") {
		t.Errorf("spent %d\n%s", s.spent(), res.text)
	}
}

// A stream can't be raised with the authorisation of another channel.
func TestForeignTopUpRaisesNothing(t *testing.T) {
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sse(w, "1", "2", "3") }),
		func(c *gateway.Config) { c.Pause = 100 * time.Millisecond })
	other := s.AddChannel(1_000_000)
	if _, err := s.Payer().Authorise(context.Background(), channel.AuthoriseRequest{Channel: other.String(), Max: 5}); err != nil {
		t.Fatal(err)
	}
	_, events := s.stream(s.paid(ask{target: "/events", max: 10}))
	events.wants("", "1")
	events.wants(gateway.EventNeedVoucher, "")
	s.do(s.paid(ask{method: "HEAD", target: "/events", channel: other.String(), raise: 1, raiseBy: 1000}))
	events.wants(gateway.EventReceipt, "")
	if s.spent() != 10 {
		t.Errorf("spent %d", s.spent())
	}
}
