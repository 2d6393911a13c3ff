package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/gateway"
)

// smallMax is what one request may cost where nobody says more.
const smallMax channel.Msat = 10_000

const fetchHelp = `Get a URL and pay for it if the server asks (HTTP 402). The flags are curl's.

Before anything is signed the price is held against --max, for each request
with its retries, redirects and top-ups, and against --budget, for all of a
run. A price that rises between two requests to the same place stops it unless
--allow-rise is given. Streams of events are printed as they come and paid as
they go; when Ctrl-C ends one, nothing more is paid.

The channel is one with the payee that the server names. If there is none, the
command says what one would take; --open AMOUNT opens it with a deposit of at
most that, after a question on a terminal.

-v shows prices and receipts. --json prints one object about each answer; its
text is in it unless -o or -O put it into a file. An Authorization header of
your own is replaced when a request is paid.

Exit codes: 0 answered, whatever the status (see -f), 1 failed, or paid and
not served, 4 not paid and nothing signed.`

type fetchFlags struct {
	method, output, cacert, agent  string
	headers, data, dataBinary, raw []string
	remoteName, include, head, get bool
	silent, follow, fail, verbose  bool
	insecure, allowRise, yes       bool
	maxTime                        time.Duration
	max, budget                    channel.Msat
	open                           channel.Sat
}

func fetchCommand(a *app) *cobra.Command {
	f := fetchFlags{max: smallMax}
	cmd := &cobra.Command{
		Use:   "fetch URL...",
		Short: "Get a URL, and pay for it if it costs",
		Long:  fetchHelp,
		Example: `  runnel fetch https://api.example/forecast
  runnel fetch -v --max 50sat -d @prompt.json https://llm.example/v1/chat
  runnel fetch -O --max 2_000sat --open 10_000sat https://files.example/a.zip
  runnel fetch --json --budget 9sat https://api.example/1 https://api.example/2`,
		Args:              takes(1, 1000, f.check),
		ValidArgsFunction: noCompletion,
		RunE:              a.verb(func(c *call) error { return c.fetch(f) }),
	}
	curlFlags(cmd, &f)
	payFlagsOf(cmd, &f.max, &f.budget, &f.allowRise)
	addFlag(cmd, &f.open, "open", "open a channel where there is none, with a deposit of at most `AMOUNT`", amount.ParseSat)
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "with --open: open it without a question")
	return cmd
}

// curlFlags are those that people know from curl.
func curlFlags(cmd *cobra.Command, f *fetchFlags) {
	fl := cmd.Flags()
	fl.StringVarP(&f.method, "request", "X", "", "request `METHOD` (default GET, with -d POST)")
	fl.StringArrayVarP(&f.headers, "header", "H", nil, "send this header, `'NAME: VALUE'`")
	fl.StringArrayVarP(&f.data, "data", "d", nil, "send `DATA` as a form does; @FILE reads a file, @- standard input")
	fl.StringArrayVar(&f.dataBinary, "data-binary", nil, "send `DATA` with its line ends; @FILE and @- as above")
	fl.StringArrayVar(&f.raw, "data-raw", nil, "send `DATA` in which @ means nothing")
	fl.BoolVarP(&f.get, "get", "G", false, "send the data in the URL, with GET")
	fl.StringVarP(&f.output, "output", "o", "", "write to `FILE`")
	fl.BoolVarP(&f.remoteName, "remote-name", "O", false, "write to a file with the URL's last name")
	fl.BoolVarP(&f.include, "include", "i", false, "print the answer's headers too")
	fl.BoolVarP(&f.head, "head", "I", false, "ask for headers only")
	fl.BoolVarP(&f.silent, "silent", "s", false, "no progress; errors are still printed")
	fl.BoolVarP(&f.follow, "location", "L", false, "follow redirects")
	fl.BoolVarP(&f.fail, "fail", "f", false, "fail where the status is 400 or above, and print nothing of the answer")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show headers, price and receipt on standard error")
	fl.StringVarP(&f.agent, "user-agent", "A", "", "send this `NAME` as User-Agent")
	fl.BoolVarP(&f.insecure, "insecure", "k", false, "don't check the server's certificate")
	fl.StringVar(&f.cacert, "cacert", "", "trust the certificates in `FILE`")
	addFlag(cmd, &f.maxTime, "max-time", "give up after `DURATION`; a number alone is seconds", parseSeconds)
	for _, name := range []string{"request", "header", "data-raw", "user-agent"} {
		cmd.RegisterFlagCompletionFunc(name, noCompletion)
	}
	cmd.MarkFlagsMutuallyExclusive("output", "remote-name")
	cmd.MarkFlagsMutuallyExclusive("head", "data")
	cmd.MarkFlagsMutuallyExclusive("head", "data-binary")
}

// payFlagsOf are the limits of what is paid.
func payFlagsOf(cmd *cobra.Command, most, budget *channel.Msat, rise *bool) {
	addFlag(cmd, most, "max", "the most that one request may cost (`AMOUNT`, default "+amount.String(*most)+")", amount.ParseOrZero)
	if *budget > 0 {
		addFlag(cmd, budget, "budget", "the most that all requests may cost (`AMOUNT`, default "+amount.String(*budget)+")", amount.ParseOrZero)
	} else {
		addFlag(cmd, budget, "budget", "the most that all requests of this run may cost (`AMOUNT`, default: only --max)", amount.Parse)
	}
	cmd.Flags().BoolVar(rise, "allow-rise", false, "go on when a price rises, as long as the limits hold")
}

func parseSeconds(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s + "s"); err == nil && d > 0 {
		return d, nil
	}
	return parsePositive(s)
}

// check reads what can be wrong before anything is sent.
func (f *fetchFlags) check(args []string) error {
	for _, a := range args {
		if _, err := parseURL(a); err != nil {
			return err
		}
	}
	if f.output != "" && len(args) > 1 {
		return usage("use -O, or one command for each", "-o names one file, and there are %d URLs", len(args))
	}
	return nil
}

// fetch gets every URL in turn; the first failure ends it.
func (c *call) fetch(f fetchFlags) error {
	payer, ok := c.node.(gateway.Payer)
	if !ok {
		return errCantPay()
	}
	body, err := c.body(f)
	if err != nil {
		return err
	}
	if f.maxTime > 0 {
		ctx, cancel := context.WithTimeout(c.ctx, f.maxTime)
		defer cancel()
		c.ctx = ctx
	}
	web, err := c.web(f, payer)
	if err != nil {
		return err
	}
	for _, target := range c.args {
		if err := c.fetchOne(web, f, target, body); err != nil {
			return c.fetchError(f, err)
		}
	}
	return nil
}

func errCantPay() error {
	return channel.Faultf(channel.CodeUnsupported, "this daemon can't authorise payments over HTTP").WithHint("update the daemon")
}

// web is a client that pays within the flags' limits.
func (c *call) web(f fetchFlags, payer gateway.Payer) (*http.Client, error) {
	base, err := plainTransport(f.insecure, f.cacert)
	if err != nil {
		return nil, err
	}
	t := &gateway.Transport{Payer: payer, Max: f.max, AllowRise: f.allowRise, Base: base, MaxBody: maxPaidBody, MaxDeposit: f.open}
	if f.budget > 0 {
		t.Budget = gateway.NewBudget(f.budget)
	}
	if f.open > 0 {
		t.Open = &askOpener{c: c, f: f}
	}
	web := &http.Client{Transport: t}
	if !f.follow {
		web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return web, nil
}

// askOpener opens channels as --open allows.
type askOpener struct {
	c     *call
	f     fetchFlags
	shown string
}

// Allow shows the sums, and asks where somebody is there to answer.
func (o *askOpener) Allow(ctx context.Context, p gateway.Opening) error {
	status := channel.NodeStatus{Network: p.Network}
	if s, err := o.c.node.Status(ctx); err == nil {
		status = s
	}
	ask := o.c.inTTY && o.c.errTTY && !o.f.yes
	if ask || !o.f.silent {
		u := o.c.notes()
		u.line("%s asks for %s and is paid through a channel, which does not exist yet.", printable(p.Origin), priceText(p.Price, p.UnitSize, p.Unit))
		o.c.printPlan(u, status, p.Plan)
	}
	if ask {
		return o.c.confirm("Open it?", "you answered no")
	}
	return nil
}

// Progress shows how far the channel is.
func (o *askOpener) Progress(i channel.ChannelInfo) {
	if o.f.silent {
		return
	}
	line := ""
	if i.Required > 0 {
		line = confirmationLine(i, realTime(o.network()))
	}
	o.c.progress(o.shown, line)
	o.shown = line
}

func (o *askOpener) network() string {
	s, _ := o.c.node.Status(o.c.ctx)
	return s.Network
}

// fetchError gives what the client returned the words and the code that people get.
func (c *call) fetchError(f fetchFlags, err error) error {
	if f.maxTime > 0 && errors.Is(err, context.DeadlineExceeded) {
		return channel.Faultf(codeServer, "no complete answer within %s", f.maxTime)
	}
	return payError(err)
}
