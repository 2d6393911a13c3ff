package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
)

const (
	// maxIdle is how often a stream may ask for more without having sent anything in between.
	maxIdle = 3
	// topUpTime is how long a top-up may take: servers wait a minute for it.
	topUpTime = 45 * time.Second
)

func isEvents(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == "text/event-stream"
}

// meter follows the body of an answer whose cost is known at its end.
func (p *purchase) meter(res *http.Response) {
	ctx, cancel := context.WithCancel(p.req.Context())
	b := &paidBody{p: p, src: res.Body, res: res, ctx: ctx, cancel: cancel, begin: time.Now()}
	if isEvents(res.Header) && res.Header.Get("Content-Encoding") == "" {
		b.events = newSSEReader(res.Body)
		res.ContentLength = -1
		res.Header.Del("Content-Length")
	}
	res.Body = b
}

// paidBody pays for a body while it is read. More is authorised only inside Read: for a reader that is gone nothing
// is paid.
type paidBody struct {
	p      *purchase
	src    io.ReadCloser
	res    *http.Response
	events *sseReader // nil for what is no stream of events
	ctx    context.Context
	cancel context.CancelFunc
	begin  time.Time

	rest   []byte // of events, not handed out yet
	bytes  uint64 // of the resource, handed out
	count  uint64 // of its events
	idle   int    // demands for more since the last of them
	failed error  // of a top-up that no event asked for
	err    error

	closed atomic.Bool
	mu     sync.Mutex // of what is authorised: Close may come while Read tops up
	over   bool       // under mu
}

func (b *paidBody) Read(buf []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil && len(b.rest) == 0 {
		return 0, b.err
	}
	if b.events == nil {
		return b.readPlain(buf)
	}
	for len(b.rest) == 0 {
		if b.err = b.nextEvent(); b.err != nil {
			b.finish(b.err)
			return 0, b.err
		}
	}
	n := copy(buf, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// readPlain reads what carries no payment events: bytes and seconds can be counted here, so more is authorised
// before what there is runs out.
func (b *paidBody) readPlain(buf []byte) (int, error) {
	b.ahead()
	n, err := b.src.Read(buf)
	b.bytes += uint64(n)
	if err != nil {
		if !errors.Is(err, io.EOF) && b.failed != nil {
			err = errors.Join(b.failed, err)
		}
		b.err = err
		b.finish(err)
	}
	return n, err
}

// ahead tops up when half of the last step is used.
func (b *paidBody) ahead() {
	o := b.p.offer
	units := uint64(0)
	switch o.Unit {
	case UnitByte:
		units = b.bytes
	case UnitSecond:
		units = uint64(time.Since(b.begin) / time.Second)
	default:
		return
	}
	step := b.p.t.step(o)
	used := min(channel.Msat(units/o.Details.UnitSize), maxAmount/o.Amount) * o.Amount
	if b.failed != nil || used+step/2 < b.p.authorised {
		return
	}
	if length := b.res.ContentLength; o.Unit == UnitByte && length >= 0 && (uint64(length)/o.Details.UnitSize+1) <= uint64(b.p.authorised/o.Amount) {
		return // enough for all of it
	}
	b.failed = b.topUp(o.Amount)
}

// nextEvent puts one event of the resource into rest, and acts on ours on the way.
func (b *paidBody) nextEvent() error {
	e, err := b.events.next()
	if err != nil {
		return err
	}
	switch e.name {
	case EventNeedVoucher:
		if b.p.t.PassEvents {
			b.rest = e.raw
		}
		return b.needVoucher(e.data)
	case EventReceipt:
		if b.p.t.PassEvents {
			b.rest = e.raw
		}
		b.p.take(ParseReceiptEvent(e.data))
		b.claims()
		return nil
	}
	b.rest, b.idle = e.raw, 0
	b.bytes += uint64(len(e.raw))
	if e.hasData {
		b.count++
	}
	return nil
}

// needVoucher answers a stream that waits for more.
func (b *paidBody) needVoucher(data []byte) error {
	need, err := ParseNeedVoucher(data)
	switch {
	case err != nil:
		return b.p.unpaid(WhyStream, err, "%s", err)
	case need.Channel != b.p.grant.Channel || need.N != b.p.grant.Binding.N:
		return b.p.unpaid(WhyStream, nil, "the server wants more for something else than this stream")
	}
	if b.idle++; b.idle > maxIdle {
		return b.p.unpaid(WhyStream, nil, "the server took %d top-ups and sent nothing for them", maxIdle)
	}
	more := b.p.offer.Amount
	if allowed := b.p.drawable; need.Max > allowed {
		more = max(more, need.Max-allowed)
	}
	return b.topUp(more)
}

// topUp authorises at least that much more and shows it to the server. The request is a HEAD to the same place.
func (b *paidBody) topUp(least channel.Msat) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return http.ErrBodyReadAfterClose
	}
	p := b.p
	ctx, cancel := context.WithTimeout(b.ctx, topUpTime)
	defer cancel()
	for try := 1; ; try++ {
		res, err := b.head(ctx, least)
		if err != nil {
			return p.note(err, p.offer)
		}
		head, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem))
		res.Body.Close()
		if res.StatusCode < 300 {
			p.bill.change(func(b *Payment) { b.TopUps++ })
			return nil
		}
		problem := readProblem(res, head)
		o, err := findOffer(res.Header)
		if err != nil || try == 2 || res.StatusCode != http.StatusPaymentRequired { // a HEAD does not say which problem
			return &Rejected{Status: res.StatusCode, Problem: problem, Authorised: p.authorised}
		}
		if err := p.t.admit(p.req, p.route, o, res.Header.Get("Date")); err != nil {
			return p.note(err, o)
		}
		p.offer = o
	}
}

// head authorises more for the draw of the stream and sends it.
func (b *paidBody) head(ctx context.Context, least channel.Msat) (*http.Response, error) {
	p := b.p
	o := p.offer
	if fresh, guess := p.t.known(p.route); fresh != nil && guess == "" && fresh.Recipient == o.Recipient && !fresh.dearer(o) {
		o = fresh // a later request brought a challenge that lasts longer
	}
	req := p.req.Clone(ctx)
	req.Method, req.Body, req.GetBody, req.ContentLength = http.MethodHead, nil, nil, 0
	for _, name := range []string{HeaderIdempotency, "Content-Type", "Content-Length", "Expect", "Transfer-Encoding"} {
		req.Header.Del(name)
	}
	ask := channel.AuthoriseRequest{
		Channel: p.grant.Channel.String(), Peer: string(o.Recipient), Raise: p.grant.Binding.N,
		Binding: channel.Binding{Challenge: o.challenge.ID, Method: http.MethodHead, Authority: authority(req), Target: req.URL.RequestURI(), Body: emptyBody},
		Ref:     reference(p.req),
	}
	auth, err := p.authorise(ctx, ask, o, least, max(least, p.t.step(o)))
	p.bill.change(func(b *Payment) { b.Authorised = p.authorised })
	if err != nil {
		return nil, err
	}
	if auth.Channel != p.grant.Channel {
		return nil, p.unpaid(WhyNode, nil, "the node authorised on another channel than that of the stream")
	}
	p.drawable = auth.Binding.Max
	if err := present(req, o, &auth.Authorisation); err != nil {
		return nil, err
	}
	req.Header.Del("Accept-Encoding")
	return p.t.base().RoundTrip(req)
}

// claims holds what the receipt says was delivered against what was.
func (b *paidBody) claims() {
	r := b.p.bill.look().Receipt
	if r == nil {
		return
	}
	got, unit := b.bytes, "bytes"
	switch b.p.offer.Unit {
	case UnitEvent:
		got, unit = b.count, "events"
	case UnitByte:
	default:
		return
	}
	if r.Units > got {
		b.p.distrust(fmt.Errorf("it claims %d %s, and %d came", r.Units, unit, got))
	}
}

// finish takes the receipt that comes behind a body.
func (b *paidBody) finish(err error) {
	if header := b.res.Trailer.Get(HeaderReceipt); header != "" && errors.Is(err, io.EOF) {
		b.p.take(ParseReceipt(header))
		b.claims()
	}
	b.settle()
}

// settle ends the payment: the body has ended, or nobody reads it any more.
func (b *paidBody) settle() {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.p.over(b.p.cost())
}

// Close ends the body. What was delivered is paid, and nothing more.
func (b *paidBody) Close() error {
	b.closed.Store(true)
	b.cancel()
	err := b.src.Close()
	b.settle()
	return err
}
