package daemon

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/runnel/runnel/channel"
)

// metrics counts what happens. The registry is the node's own: two nodes in one program do not meet.
type metrics struct {
	registry *prometheus.Registry
	out      prometheus.Counter
	in       prometheus.Counter
	refusals prometheus.Counter
	asked    prometheus.Counter
	draws    prometheus.Counter
	breaches prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		out:      prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_payments_sent_total", Help: "Payments signed and stored."}),
		in:       prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_payments_received_total", Help: "Payments answered, refused ones included."}),
		refusals: prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_payments_refused_total", Help: "Payments that this node did not accept."}),
		asked:    prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_draws_authorised_total", Help: "Draws that this node authorised, top-ups included."}),
		draws:    prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_draws_charged_total", Help: "Draws that this node charged, top-ups included."}),
		breaches: prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_peer_breaches_total", Help: "Times that a peer broke the protocol."}),
	}
	m.registry.MustRegister(m.out, m.in, m.refusals, m.asked, m.draws, m.breaches)
	return m
}

func (m *metrics) sent(n int)       { m.out.Add(float64(n)) }
func (m *metrics) authorised(n int) { m.asked.Add(float64(n)) }
func (m *metrics) charged(n int)    { m.draws.Add(float64(n)) }
func (m *metrics) misbehaved()      { m.breaches.Inc() }
func (m *metrics) received(n, refused int) {
	m.in.Add(float64(n))
	m.refusals.Add(float64(refused))
}

// observe registers gauges that are read from the node when somebody looks.
func (n *Node) observe() {
	gauge := func(name, help string, fn func() float64) {
		n.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, fn))
	}
	gauge("runnel_channels", "Channels that are not over.", func() float64 { return float64(len(n.live())) })
	gauge("runnel_peers", "Connected peers.", func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		return float64(len(n.sessions))
	})
	gauge("runnel_payments_waiting", "Own payments without a durable answer.", func() float64 { return float64(n.jobs.len()) })
	gauge("runnel_chain_height", "Height of the newest scanned block.", func() float64 {
		tip, _ := n.chain.tip()
		return float64(tip.Height)
	})
	gauge("runnel_chain_reachable", "1 while the chain backend answers.", func() float64 {
		if _, err := n.chain.unreachable(); err != nil {
			return 0
		}
		return 1
	})
	gauge("runnel_budget_used_msat", "Paid or reserved in the last 24 hours.", func() float64 { return float64(n.budget.Used(n.deps.Now())) })
	gauge("runnel_disk_free_bytes", "Free space for the store; -1 when unknown.", func() float64 { return float64(n.guard.free.Load()) })
	if n.deps.Replica == nil {
		return
	}
	gauge("runnel_replica_current", "1 while the replica has all that was acknowledged.", func() float64 {
		if n.deps.Replica.Health().OK {
			return 1
		}
		return 0
	})
	gauge("runnel_replica_waiting_bytes", "What the replica has yet to write.", func() float64 { return float64(n.deps.Replica.Health().Waiting) })
}

// Register adds a program's own metrics to the node's.
func (n *Node) Register(c ...prometheus.Collector) { n.metrics.registry.MustRegister(c...) }

// Handler serves /metrics, /healthz (the process answers) and /readyz (the chain was scanned and
// answers). Serve it on loopback: it is not for strangers.
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { health(w, true, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		_, away := n.chain.unreachable()
		switch {
		case n.closed.Load():
			health(w, false, string(channel.CodeStopping))
		case away != nil:
			health(w, false, string(channel.CodeChainUnreachable))
		case !n.chain.scanned.Load():
			health(w, false, string(channel.CodeNotReady))
		default:
			health(w, true, "ready")
		}
	})
	return mux
}

func health(w http.ResponseWriter, ok bool, text string) {
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"status": text})
}
