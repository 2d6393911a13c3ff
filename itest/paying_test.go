package itest

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// shop is a gateway on bob's node, and alice with a channel to him.
type shop struct {
	*world
	url    string // over TLS
	cert   string // file with the certificate
	id     channel.ID
	tokens int
}

const tokenPrice, pagePrice = 20, 250

// chat streams as many tokens as its world says, the way OpenAI's API does.
func chat(tokens int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range tokens {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"w%d \"}}]}\n\n", i)
			w.(http.Flusher).Flush()
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

// openShop starts both nodes and sells: files of an upstream by the request, a chat by the token.
func openShop(t *testing.T, tokens int, files http.Handler) *shop {
	s := &shop{world: pair(t), tokens: tokens}
	s.open("alice", "bob", 1_000_000, 0)
	list, err := s.Node("alice").API.Channels(s.ctx)
	s.check(err)
	s.id = list[0].Channel
	g, err := gateway.New(s.ctx, gateway.Config{
		Payee: s.Node("bob").API, Secret: []byte(strings.Repeat("s", 32)), UnpaidLimit: -1, BehindTLS: true,
		Routes: []gateway.Route{
			{Pattern: "POST /v1/chat/completions", Price: gateway.Price{Amount: tokenPrice, Unit: gateway.UnitToken}},
			{Pattern: "/", Price: gateway.Price{Amount: pagePrice}, Description: "a page"},
		},
	})
	s.check(err)
	mux := http.NewServeMux()
	mux.Handle("POST /v1/chat/completions", chat(tokens))
	mux.Handle("/", files)
	server := httptest.NewTLSServer(gateway.Middleware(g)(mux))
	t.Cleanup(server.Close)
	s.url, s.cert = server.URL, filepath.Join(t.TempDir(), "cert.pem")
	s.check(os.WriteFile(s.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return s
}

// spent is what bob has of alice, by his own books.
func (s *shop) spent() channel.Msat {
	s.t.Helper()
	stand, err := s.Node("bob").API.LaneStand(s.ctx, s.id)
	s.check(err)
	return stand.Spent
}

// upstream is Python's or nginx's server of a folder with one page, or nil where that is not installed.
func upstream(t *testing.T, ctx context.Context, name string, argv func(dir, port string) []string) *url.URL {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		return nil
	}
	dir, port := t.TempDir(), freePort(t)
	if err := os.WriteFile(filepath.Join(dir, "page.txt"), []byte("a page of "+name), 0o644); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	cmd := exec.CommandContext(ctx, name, argv(dir, port)...)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &url.URL{Scheme: "http", Host: "127.0.0.1:" + port}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func python(_, port string) []string {
	return []string{"-m", "http.server", port, "--bind", "127.0.0.1"}
}

func nginx(dir, port string) []string {
	conf := fmt.Sprintf("daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/log; events {}\nhttp { access_log off; "+
		"client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;\n"+
		"server { listen 127.0.0.1:%[2]s; root %[1]s; } }\n", dir, port)
	file := filepath.Join(dir, "conf")
	os.WriteFile(file, []byte(conf), 0o644)
	return []string{"-p", dir, "-c", file}
}

// TestPayingOverHTTP: real nodes, real services, and the clients that people have.
func TestPayingOverHTTP(t *testing.T) {
	const tokens = 2000
	files := http.NewServeMux()
	s := openShop(t, tokens, files)
	files.HandleFunc("/plain.txt", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a page of Go") })
	want := s.spent()
	t.Run("unpaid", func(t *testing.T) {
		res, err := s.insecure().Get(s.url + "/plain.txt")
		s.check(err)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != 402 || !strings.Contains(string(body), fmt.Sprint(pagePrice)) {
			t.Errorf("%d %s", res.StatusCode, body)
		}
		if text := tool(t, s, "curl", "-sS", "-i", "--cacert", s.cert, s.url+"/plain.txt"); text != "" &&
			(!strings.Contains(text, " 402") || !strings.Contains(text, `method="runnel"`) || !strings.Contains(text, fmt.Sprint(pagePrice))) {
			t.Errorf("curl sees\n%s", text)
		}
	})
	t.Run("fetch", func(t *testing.T) {
		o := s.one("alice", "fetch", "--cacert", s.cert, s.url+"/plain.txt")
		if want += pagePrice; o.text("body") != "a page of Go" || o.number("cost_msat") != pagePrice || o["receipt"] != true || s.spent() != want {
			t.Errorf("%v, %d spent, want %d", o, s.spent(), want)
		}
	})
	t.Run("fetch a stream", func(t *testing.T) {
		o := s.one("alice", "fetch", "--cacert", s.cert, "--max", "100sat", "-d", "{}", s.url+"/v1/chat/completions")
		if want += tokens * tokenPrice; strings.Count(o.text("body"), "content") != tokens || o.number("cost_msat") != tokens*tokenPrice ||
			o.number("units") != tokens || o.number("top_ups") < 5 || s.spent() != want {
			t.Errorf("cost %v, units %v, top-ups %v, %d spent, want %d", o["cost_msat"], o["units"], o["top_ups"], s.spent(), want)
		}
	})
	t.Run("a stream that is too dear", func(t *testing.T) {
		out := s.runnel("--node", "alice", "--json", "fetch", "--cacert", s.cert, "--max", "3sat", "-d", "{}", s.url+"/v1/chat/completions")
		if out.code != 1 || !strings.Contains(out.err, `"code":"payment_stopped"`) {
			t.Errorf("%+v", out)
		}
		s.until("the stream is settled", func() bool { got := s.spent(); return got >= want && got <= want+3000 })
		out = s.runnel("--node", "alice", "--json", "fetch", "--cacert", s.cert, "--max", "249msat", s.url+"/plain.txt")
		if out.code != 4 || !strings.Contains(out.err, `"code":"not_paid"`) {
			t.Errorf("%+v", out)
		}
	})
	t.Run("proxy", func(t *testing.T) { s.proxied(t) })
	for name, argv := range map[string]func(dir, port string) []string{"python3": python, "nginx": nginx} {
		t.Run("upstream "+name, func(t *testing.T) {
			at := upstream(t, s.ctx, name, argv)
			if at == nil {
				t.Skip(name + " is not installed")
			}
			h, err := gateway.NewUpstream(gateway.Upstream{URL: at})
			s.check(err)
			files.Handle("/"+name+"/", http.StripPrefix("/"+name, h))
			s.until(name+" answers", func() bool {
				res, err := http.Get(at.String() + "/page.txt")
				return err == nil && res.StatusCode == 200
			})
			if o := s.one("alice", "fetch", "--cacert", s.cert, s.url+"/"+name+"/page.txt"); o.text("body") != "a page of "+name || o.number("cost_msat") != pagePrice {
				t.Errorf("%v", o)
			}
		})
	}
}

func (s *shop) insecure() *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig.InsecureSkipVerify = true
	return &http.Client{Transport: base}
}

// tool runs a program that people have, if it is installed, and returns what it prints.
func tool(t *testing.T, s *shop, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Logf("%s is not installed", name)
		return ""
	}
	out, err := exec.CommandContext(s.ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

const nodeClient = `
const res = await fetch(process.argv[1] + '/chat/completions', {method: 'POST', body: '{"stream":true}'});
let text = '', rest = '';
for await (const chunk of res.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop();
  for (const line of lines)
    if (line.startsWith('data: {')) text += JSON.parse(line.slice(6)).choices[0].delta.content;
}
console.log(text);
`

// proxied lets programs that know nothing of payments take the proxy for the service.
func (s *shop) proxied(t *testing.T) {
	cmd := exec.CommandContext(s.ctx, s.Runnel, "--node", "alice", "proxy", "--json", "--listen", "127.0.0.1:0", "--upstream", s.url, "--cacert", s.cert,
		"--max", "100sat", "--budget", "1_000sat")
	cmd.Env = append(os.Environ(), "RUNNEL_HOME="+s.Dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	greeting, err := cmd.StderrPipe()
	s.check(err)
	summary := &strings.Builder{}
	cmd.Stdout = summary
	s.check(cmd.Start())
	lines := bufio.NewScanner(greeting)
	lines.Scan()
	base := strings.Fields(lines.Text() + " -")[0]
	answer := ""
	for i := range s.tokens {
		answer += fmt.Sprintf("w%d ", i)
	}
	chats := int64(0)
	if text := tool(t, s, "curl", "-sS", base+"/plain.txt"); text != "" && text != "a page of Go" {
		t.Errorf("curl: %s", text)
	}
	if text := tool(t, s, "node", "--input-type=module", "-e", nodeClient, base+"/v1"); text != "" {
		if chats++; strings.TrimSpace(text) != strings.TrimSpace(answer) {
			t.Errorf("node: %.200s", text)
		}
	}
	snippet := strings.ReplaceAll(fences(read(t, "docs/gateway.md"), "python")[0], "http://127.0.0.1:8402", base)
	if text := tool(t, s, "python3", "-c", snippet); text != "" {
		if chats++; strings.TrimSpace(text) != strings.TrimSpace(answer) {
			t.Errorf("python: %.200s", text)
		}
	}
	s.check(cmd.Process.Signal(os.Interrupt))
	io.Copy(io.Discard, greeting)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the proxy ended with %v", err)
	}
	o := objects(t, summary.String())[0]
	if cost := o.number("cost_msat"); cost/(tokenPrice*int64(s.tokens)) != chats || o.number("budget_msat") != 1_000_000 || !regexp.MustCompile(`^\d$`).MatchString(o.text("paid")) {
		t.Errorf("%v after %d chats", o, chats)
	}
}
