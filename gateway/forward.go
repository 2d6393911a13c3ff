package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
)

// Forward is a proxy that pays for clients who know nothing of payments. With an Upstream it stands for that server:
// clients take the proxy's address for their base URL. Without one it is a forward proxy for plain HTTP. Who reaches
// it can spend within the Transport's limits, so it belongs on loopback, and web pages are turned away.
type Forward struct {
	Transport *Transport
	Upstream  *url.URL // scheme, host, and a path in front of every request's own; nil: a forward proxy
	Origins   []string // of web pages that may use it all the same, such as http://localhost:3000
	// Note hears of every request, when its answer begins: the status that the client sees, and why if it is the
	// proxy's own. It may be nil.
	Note func(r *http.Request, status int, err error)
}

// Handler is the proxy.
func (f *Forward) Handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport:     f.Transport,
		FlushInterval: -1,                         // what comes is passed on at once
		ErrorLog:      log.New(io.Discard, "", 0), // Note and OnPayment tell all there is
		Rewrite:       f.rewrite,
		ModifyResponse: func(res *http.Response) error {
			f.note(res.Request, res.StatusCode, nil)
			if isEvents(res.Header) {
				res.Body = &lastWords{ReadCloser: res.Body}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { f.say(w, r, forwardProblem(err), err) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := f.refuse(r); p != nil {
			f.say(w, r, p, p)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func (f *Forward) note(r *http.Request, status int, err error) {
	if f.Note != nil {
		f.Note(r, status, err)
	}
}

// say answers for the proxy itself.
func (f *Forward) say(w http.ResponseWriter, r *http.Request, p *Problem, err error) {
	f.note(r, p.Status, err)
	writeProblem(w, r, p)
}

// rewrite points a request at its server.
func (f *Forward) rewrite(p *httputil.ProxyRequest) {
	if f.Upstream == nil {
		p.Out.Host = p.In.Host
		return
	}
	p.SetURL(f.Upstream)
	p.Out.Host = f.Upstream.Host
	for name := range p.Out.Header {
		if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") { // of the proxy's address
			p.Out.Header.Del(name)
		}
	}
}

// refuse says what is no request for this proxy.
func (f *Forward) refuse(r *http.Request) *Problem {
	switch {
	case r.Method == http.MethodConnect:
		return forwardTunnel.Problem("a payment can't be seen inside a tunnel. Start the proxy with --upstream https://%s and give your client the proxy's address "+
			"as its base URL, instead of setting it as a proxy", r.Host)
	case f.Upstream == nil && !r.URL.IsAbs():
		return forwardMisused.Problem("this is a forward proxy for plain HTTP: set it as http_proxy, or start it with --upstream https://HOST to use its address as a base URL")
	case f.Upstream == nil && r.URL.Scheme != "http":
		return forwardMisused.Problem("this forward proxy speaks plain HTTP only; start it with --upstream for https")
	case f.Upstream == nil:
		return nil
	case r.URL.IsAbs():
		return forwardMisused.Problem("this proxy stands for %s: take its address for the base URL, and don't set it as http_proxy", f.Upstream.Host)
	case !ownHost(r):
		return forwardForeign.Problem("%.60q is not a name of this proxy", r.Host)
	case !f.welcome(r):
		return forwardForeign.Problem("web pages can't spend your money: allow one with --allow-origin ORIGIN")
	}
	return nil
}

// ownHost keeps out names of others that were made to lead here.
func ownHost(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	if host == "localhost" || net.ParseIP(host) != nil {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, _, err := net.SplitHostPort(local.String())
	ip := net.ParseIP(at)
	return err == nil && ip != nil && !ip.IsLoopback() // beyond loopback names are the owner's business
}

// welcome reports whether a request comes from a program, or from a web page that may use the proxy.
func (f *Forward) welcome(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		return slices.Contains(f.Origins, origin)
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "" || site == "none" || len(f.Origins) > 0 && site == "same-origin"
}

// What the proxy says for itself.
var (
	forwardTunnel  = ProblemKind{"about:blank", "No tunnels here", http.StatusNotImplemented}
	forwardMisused = ProblemKind{"about:blank", "Not a request for this proxy", http.StatusBadRequest}
	forwardForeign = ProblemKind{"about:blank", "Not for this client", http.StatusForbidden}
	forwardUnpaid  = ProblemKind{"about:blank", "Not paid", http.StatusPaymentRequired}
	forwardFailed  = ProblemKind{"about:blank", "The server does not answer", http.StatusBadGateway}
	forwardLate    = ProblemKind{"about:blank", "The server is too slow", http.StatusGatewayTimeout}
	forwardNode    = ProblemKind{"about:blank", "The node can't pay now", http.StatusServiceUnavailable}
)

// forwardProblem is what the proxy's client is told.
func forwardProblem(err error) *Problem {
	var (
		unpaid   *Unpaid
		rejected *Rejected
	)
	switch {
	case errors.As(err, &rejected):
		p := *rejected.Problem
		p.Status = http.StatusBadGateway
		p.Detail = rejected.Error()
		return &p
	case errors.As(err, &unpaid) && unpaid.Why == WhyNode:
		p := forwardNode.Problem("%s", unpaid.Error())
		p.Code = string(faultCode(err))
		return p
	case errors.As(err, &unpaid):
		p := forwardUnpaid.Problem("%s", unpaid.Error())
		p.Code = string(unpaid.Why)
		return p
	case errors.Is(err, context.DeadlineExceeded):
		return forwardLate.Problem("no answer in time")
	}
	return forwardFailed.Problem("%s", err)
}

// EventError is the event with which the proxy says, as a problem, why it ends a stream before its time.
const EventError = "payment-error"

// lastWords tells the reader of a stream of events why no more is paid for it. Then the connection breaks off, so
// that nobody takes the stream for complete.
type lastWords struct {
	io.ReadCloser
	rest []byte
	err  error
}

func (l *lastWords) Read(b []byte) (int, error) {
	if l.err == nil {
		n, err := l.ReadCloser.Read(b)
		var (
			unpaid   *Unpaid
			rejected *Rejected
		)
		if !errors.As(err, &unpaid) && !errors.As(err, &rejected) {
			return n, err
		}
		l.err = err
		l.rest = fmt.Appendf(nil, "event: %s\ndata: %s\n", EventError, forwardProblem(err).Encode())
		if n > 0 {
			return n, nil
		}
	}
	if len(l.rest) == 0 {
		return 0, l.err
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
