package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnel/runnel/gateway"
	"github.com/runnel/runnel/gateway/gatewaytest"
)

func parseGateway(t *testing.T, text string) (Gateway, Problems) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), toml.Parser()); err != nil {
		t.Fatal(err)
	}
	return readGateway(k, "test.toml")
}

// fiveLines make an existing service paid.
func fiveLines(upstream string) string {
	return fmt.Sprintf("[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = %q\n[[gateway.route]]\npath = \"/v1/\"\nprice = \"20msat\"\n", upstream)
}

func TestGatewaySettings(t *testing.T) {
	g, problems := parseGateway(t, strings.Replace(fiveLines("http://127.0.0.1:9000"), ":0\"", ":8402\"", 1)+"unit = \"token\"\n[gateway.upstream-headers]\nX-Key = \"k\"\n")
	if problems != nil || len(g.Routes) != 1 || g.Routes[0].Price != 20 || g.Headers["X-Key"] != "k" {
		t.Fatalf("%+v, %v", g, problems)
	}
	head := "[gateway]\nlisten = \"127.0.0.1:8402\"\nupstream = \"http://127.0.0.1:9000\"\n"
	for name, text := range map[string]string{
		"an unknown setting":      head + "lisen = \"x\"\n[[gateway.route]]\npath = \"/\"\nprice = \"1msat\"\n",
		"a price without a unit":  head + "[[gateway.route]]\npath = \"/\"\nprice = \"1\"\n",
		"a price that is no text": head + "[[gateway.route]]\npath = \"/\"\nprice = 1\n",
		"no route":                head,
		"no price":                head + "[[gateway.route]]\npath = \"/\"\n",
		"an unknown unit":         head + "[[gateway.route]]\npath = \"/\"\nprice = \"1msat\"\nunit = \"yard\"\n",
		"plain HTTP for all":      strings.Replace(head, "127.0.0.1:8402", "0.0.0.0:8402", 1) + "[[gateway.route]]\npath = \"/\"\nprice = \"1msat\"\n",
		"a key without a cert":    head + "tls-key = \"k\"\n[[gateway.route]]\npath = \"/\"\nprice = \"1msat\"\n",
		"a bad upstream":          strings.Replace(head, "http://127.0.0.1:9000", "ftp://x", 1) + "[[gateway.route]]\npath = \"/\"\nprice = \"1msat\"\n",
		"a bad proxy":             head + "trusted-proxies = [\"everybody\"]\n[[gateway.route]]\npath = \"/\"\nprice = \"1msat\"\n",
	} {
		if _, problems := parseGateway(t, text); len(problems) == 0 || problems[0].Hint == "" || problems[0].Source != "test.toml" || !strings.HasPrefix(problems[0].Key, "gateway") {
			t.Errorf("%s: %+v", name, problems)
		}
	}
}

func TestGatewayServesAndReloads(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "service") }))
	defer up.Close()
	dir, twin, reg := t.TempDir(), gatewaytest.New(1_000_000), prometheus.NewRegistry()
	open := func(text string) *shop {
		g, problems := parseGateway(t, text)
		g.Listen = "127.0.0.1:0" // a free port, which the file can't ask for
		for _, p := range problems {
			if p.Key != "gateway.listen" {
				t.Fatal(p)
			}
		}
		s, err := openShop(context.Background(), g, dir, twin.Payee(), func(c ...prometheus.Collector) { reg.MustRegister(c...) }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(fiveLines(up.URL))
	defer s.server.Close()
	ask := func() *gateway.Challenge {
		w := httptest.NewRecorder()
		s.server.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/v1/x", nil))
		list, err := gateway.ParseChallenges(w.Header().Get("WWW-Authenticate"))
		if err != nil {
			t.Fatal(w.Code, err)
		}
		return &list[0]
	}
	before := ask()
	if r, err := before.SessionRequest(); err != nil || r.Amount != 20 {
		t.Errorf("%+v, %v", r, err)
	}
	g := s.now
	g.Routes = slices.Clone(g.Routes)
	g.Routes[0].Price = 30
	if err := s.reload(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	if r, err := ask().SessionRequest(); err != nil || r.Amount != 30 {
		t.Errorf("%+v, %v", r, err)
	}
	g.Routes = slices.Clone(g.Routes)
	g.Routes[0].Price = 0
	if err := s.reload(context.Background(), g); err == nil || s.now.Routes[0].Price != 30 {
		t.Error("a route without a price was taken")
	}
	if all, err := reg.Gather(); err != nil || !strings.Contains(fmt.Sprint(all), "challenged") {
		t.Errorf("the metrics are %v, %v", all, err)
	}
	secrets, err := os.ReadFile(filepath.Join(dir, secretFile))
	if info, statErr := os.Stat(filepath.Join(dir, secretFile)); err != nil || statErr != nil || info.Mode().Perm() != 0o600 || len(secrets) != 65 {
		t.Errorf("the secret: %v, %v", err, statErr)
	}
}

// A gateway that was started with TLS has a certificate until it ends, whatever the file says meanwhile.
func TestGatewayKeepsItsCertificate(t *testing.T) {
	up := httptest.NewTLSServer(http.NotFoundHandler())
	defer up.Close()
	own := up.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	g := Gateway{Listen: "127.0.0.1:0", Upstream: up.URL, TLSCert: write("cert", "CERTIFICATE", own.Certificate[0]), TLSKey: write("key", "PRIVATE KEY", key),
		Routes: []GatewayRoute{{Path: "/", Price: 20}}}
	s, err := openShop(context.Background(), g, dir, gatewaytest.New(1_000_000).Payee(), func(...prometheus.Collector) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.server.Close()
	g.TLSCert, g.TLSKey = "", ""
	if err := s.reload(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	if cert, err := s.server.TLSConfig.GetCertificate(nil); err != nil || cert == nil {
		t.Errorf("no handshake can succeed: %v, %v", cert, err)
	}
}

// The document names all settings and metrics, and no others.
func TestGatewayDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	_, settings, _ := strings.Cut(string(b), "\n## Settings\n")
	settings, _, _ = strings.Cut(settings, "\n## ")
	var documented, known []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(settings, -1) {
		documented = append(documented, m[1])
	}
	for _, kind := range []reflect.Type{reflect.TypeFor[Gateway](), reflect.TypeFor[GatewayRoute]()} {
		for i := range kind.NumField() {
			if name := kind.Field(i).Tag.Get("toml"); name != "route" {
				known = append(known, name)
			}
		}
	}
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("documented:\n%v\nknown:\n%v", documented, known)
	}
	for _, name := range []string{"runnel_gateway_requests_total", "runnel_gateway_charged_msat_total", "runnel_gateway_units_total"} {
		if !strings.Contains(string(b), "`"+name) {
			t.Errorf("%s is not in the document", name)
		}
	}
}
