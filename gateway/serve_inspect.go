package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Limits of a request's headers, beside the server's own on their bytes.
const (
	maxHeaders = 100
	maxTarget  = 8 << 10
)

// single headers must not be doubled: two readers could take different ones.
func single() []string {
	return []string{"Authorization", HeaderIdempotency, HeaderAcceptPayment, "Content-Length", "Content-Type", "Host", "Transfer-Encoding", "Upgrade"}
}

// Names of what tells the upstream who paid.
const (
	HeaderPayer   = "Runnel-Payer"   // peer id
	HeaderChannel = "Runnel-Channel" // 0x and hex
)

// inspect refuses what honest clients don't send. What it passes has one meaning.
func inspect(r *http.Request) *Problem {
	count := 0
	for _, values := range r.Header {
		count += len(values)
	}
	switch {
	case count > maxHeaders:
		return ProblemHeaderTooLarge.Problem("%d headers are above %d", count, maxHeaders)
	case len(r.RequestURI) > maxTarget:
		return ProblemHeaderTooLarge.Problem("the target has %d bytes, above %d", len(r.RequestURI), maxTarget)
	case r.Host == "" || strings.ContainsAny(r.Host, "/@\\, \t"):
		return ProblemBadRequest.Problem("the Host header makes no sense")
	case !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*":
		return ProblemBadRequest.Problem("send the path alone: this gateway forwards to its own upstream only")
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace || !isToken(r.Method):
		return ProblemBadRequest.Problem("the method %.20q is not served", r.Method)
	case len(r.TransferEncoding) > 0 && !slices.Equal(r.TransferEncoding, []string{"chunked"}):
		return ProblemBadRequest.Problem("the transfer coding is not chunked")
	case len(r.TransferEncoding) > 0 && len(r.Header["Content-Length"]) > 0:
		return ProblemBadRequest.Problem("Content-Length and Transfer-Encoding stand together")
	}
	if err := checkNames(r.Header); err != nil {
		return ProblemBadRequest.Problem("%v", err)
	}
	return nil
}

func checkNames(h http.Header) error {
	for _, name := range single() {
		if len(h[name]) > 1 {
			return fmt.Errorf("the header %s stands %d times", name, len(h[name]))
		}
	}
	for name := range h {
		if folded := fold(name); folded != strings.ToLower(name) && slices.ContainsFunc(single(), func(s string) bool { return strings.ToLower(s) == folded }) {
			return fmt.Errorf("the header %.40q looks like another one", name)
		}
	}
	if key := h.Get(HeaderIdempotency); len(key) > maxKey {
		return fmt.Errorf("%s has %d bytes, above %d", HeaderIdempotency, len(key), maxKey)
	}
	return nil
}

// maxKey bounds Idempotency-Key.
const maxKey = 255

// fold is a header's name as programs read it that know no difference between - and _ (CGI, WSGI) or leave spaces.
func fold(name string) string {
	return strings.ToLower(strings.TrimSpace(strings.NewReplacer("_", "-", ".", "-").Replace(name)))
}

// overrides are headers with which some services are told that a request is another one than it looks.
func overrides() []string {
	return []string{"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-original-method"}
}

// strip takes from a request's headers what the upstream must have from us alone.
func strip(h http.Header) {
	for name := range h {
		folded := fold(name)
		if strings.HasPrefix(folded, "runnel-") || slices.Contains(overrides(), folded) {
			delete(h, name)
		}
	}
	if isCredential(h.Get("Authorization")) {
		h.Del("Authorization")
	}
	h.Del(HeaderAcceptPayment)
	if isUpgrade(h) {
		h.Set("Connection", "Upgrade")
	} else {
		h.Del("Connection") // which could name headers of ours, to have them removed on the way
	}
}

// isCredential reports whether an Authorization header is of our scheme.
func isCredential(header string) bool {
	scheme, _, _ := strings.Cut(header, " ")
	return strings.EqualFold(scheme, Scheme)
}

// authorityOf is what a binding calls the host of a request: in lower case, without the port that its scheme has.
func authorityOf(host string, tls bool) string {
	host = strings.ToLower(host)
	port := ":80"
	if tls {
		port = ":443"
	}
	if bare, ok := strings.CutSuffix(host, port); ok && (strings.HasSuffix(bare, "]") || !strings.Contains(bare, ":")) {
		return bare
	}
	return host
}

// isUpgrade reports whether a request wants another protocol on its connection.
func isUpgrade(h http.Header) bool {
	return h.Get("Upgrade") != "" || strings.Contains(strings.ToLower(strings.Join(h["Connection"], ",")), "upgrade")
}

var errAddress = errors.New("no address")

// clientAddr is the address for which a request counts: the peer's, or the last one that a trusted proxy names and
// that is no trusted proxy. Of IPv6 it is the network that one customer gets.
func clientAddr(r *http.Request, trusted []netip.Prefix) (netip.Prefix, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}, errAddress
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, errAddress
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(addr.Unmap(), trusted); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop
	}
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	return addr.WithZone("").Prefix(bits)
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}
