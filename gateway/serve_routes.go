package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
)

// route is a Route that is ready to serve.
type route struct {
	Route
	offered atomic.Pointer[offered]
}

// ServeHTTP makes a route something that a ServeMux gives back. It is never called.
func (*route) ServeHTTP(http.ResponseWriter, *http.Request) {}

// router finds the route of a request.
type router struct {
	mux    *http.ServeMux
	routes []*route
}

func newRouter(routes []Route) (*router, error) {
	r := &router{mux: http.NewServeMux()}
	var errs []error
	for i := range routes {
		one := &route{Route: routes[i]}
		if err := register(r.mux, one); err != nil {
			errs = append(errs, err)
		}
		r.routes = append(r.routes, one)
	}
	return r, errors.Join(errs...)
}

// CheckRoutes says what is wrong with routes before a gateway is made of them.
func CheckRoutes(routes []Route) error {
	var errs []error
	for _, r := range routes {
		if err := r.validate(); err != nil {
			errs = append(errs, fmt.Errorf("gateway: route %q: %w", r.Pattern, err))
		}
	}
	_, err := newRouter(routes)
	return errors.Join(append(errs, err)...)
}

// register turns the panic with which a ServeMux refuses a pattern into an error.
func register(mux *http.ServeMux, r *route) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("gateway: route %q: %v", r.Pattern, p)
		}
	}()
	mux.Handle(r.Pattern, r)
	return nil
}

// errPath says that a path can be read in two ways.
var errPath = errors.New("the path has to be written plainly, without //, dot segments or encoded slashes that change its meaning")

// find returns the route, or nil when there is none. A path that an upstream could take for another one than the
// router did is an error: a free route would open a paid one.
func (r *router) find(req *http.Request) (*route, error) {
	if !plain(req.URL.Path) {
		return nil, errPath
	}
	found := r.match(req)
	if strings.Contains(req.URL.EscapedPath(), "%") {
		decoded := *req
		decoded.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.Path}
		decoded.URL.RawPath = (&url.URL{Path: req.URL.Path}).EscapedPath()
		if r.match(&decoded) != found {
			return nil, errPath
		}
	}
	return found, nil
}

func (r *router) match(req *http.Request) *route {
	h, _ := r.mux.Handler(req)
	found, _ := h.(*route)
	return found
}

// plain reports whether a decoded path means the same to everybody.
func plain(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\\\x00") {
		return false
	}
	cleaned := path.Clean(p)
	return cleaned == p || cleaned+"/" == p
}
