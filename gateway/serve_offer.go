package gateway

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
)

// self is who is paid, as challenges name it. It is asked for again in the background: a challenge never waits for
// the node, and the node's chain never for a challenge.
type self struct {
	payee  Payee
	status atomic.Pointer[known]
	mu     sync.Mutex // held while the node is asked
}

type known struct {
	channel.NodeStatus
	at time.Time
}

// selfAge is after which time the node is asked again: its addresses can change.
const selfAge = time.Minute

func (s *self) load(ctx context.Context, now time.Time) error {
	st, err := s.payee.Status(ctx)
	if err != nil {
		return err
	}
	s.status.Store(&known{st, now})
	return nil
}

func (s *self) get(now time.Time) *known {
	k := s.status.Load()
	if now.Sub(k.at) > selfAge && s.mu.TryLock() {
		go func() {
			defer s.mu.Unlock()
			ctx, cancel := context.WithTimeout(context.Background(), endTime)
			defer cancel()
			if s.load(ctx, now) != nil {
				s.status.Store(&known{k.NodeStatus, now}) // the old one for another minute
			}
		}()
	}
	return k
}

// offered is a route's challenge that is given to everybody for a while.
type offered struct {
	challenge Challenge
	header    string
	from      *known
	until     time.Time
}

// offer is the route's challenge, made anew when a tenth of its life is over.
func (p *plan) offer(r *route) (*offered, error) {
	now := p.Now()
	self := p.self.get(now)
	if o := r.offered.Load(); o != nil && now.Before(o.until) && o.from.PeerID == self.PeerID && o.from.Addr == self.Addr {
		return o, nil
	}
	o, err := p.makeOffer(r, self, nil, now)
	if err == nil {
		r.offered.Store(o)
	}
	return o, err
}

func (p *plan) makeOffer(r *route, self *known, snapshot *Snapshot, now time.Time) (*offered, error) {
	req := Request{Amount: r.Price.Amount, Unit: r.Price.Unit, Recipient: self.PeerID, SuggestedDeposit: r.SuggestedDeposit, Details: Details{
		Network: self.Network, UnitSize: r.Price.Per, Typical: r.Typical, MinDeposit: r.MinDeposit, MinVoucherDelta: r.MinVoucherDelta, Snapshot: snapshot,
	}}
	if self.Addr != "" {
		req.Details.Addrs = []string{self.Addr}
	}
	if snapshot != nil {
		req.Details.Channel = snapshot.Channel
	}
	text, err := req.Encode()
	if err != nil {
		return nil, err
	}
	o := &offered{from: self, until: now.Add(p.ChallengeLife / 10)}
	o.challenge = Challenge{Realm: p.Realm, Method: Method, Intent: IntentSession, Request: text, Description: r.Description,
		Expires: now.Add(p.ChallengeLife).UTC().Format(time.RFC3339)}
	if err := p.mint.Sign(&o.challenge); err != nil {
		return nil, err
	}
	o.header, err = o.challenge.Header()
	return o, err
}

// demand asks for payment: a fresh challenge and the reason. With a snapshot the payer sees where its lane stands.
func (v *visit) demand(p *Problem, snapshot *Snapshot) {
	if wait, ok := v.unpaidLeft(); !ok {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		v.refuse(ProblemTooMany.Problem("more than %d unpaid requests came from this address in a minute", v.plan.UnpaidLimit))
		return
	}
	if accept, err := ParseAcceptPayment(v.r.Header.Get(HeaderAcceptPayment)); err != nil {
		v.refuse(ProblemBadRequest.Problem("%v", err))
		return
	} else if !accept.Accepts(Method, IntentSession) {
		p = ProblemPaymentRequired.Problem("this costs %s, and only %s/%s is taken, which %s leaves out", v.route.Price.String(), Method, IntentSession, HeaderAcceptPayment)
	}
	o, err := v.plan.offer(v.route)
	if err == nil && snapshot != nil {
		o, err = v.plan.makeOffer(v.route, o.from, snapshot, v.plan.Now())
	}
	if err != nil {
		v.refuse(ProblemUnavailable.Problem("no challenge could be made"))
		return
	}
	kind := OutcomeChallenge
	if p.ProblemKind != ProblemPaymentRequired {
		kind = OutcomeRefused
		v.log(p)
	}
	v.observe(Outcome{Kind: kind, Status: p.Status})
	h := v.w.Header()
	h["Www-Authenticate"] = []string{o.header}
	h.Add("Vary", "Accept")
	if kind == OutcomeChallenge && wantsPage(v.r) {
		v.page()
		return
	}
	writeProblem(v.w, v.r, p)
}

func (v *visit) unpaidLeft() (time.Duration, bool) {
	addr, err := clientAddr(v.r, v.plan.TrustedProxies)
	if err != nil || v.plan.UnpaidLimit < 0 {
		return 0, true
	}
	return v.g.unpaid.take(addr, v.plan.UnpaidLimit, time.Minute, v.plan.Now())
}

// wantsPage reports whether a person looks at the answer in a browser.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
}
