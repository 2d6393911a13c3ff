package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/gateway"
)

// Gateway is the table [gateway] of the settings file: which services are sold over HTTP, and for what. It has no
// flags and no environment variables: routes are a list.
type Gateway struct {
	Listen  string `toml:"listen"`   // host:port; empty: off
	TLSCert string `toml:"tls-cert"` // file, with the chain
	TLSKey  string `toml:"tls-key"`

	Realm    string            `toml:"realm"`
	Title    string            `toml:"title"`
	Upstream string            `toml:"upstream"` // URL; a route can have its own
	Timeout  time.Duration     `toml:"upstream-timeout"`
	Headers  map[string]string `toml:"upstream-headers"`
	Secrets  map[string]string `toml:"upstream-header-files"`

	ServeUnknown  bool          `toml:"serve-unknown"`
	ChallengeLife time.Duration `toml:"challenge-life"`
	Pause         time.Duration `toml:"pause"`
	MaxBody       int64         `toml:"max-body"`
	FreeRequests  int           `toml:"free-requests"`
	FreePer       time.Duration `toml:"free-per"`
	UnpaidLimit   int           `toml:"unpaid-per-minute"`
	Proxies       []string      `toml:"trusted-proxies"`
	Origins       []string      `toml:"origins"`
	StoredBytes   int           `toml:"stored-bytes"`
	StoredAnswers int           `toml:"stored-answers"`

	Routes []GatewayRoute `toml:"route"`
}

// GatewayRoute is one entry of [[gateway.route]].
type GatewayRoute struct {
	Path             string            `toml:"path"` // METHOD PATH, or PATH for every method
	Free             bool              `toml:"free"`
	Price            msat              `toml:"price"`
	Unit             string            `toml:"unit"`
	Per              uint64            `toml:"per"`
	PriceHeader      string            `toml:"price-header"`
	Description      string            `toml:"description"`
	Typical          msat              `toml:"typical"`
	SuggestedDeposit msat              `toml:"suggested-deposit"`
	MinDeposit       msat              `toml:"min-deposit"`
	MinVoucherDelta  msat              `toml:"min-voucher-delta"`
	GiveBackBroken   bool              `toml:"give-back-broken"`
	Upstream         string            `toml:"upstream"`
	Timeout          time.Duration     `toml:"upstream-timeout"`
	Headers          map[string]string `toml:"upstream-headers"`
	Secrets          map[string]string `toml:"upstream-header-files"`
}

// msat is an amount with a unit in the file.
type msat channel.Msat

// UnmarshalText reads 20msat or 1sat.
func (m *msat) UnmarshalText(b []byte) error {
	v, err := amount.ParseOrZero(string(b))
	*m = msat(v)
	return err
}

// amountsAreTexts refuses a bare number: nobody could know its unit.
func amountsAreTexts(from, to reflect.Type, v any) (any, error) {
	if (to == reflect.TypeFor[msat]() || to == reflect.TypeFor[time.Duration]()) && from.Kind() != reflect.String {
		return nil, fmt.Errorf("%v has no unit", v)
	}
	return v, nil
}

const gatewayTable = "gateway"

// readGateway takes the table out of the settings file. What it does not know is an error.
func readGateway(k *koanf.Koanf, source string) (g Gateway, problems Problems) {
	if !k.Exists(gatewayTable) {
		return g, nil
	}
	err := k.UnmarshalWithConf(gatewayTable, &g, koanf.UnmarshalConf{Tag: "toml", DecoderConfig: &mapstructure.DecoderConfig{
		TagName: "toml", ErrorUnused: true, MatchName: func(key, field string) bool { return key == field },
		DecodeHook: mapstructure.ComposeDecodeHookFunc(amountsAreTexts, mapstructure.StringToTimeDurationHookFunc(), mapstructure.TextUnmarshallerHookFunc()),
	}})
	if err != nil {
		text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", " ")), " ")
		return g, Problems{{Key: gatewayTable, Source: source, Text: text, Hint: "docs/gateway.md lists all settings; amounts carry a unit, such as \"20msat\", and durations too, such as \"10s\""}}
	}
	return g, g.check(source)
}

// check reports all that can be known to be wrong before the daemon starts.
func (g *Gateway) check(source string) Problems {
	var p Problems
	if g.Listen == "" {
		p.add("gateway.listen", "such as 127.0.0.1:8402", "is not set")
	} else if p.checkHost("gateway.listen", g.Listen); g.TLSCert == "" && !loopback(g.Listen) && len(p) == 0 {
		p.add("gateway.listen", "set gateway.tls-cert and gateway.tls-key, or listen at 127.0.0.1 behind a proxy that ends TLS",
			"%s can be reached from other machines, and plain HTTP would show credentials to everybody on the way", g.Listen)
	}
	if (g.TLSCert == "") != (g.TLSKey == "") {
		p.add("gateway.tls-cert", "set both gateway.tls-cert and gateway.tls-key", "is set alone")
	}
	if len(g.Routes) == 0 && !g.ServeUnknown {
		p.add("gateway.route", "write [[gateway.route]] with path and price", "there is none: nothing would be sold")
	}
	if _, err := g.proxies(); err != nil {
		p.add("gateway.trusted-proxies", "such as 10.0.0.0/8 or 127.0.0.1", "%v", err)
	}
	for i := range p {
		p[i].Source = source
	}
	if len(p) > 0 {
		return p
	}
	if _, err := g.build(nil, nil); err != nil {
		for line := range strings.Lines(err.Error()) {
			p = append(p, Problem{Key: gatewayTable, Source: source, Text: strings.TrimPrefix(strings.TrimSpace(line), "gateway: "), Hint: "docs/gateway.md explains all settings"})
		}
	}
	return p
}

func (g *Gateway) proxies() (list []netip.Prefix, err error) {
	for _, text := range g.Proxies {
		if addr, err := netip.ParseAddr(text); err == nil {
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no address or network", text)
		}
		list = append(list, prefix)
	}
	return list, nil
}

// build makes the gateway's own configuration. Without a payee it only checks.
func (g *Gateway) build(payee gateway.Payee, secrets [][]byte) (gateway.Config, error) {
	proxies, err := g.proxies()
	c := gateway.Config{Payee: payee, Realm: g.Realm, Title: g.Title, ServeUnknown: g.ServeUnknown, ChallengeLife: g.ChallengeLife, Pause: g.Pause,
		MaxBody: g.MaxBody, FreeRequests: g.FreeRequests, FreePer: g.FreePer, UnpaidLimit: g.UnpaidLimit, TrustedProxies: proxies,
		BehindTLS: g.TLSCert == "" && len(proxies) > 0, Origins: g.Origins, StoredBytes: g.StoredBytes, StoredAnswers: g.StoredAnswers}
	if len(secrets) > 0 {
		c.Secret, c.Previous = secrets[0], secrets[1:]
	}
	errs := []error{err}
	for i := range g.Routes {
		r, err := g.route(&g.Routes[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("route %q: %w", g.Routes[i].Path, err))
		}
		c.Routes = append(c.Routes, r)
	}
	errs = append(errs, gateway.CheckRoutes(c.Routes))
	return c, errors.Join(errs...)
}

func (g *Gateway) route(r *GatewayRoute) (out gateway.Route, err error) {
	out = gateway.Route{Pattern: r.Path, Free: r.Free, Description: r.Description, GiveBackBroken: r.GiveBackBroken,
		Price:   gateway.Price{Amount: channel.Msat(r.Price), Unit: gateway.Unit(r.Unit), Per: r.Per, Header: r.PriceHeader},
		Typical: channel.Msat(r.Typical), SuggestedDeposit: channel.Msat(r.SuggestedDeposit), MinDeposit: channel.Msat(r.MinDeposit), MinVoucherDelta: channel.Msat(r.MinVoucherDelta)}
	own := Gateway{Upstream: g.Upstream, Timeout: g.Timeout, Headers: g.Headers, Secrets: g.Secrets}
	if r.Upstream != "" {
		own = Gateway{Upstream: r.Upstream, Timeout: g.Timeout, Headers: r.Headers, Secrets: r.Secrets} // credentials belong to their upstream
	} else if len(r.Headers)+len(r.Secrets) > 0 {
		own.Headers, own.Secrets = r.Headers, r.Secrets
	}
	if r.Timeout > 0 {
		own.Timeout = r.Timeout
	}
	out.Upstream, err = own.upstream()
	return out, err
}

// upstream is the service that requests without a route's own go to.
func (g *Gateway) upstream() (http.Handler, error) {
	if g.Upstream == "" {
		return nil, errors.New("there is no upstream: set gateway.upstream, or the route's own")
	}
	u, err := url.Parse(g.Upstream)
	if err != nil {
		return nil, fmt.Errorf("the upstream %q is no URL", g.Upstream)
	}
	headers := http.Header{}
	for name, value := range g.Headers {
		headers.Set(name, value)
	}
	for name, path := range g.Secrets {
		value, err := ReadSecret(expand(path))
		if err != nil {
			return nil, err
		}
		headers.Set(name, value)
	}
	return gateway.NewUpstream(gateway.Upstream{URL: u, Header: headers, Timeout: g.Timeout})
}
