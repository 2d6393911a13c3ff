package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"net/http"

	"github.com/runnel/runnel/channel"
)

// unitsAhead is how many units of a stream are authorised ahead where nobody says more.
const unitsAhead = 64

// emptyBody is the SHA-256 of nothing.
var emptyBody = sha256.Sum256(nil)

// errNoOffer says that a 402 has no offer of our method.
var errNoOffer = errors.New("the server takes no payment through this node")

// offer is what a challenge of our method asks for.
type offer struct {
	*Request
	challenge Challenge
	least     channel.Msat // that the server wants to be authorised for this request; 0: the amount
}

// findOffer picks the first offer of our method from a 402.
func findOffer(h http.Header) (*offer, error) {
	list, err := ParseChallenges(h.Values("WWW-Authenticate")...)
	if errors.Is(err, ErrNoChallenge) {
		return nil, errNoOffer
	} else if err != nil {
		return nil, fmt.Errorf("the server's offer can't be read: %w", err)
	}
	for _, c := range list {
		if c.Method == Method && c.Intent == IntentSession {
			r, err := c.SessionRequest()
			if err != nil {
				return nil, fmt.Errorf("the server's offer makes no sense: %w", err)
			}
			return &offer{Request: r, challenge: c}, nil
		}
	}
	return nil, errNoOffer
}

// dearer reports whether the price of a unit is above old's.
func (o *offer) dearer(old *offer) bool {
	hi, lo := bits.Mul64(uint64(o.Amount), old.Details.UnitSize)
	oldHi, oldLo := bits.Mul64(uint64(old.Amount), o.Details.UnitSize)
	return hi > oldHi || hi == oldHi && lo > oldLo
}

// price is how people read it.
func (o *offer) price() string {
	return priceText(o.Amount, o.Details.UnitSize, o.Unit)
}

// step is how much of a stream is authorised ahead.
func (t *Transport) step(o *offer) channel.Msat {
	step := t.Step
	if step == 0 {
		step = o.Details.Typical
	}
	if step == 0 {
		step = min(o.Amount, maxAmount/unitsAhead) * unitsAhead
	}
	return max(step, o.Details.MinVoucherDelta, o.Amount)
}

// pay has the node authorise what the offer asks for.
func (p *purchase) pay(o *offer) error {
	least := max(o.Amount, o.least)
	most := least
	if o.Unit != UnitRequest {
		most = max(least, p.t.step(o))
	}
	req, err := p.authorisation(o)
	if err != nil {
		return p.note(err, o)
	}
	res, err := p.authorise(p.req.Context(), req, o, least, most)
	if err != nil {
		return p.note(err, o)
	}
	p.offer, p.grant, p.drawable = o, res, res.Binding.Max
	if p.bill == nil {
		p.bill = &bill{}
	}
	p.bill.change(func(b *Payment) {
		b.Recipient, b.Channel, b.Price, b.Unit, b.UnitSize = o.Recipient, res.Channel, o.Amount, o.Unit, o.Details.UnitSize
		b.Authorised = p.authorised
	})
	return nil
}

// authorisation binds a request to an offer.
func (p *purchase) authorisation(o *offer) (channel.AuthoriseRequest, error) {
	sum, err := p.body.hash()
	if err != nil {
		return channel.AuthoriseRequest{}, p.unpaid(WhyBody, err, "%s", err)
	}
	if p.key == "" {
		p.key = p.req.Header.Get(HeaderIdempotency)
	}
	if p.key == "" && !safe(p.req.Method) {
		p.key = rand.Text()
	}
	return channel.AuthoriseRequest{
		Peer: string(o.Recipient),
		Binding: channel.Binding{
			Challenge: o.challenge.ID, Method: methodOf(p.req), Authority: authority(p.req), Target: p.req.URL.RequestURI(), Body: sum, IdempotencyKey: p.key,
		},
		Ref: reference(p.req),
	}, nil
}

// authorise asks the node for at least least and, where Max and Budget have room, for most. Both are asked before
// the node is, and what it may have signed stays counted.
func (p *purchase) authorise(ctx context.Context, req channel.AuthoriseRequest, o *offer, least, most channel.Msat) (res channel.AuthoriseResult, err error) {
	if p.t.Payer == nil {
		return res, p.unpaid(WhyNode, nil, "no node is set that could pay")
	}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	amount, err := p.reserve(least, most)
	if err != nil {
		return res, err
	}
	if req.Raise != 0 {
		req.RaiseBy = amount
	} else {
		req.Max = amount
	}
	rand.Read(req.ID[:]) // never fails
	res, err = p.ask(ctx, req, o)
	if err != nil && unsigned(err) {
		p.t.Budget.cancel(amount)
		return res, p.node(err)
	}
	p.authorised += amount
	p.t.Budget.vouchered(amount, res.Channel, res.Total)
	switch {
	case err != nil:
		return res, p.node(err)
	case res.Lane.Peer != o.Recipient:
		return res, p.unpaid(WhyNode, nil, "the node authorised another peer than the one that the server names")
	}
	err = p.t.checkSnapshot(o, &res)
	p.t.saw(&res)
	return res, err
}

// reserve takes between least and most out of Max and Budget.
func (p *purchase) reserve(least, most channel.Msat) (channel.Msat, error) {
	before := p.before + p.authorised
	left := p.t.Max - min(p.t.Max, before)
	if least > left {
		return 0, p.unpaid(WhyMax, nil, "%s", overMax(least, p.t.Max, before))
	}
	amount := min(most, left)
	room, ok := p.t.Budget.reserve(amount)
	if !ok && room >= least {
		amount = room
		room, ok = p.t.Budget.reserve(amount)
	}
	if !ok && amount > least {
		amount = least
		room, ok = p.t.Budget.reserve(amount)
	}
	if !ok {
		return 0, p.unpaid(WhyBudget, nil, "it takes %d msat, and the budget of %d msat has %d msat left", least, p.t.Budget.Limit(), room)
	}
	return amount, nil
}

func overMax(want, limit, before channel.Msat) string {
	if before > 0 {
		return fmt.Sprintf("it takes %d msat more, and %d of the %d msat that one request may cost are authorised", want, before, limit)
	}
	return fmt.Sprintf("it takes %d msat, and one request may cost %d msat", want, limit)
}

// unsigned reports whether an error proves that nothing was signed.
func unsigned(err error) bool {
	var u *Unpaid
	if errors.As(err, &u) {
		return true
	}
	switch faultCode(err) {
	case "", channel.CodePending, channel.CodeFailure:
		return false
	}
	return true
}

// node gives an error of the node the form that callers expect.
func (p *purchase) node(err error) error {
	var u *Unpaid
	if errors.As(err, &u) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return p.unpaid(WhyNode, err, "the node says: %s", err)
}

func (p *purchase) unpaid(why Why, cause error, format string, args ...any) *Unpaid {
	return &Unpaid{Why: why, Text: fmt.Sprintf(format, args...), Authorised: p.authorised, Err: cause}
}

// note adds to an error what is known of the offer.
func (p *purchase) note(err error, o *offer) error {
	var u *Unpaid
	if errors.As(err, &u) {
		u.Price, u.Unit, u.Recipient, u.Authorised = o.Amount, o.Unit, o.Recipient, p.authorised
	}
	return err
}

// checkSnapshot holds what a server says of the newest voucher against the node's own: a voucher that the node did
// not sign, or one above its own, is nothing to go on from.
func (t *Transport) checkSnapshot(o *offer, r *channel.AuthoriseResult) error {
	s := o.Details.Snapshot
	if s == nil || s.Channel != r.Channel || s.Accepted == 0 {
		return nil
	}
	known, ok := t.newest(r.Channel)
	if !ok || r.Total == known.total {
		known = stand{r.Total, r.Signature}
	}
	wrong := ""
	switch {
	case s.Accepted > r.Total:
		wrong = fmt.Sprintf("it shows a voucher of %d msat, and the newest that the node signed is of %d", s.Accepted, r.Total)
	case s.Accepted == r.Total && s.Signature != r.Signature, s.Accepted == known.total && s.Signature != known.sig:
		wrong = fmt.Sprintf("it shows a voucher of %d msat that the node did not sign", s.Accepted)
	}
	if wrong == "" {
		return nil
	}
	return &Unpaid{Why: WhySnapshot, Text: "the server's books do not agree with the node's: " + wrong}
}

func safe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

func methodOf(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// reference is what the history says the payment was for. A query may hold secrets and stays away.
func reference(req *http.Request) string {
	ref := methodOf(req) + " " + authority(req) + req.URL.EscapedPath()
	return ref[:min(len(ref), channel.MaxRefBytes)]
}
