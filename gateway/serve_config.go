package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
)

// Price is what a route costs.
type Price struct {
	Amount channel.Msat // for Per units; for UnitRequest the most that a request can cost
	Unit   Unit         // empty: UnitRequest
	Per    uint64       // units that an amount pays for, each begun lot whole; 0: 1
	Header string       // UnitRequest: a header of the answer that says the price in msat; without it Amount counts
	// Ask is asked for the price of an answer instead (UnitRequest): it sees status and headers.
	Ask func(status int, h http.Header) (channel.Msat, error)
}

// cost is what units come to. It never passes all the money that there can be.
func (p *Price) cost(units uint64) channel.Msat {
	lots := units / p.Per
	if units%p.Per != 0 {
		lots++
	}
	if lots > uint64(maxAmount/p.Amount) {
		return maxAmount
	}
	return channel.Msat(lots) * p.Amount
}

// Route is what a method and a path cost.
type Route struct {
	// Pattern is one of net/http's ServeMux: "GET /v1/weather/{city}", "/v1/", "POST api.example/v1/chat".
	Pattern     string
	Free        bool
	Price       Price
	Description string // for people
	Upstream    http.Handler
	// GiveBackBroken gives the charge of a request back when the answer breaks off in the middle. Streams pay for
	// what was delivered either way.
	GiveBackBroken bool

	Typical          channel.Msat // what a typical request needs, where units are counted
	SuggestedDeposit channel.Msat
	MinDeposit       channel.Msat
	MinVoucherDelta  channel.Msat // the least by which a voucher has to grow, if it does
}

// Config is everything that one who charges decides.
type Config struct {
	Payee    Payee
	Secret   []byte   // of challenge ids, at least MinSecret bytes, the same after a restart
	Previous [][]byte // secrets before it, until their challenges have expired
	Realm    string
	Routes   []Route
	// ServeUnknown lets requests that no route matches pass without payment. Without it they get 404.
	ServeUnknown bool

	ChallengeLife time.Duration // how long a challenge can be used; 0: 10 minutes
	Pause         time.Duration // how long a stream waits for a voucher; 0: a minute
	MaxBody       int64         // of a paid request, in bytes; 0: 10 MiB

	FreeRequests int           // of one address without payment in FreePer
	FreePer      time.Duration // 0: a day
	UnpaidLimit  int           // challenges for one address in a minute; 0: 120; below 0: no limit

	TrustedProxies []netip.Prefix // whose X-Forwarded-For names the client
	BehindTLS      bool           // a proxy in front ends TLS
	Origins        []string       // for which browsers may read answers; empty: all
	Title          string         // of the discovery document

	StoredBytes   int // of answers kept for repeats; 0: 32 MiB
	StoredAnswers int // 0: 10,000
	StoredAnswer  int // bytes of one; 0: 256 KiB

	Log     *slog.Logger
	Observe func(Outcome)
	Now     func() time.Time
}

// Outcome is what became of one request, for metrics.
type Outcome struct {
	Route  string // its pattern; empty when none matched
	Kind   OutcomeKind
	Status int
	Amount channel.Msat // that was charged
	Units  uint64
}

// OutcomeKind says how a request ended.
type OutcomeKind string

const (
	OutcomePaid      OutcomeKind = "paid"
	OutcomeFree      OutcomeKind = "free"
	OutcomeChallenge OutcomeKind = "challenged" // 402 without a credential
	OutcomeRefused   OutcomeKind = "refused"    // a credential that was not taken, or a request that is not
	OutcomeGivenBack OutcomeKind = "given_back" // charged, not served, not charged
	OutcomeRepeated  OutcomeKind = "repeated"   // a stored answer, or 409
	OutcomeManaged   OutcomeKind = "managed"    // open, top-up, close
)

// withDefaults fills in what was left to us.
func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.ChallengeLife, 10*time.Minute)
	def(&c.Pause, time.Minute)
	def(&c.FreePer, 24*time.Hour)
	if c.MaxBody == 0 {
		c.MaxBody = 10 << 20
	}
	num := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	num(&c.UnpaidLimit, 120)
	num(&c.StoredBytes, 32<<20)
	num(&c.StoredAnswers, 10_000)
	num(&c.StoredAnswer, 256<<10)
	if c.Realm == "" {
		c.Realm = "runnel"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Outcome) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// validate collects all that is wrong.
func (c *Config) validate() error {
	var errs []error
	if c.Payee == nil {
		errs = append(errs, errors.New("gateway: there is no payee"))
	}
	if !clean(c.Realm) || strings.Contains(c.Realm, "|") {
		errs = append(errs, fmt.Errorf("gateway: the realm %q has control characters or a bar", c.Realm))
	}
	if c.ChallengeLife < 0 || c.Pause < 0 || c.MaxBody < 0 || c.FreePer < 0 {
		errs = append(errs, errors.New("gateway: a negative duration or size"))
	}
	if len(c.Routes) == 0 && !c.ServeUnknown {
		errs = append(errs, errors.New("gateway: no route is set: nothing would be sold or served"))
	}
	for i := range c.Routes {
		if err := c.Routes[i].validate(); err != nil { // which fills in defaults
			errs = append(errs, fmt.Errorf("gateway: route %q: %w", c.Routes[i].Pattern, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Route) validate() error {
	p := &r.Price
	if p.Per == 0 {
		p.Per = 1
	}
	if p.Unit == "" {
		p.Unit = UnitRequest
	}
	switch {
	case r.Free && p.Amount > 0:
		return errors.New("it is free and has a price")
	case r.Free:
		return nil
	case p.Amount == 0:
		return errors.New("it has no price: set one, or say that it is free")
	case p.Amount > maxAmount:
		return fmt.Errorf("a price of %d msat is more than there is", p.Amount)
	case (p.Header != "" || p.Ask != nil) && p.Unit != UnitRequest:
		return fmt.Errorf("a price from the answer goes with the unit request, not %s", p.Unit)
	case p.Unit == UnitRequest && p.Per != 1:
		return errors.New("a request is sold one at a time")
	case !clean(r.Description):
		return errors.New("control characters in the description")
	}
	switch p.Unit {
	case UnitRequest, UnitByte, UnitEvent, UnitToken, UnitSecond:
		return nil
	}
	return fmt.Errorf("there is no unit %q: choose request, byte, event, token or second", p.Unit)
}
