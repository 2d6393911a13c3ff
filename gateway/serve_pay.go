package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/runnel/runnel/channel"
)

// withCredential serves a request that says how it is paid.
func (v *visit) withCredential(header string) {
	c, err := ParseCredential(header)
	switch {
	case err != nil:
		v.reject(ProblemMalformed.Problem("%v", err))
		return
	case c.Challenge.Method != Method || c.Challenge.Intent != IntentSession:
		v.refuse(ProblemMethodUnsupported.Problem("%.40s/%.40s is not taken here: %s/%s is", c.Challenge.Method, c.Challenge.Intent, Method, IntentSession))
		return
	}
	pay, err := c.SessionPayload()
	if err != nil {
		v.reject(ProblemMalformed.Problem("%v", err))
		return
	}
	manages := pay.Action.Manages() || v.r.Method == http.MethodHead
	if err := v.plan.ours(&c.Challenge); err != nil {
		kind := ProblemInvalidChallenge
		if manages && !errors.Is(err, ErrExpiredChallenge) {
			kind = ProblemChallengeNotFound
		}
		v.reject(kind.Problem("%v: use the one that comes with this answer", err))
		return
	}
	body, problem := v.read()
	if problem != nil {
		v.refuse(problem)
		return
	}
	defer body.close()
	s := &sale{visit: v, pay: pay, challenge: c.Challenge.ID, source: c.Source, print: print{v.r.Method, v.plan.authority(v.r), v.r.RequestURI, body.sum}}
	switch {
	case manages:
		s.manage()
	case v.route == nil && !v.plan.ServeUnknown:
		v.refuse(ProblemNotSold.Problem("%s has no route on this gateway; nothing was charged", v.r.URL.Path))
	case v.route == nil || v.route.Free:
		body.attach(v.r)
		v.pass(OutcomeFree)
	case isUpgrade(v.r.Header):
		v.refuse(upgradeProblem())
	default:
		body.attach(v.r)
		s.serve()
	}
}

// ours says what is wrong with a challenge that comes back.
func (p *plan) ours(c *Challenge) error {
	if c.Realm != p.Realm {
		return ErrUnknownChallenge
	}
	return p.mint.Verify(c, p.Now())
}

// reject answers a credential that was not taken: with a fresh challenge where there is something to pay for.
func (v *visit) reject(p *Problem) {
	if p.Status == http.StatusPaymentRequired && v.anyRoute() {
		v.demand(p, nil)
		return
	}
	v.refuse(p)
}

// anyRoute finds a paid route for a request that manages: under any method of its path.
func (v *visit) anyRoute() bool {
	if v.route != nil {
		return !v.route.Free
	}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		r := *v.r
		r.Method = method
		if found, err := v.plan.router.find(&r); err == nil && found != nil && !found.Free {
			v.route = found
			return true
		}
	}
	return false
}

// read takes the body of the request, whose digest is bound.
func (v *visit) read() (*spooled, *Problem) {
	body, err := spool(v.r, v.plan.MaxBody)
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, errBodyTooLarge), errors.As(err, &tooLong):
		return nil, ProblemTooLarge.Problem("the body of a paid request has at most %d bytes here; nothing was charged", v.plan.MaxBody)
	case err != nil:
		return nil, ProblemBadRequest.Problem("the body could not be read to its end; nothing was charged")
	}
	return body, nil
}

func (p *plan) authority(r *http.Request) string {
	return authorityOf(r.Host, r.TLS != nil || p.BehindTLS)
}

// sale is one request with a credential of ours.
type sale struct {
	*visit
	pay       *Payload
	challenge string
	source    string
	print     print
	charge    channel.Charge
	ended     bool
	keys      []string // in the store of answers, reserved
}

// authorisation is what the payload authorises for this very request.
func (s *sale) authorisation() channel.Authorisation {
	return s.pay.Authorisation(channel.Binding{Challenge: s.challenge, Method: s.print.method, Authority: s.print.authority, Target: s.print.target,
		Body: s.print.body, IdempotencyKey: s.r.Header.Get(HeaderIdempotency)})
}

// draw charges an amount, or only proves and raises the voucher with 0. It answers itself when that fails.
func (s *sale) draw(amount channel.Msat) bool {
	if p := s.checkDelta(); p != nil {
		s.fail(p)
		return false
	}
	ctx, cancel := lasting(s.r.Context()) // a charge that is made for a client that went away has to be known, to be given back
	defer cancel()
	c, err := s.plan.Payee.Charge(ctx, channel.ChargeRequest{Authorisation: s.authorisation(), Amount: amount, Ref: s.ref()})
	if err != nil {
		s.fail(s.explain(err, amount))
		return false
	}
	s.charge = c
	if s.r.Context().Err() != nil {
		s.giveBack()
		s.fail(ProblemUnavailable.Problem("the client went away before it was served; nothing was charged"))
		return false
	}
	if s.source != "" && s.source != string(c.Lane.Peer) {
		s.giveBack()
		s.fail(ProblemSigner.Problem("the source of the credential is not the payer of the channel; nothing was charged"))
		return false
	}
	return true
}

// ref is what the history says. A query may hold secrets and stays away. The path is as it was sent, so that it has
// neither control characters nor letters that could be cut in the middle.
func (s *sale) ref() string {
	ref := s.r.Method + " " + s.r.URL.EscapedPath()
	return ref[:min(len(ref), channel.MaxRefBytes)]
}

// checkDelta refuses vouchers that grow by less than the route wants. By how much this one grows is not told: nobody
// has shown yet that the channel is theirs.
func (s *sale) checkDelta() *Problem {
	if s.route == nil || s.route.MinVoucherDelta == 0 {
		return nil
	}
	stand, err := s.plan.Payee.LaneStand(s.r.Context(), s.pay.Channel)
	if err != nil || s.pay.Total <= stand.Total || s.pay.Total-stand.Total >= s.route.MinVoucherDelta {
		return nil // what is wrong with it is said by the charge
	}
	return ProblemDelta.Problem("a voucher that grows has to grow by %d msat here", s.route.MinVoucherDelta)
}

// explain adds to a node's reason what the payer can do about it.
func (s *sale) explain(err error, amount channel.Msat) *Problem {
	p := problemOf(err)
	if p.ProblemKind != ProblemBalance && p.Code != string(channel.CodeNotOpen) {
		return p
	}
	stand, err := s.plan.Payee.LaneStand(s.r.Context(), s.pay.Channel)
	if p.ProblemKind == ProblemBalance {
		p.RequiredMax = amount
		if credit := max(s.pay.Total, stand.Total) - stand.Spent; err == nil && credit < amount {
			p.RequiredTopUp = amount - credit
		}
	} else if err == nil && !stand.Closing {
		p.ProblemKind = ProblemUnavailable // it was not confirmed yet
	}
	return p
}

// fail answers a sale that did not come about.
func (s *sale) fail(p *Problem) {
	if p.Status != http.StatusPaymentRequired {
		s.refuse(p)
		return
	}
	if !s.anyRoute() {
		s.refuse(p)
		return
	}
	s.demand(p, s.snapshot(p))
}

// snapshot is told to those whose code was right: who only names a channel learns nothing of it.
func (s *sale) snapshot(p *Problem) *Snapshot {
	switch p.ProblemKind {
	case ProblemBalance, ProblemDelta, ProblemDeposit:
	default:
		return nil
	}
	if p.Code == "" {
		return nil
	}
	stand, err := s.plan.Payee.LaneStand(s.r.Context(), s.pay.Channel)
	if err != nil {
		return nil
	}
	return &Snapshot{Channel: s.pay.Channel, Accepted: stand.Total, Spent: stand.Spent, Signature: stand.Signature}
}

// end ends the draw with what was used. It is an error that the draw had ended with less: when the payer's node stops
// the channel or the own one starts again, what was not kept is the payer's, and what was not sent must stay here.
func (s *sale) end(used channel.Msat) error {
	if s.ended || s.charge.Repeated || s.charge.Held == 0 {
		s.ended = true
		return nil
	}
	ctx, cancel := lasting(s.r.Context())
	defer cancel()
	c, err := s.plan.Payee.EndDraw(ctx, s.pay.Channel, s.charge.N, used)
	if err != nil {
		s.plan.Log.Error("a draw could not be ended; it ends with what was kept when the node starts again", "channel", s.pay.Channel.String(), "n", s.charge.N, "err", err)
		return err
	}
	s.ended, s.charge = true, c
	if c.Used < used {
		return channel.Faultf(channel.CodeFailure, "the payment ended with %d msat before the answer came: the channel was stopped, or the node restarted", c.Used)
	}
	return nil
}

// giveBack ends the draw with nothing.
func (s *sale) giveBack() { _ = s.end(0) }

// receipt is the proof of what the draw took.
func (s *sale) receipt(amount channel.Msat, units uint64) *Receipt {
	l := &s.charge.Lane
	return &Receipt{Method: Method, Intent: IntentSession, Time: s.plan.Now().UTC().Truncate(time.Second),
		Reference: fmt.Sprintf("%s:%d", FormatChannel(s.pay.Channel), s.charge.N), ChallengeID: s.challenge,
		Channel: s.pay.Channel, Accepted: l.Total, Spent: l.Spent, N: s.charge.N, Amount: amount, Units: units}
}

// manage serves what is about the channel. It never reaches the upstream.
func (s *sale) manage() {
	switch s.pay.Action {
	case ActionTopUp:
		s.refuse(ProblemBadRequest.Problem("a channel's deposit can't grow: open another channel with `runnel open`"))
		return
	case ActionClose:
		s.closeChannel()
		return
	}
	if !s.draw(0) {
		return
	}
	s.g.running.raise(s.pay)
	if s.pay.Action == ActionVoucher && s.charge.Repeated {
		s.observe(Outcome{Kind: OutcomeRepeated, Status: http.StatusOK})
	} else {
		s.observe(Outcome{Kind: OutcomeManaged, Status: http.StatusOK})
	}
	s.state(http.StatusOK, "")
}

// state answers with where the lane stands.
func (s *sale) state(status int, closing string) {
	l := &s.charge.Lane
	body, _ := json.Marshal(map[string]string{"channelId": FormatChannel(s.pay.Channel), "acceptedCumulative": formatMsat(l.Total), "spent": formatMsat(l.Spent),
		"credit": formatMsat(l.Credit()), "deposit": formatMsat(l.Capacity), "closing": closing})
	h := s.w.Header()
	if receipt, err := s.receipt(0, 0).Header(); err == nil {
		h.Set(HeaderReceipt, receipt)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	s.w.WriteHeader(status)
	if s.r.Method != http.MethodHead {
		_, _ = s.w.Write(append(body, '\n'))
	}
}

// closeTime is how long the answer to a close waits; the close goes on without it.
const closeTime = 20 * time.Second

func (s *sale) closeChannel() {
	if !s.draw(0) {
		return
	}
	if s.charge.Repeated {
		s.repeated()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.r.Context()), closeTime)
	defer cancel()
	res, err := s.plan.Payee.Close(ctx, channel.CloseRequest{Channel: s.pay.Channel.String()})
	if err != nil {
		s.fail(problemOf(err))
		return
	}
	s.observe(Outcome{Kind: OutcomeManaged, Status: http.StatusAccepted})
	s.state(http.StatusAccepted, res.TxID)
}
