package gateway

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// Upstream is a service behind the gateway.
type Upstream struct {
	URL     *url.URL      // requests go to its path joined with theirs
	Header  http.Header   // set on every request: the service's own credentials
	Timeout time.Duration // until an answer begins; 0: a minute
}

// NewUpstream makes the service a handler that hands requests on. Answers pass as they come; an upstream that refuses
// or is too slow becomes 502 or 504, for which nothing is charged.
func NewUpstream(u Upstream) (http.Handler, error) {
	if u.URL == nil || u.URL.Scheme != "http" && u.URL.Scheme != "https" || u.URL.Host == "" || u.URL.User != nil {
		return nil, errors.New("gateway: an upstream is http://HOST or https://HOST, without a user in it")
	}
	if u.Timeout == 0 {
		u.Timeout = time.Minute
	}
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { u.rewrite(r) },
		Transport:     u.transport(),
		FlushInterval: -1,
		ErrorHandler:  unreachable,
		ErrorLog:      log.New(io.Discard, "", 0), // it would log targets
	}, nil
}

func (u *Upstream) transport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: u.Timeout,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   64,
		DisableCompression:    true, // what is counted passes as it is
		ForceAttemptHTTP2:     true,
	}
}

func (u *Upstream) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(u.URL)
	r.SetXForwarded()
	for name, values := range u.Header {
		r.Out.Header[http.CanonicalHeaderKey(name)] = values
	}
}

// unreachable says that there is no answer, and nothing of where it was asked for.
func unreachable(w http.ResponseWriter, r *http.Request, err error) {
	var timeout net.Error
	p := ProblemUpstream.Problem("nothing was charged: try again later")
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		p = ProblemUpstreamTimeout.Problem("nothing was charged: try again later")
	}
	writeProblem(w, r, p)
}
