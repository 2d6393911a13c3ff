package gateway

import (
	"net/http"
	"regexp"
	"strings"
)

// discoveryPath is where the routes and their prices are described (OpenAPI 3.1).
const discoveryPath = "/openapi.json"

type offerInfo struct {
	Intent   string `json:"intent"`
	Method   string `json:"method"`
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
	UnitType Unit   `json:"unitType"`
	UnitSize uint64 `json:"unitSize,omitempty"`
}

// operation describes one method of one path.
func (r *route) operation() map[string]any {
	op := map[string]any{"responses": map[string]any{"200": map[string]any{"description": "The resource."}}}
	if r.Description != "" {
		op["summary"] = r.Description
	}
	if r.Free {
		return op
	}
	o := offerInfo{Intent: IntentSession, Method: Method, Amount: formatMsat(r.Price.Amount), Currency: CurrencyMsat, UnitType: r.Price.Unit}
	if r.Price.Per > 1 {
		o.UnitSize = r.Price.Per
	}
	op["x-payment-info"] = map[string]any{"offers": []offerInfo{o}}
	op["responses"].(map[string]any)["402"] = map[string]any{
		"description": "Payment required: " + r.Price.String() + ". The challenge is in WWW-Authenticate.",
		"content":     map[string]any{ContentTypeProblem: map[string]any{"schema": map[string]any{"type": "object"}}},
	}
	return op
}

var wildcard = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}`)

// splitPattern takes a ServeMux pattern apart.
func splitPattern(pattern string) (method, path string) {
	if m, rest, ok := strings.Cut(pattern, " "); ok {
		method, pattern = m, strings.TrimLeft(rest, " \t")
	}
	if i := strings.Index(pattern, "/"); i >= 0 {
		path = strings.ReplaceAll(pattern[i:], "{$}", "")
	}
	return method, wildcard.ReplaceAllString(path, "{$1}")
}

// discover answers with the document.
func (p *plan) discover(w http.ResponseWriter, _ *http.Request) {
	paths := map[string]map[string]any{}
	for _, r := range p.router.routes {
		method, path := splitPattern(r.Pattern)
		methods := []string{strings.ToLower(method)}
		if method == "" {
			methods = []string{"get", "post"}
		}
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		for _, m := range methods {
			op := r.operation()
			var params []map[string]any
			for _, name := range wildcard.FindAllStringSubmatch(path, -1) {
				params = append(params, map[string]any{"name": name[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
			}
			if params != nil {
				op["parameters"] = params
			}
			paths[path][m] = op
		}
	}
	title := p.Title
	if title == "" {
		title = p.Realm
	}
	body, err := Canonical(map[string]any{"openapi": "3.1.0", "info": map[string]any{"title": title, "version": "1"}, "paths": paths})
	if err != nil {
		http.Error(w, "the document could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, _ = w.Write(body)
}
