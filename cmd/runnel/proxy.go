package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/gateway"
)

const (
	proxyBudget = channel.Msat(1_000_000)
	// proxyGrace is how long streams may still run when the proxy is asked to end.
	proxyGrace = 3 * time.Second
)

const proxyHelp = `Pay for programs that know nothing of payments: they talk to this proxy as
they would to the server, and the proxy pays what the server asks for.

With --upstream the proxy stands for one server. Give your program the proxy's
address as its base URL and change nothing else; the way to the server may be
https. Without it the proxy is one for plain http (http_proxy). A tunnel
(CONNECT) is refused, because a payment can't be seen inside https.

Every request may cost --max, all together --budget; both are asked before
anything is signed. When a limit is reached, clients get 402 with the reason,
and a stream ends with the event payment-error. Who reaches the proxy can
spend: it listens on loopback only unless --allow-remote is given, and turns
web pages away unless --allow-origin names them.

Ctrl-C ends it and tells what was spent. Exit code 0 then, 1 if it failed.`

type proxyFlags struct {
	listen, upstream, cacert string
	origins                  []string
	remote, insecure, rise   bool
	verbose                  bool
	max, budget              channel.Msat
}

func proxyCommand(a *app) *cobra.Command {
	f := proxyFlags{max: smallMax, budget: proxyBudget}
	cmd := &cobra.Command{
		Use:   "proxy [--upstream URL]",
		Short: "Pay for programs that know nothing of payments",
		Long:  proxyHelp,
		Example: `  runnel proxy --upstream https://llm.example --budget 500sat
  OPENAI_BASE_URL=http://127.0.0.1:8402/v1 my-chat-program
  runnel proxy --listen 127.0.0.1:9000      # for plain http:
  http_proxy=http://127.0.0.1:9000 curl http://api.example/forecast`,
		Args:              takes(0, 0, func([]string) error { return f.check() }),
		ValidArgsFunction: noCompletion,
		RunE:              a.verb(func(c *call) error { return c.proxy(f) }),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8402", "listen at `HOST:PORT`; port 0 takes a free one")
	fl.StringVar(&f.upstream, "upstream", "", "stand for the server at this `URL`")
	payFlagsOf(cmd, &f.max, &f.budget, &f.rise)
	fl.StringArrayVar(&f.origins, "allow-origin", nil, "let web pages of this `ORIGIN` use it, such as http://localhost:3000")
	fl.BoolVar(&f.remote, "allow-remote", false, "listen on an address that others reach: they can spend")
	fl.BoolVarP(&f.insecure, "insecure", "k", false, "don't check the server's certificate")
	fl.StringVar(&f.cacert, "cacert", "", "trust the certificates in `FILE`")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show each request and its cost on standard error")
	for _, name := range []string{"listen", "upstream", "allow-origin"} {
		cmd.RegisterFlagCompletionFunc(name, noCompletion)
	}
	return cmd
}

func (f *proxyFlags) check() error {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return usage("write it as 127.0.0.1:8402", "--listen %s: %v", f.listen, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && !f.remote {
		return usage("listen on 127.0.0.1, or add --allow-remote if everybody who reaches it may spend", "%s is not a loopback address", f.listen)
	}
	for _, o := range f.origins {
		if u, err := url.Parse(o); err != nil || u.Host == "" || u.Path != "" {
			return usage("write it as http://localhost:3000", "--allow-origin: %q is not an origin", o)
		}
	}
	if f.upstream == "" {
		return nil
	}
	u, err := parseURL(f.upstream)
	if err == nil && (u.RawQuery != "" || u.User != nil) {
		err = usage("write it as https://HOST or https://HOST/PATH", "--upstream takes no query and no password")
	}
	return err
}

// toll counts what a proxy spends.
type toll struct {
	mu       sync.Mutex
	requests int          // under mu
	paid     int          // under mu
	cost     channel.Msat // under mu
}

type proxyView struct {
	Listen   string `json:"listen"`
	Upstream string `json:"upstream"`
	Requests int    `json:"requests"`
	Paid     int    `json:"paid"`
	Cost     uint64 `json:"cost_msat"`
	Budget   uint64 `json:"budget_msat"`
	Used     uint64 `json:"budget_used_msat"`
}

// proxy serves until it is asked to end, and tells what was spent.
func (c *call) proxy(f proxyFlags) error {
	payer, ok := c.node.(gateway.Payer)
	if !ok {
		return errCantPay()
	}
	base, err := plainTransport(f.insecure, f.cacert)
	if err != nil {
		return err
	}
	base.MaxIdleConnsPerHost = 64
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return usage("choose another port with --listen", "%v", err)
	}
	t := &toll{}
	budget := gateway.NewBudget(f.budget)
	if f.upstream == "" {
		base.Proxy = nil // it is the proxy
	}
	forward := &gateway.Forward{
		Transport: &gateway.Transport{Payer: payer, Max: f.max, Budget: budget, Base: base, AllowRise: f.rise, MaxBody: maxPaidBody, OnPayment: c.onPayment(f, t)},
		Origins:   f.origins, Note: c.onRequest(f, t),
	}
	if f.upstream != "" {
		forward.Upstream, _ = parseURL(f.upstream) // checked
	}
	c.greet(f, l.Addr().String())
	err = c.serve(l, forward.Handler())
	t.mu.Lock()
	defer t.mu.Unlock()
	view := proxyView{l.Addr().String(), f.upstream, t.requests, t.paid, uint64(t.cost), uint64(budget.Limit()), uint64(budget.Used())}
	return errors.Join(err, c.show(view, func(u *ui) {
		u.line("%s, %s paid, %s spent of a budget of %s", plural(t.requests, "request", "requests"), count(t.paid), u.bold(amount.Msat(t.cost)), amount.Msat(budget.Limit()))
	}))
}

func (c *call) greet(f proxyFlags, at string) {
	u := c.notes()
	what := "a proxy for plain http; for https start it with --upstream"
	if f.upstream != "" {
		what = "base URL for " + printable(f.upstream)
	}
	u.line("http://%s  %s", at, what)
	u.line("%s a request at most, %s in all; Ctrl-C ends it", amount.Msat(f.max), amount.Msat(f.budget))
}

// serve answers until the context ends; what runs then may finish, for a moment.
func (c *call) serve(l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 256 << 10, ErrorLog: log.New(c.err, "", 0)}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-c.ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), proxyGrace)
	defer cancel()
	if s.Shutdown(grace) != nil {
		s.Close()
	}
	<-failed
	return nil
}

func (c *call) onRequest(f proxyFlags, t *toll) func(*http.Request, int, error) {
	return func(r *http.Request, status int, err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.requests++
		if !f.verbose {
			return
		}
		if u := c.notes(); err != nil {
			u.line("%s %s%s  %s %s", r.Method, printable(r.Host), printable(r.URL.EscapedPath()), u.red(count(status)), printable(err.Error()))
		} else {
			u.line("%s %s%s  %s", r.Method, printable(r.Host), printable(r.URL.EscapedPath()), count(status))
		}
	}
}

func (c *call) onPayment(f proxyFlags, t *toll) func(*http.Request, gateway.Payment) {
	return func(r *http.Request, p gateway.Payment) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.paid++
		t.cost += p.Cost
		if f.verbose || p.Err != nil {
			u := c.notes()
			u.line("%s %s%s  %s, %s in all", r.Method, printable(r.Host), printable(r.URL.EscapedPath()), u.bold(amount.Msat(p.Cost)), amount.Msat(t.cost))
			if p.Err != nil {
				u.line("%s %s", u.red("warning:"), printable(p.Err.Error()))
			}
		}
	}
}
