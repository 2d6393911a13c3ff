package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/runnel/runnel/gateway"
)

// forwarding is a proxy in front of a stall that speaks TLS or not.
func forwarding(t *testing.T, handler http.Handler, tls bool) (*httptest.Server, *gateway.Forward, *purse, *httptest.Server) {
	t.Helper()
	upstream := httptest.NewUnstartedServer(handler)
	if tls {
		upstream.StartTLS()
	} else {
		upstream.Start()
	}
	t.Cleanup(upstream.Close)
	node := newPurse()
	f := &gateway.Forward{Transport: &gateway.Transport{Payer: node, Max: 10_000, Base: upstream.Client().Transport}}
	f.Upstream, _ = url.Parse(upstream.URL)
	proxy := httptest.NewServer(f.Handler())
	t.Cleanup(proxy.Close)
	return proxy, f, node, upstream
}

func plainly(t *testing.T, req *http.Request) (int, string, http.Header) {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestForwardPays(t *testing.T) {
	proxy, f, node, _ := forwarding(t, newStall(20), true)
	f.Upstream.Path = "/api"
	req, _ := http.NewRequest("POST", proxy.URL+"/v1/chat?x=1", strings.NewReader("hello"))
	req.Header.Set("Authorization", "Bearer of the client")
	status, body, header := plainly(t, req)
	if status != 200 || body != "POST /api/v1/chat hello" || header.Get(gateway.HeaderReceipt) == "" {
		t.Errorf("%d %q %v", status, body, header)
	}
	if ask := node.asked[0].Binding; ask.Target != "/api/v1/chat?x=1" || ask.Authority != f.Upstream.Host {
		t.Errorf("%+v", ask)
	}
}

func TestForwardRefuses(t *testing.T) {
	proxy, f, node, _ := forwarding(t, newStall(20), false)
	f.Origins = []string{"http://localhost:3000"}
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
		says   string
	}{
		"a web page":               {func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, "--allow-origin"},
		"an image in a web page":   {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, "web pages"},
		"a name that leads here":   {func(r *http.Request) { r.Host = "evil.example" }, 403, "not a name of this proxy"},
		"a page that is allowed":   {func(r *http.Request) { r.Header.Set("Origin", "http://localhost:3000") }, 200, ""},
		"a program":                {func(r *http.Request) { r.Host = "localhost:8402" }, 200, ""},
		"an address that is typed": {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, 200, ""},
	} {
		req, _ := http.NewRequest("GET", proxy.URL, nil)
		c.change(req)
		if status, body, _ := plainly(t, req); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if n, _ := node.signed(); n != 3 {
		t.Errorf("paid %d times", n)
	}
}

func TestForwardNamesTheModeToTunnels(t *testing.T) {
	proxy, _, _, _ := forwarding(t, newStall(20), false)
	conn, err := net.Dial("tcp", strings.TrimPrefix(proxy.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "CONNECT"})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, res.ContentLength))
	if res.StatusCode != 501 || !strings.Contains(string(body), "--upstream https://api.example:443") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestForwardProxyOfPlainHTTP(t *testing.T) {
	stall := newStall(20)
	proxy, f, node, upstream := forwarding(t, stall, false)
	f.Upstream = nil
	at, _ := url.Parse(proxy.URL)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at)}}
	res, err := client.Get(upstream.URL + "/thing")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "GET /thing " || node.asked[0].Binding.Authority != strings.TrimPrefix(upstream.URL, "http://") {
		t.Errorf("%q", body)
	}
	req, _ := http.NewRequest("GET", proxy.URL+"/thing", nil)
	if status, body, _ := plainly(t, req); status != 400 || !strings.Contains(body, "--upstream") {
		t.Errorf("%d %s", status, body)
	}
}

func TestForwardTellsWhy(t *testing.T) {
	stall := newStall(20)
	proxy, f, _, upstream := forwarding(t, stall, false)
	f.Transport.Max = 19
	req, _ := http.NewRequest("GET", proxy.URL, nil)
	status, body, header := plainly(t, req)
	p, err := gateway.ParseProblem([]byte(body))
	if status != 402 || err != nil || p.Code != "max" || !strings.Contains(p.Detail, "20 msat") || header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %s", status, body)
	}
	f.Transport.Max = 100
	stall.serve = func(w http.ResponseWriter, r *http.Request, p *gateway.Payload) {
		stall.refuse(w, gateway.ProblemChannelFinalized.Problem("it is closing"))
	}
	if status, body, _ := plainly(t, req); status != 502 || !strings.Contains(body, "it is closing") || !strings.Contains(body, "channel-finalized") {
		t.Errorf("%d %s", status, body)
	}
	upstream.Close()
	if status, body, _ := plainly(t, req); status != 502 || !strings.Contains(body, "does not answer") {
		t.Errorf("%d %s", status, body)
	}
}

// chat is the stream of a chat completion, the way its clients read it: "data: " and JSON a line, [DONE] at the end.
func chat(t *testing.T, base string) (text string, last error) {
	t.Helper()
	res, err := http.Post(base+"/chat/completions", "application/json", strings.NewReader(`{"model":"m","stream":true,"messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
			Detail  string
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if chunk.Detail != "" {
			text += "[" + chunk.Detail + "]"
		}
		for _, c := range chunk.Choices {
			text += c.Delta.Content
		}
	}
	return text, lines.Err()
}

// A streaming client that knows nothing of payments works when only its base URL changes.
func TestForwardOfAChat(t *testing.T) {
	s := newTokens(20, 100)
	s.event = func(i int) string {
		return fmt.Sprintf(`data: {"choices":[{"delta":{"content":"w%d "}}]}`, i) + "\n\n"
	}
	proxy, f, _, _ := forwarding(t, s.stall, true)
	f.Transport.Step = 200
	want := ""
	for i := range 100 {
		want += fmt.Sprintf("w%d ", i)
	}
	if text, err := chat(t, proxy.URL+"/v1"); text != want || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	f.Transport.Max = 1000
	text, err := chat(t, proxy.URL+"/v1")
	if !strings.HasPrefix(text, want[:100]) || !strings.HasSuffix(text, "one request may cost are authorised]") || err == nil {
		t.Errorf("%q, %v", text, err)
	}
}
