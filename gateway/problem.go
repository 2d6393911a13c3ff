package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/runnel/runnel/channel"
)

// ContentTypeProblem is RFC 9457's.
const ContentTypeProblem = "application/problem+json"

const (
	problemBase = "https://paymentauth.org/problems/"
	sessionBase = problemBase + "session/"
)

// ProblemKind is a refusal: its type, title and status.
type ProblemKind struct {
	Type   string
	Title  string
	Status int
}

// The problems of the scheme, and those that are ours (of type about:blank and told apart by their code).
var (
	ProblemPaymentRequired    = ProblemKind{problemBase + "payment-required", "Payment required", http.StatusPaymentRequired}
	ProblemMalformed          = ProblemKind{problemBase + "malformed-credential", "The credential can't be read", http.StatusPaymentRequired}
	ProblemInvalidChallenge   = ProblemKind{problemBase + "invalid-challenge", "The challenge is unknown or has expired", http.StatusPaymentRequired}
	ProblemVerification       = ProblemKind{problemBase + "verification-failed", "The proof is wrong", http.StatusPaymentRequired}
	ProblemMethodUnsupported  = ProblemKind{problemBase + "method-unsupported", "This payment method is not taken here", http.StatusBadRequest}
	ProblemSignature          = ProblemKind{sessionBase + "invalid-signature", "The voucher's signature is wrong", http.StatusPaymentRequired}
	ProblemSigner             = ProblemKind{sessionBase + "signer-mismatch", "Somebody else's channel", http.StatusPaymentRequired}
	ProblemDeposit            = ProblemKind{sessionBase + "amount-exceeds-deposit", "More than the channel holds", http.StatusPaymentRequired}
	ProblemDelta              = ProblemKind{sessionBase + "delta-too-small", "The voucher adds too little", http.StatusPaymentRequired}
	ProblemBalance            = ProblemKind{sessionBase + "insufficient-balance", "The voucher does not cover the price", http.StatusPaymentRequired}
	ProblemChallengeNotFound  = ProblemKind{sessionBase + "challenge-not-found", "The session's challenge is unknown", http.StatusPaymentRequired}
	ProblemChannelNotFound    = ProblemKind{sessionBase + "channel-not-found", "No such channel", http.StatusGone}
	ProblemChannelFinalized   = ProblemKind{sessionBase + "channel-finalized", "The channel takes no payments any more", http.StatusGone}
	ProblemRefused            = ProblemKind{"about:blank", "Refused", http.StatusForbidden}
	ProblemRepeated           = ProblemKind{"about:blank", "This payment was used", http.StatusConflict}
	ProblemBadRequest         = ProblemKind{"about:blank", "Bad request", http.StatusBadRequest}
	ProblemTooLarge           = ProblemKind{"about:blank", "The body is too large", http.StatusRequestEntityTooLarge}
	ProblemHeaderTooLarge     = ProblemKind{"about:blank", "The headers are too large", http.StatusRequestHeaderFieldsTooLarge}
	ProblemIdempotencyReused  = ProblemKind{"about:blank", "This Idempotency-Key stands for another request", http.StatusUnprocessableEntity}
	ProblemIdempotencyRunning = ProblemKind{"about:blank", "The first request with this Idempotency-Key still runs", http.StatusConflict}
	ProblemIdempotencyGone    = ProblemKind{"about:blank", "The answer to this Idempotency-Key was not kept", http.StatusConflict}
	ProblemNotSold            = ProblemKind{"about:blank", "Nothing is sold here", http.StatusNotFound}
	ProblemTooMany            = ProblemKind{"about:blank", "Too many unpaid requests", http.StatusTooManyRequests}
	ProblemUpgrade            = ProblemKind{"about:blank", "Upgraded connections are not sold", http.StatusNotImplemented}
	ProblemUpstream           = ProblemKind{"about:blank", "The service behind this gateway does not answer", http.StatusBadGateway}
	ProblemUpstreamTimeout    = ProblemKind{"about:blank", "The service behind this gateway is too slow", http.StatusGatewayTimeout}
	ProblemUnavailable        = ProblemKind{"about:blank", "Payments can't be taken now", http.StatusServiceUnavailable}
)

// Problem is the body of a refusal (RFC 9457), an error for those who pay.
type Problem struct {
	ProblemKind
	Detail        string       // what is wrong with this request and what to do
	Code          string       // the node's own reason, of channel.Code, if it gave one
	RequiredTopUp channel.Msat // insufficient-balance: by which the voucher has to grow; 0: not told
	RequiredMax   channel.Msat // insufficient-balance: the highest amount that has to be authorised; 0: not told
}

type problemJSON struct {
	Type          string `json:"type"`
	Title         string `json:"title"`
	Status        int    `json:"status"`
	Detail        string `json:"detail,omitempty"`
	Code          string `json:"code,omitempty"`
	RequiredTopUp string `json:"requiredTopUp,omitempty"`
	RequiredMax   string `json:"requiredMax,omitempty"`
}

// Problem makes a refusal of the kind.
func (k ProblemKind) Problem(format string, args ...any) *Problem {
	return &Problem{ProblemKind: k, Detail: fmt.Sprintf(format, args...)}
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Is makes a Problem match another one of its kind.
func (p *Problem) Is(target error) bool {
	other, ok := target.(*Problem)
	return ok && other.ProblemKind == p.ProblemKind
}

// Encode is the body.
func (p *Problem) Encode() []byte {
	b, _ := json.Marshal(&problemJSON{p.Type, p.Title, p.Status, p.Detail, p.Code, optionalMsat(p.RequiredTopUp), optionalMsat(p.RequiredMax)}) // texts and a number
	return append(b, '\n')
}

// maxProblem is what is read of a refusal.
const maxProblem = 64 << 10

// ParseProblem reads a body of ContentTypeProblem. Members of the wrong form are an error.
func ParseProblem(body []byte) (*Problem, error) {
	if len(body) > maxProblem {
		return nil, fmt.Errorf("a problem of %d bytes is above %d", len(body), maxProblem)
	}
	var j problemJSON
	if err := decodeJSON(body, &j); err != nil {
		return nil, fmt.Errorf("the problem: %w", err)
	}
	p := parser{}
	out := &Problem{ProblemKind: ProblemKind{j.Type, j.Title, j.Status}, Detail: j.Detail, Code: j.Code,
		RequiredTopUp: p.optional("requiredTopUp", j.RequiredTopUp), RequiredMax: p.optional("requiredMax", j.RequiredMax)}
	return out, p.err
}
