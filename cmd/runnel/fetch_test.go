package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// payingNode is a fake node that authorises what it is asked for.
type payingNode struct {
	*fakeNode
	t *till
}

func (n *payingNode) Authorise(_ context.Context, req channel.AuthoriseRequest) (r channel.AuthoriseResult, err error) {
	if err := n.ask("authorise"); err != nil {
		return r, err
	}
	return n.t.authorise(req)
}

func (n *payingNode) Channels(ctx context.Context) ([]channel.ChannelInfo, error) {
	all, err := n.fakeNode.Channels(ctx)
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	if n.t.away && !n.was("open") {
		return nil, err
	}
	n.t.away = false
	return all[:1], err
}

// till is a server that sells, and the books of the node that pays it.
type till struct {
	mu      sync.Mutex
	price   channel.Msat
	unit    gateway.Unit
	away    bool // there is no channel
	total   channel.Msat
	n       uint64
	serve   func(w http.ResponseWriter, r *http.Request, p *gateway.Payload)
	bodies  []string
	headers []http.Header
	uris    []string
}

func (t *till) authorise(req channel.AuthoriseRequest) (r channel.AuthoriseResult, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.away {
		return r, channel.Faultf(channel.CodeNotFound, "no channel with %s", req.Peer)
	}
	t.n++
	t.total += req.Max + req.RaiseBy
	r.Channel, r.Total, r.Binding = chan1, t.total, req.Binding
	r.Binding.N, r.Binding.Max, r.Binding.Raise = t.n, req.Max+req.RaiseBy, req.Raise
	r.Signature = channel.Signature{0xee}
	r.Lane = channel.LaneStand{Channel: chan1, Peer: channel.PeerID(req.Peer), Total: t.total}
	return r, nil
}

func (t *till) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c, err := gateway.ParseCredential(r.Header.Get("Authorization"))
	if t.price == 0 || err == nil {
		t.mu.Lock()
		t.bodies, t.headers, t.uris = append(t.bodies, string(body)), append(t.headers, r.Header), append(t.uris, r.URL.RequestURI())
		t.mu.Unlock()
	}
	switch {
	case t.price == 0 || r.URL.Path == "/free":
		fmt.Fprintf(w, "%s %s", r.Method, body)
	case err != nil:
		request := gateway.Request{Amount: t.price, Unit: t.unit, Recipient: bob, SuggestedDeposit: 50_000_000, Details: gateway.Details{
			Network: "signet", Addrs: []string{"/ip4/203.0.113.9/tcp/9745/p2p/" + bob}, UnitSize: 1}}
		ch := gateway.Challenge{ID: "id", Realm: "till", Method: gateway.Method, Intent: gateway.IntentSession, Expires: time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}
		ch.Request, _ = request.Encode()
		header, _ := ch.Header()
		w.Header().Set("WWW-Authenticate", header)
		w.WriteHeader(http.StatusPaymentRequired)
	default:
		p, _ := c.SessionPayload()
		if t.serve != nil {
			t.serve(w, r, p)
			return
		}
		w.Header().Set(gateway.HeaderReceipt, t.receipt(p, t.price))
		fmt.Fprintf(w, "%s %s", r.Method, body)
	}
}

func (t *till) receipt(p *gateway.Payload, cost channel.Msat) string {
	r := gateway.Receipt{Method: gateway.Method, Intent: gateway.IntentSession, Time: noon, Reference: "r", Channel: p.Channel, Accepted: p.Total, Spent: p.Total, N: p.N, Amount: cost, Units: 1}
	header, _ := r.Header()
	return header
}

// shopping is a session beside a till.
func shopping(t *testing.T, price channel.Msat) (*session, *till, string) {
	s := newSession(t)
	s.node.channels[0].Sent, s.node.channels[0].Credit = 0, 1<<40
	k := &till{price: price, unit: gateway.UnitRequest}
	s.dialer = func(string) (api.Node, error) { return &payingNode{s.node, k}, nil }
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	return s, k, server.URL
}

func TestFetchPays(t *testing.T) {
	s, k, url := shopping(t, 2500)
	o := s.run("fetch", url+"/a", url+"/a")
	if o.code != 0 || o.out != "GET GET " || o.err != "" {
		t.Fatalf("%+v", o)
	}
	if k.total != 5000 || k.n != 2 {
		t.Errorf("%d msat in %d payments", k.total, k.n)
	}
	o = s.run("fetch", "-v", url+"/a?secret=1", "-H", "Authorization: Bearer mine", "-H", "X-Extra: yes")
	for _, want := range []string{"> GET /a?secret=1", "> Authorization: (not shown)", "> X-Extra: yes", "< HTTP/1.1 200 OK", "$ 2.5 sat a request to " + bob[:14], "receipt: 2.5 sat for 1 request"} {
		if !strings.Contains(o.err, want) {
			t.Errorf("-v does not show %q:\n%s", want, o.err)
		}
	}
	if strings.Contains(o.err, "mine") || strings.Contains(o.err, "eeee") {
		t.Errorf("-v shows a credential:\n%s", o.err)
	}
}

func TestFetchLimits(t *testing.T) {
	for _, c := range []struct {
		flags, says, hint string
		code              int
	}{
		{"", "10,001", "--max", exitRefused}, // the default is 10 sat
		{"--max 10_001msat", "", "", exitOK},
		{"--max 11sat --budget 10sat", "budget", "--budget", exitRefused},
	} {
		s, k, url := shopping(t, 10_001)
		o := s.run(append(strings.Fields("fetch "+url), strings.Fields(c.flags)...)...)
		if o.code != c.code || !strings.Contains(strings.ReplaceAll(o.err, "10001", "10,001"), c.says) || !strings.Contains(o.err, c.hint) {
			t.Errorf("%q: %+v", c.flags, o)
		}
		if c.code == exitRefused && k.n != 0 {
			t.Errorf("%q: something was signed", c.flags)
		}
	}
}

func TestFetchData(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("line 1\r\nline 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		kind string
	}{
		{[]string{"-d", "a=1", "-d", "b=2"}, "POST a=1&b=2", "application/x-www-form-urlencoded"},
		{[]string{"-d", "@" + file}, "POST line 1line 2", "application/x-www-form-urlencoded"},
		{[]string{"--data-binary", "@" + file, "-H", "Content-Type: text/plain"}, "POST line 1\r\nline 2\n", "text/plain"},
		{[]string{"-d", "@-"}, "POST typed", "application/x-www-form-urlencoded"},
		{[]string{"--data-raw", "@x", "-X", "PUT"}, "PUT @x", "application/x-www-form-urlencoded"},
		{[]string{"-X", "DELETE"}, "DELETE ", ""},
	} {
		s, k, url := shopping(t, 20)
		s.in = "typed"
		o := s.run(append([]string{"fetch", url}, c.args...)...)
		if o.code != 0 || o.out != c.want || k.headers[0].Get("Content-Type") != c.kind {
			t.Errorf("%q: %+v, %v", c.args, o, k.headers)
		}
		if key := k.headers[0].Get("Idempotency-Key"); key == "" {
			t.Errorf("%q: no Idempotency-Key", c.args)
		}
	}
	s, k, url := shopping(t, 20)
	if o := s.run("fetch", "-G", "-d", "q=1", url+"/find?a=b", "-H", "Accept:", "-H", "X-Empty;"); o.code != 0 || k.uris[0] != "/find?a=b&q=1" {
		t.Errorf("%+v %v", o, k.uris)
	}
	if _, ok := k.headers[0]["X-Empty"]; !ok || k.headers[0].Get("Accept") != "" {
		t.Errorf("%v", k.headers[0])
	}
}

func TestFetchOutput(t *testing.T) {
	s, _, url := shopping(t, 20)
	dir := t.TempDir()
	file := filepath.Join(dir, "out")
	if o := s.run("fetch", url, "-o", file); o.code != 0 || o.out != "" {
		t.Errorf("%+v", o)
	}
	if b, _ := os.ReadFile(file); string(b) != "GET " {
		t.Errorf("%q", b)
	}
	t.Chdir(dir)
	if o := s.run("fetch", "-O", url+"/dir/name.txt?x=1"); o.code != 0 {
		t.Errorf("%+v", o)
	}
	if b, _ := os.ReadFile("name.txt"); string(b) != "GET " {
		t.Errorf("%q", b)
	}
	if o := s.run("fetch", "-O", url+"/"); o.code != exitUsage || !strings.Contains(o.err, "-o FILE") {
		t.Errorf("%+v", o)
	}
	if o := s.run("fetch", "-i", url); !strings.HasPrefix(o.out, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(o.out, "\r\n\r\nGET ") {
		t.Errorf("%q", o.out)
	}
	if o := s.run("fetch", "-I", url); !strings.HasPrefix(o.out, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(o.out, "\r\n\r\n") {
		t.Errorf("%q", o.out)
	}
}

func TestFetchErrors(t *testing.T) {
	s, k, url := shopping(t, 20)
	check := func(code int, says string, args ...string) {
		t.Helper()
		if o := s.run(append([]string{"fetch"}, args...)...); o.code != code || !strings.Contains(o.err, says) {
			t.Errorf("fetch %q: %+v", args, o)
		}
	}
	check(exitUsage, "not a URL", "http://[::1")
	check(exitUsage, "ftp", "ftp://x")
	check(exitUsage, "not a header", "-H", "nonsense", url)
	check(exitUsage, "names one file", "-o", "x", url, url)
	check(exitUsage, "", "-d", "@/does/not/exist", url)
	check(exitFailed, "connection refused", "http://127.0.0.1:1")
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	check(exitFailed, "no complete answer within 50ms", "--max-time", "0.05", silent.URL)
	k.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) { http.Error(w, "no such page", 404) }
	if o := s.run("fetch", url); o.code != 0 || o.out != "no such page\n" {
		t.Errorf("%+v", o)
	}
	if o := s.run("fetch", "-f", url); o.code != exitFailed || o.out != "" || !strings.Contains(o.err, "404") {
		t.Errorf("%+v", o)
	}
	k.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		w.Header().Set("Content-Type", gateway.ContentTypeProblem)
		w.WriteHeader(410)
		w.Write(gateway.ProblemChannelFinalized.Problem("closing since block 7").Encode())
	}
	if o := s.run("fetch", "--json", url); o.code != exitFailed || !strings.Contains(o.err, `"code":"payment_rejected"`) || !strings.Contains(o.err, "closing since block 7") {
		t.Errorf("%+v", o)
	}
	s.node.err = channel.Faultf(channel.CodeLimit, "the day's budget is used up")
	if o := s.run("fetch", "--json", url); o.code != exitRefused || !strings.Contains(o.err, `"code":"limit"`) {
		t.Errorf("%+v", o)
	}
}

func TestFetchOpens(t *testing.T) {
	s, k, url := shopping(t, 20)
	k.away = true
	o := s.run("fetch", url)
	if o.code != exitRefused || !strings.Contains(o.err, "--open 50000sat") || s.node.was("open") {
		t.Errorf("%+v", o)
	}
	s.terminal, s.in = true, "n\n"
	o = s.run("fetch", url, "--open", "30_000sat")
	if o.code != exitRefused || !strings.Contains(o.err, "0.02 sat a request") || !strings.Contains(o.err, "30,000 sat") || !strings.Contains(o.err, "Open it? [y/N]") || s.node.was("open") {
		t.Errorf("%+v", o)
	}
	s.in = "y\n"
	if o = s.run("fetch", url, "--open", "30_000sat"); o.code != 0 || o.out != "GET " || s.node.open.Deposit != 30_000 || s.node.open.Peer != bob {
		t.Errorf("%+v, %+v", o, s.node.open)
	}
	s, k, url = shopping(t, 20)
	k.away = true
	if o = s.run("fetch", url, "--open", "60_000sat"); o.code != 0 || s.node.open.Deposit != 50_000 {
		t.Errorf("%+v, %+v", o, s.node.open)
	}
}

func TestFetchStream(t *testing.T) {
	s, k, url := shopping(t, 20)
	k.unit = gateway.UnitEvent
	k.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\ndata: 2\n\n")
		data, _ := gateway.DecodeBase64(k.receipt(p, 40))
		fmt.Fprintf(w, "event: payment-receipt\ndata: %s\n\n", data)
	}
	o := s.run("fetch", "--json", url)
	var v fetchView
	if err := json.Unmarshal([]byte(o.out), &v); err != nil || v.Body != "data: 1\n\ndata: 2\n\n" || v.Cost != 40 || v.Authorised != 1280 || !v.Receipt || v.Channel != chan1.String() {
		t.Errorf("%v: %+v", err, o)
	}
}

func TestFetchOf402FromElsewhere(t *testing.T) {
	s, _, _ := shopping(t, 20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(402)
		fmt.Fprint(w, "cards only")
	}))
	defer server.Close()
	if o := s.run("fetch", server.URL); o.code != exitRefused || o.out != "cards only" || !strings.Contains(o.err, "none that this node can make") {
		t.Errorf("%+v", o)
	}
}

// proxying runs a proxy until the function has ended, and returns what it printed.
func proxying(t *testing.T, s *session, flags []string, use func(base string)) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.ctx = ctx
	greeting := make(chan string, 1)
	s.errs = func(line string) {
		select {
		case greeting <- line:
		default:
		}
	}
	done := make(chan outcome, 1)
	go func() { done <- s.run(append([]string{"proxy", "--listen", "127.0.0.1:0"}, flags...)...) }()
	select {
	case line := <-greeting:
		use(strings.Fields(line)[0])
	case o := <-done:
		cancel()
		return o
	}
	cancel()
	return <-done
}

func TestProxyPays(t *testing.T) {
	s, k, url := shopping(t, 20)
	o := proxying(t, s, []string{"--upstream", url, "--budget", "45msat", "-v"}, func(base string) {
		for i := range 3 {
			res, err := http.Get(base + "/x")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			if i < 2 && string(body) != "GET " || i == 2 && (res.StatusCode != 402 || !strings.Contains(string(body), `"code":"budget"`)) {
				t.Errorf("request %d: %d %s", i, res.StatusCode, body)
			}
		}
	})
	if o.code != 0 || !strings.Contains(o.out, "3 requests, 2 paid, 0.04 sat spent of a budget of 0.045 sat") || k.total != 40 {
		t.Errorf("%+v", o)
	}
	if !strings.Contains(o.err, "/x  0.02 sat, 0.04 sat in all") || !strings.Contains(o.err, "/x  402 not paid") {
		t.Errorf("%s", o.err)
	}
}

func TestProxyForwards(t *testing.T) {
	s, _, at := shopping(t, 20)
	o := proxying(t, s, []string{"--json"}, func(base string) {
		req, _ := http.NewRequest("GET", base, nil)
		if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 400 {
			t.Errorf("%v %v", res, err)
		}
		client := &http.Client{Transport: &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) { return parseURL(base) }}}
		res, err := client.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "GET " {
			t.Errorf("%s", body)
		}
	})
	var v proxyView
	if err := json.Unmarshal([]byte(o.out), &v); err != nil || v.Requests != 2 || v.Paid != 1 || v.Cost != 20 || v.Used != 20 {
		t.Errorf("%v %+v", err, o)
	}
}

func TestProxyUsage(t *testing.T) {
	for line, says := range map[string]string{
		"proxy --listen 0.0.0.0:8402":               "--allow-remote",
		"proxy --listen example.com:1":              "not a loopback address",
		"proxy --listen 8402":                       "127.0.0.1:8402",
		"proxy --upstream ftp://x":                  "only http and https",
		"proxy --upstream https://a:b@x":            "no password",
		"proxy --allow-origin localhost":            "not an origin",
		"proxy --listen 127.0.0.1:0 --max 1bitcoin": "units are",
	} {
		s, _, _ := shopping(t, 20)
		if o := s.line(line); o.code != exitUsage || !strings.Contains(o.err, says) {
			t.Errorf("%s: %+v", line, o)
		}
	}
}

// TestFetchJSON holds every key and type, in order.
func TestFetchJSON(t *testing.T) {
	want := `  url string
  status integer
  content_type string
  bytes integer
  body string
  file string
  paid boolean
  recipient string
  channel_id string
  price_msat integer
  unit string
  authorised_msat integer
  cost_msat integer
  units integer
  top_ups integer
  receipt boolean
`
	for _, price := range []channel.Msat{0, 20} {
		s, _, url := shopping(t, price)
		if got := shape(t, s.run("fetch", "--json", url).out); got != want {
			t.Errorf("at %d msat:\n%s", price, got)
		}
	}
}
