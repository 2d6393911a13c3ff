package runnelv1

import (
	"encoding/hex"

	"github.com/runnel/runnel/channel"
)

// hexText is empty for bytes that are all zero.
func hexText(b []byte) string {
	for _, c := range b {
		if c != 0 {
			return hex.EncodeToString(b)
		}
	}
	return ""
}

func newBinding(b channel.Binding) *Binding {
	return &Binding{Challenge: b.Challenge, Method: b.Method, Authority: b.Authority, Target: b.Target, BodySha256: hexText(b.Body[:]),
		IdempotencyKey: b.IdempotencyKey, N: b.N, MaxMsat: uint64(b.Max), Raise: b.Raise}
}

func (p *parser) binding(m *Binding) (b channel.Binding) {
	b = channel.Binding{Challenge: m.GetChallenge(), Method: m.GetMethod(), Authority: m.GetAuthority(), Target: m.GetTarget(),
		IdempotencyKey: m.GetIdempotencyKey(), N: m.GetN(), Max: channel.Msat(m.GetMaxMsat()), Raise: m.GetRaise()}
	p.hex("binding.body_sha256", m.GetBodySha256(), b.Body[:])
	return b
}

func newAuthorisation(a channel.Authorisation) *Authorisation {
	return &Authorisation{ChannelId: channelText(a.Channel), TotalMsat: uint64(a.Total), Signature: hexText(a.Signature[:]),
		Binding: newBinding(a.Binding), Mac: hexText(a.MAC[:])}
}

func (p *parser) authorisation(m *Authorisation) (a channel.Authorisation) {
	a = channel.Authorisation{Channel: p.channel(m.GetChannelId()), Total: channel.Msat(m.GetTotalMsat()), Binding: p.binding(m.GetBinding())}
	p.hex("signature", m.GetSignature(), a.Signature[:])
	p.hex("mac", m.GetMac(), a.MAC[:])
	return a
}

// NewLaneStand makes the answer to GetLane.
func NewLaneStand(l channel.LaneStand) *LaneStand {
	return &LaneStand{ChannelId: channelText(l.Channel), PeerId: string(l.Peer), CapacityMsat: uint64(l.Capacity), TotalMsat: uint64(l.Total),
		SpentMsat: uint64(l.Spent), Signature: hexText(l.Signature[:]), Closing: l.Closing}
}

// Value is NewLaneStand backwards.
func (m *LaneStand) Value() (channel.LaneStand, error) {
	var p parser
	l := p.lane(m)
	return l, p.err
}

func (p *parser) lane(m *LaneStand) (l channel.LaneStand) {
	l = channel.LaneStand{Channel: p.channel(m.GetChannelId()), Peer: channel.PeerID(m.GetPeerId()), Capacity: channel.Msat(m.GetCapacityMsat()),
		Total: channel.Msat(m.GetTotalMsat()), Spent: channel.Msat(m.GetSpentMsat()), Closing: m.GetClosing()}
	p.hex("signature", m.GetSignature(), l.Signature[:])
	return l
}

// NewAuthoriseRequest makes the request of Authorise.
func NewAuthoriseRequest(r channel.AuthoriseRequest) *AuthoriseRequest {
	m := &AuthoriseRequest{ChannelId: r.Channel, PeerId: r.Peer, MaxMsat: uint64(r.Max), Binding: newBinding(r.Binding), Raise: r.Raise,
		RaiseByMsat: uint64(r.RaiseBy), Ref: r.Ref}
	if r.ID != (channel.PaymentID{}) {
		m.PaymentId = paymentText(r.ID)
	}
	return m
}

// Value is NewAuthoriseRequest backwards.
func (m *AuthoriseRequest) Value() (channel.AuthoriseRequest, error) {
	var p parser
	r := channel.AuthoriseRequest{Channel: m.GetChannelId(), Peer: m.GetPeerId(), ID: p.payment(m.GetPaymentId()), Max: channel.Msat(m.GetMaxMsat()),
		Binding: p.binding(m.GetBinding()), Raise: m.GetRaise(), RaiseBy: channel.Msat(m.GetRaiseByMsat()), Ref: m.GetRef()}
	return r, p.err
}

// NewAuthoriseResponse makes the answer to Authorise.
func NewAuthoriseResponse(r channel.AuthoriseResult) *AuthoriseResponse {
	return &AuthoriseResponse{Authorisation: newAuthorisation(r.Authorisation), Lane: NewLaneStand(r.Lane), PaymentId: paymentText(r.ID)}
}

// Value is NewAuthoriseResponse backwards.
func (m *AuthoriseResponse) Value() (channel.AuthoriseResult, error) {
	var p parser
	r := channel.AuthoriseResult{Authorisation: p.authorisation(m.GetAuthorisation()), Lane: p.lane(m.GetLane()), ID: p.payment(m.GetPaymentId())}
	return r, p.err
}

// NewChargeRequest makes the request of Charge.
func NewChargeRequest(r channel.ChargeRequest) *ChargeRequest {
	return &ChargeRequest{Authorisation: newAuthorisation(r.Authorisation), AmountMsat: uint64(r.Amount), Ref: r.Ref}
}

// Value is NewChargeRequest backwards.
func (m *ChargeRequest) Value() (channel.ChargeRequest, error) {
	var p parser
	r := channel.ChargeRequest{Authorisation: p.authorisation(m.GetAuthorisation()), Amount: channel.Msat(m.GetAmountMsat()), Ref: m.GetRef()}
	return r, p.err
}

// NewCharge makes the answer to Charge, HoldMore and EndDraw.
func NewCharge(c channel.Charge) *ChargeResponse {
	return &ChargeResponse{N: c.N, HeldMsat: uint64(c.Held), UsedMsat: uint64(c.Used), Status: c.Status.String(), Repeated: c.Repeated, Lane: NewLaneStand(c.Lane)}
}

// Value is NewCharge backwards.
func (m *ChargeResponse) Value() (channel.Charge, error) {
	var p parser
	c := channel.Charge{N: m.GetN(), Held: channel.Msat(m.GetHeldMsat()), Used: channel.Msat(m.GetUsedMsat()), Repeated: m.GetRepeated(), Lane: p.lane(m.GetLane())}
	switch m.GetStatus() {
	case channel.DrawHeld.String():
		c.Status = channel.DrawHeld
	case channel.DrawEnded.String():
		c.Status = channel.DrawEnded
	default:
		p.fail("unknown status %q of a draw", m.GetStatus())
	}
	return c, p.err
}

// ChannelValue is the channel that a request names by its whole id.
func (m *HoldMoreRequest) ChannelValue() (channel.ID, error) { return wholeID(m.GetChannelId()) }

// ChannelValue is the channel that a request names by its whole id.
func (m *EndDrawRequest) ChannelValue() (channel.ID, error) { return wholeID(m.GetChannelId()) }

// ChannelValue is the channel that a request names by its whole id.
func (m *GetLaneRequest) ChannelValue() (channel.ID, error) { return wholeID(m.GetChannelId()) }

func wholeID(s string) (channel.ID, error) {
	var p parser
	if s == "" {
		p.fail("channel_id is empty")
	}
	id := p.channel(s)
	return id, p.err
}
