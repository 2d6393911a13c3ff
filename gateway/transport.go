package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/runnel/runnel/channel"
)

const (
	// tries is how often one request is sent: unpaid, paid, and once more if the server knew something better.
	tries = 3
	// maxSessions bounds how many routes and payees are remembered.
	maxSessions = 4096
)

// Transport pays for what servers ask money for. It is an http.RoundTripper: a request that is answered with 402 and
// an offer of our method is authorised by the node, within Max and Budget, and sent again; later requests to the
// same route carry their payment at once. Safe for concurrent use. Fields must not change after the first request.
//
// An Authorization header of the request's own is replaced when the request is paid: HTTP has room for one. Errors
// about payment are *Unpaid or *Rejected, which errors.As finds in what http.Client returns. A 402 without an offer
// of our method passes like any other answer.
type Transport struct {
	Payer  Payer
	Max    channel.Msat      // the most that one request may cost, retries, redirects and stream included; 0 pays nothing
	Budget *Budget           // the most that all may cost; nil: only Max counts
	Base   http.RoundTripper // nil: http.DefaultTransport

	// Step is the most that lies unused at the payee of a stream: it is authorised at first, and again with each
	// pause. 0 follows what the server calls typical, or takes the price of 64 units.
	Step channel.Msat
	// AllowRise lets prices rise as long as Max and Budget hold.
	AllowRise bool
	// Open decides about opening a channel when there is none to pay with; nil never opens one.
	Open Opener
	// MaxDeposit is the most that such a channel may lock; 0: what the server suggests.
	MaxDeposit channel.Sat
	// MaxBody is the most that is kept of a request's body without GetBody, which has to be sent again with its
	// payment; 0: 1 MiB.
	MaxBody int64
	// Route names what shares a price, beside origin and method; nil takes the path.
	Route func(*http.Request) string
	// OnPayment hears of every request that was paid, once, when nothing of its payment changes any more.
	OnPayment func(*http.Request, Payment)
	// PassEvents leaves the payment events of a stream in it. Otherwise its reader sees only the resource's own.
	PassEvents bool

	mu       sync.Mutex
	sessions map[string]*session // of routes; under mu
	siblings map[string]*sibling // of the folders that routes are in; under mu
	payees   map[string]channel.PeerID
	distrust map[string]string // of origins whose receipts were wrong: why; under mu
	stands   map[channel.ID]stand

	opening sync.Mutex // one channel is opened at a time
}

// RoundTrip sends a request, and pays if that is asked for and allowed.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := replayable(req, t.MaxBody)
	if err != nil {
		return nil, err
	}
	defer body.close()
	p := &purchase{t: t, req: req, body: body, route: t.route(req), before: chained(req)}
	res, err := p.run()
	if err != nil {
		p.over(p.authorised)
	}
	return res, err
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

// purchase is one request on its way: sent a few times at most, paid what Max allows at most.
type purchase struct {
	t      *Transport
	req    *http.Request
	body   *replay
	route  string
	before channel.Msat // authorised for requests that were redirected here

	offer      *offer // of the last authorisation
	grant      channel.AuthoriseResult
	key        string       // Idempotency-Key of the paid tries
	authorised channel.Msat // by all tries and top-ups
	drawable   channel.Msat // what the draw of the last try may take
	bill       *bill        // nil as long as nothing was authorised
	resent     bool
	guess      string // the folder whose price was taken for that of the route; empty if the route's is known
	settled    sync.Once
}

// run sends the request until it is answered, refused, or not worth more.
func (p *purchase) run() (*http.Response, error) {
	o, guess := p.t.known(p.route)
	if p.guess = guess; o != nil {
		if err := p.pay(o); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		res, err := p.send()
		switch {
		case err != nil && p.repeatable():
			continue
		case err != nil:
			return nil, err
		case res.StatusCode != http.StatusPaymentRequired:
			return p.answered(res)
		}
		if again, err := p.refused(res, try); err != nil {
			return nil, err
		} else if !again {
			return res, nil
		}
	}
}

// repeatable reports whether a paid request whose answer was lost goes out once more, byte for byte: it is not
// paid twice, since its binding is good once.
func (p *purchase) repeatable() bool {
	if p.bill == nil || p.resent || p.req.Context().Err() != nil || p.body.open == nil {
		return false
	}
	p.resent = true
	return true
}

// send sends the request once, with its credential if there is one.
func (p *purchase) send() (*http.Response, error) {
	body, err := p.body.next()
	if err != nil {
		return nil, p.unpaid(WhyBody, err, "%s", err)
	}
	req := p.req.Clone(p.req.Context())
	req.Body, req.ContentLength, req.GetBody = body, p.body.size, nil
	if body == http.NoBody {
		req.Body, req.ContentLength = nil, 0
	}
	if p.bill != nil {
		if err := present(req, p.offer, &p.grant.Authorisation); err != nil {
			body.Close()
			return nil, err
		}
	}
	return p.t.base().RoundTrip(req)
}

// present puts the credential on a request.
func present(req *http.Request, o *offer, auth *channel.Authorisation) error {
	payload, err := PayloadOf(ActionVoucher, auth).Encode()
	if err != nil {
		return err
	}
	c := Credential{Challenge: o.challenge, Payload: payload}
	value, err := c.Header()
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", value)
	if key := auth.Binding.IdempotencyKey; key != "" {
		req.Header.Set(HeaderIdempotency, key)
	}
	if o.Unit != UnitRequest { // what the payment is measured by must be readable
		req.Header.Set("Accept-Encoding", "identity")
	}
	return nil
}

// refused reads a 402 and pays what it asks for if that is allowed; again says to send the request once more.
func (p *purchase) refused(res *http.Response, try int) (again bool, err error) {
	o, err := findOffer(res.Header)
	if errors.Is(err, errNoOffer) && p.bill == nil {
		return false, nil
	}
	head, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	res.Body.Close()
	problem := readProblem(res, head)
	p.t.forget(p.route)
	p.t.differs(p.guess)
	switch {
	case p.bill != nil && (o == nil || try >= tries || !recoverable(problem)):
		return false, &Rejected{Status: res.StatusCode, Problem: problem, Authorised: p.authorised}
	case err != nil:
		return false, p.unpaid(WhyOffer, err, "%s", err)
	}
	if err := p.t.admit(p.req, p.route, o, res.Header.Get("Date")); err != nil {
		return false, p.note(err, o)
	}
	o.least = problem.RequiredMax
	return true, p.pay(o)
}

// recoverable reports whether a refusal of a paid request can be due to what the request could not know.
func recoverable(p *Problem) bool {
	switch p.Type {
	case ProblemPaymentRequired.Type, ProblemInvalidChallenge.Type, ProblemChallengeNotFound.Type, ProblemBalance.Type, ProblemDelta.Type:
		return true
	}
	return false
}
