package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnel/runnel/cmd/wholefile"
	"github.com/runnel/runnel/gateway"
)

// shop is the gateway that this daemon runs; nil when none is set.
type shop struct {
	node    gateway.Payee
	secrets string // path
	log     *slog.Logger
	metrics *gatewayMetrics

	gateway *gateway.Gateway
	now     Gateway
	cert    atomic.Pointer[tls.Certificate]
	other   atomic.Pointer[http.Handler] // what has no route and is served anyway
	server  *http.Server
}

// secretFile holds what challenge ids are made with: one secret in hex a line, the newest first.
const secretFile = "gateway-secrets"

// openShop starts to sell. It returns nil when the settings name no gateway.
func openShop(ctx context.Context, g Gateway, dir string, node gateway.Payee, register func(...prometheus.Collector), log *slog.Logger) (*shop, error) {
	if g.Listen == "" {
		return nil, nil
	}
	s := &shop{node: node, secrets: filepath.Join(dir, secretFile), log: log.With("part", "gateway"), metrics: newGatewayMetrics()}
	ready, err := s.prepare(g)
	if err != nil {
		return nil, err
	}
	if s.gateway, err = gateway.New(ctx, ready.config); err != nil {
		return nil, err
	}
	ready.use(s)
	l, err := net.Listen("tcp", g.Listen)
	if err != nil {
		return nil, fault(fmt.Sprintf("the gateway can't listen at %s: %v", g.Listen, err), "choose another address for gateway.listen")
	}
	register(s.metrics.all()...)
	s.serve(l)
	return s, nil
}

// prepared is all that a change of settings brings.
type prepared struct {
	settings Gateway
	config   gateway.Config
	cert     *tls.Certificate // nil: plain HTTP
	other    http.Handler     // nil: what has no route is refused
}

// use makes it what counts. A server that was started with TLS goes on with the certificate it has until its end.
func (p *prepared) use(s *shop) {
	s.now = p.settings
	if p.cert != nil {
		s.cert.Store(p.cert)
	}
	s.other.Store(&p.other)
}

// prepare reads files and makes the gateway's configuration. It changes nothing that runs.
func (s *shop) prepare(g Gateway) (p prepared, err error) {
	p.settings = g
	secrets, err := loadSecrets(s.secrets)
	if err != nil {
		return p, err
	}
	if p.config, err = g.build(s.node, secrets); err != nil {
		return p, err
	}
	if g.Realm == "" {
		p.config.Realm = g.Listen
	}
	if g.ServeUnknown {
		if p.other, err = g.upstream(); err != nil {
			return p, err
		}
	}
	if g.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(expand(g.TLSCert), expand(g.TLSKey))
		if err != nil {
			return p, fault(fmt.Sprintf("the gateway's certificate can't be used: %v", err), "gateway.tls-cert names a PEM file with the certificate and its chain, gateway.tls-key its key")
		}
		p.cert = &cert
	}
	p.config.Log, p.config.Observe = s.log, s.metrics.observe
	return p, nil
}

func (s *shop) serve(l net.Listener) {
	rest := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := *s.other.Load(); h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
	s.server = &http.Server{
		Handler: gateway.Middleware(s.gateway)(rest), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	scheme := "http"
	if s.cert.Load() != nil {
		scheme = "https"
		s.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil }}
	}
	s.log.Info("gateway ready", "addr", l.Addr().String(), "scheme", scheme, "routes", len(s.now.Routes))
	go func() {
		var err error
		if scheme == "https" {
			err = s.server.ServeTLS(l, "", "")
		} else {
			err = s.server.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the gateway stopped", "err", err)
		}
	}()
}

// reload takes over new settings. Requests that run end with those that they began with.
func (s *shop) reload(ctx context.Context, g Gateway) error {
	if s == nil {
		return nil
	}
	if g.Listen == "" {
		s.log.Warn("the gateway stops selling with the next start")
		return nil
	}
	ready, err := s.prepare(g)
	if err == nil {
		err = s.gateway.Reload(ctx, ready.config)
	}
	if err != nil {
		return err
	}
	if g.Listen != s.now.Listen || (g.TLSCert == "") != (s.now.TLSCert == "") {
		s.log.Warn("this setting changes with the next start", "key", "gateway.listen", "to", g.Listen)
	}
	if !reflect.DeepEqual(g, s.now) {
		s.log.Info("gateway reloaded", "routes", len(g.Routes))
	}
	ready.use(s)
	return nil
}

// closeTime is how long requests may take to end when the daemon stops.
const closeTime = 5 * time.Second

// stopsFirst returns a context that ends when ctx has and the gateway then serves nothing any more: the node has to
// be there to end the draws of requests that run.
func (s *shop) stopsFirst(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	out, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer stop()
		<-ctx.Done()
		last, cancel := context.WithTimeout(out, closeTime)
		defer cancel()
		if s.server.Shutdown(last) != nil {
			_ = s.server.Close() // streams that go on: what was kept of them is charged
		}
	}()
	return out
}

// loadSecrets reads the secrets, or makes the first one.
func loadSecrets(path string) (list [][]byte, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, gateway.MinSecret)
		rand.Read(fresh) // never fails
		b = []byte(hex.EncodeToString(fresh) + "\n")
		err = wholefile.Write(path, b, false)
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		secret, err := hex.DecodeString(line)
		if err != nil || len(secret) < gateway.MinSecret {
			return nil, fault(path+" holds a line that is not a secret", "write %d or more random bytes in hex, one secret a line, the newest first", gateway.MinSecret)
		}
		list = append(list, secret)
	}
	if len(list) == 0 {
		return nil, fault(path+" is empty", "delete it, and a new secret is made")
	}
	return list, nil
}

// gatewayMetrics are the gateway's rows on /metrics.
type gatewayMetrics struct {
	requests *prometheus.CounterVec
	earned   prometheus.Counter
	units    *prometheus.CounterVec
}

func newGatewayMetrics() *gatewayMetrics {
	return &gatewayMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "runnel_gateway_requests_total", Help: "Requests by route and what became of them."}, []string{"route", "outcome"}),
		earned:   prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_gateway_charged_msat_total", Help: "What requests were charged, in msat."}),
		units:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "runnel_gateway_units_total", Help: "Units that were sold, by route."}, []string{"route"}),
	}
}

func (m *gatewayMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.earned, m.units}
}

func (m *gatewayMetrics) observe(o gateway.Outcome) {
	m.requests.WithLabelValues(o.Route, string(o.Kind)).Inc()
	if o.Amount > 0 {
		m.earned.Add(float64(o.Amount))
		m.units.WithLabelValues(o.Route).Add(float64(o.Units))
	}
}
