package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
)

// Gateway charges for what handlers serve. Its settings can be replaced while requests run: each request ends with
// those that it began with.
type Gateway struct {
	now      atomic.Pointer[plan]
	answers  answers
	unpaid   visitors
	free     visitors
	running  running
	unlocked unlocked
}

// plan is a configuration that is ready to serve.
type plan struct {
	Config
	mint   *Mint
	router *router
	self   *self
}

// New makes a gateway. The payee is asked who it is: it must answer.
func New(ctx context.Context, c Config) (*Gateway, error) {
	g := &Gateway{}
	if err := g.Reload(ctx, c); err != nil {
		return nil, err
	}
	p := g.now.Load()
	g.answers.maxBytes, g.answers.maxCount = p.StoredBytes, p.StoredAnswers
	return g, nil
}

// Reload replaces all settings but the sizes of the store of answers, or none of them.
func (g *Gateway) Reload(ctx context.Context, c Config) error {
	c = c.withDefaults()
	c.Routes = append([]Route(nil), c.Routes...)
	if err := c.validate(); err != nil {
		return err
	}
	mint, err := NewMint(c.Secret, c.Previous...)
	if err != nil {
		return err
	}
	router, err := newRouter(c.Routes)
	if err != nil {
		return err
	}
	p := &plan{Config: c, mint: mint, router: router, self: &self{payee: c.Payee}}
	if err := p.self.load(ctx, c.Now()); err != nil {
		return err
	}
	g.now.Store(p)
	return nil
}

// Middleware charges for what next serves.
//
//	http.ListenAndServeTLS(addr, cert, key, gateway.Middleware(gw)(mux))
func Middleware(g *Gateway) func(next http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := g.now.Load()
			v := &visit{g: g, plan: p, w: w, r: r, next: next}
			v.serve()
		})
	}
}

// visit is one request on its way through the gateway.
type visit struct {
	g     *Gateway
	plan  *plan
	w     http.ResponseWriter
	r     *http.Request
	next  http.Handler
	route *route // nil: none matched
}

func (v *visit) serve() {
	v.plan.cors(v.w.Header(), v.r)
	if p := inspect(v.r); p != nil {
		v.refuse(p)
		return
	}
	if isPreflight(v.r) {
		v.plan.preflight(v.w, v.r)
		return
	}
	if v.r.URL.Path == discoveryPath && v.r.Method == http.MethodGet {
		v.plan.discover(v.w, v.r)
		return
	}
	if strings.HasPrefix(v.r.URL.Path, unlockPath) {
		v.unlock()
		return
	}
	var err error
	if v.route, err = v.plan.router.find(v.r); err != nil {
		v.refuse(ProblemBadRequest.Problem("%v", err))
		return
	}
	credential := v.r.Header.Get("Authorization")
	switch {
	case isCredential(credential):
		v.withCredential(credential)
	case v.route == nil && !v.plan.ServeUnknown:
		v.refuse(ProblemNotSold.Problem("%s has no route on this gateway", v.r.URL.Path))
	case v.route == nil || v.route.Free:
		v.pass(OutcomeFree)
	default:
		v.withoutCredential()
	}
}

// withoutCredential serves what is free for this address, or asks for payment.
func (v *visit) withoutCredential() {
	if isUpgrade(v.r.Header) {
		v.refuse(upgradeProblem())
		return
	}
	if v.paidByPage() {
		return
	}
	addr, err := clientAddr(v.r, v.plan.TrustedProxies)
	if err == nil && v.plan.FreeRequests > 0 {
		if _, ok := v.g.free.take(addr, v.plan.FreeRequests, v.plan.FreePer, v.plan.Now()); ok {
			v.pass(OutcomeFree)
			return
		}
	}
	v.demand(ProblemPaymentRequired.Problem("this costs %s: pay with the challenge of WWW-Authenticate, such as with `runnel fetch`", v.route.Price.String()), nil)
}

func upgradeProblem() *Problem {
	return ProblemUpgrade.Problem("this route is paid for by the request, and a WebSocket has no requests: use server-sent events, or make the route free")
}

// pass hands the request to the service without a charge.
func (v *visit) pass(kind OutcomeKind) (status int) {
	strip(v.r.Header)
	rec := &statusRecorder{ResponseWriter: v.w}
	defer func() { v.observe(Outcome{Kind: kind, Status: rec.status}) }()
	v.service().ServeHTTP(rec, v.r)
	return rec.status
}

func (v *visit) service() http.Handler {
	if v.route != nil && v.route.Upstream != nil {
		return v.route.Upstream
	}
	return v.next
}

func (v *visit) observe(o Outcome) {
	if v.route != nil {
		o.Route = v.route.Pattern
	}
	v.plan.Observe(o)
}

// refuse answers with a problem and no challenge.
func (v *visit) refuse(p *Problem) {
	v.observe(Outcome{Kind: OutcomeRefused, Status: p.Status})
	v.log(p)
	writeProblem(v.w, v.r, p)
}

func (v *visit) log(p *Problem) {
	v.plan.Log.LogAttrs(v.r.Context(), slog.LevelDebug, "request refused", slog.String("method", v.r.Method), slog.String("path", v.r.URL.Path),
		slog.Int("status", p.Status), slog.String("title", p.Title), slog.String("code", p.Code))
}

func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Trailer", HeaderReceipt} {
		h.Del(name)
	}
	h.Set("Content-Type", ContentTypeProblem)
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusServiceUnavailable || p.ProblemKind == ProblemIdempotencyRunning {
		h.Set("Retry-After", "1")
	}
	body := p.Encode()
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// statusRecorder remembers the status of an answer that passes.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// endTime is how long the books may take at the end of a request whose client may be gone.
const endTime = 30 * time.Second

// lasting is a context for what has to be written down although the client is gone.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), endTime)
}

// String is a price as people read it.
func (p *Price) String() string {
	switch amount := formatMsat(p.Amount) + " msat"; {
	case p.Unit == UnitRequest && (p.Header != "" || p.Ask != nil):
		return "up to " + amount
	case p.Unit == UnitRequest:
		return amount
	}
	return priceText(p.Amount, p.Per, p.Unit)
}

// priceText is what units cost.
func priceText(amount channel.Msat, units uint64, unit Unit) string {
	if units > 1 {
		return fmt.Sprintf("%d msat for %d %ss", amount, units, unit)
	}
	return fmt.Sprintf("%d msat a %s", amount, unit)
}

// problemOf says a node's fault in the words of the scheme.
func problemOf(err error) *Problem {
	var f *channel.Fault
	if !errors.As(err, &f) {
		return ProblemUnavailable.Problem("the node gave no answer")
	}
	p := kindOf(f.Code).Problem("%s", f.Text)
	p.Code = string(f.Code)
	return p
}

func kindOf(c channel.Code) ProblemKind {
	switch c {
	case channel.CodeNotFound, channel.CodeAmbiguous:
		return ProblemChannelNotFound
	case channel.CodeNotOpen, channel.CodeExpiring:
		return ProblemChannelFinalized
	case channel.CodeBadProof, channel.CodeBadRequest:
		return ProblemVerification
	case channel.CodeBadSignature:
		return ProblemSignature
	case channel.CodeInsufficient:
		return ProblemDeposit
	case channel.CodeNoCredit:
		return ProblemBalance
	case channel.CodeIDConflict:
		return ProblemRepeated
	case channel.CodeLimit, channel.CodeUnsupported, channel.CodeRefused:
		return ProblemRefused
	}
	return ProblemUnavailable
}
