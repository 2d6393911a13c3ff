package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// exposed are the headers of ours that scripts may read.
const exposed = "WWW-Authenticate, Payment-Receipt, Retry-After, Idempotent-Replayed"

// cors lets browsers read our answers.
func (p *plan) cors(h http.Header, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Add("Vary", "Origin")
	switch {
	case len(p.Origins) == 0:
		h.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(p.Origins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return
	}
	h.Set("Access-Control-Expose-Headers", exposed)
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers for what browsers send; whether it is paid is seen when it comes.
func (p *plan) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		headers := "Authorization, Content-Type, Accept-Payment, Idempotency-Key"
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) < 1024 && clean(asked) {
			headers = strings.Join([]string{headers, asked}, ", ")
		}
		h.Set("Access-Control-Allow-Headers", headers)
		h.Set("Access-Control-Max-Age", "600")
	}
	h.Add("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}
