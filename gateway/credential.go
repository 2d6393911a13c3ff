package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/runnel/runnel/channel"
)

// Action is what a credential asks for.
type Action string

const (
	ActionOpen    Action = "open"    // binds a channel that is open between the two nodes
	ActionVoucher Action = "voucher" // pays for this request; HEAD tops up
	ActionTopUp   Action = "topUp"   // more deposit; no lane can grow yet
	ActionClose   Action = "close"   // asks for a cooperative close
)

// Manages reports whether the action is about the channel and not about the resource.
func (a Action) Manages() bool { return a != ActionVoucher }

// Credential is what an Authorization header carries: the challenge as it came, who pays, and the proof.
type Credential struct {
	Challenge Challenge
	Source    string          // the payer's peer id; may be empty
	Payload   json.RawMessage // of the challenge's method
}

type credentialJSON struct {
	Challenge *Challenge      `json:"challenge"`
	Source    string          `json:"source,omitempty"`
	Payload   json.RawMessage `json:"payload"`
}

// ParseCredential reads the value of an Authorization header. The payload is an object and not looked into.
func ParseCredential(header string) (*Credential, error) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.Trim(token, " ")
	switch {
	case !strings.EqualFold(scheme, Scheme):
		return nil, fmt.Errorf("the scheme is %.20q and not %s", scheme, Scheme)
	case token == "":
		return nil, errors.New("the credential is empty")
	case len(token) > MaxHeader:
		return nil, fmt.Errorf("a credential of %d bytes is above %d", len(token), MaxHeader)
	}
	var j credentialJSON
	if err := decodeObject(token, &j); err != nil {
		return nil, fmt.Errorf("the credential: %w", err)
	}
	switch {
	case j.Challenge == nil:
		return nil, errors.New("the credential has no challenge")
	case j.Challenge.complete() != nil:
		return nil, fmt.Errorf("the credential has %w", j.Challenge.complete())
	case len(j.Payload) == 0 || j.Payload[0] != '{':
		return nil, errors.New("the credential has no payload")
	}
	return &Credential{Challenge: *j.Challenge, Source: j.Source, Payload: j.Payload}, nil
}

// Header is the credential as the value of an Authorization header.
func (c *Credential) Header() (string, error) {
	if err := c.Challenge.complete(); err != nil {
		return "", err
	}
	token, err := encodeObject(&credentialJSON{&c.Challenge, c.Source, c.Payload})
	if err == nil && len(token) > MaxHeader {
		err = fmt.Errorf("a credential of %d bytes is above %d", len(token), MaxHeader)
	}
	return Scheme + " " + token, err
}

// Payload is the proof of our method. Of the binding it carries what is not in the request itself: N, Max, Raise.
type Payload struct {
	Action    Action
	Channel   channel.ID
	Total     channel.Msat      // open, voucher, close: cumulativeAmount
	Signature channel.Signature // zero as long as nothing was vouchered
	N         uint64
	Max       channel.Msat
	Raise     uint64
	MAC       [32]byte
	Deposit   channel.Msat // topUp: additionalDeposit
	Proof     string       // topUp
}

type payloadJSON struct {
	Action    Action       `json:"action"`
	ChannelID string       `json:"channelId"`
	Total     string       `json:"cumulativeAmount,omitempty"`
	Signature string       `json:"signature,omitempty"`
	Binding   *bindingJSON `json:"binding,omitempty"`
	Deposit   string       `json:"additionalDeposit,omitempty"`
	Proof     string       `json:"proof,omitempty"`
}

type bindingJSON struct {
	N     string `json:"n"`
	Max   string `json:"max"`
	Raise string `json:"raise,omitempty"`
	MAC   string `json:"mac"`
}

// PayloadOf puts an authorisation into a payload.
func PayloadOf(a Action, auth *channel.Authorisation) *Payload {
	b := &auth.Binding
	return &Payload{Action: a, Channel: auth.Channel, Total: auth.Total, Signature: auth.Signature, N: b.N, Max: b.Max, Raise: b.Raise, MAC: auth.MAC}
}

// Authorisation is what the payload authorises for a request, of which b says everything but N, Max and Raise.
func (p *Payload) Authorisation(b channel.Binding) channel.Authorisation {
	b.N, b.Max, b.Raise = p.N, p.Max, p.Raise
	return channel.Authorisation{Channel: p.Channel, Total: p.Total, Signature: p.Signature, Binding: b, MAC: p.MAC}
}

// Encode is the payload as canonical JSON.
func (p *Payload) Encode() (json.RawMessage, error) {
	j := payloadJSON{Action: p.Action, ChannelID: FormatChannel(p.Channel)}
	if p.Action == ActionTopUp {
		j.Deposit, j.Proof = formatMsat(p.Deposit), p.Proof
	} else {
		j.Total, j.Signature = formatMsat(p.Total), formatSignature(p.Signature)
		j.Binding = &bindingJSON{N: fmt.Sprint(p.N), Max: formatMsat(p.Max), MAC: fmt.Sprintf("0x%x", p.MAC)}
		if p.Raise != 0 {
			j.Binding.Raise = fmt.Sprint(p.Raise)
		}
	}
	return Canonical(&j)
}

// SessionPayload reads the payload of a credential of our method.
func (c *Credential) SessionPayload() (*Payload, error) {
	if c.Challenge.Method != Method || c.Challenge.Intent != IntentSession {
		return nil, fmt.Errorf("a credential of the method %.40q with the intent %.40q", c.Challenge.Method, c.Challenge.Intent)
	}
	var j payloadJSON
	if err := json.Unmarshal(c.Payload, &j); err != nil { // doubled members were refused with the credential
		return nil, errors.New("the payload's members are not texts")
	}
	p := parser{}
	out := &Payload{Action: j.Action, Channel: p.channel("channelId", j.ChannelID)}
	switch j.Action {
	case ActionOpen, ActionVoucher, ActionClose:
		j.proof(&p, out)
	case ActionTopUp:
		out.Deposit, out.Proof = p.msat("additionalDeposit", j.Deposit), j.Proof
	default:
		p.err = fmt.Errorf("there is no action %.20q", string(j.Action))
	}
	return out, p.err
}

func (j *payloadJSON) proof(p *parser, out *Payload) {
	out.Total = p.msat("cumulativeAmount", j.Total)
	if j.Signature != "" || out.Total > 0 {
		out.Signature = p.signature("signature", j.Signature)
	}
	b := j.Binding
	if b == nil {
		p.fail(errors.New("binding is missing"))
		return
	}
	out.N, out.Max = p.number("binding.n", b.N), p.msat("binding.max", b.Max)
	if b.Raise != "" {
		out.Raise = p.number("binding.raise", b.Raise)
	}
	p.note("binding.mac", parseHex(out.MAC[:], b.MAC))
	if p.err == nil && out.N == 0 {
		p.fail(errors.New("binding.n is 0"))
	}
}
