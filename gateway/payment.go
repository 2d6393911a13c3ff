package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/runnel/runnel/channel"
)

// Payment is what one request cost.
type Payment struct {
	Recipient  channel.PeerID
	Channel    channel.ID
	Price      channel.Msat // of UnitSize units
	Unit       Unit
	UnitSize   uint64
	Authorised channel.Msat // the most that the payee may take, all tries and top-ups included
	TopUps     int
	Receipt    *Receipt     // nil while there is none
	Cost       channel.Msat // by the receipt; what was authorised when there is none; 0 when the server gave the charge back
	Over       bool         // nothing of it changes any more
	Err        error        // *BadReceipt
}

// PaymentOf tells what a response of a Transport cost, as far as is known: a stream's sum is known at its end. ok is
// false for one that was not paid.
func PaymentOf(res *http.Response) (p Payment, ok bool) {
	if res == nil || res.Request == nil {
		return p, false
	}
	b, ok := res.Request.Context().Value(billKey{}).(*bill)
	if !ok {
		return p, false
	}
	return b.look(), true
}

type billKey struct{}

// bill is a Payment that grows.
type bill struct {
	mu sync.Mutex
	p  Payment // under mu
}

func (b *bill) look() Payment {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.p
}

func (b *bill) change(f func(*Payment)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.p)
}

// carry hands the bill to whoever gets the response.
func (b *bill) carry(req *http.Request) *http.Request {
	return req.WithContext(context.WithValue(req.Context(), billKey{}, b))
}

// chained is what was authorised for the requests that were redirected to this one.
func chained(req *http.Request) (sum channel.Msat) {
	for res := req.Response; res != nil && res.Request != nil; res = res.Request.Response {
		if p, ok := PaymentOf(res); ok {
			sum = min(sum+p.Authorised, maxAmount)
		}
	}
	return sum
}

// answered takes an answer that is no 402.
func (p *purchase) answered(res *http.Response) (*http.Response, error) {
	if p.bill == nil {
		return res, nil
	}
	if err := p.rejected(res); err != nil {
		return nil, err
	}
	res.Request = p.bill.carry(p.req)
	header := res.Header.Get(HeaderReceipt)
	if header == "" && p.offer.Unit == UnitRequest {
		p.t.differs(p.guess) // perhaps it costs nothing
	}
	switch {
	case header != "":
		p.take(ParseReceipt(header))
		p.over(p.cost())
	case res.StatusCode == http.StatusSwitchingProtocols:
		p.over(p.authorised)
	case res.StatusCode >= 300: // receipts come with success only: the charge was given back
		p.over(0)
	case res.Body == nil || res.Body == http.NoBody || p.req.Method == http.MethodHead:
		p.over(p.authorised)
	default:
		p.meter(res)
	}
	return res, nil
}

// rejected is the error for an answer that speaks of the payment and not of the resource; nil for others.
func (p *purchase) rejected(res *http.Response) error {
	if res.StatusCode < 400 || !isProblem(res.Header) {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	problem := readProblem(res, head)
	if err != nil || !aboutPayment(problem) {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), res.Body), res.Body}
		return nil
	}
	res.Body.Close()
	return &Rejected{Status: res.StatusCode, Problem: problem, Authorised: p.authorised}
}

func isProblem(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == ContentTypeProblem
}

// readProblem is the server's reason, or that it gave none.
func readProblem(res *http.Response, body []byte) *Problem {
	if isProblem(res.Header) {
		if p, err := ParseProblem(body); err == nil {
			return p
		}
	}
	return &Problem{ProblemKind: ProblemKind{Type: "about:blank", Title: "no reason given", Status: res.StatusCode}}
}

func aboutPayment(p *Problem) bool {
	switch p.ProblemKind {
	case ProblemRefused, ProblemRepeated, ProblemIdempotencyReused, ProblemIdempotencyRunning, ProblemIdempotencyGone, ProblemUnavailable:
		return true
	}
	return strings.HasPrefix(p.Type, problemBase)
}

// take checks a receipt and keeps it.
func (p *purchase) take(r *Receipt, err error) {
	if err == nil {
		err = p.check(r)
	}
	if err != nil {
		p.distrust(err)
		return
	}
	p.bill.change(func(b *Payment) { b.Receipt = r })
}

// distrust ends payments to a server whose receipt is wrong.
func (p *purchase) distrust(err error) {
	bad := &BadReceipt{Text: err.Error()}
	p.t.stop(p.req, bad.Text)
	p.bill.change(func(b *Payment) { b.Err = bad })
}

// cost is what the receipt says, or without one all that may have been taken. The receipt of an earlier payment
// comes with the stored answer to a repeat, which costs nothing.
func (p *purchase) cost() channel.Msat {
	r := p.bill.look().Receipt
	switch {
	case r == nil:
		return p.authorised
	case r.N != p.grant.Binding.N:
		return 0
	}
	return r.Amount
}

// check holds a receipt against what was authorised.
func (p *purchase) check(r *Receipt) error {
	known, _ := p.t.newest(p.grant.Channel)
	switch {
	case r.Method != Method || r.Channel != p.grant.Channel:
		return errors.New("it is for another channel")
	case r.Spent > r.Accepted:
		return fmt.Errorf("it claims that %d msat of %d are spent", r.Spent, r.Accepted)
	case r.N == p.grant.Binding.N && r.Amount > p.authorised:
		return fmt.Errorf("it claims %d msat for a request for which %d were authorised", r.Amount, p.authorised)
	case r.Accepted > known.total && r.Accepted > p.vouchered():
		return fmt.Errorf("it claims vouchers for %d msat, and the node signed %d", r.Accepted, known.total)
	}
	return nil
}

// vouchered asks the node how far its vouchers on the channel go: other programs may pay on it too.
func (p *purchase) vouchered() (total channel.Msat) {
	all, err := p.t.Payer.Channels(context.WithoutCancel(p.req.Context()))
	if err != nil {
		return maxAmount // nothing is proven against the server
	}
	for _, c := range all {
		if c.Channel == p.grant.Channel {
			total = c.Sent + c.Credit
		}
	}
	return total
}

// over settles the request: nothing more is authorised for it.
func (p *purchase) over(used channel.Msat) {
	p.settled.Do(func() {
		p.t.Budget.settle(p.authorised, used)
		if p.bill == nil {
			return
		}
		p.bill.change(func(b *Payment) { b.Over, b.Cost, b.Authorised = true, used, p.authorised })
		if p.t.OnPayment != nil {
			p.t.OnPayment(p.req, p.bill.look())
		}
	})
}
