package gateway

import (
	"errors"
	"fmt"
	"strings"
)

// The names under which we sell and pay.
const (
	Scheme        = "Payment" // RFC 9110 authentication scheme
	Method        = "runnel"  // payment method
	IntentSession = "session" // many requests on one channel
)

// Header names of the scheme.
const (
	HeaderReceipt       = "Payment-Receipt"
	HeaderAcceptPayment = "Accept-Payment"
	HeaderIdempotency   = "Idempotency-Key"
)

// MaxHeader bounds a header of the scheme that we read: four times what a challenge or credential of ours takes.
const MaxHeader = 16 << 10

// ErrNoChallenge says that a header has no complete challenge of the scheme.
var ErrNoChallenge = errors.New("no payment challenge")

// Challenge is one offer of a 402: what a credential echoes unchanged.
type Challenge struct {
	ID          string `json:"id"`
	Realm       string `json:"realm"`
	Method      string `json:"method"`
	Intent      string `json:"intent"`
	Request     string `json:"request"`               // base64url of canonical JSON
	Expires     string `json:"expires,omitempty"`     // RFC 3339
	Digest      string `json:"digest,omitempty"`      // RFC 9530, of the request's body
	Description string `json:"description,omitempty"` // for people; not bound by the id
	Opaque      string `json:"opaque,omitempty"`      // base64url of a canonical string map
}

// fields are the parameters in the order in which they are written.
func (c *Challenge) fields() [9]struct {
	name  string
	value *string
} {
	return [9]struct {
		name  string
		value *string
	}{
		{"id", &c.ID}, {"realm", &c.Realm}, {"method", &c.Method}, {"intent", &c.Intent}, {"request", &c.Request},
		{"expires", &c.Expires}, {"digest", &c.Digest}, {"description", &c.Description}, {"opaque", &c.Opaque},
	}
}

// complete says which required parameter is missing.
func (c *Challenge) complete() error {
	for _, f := range c.fields() {
		switch {
		case *f.value == "" && required(f.name):
			return fmt.Errorf("a challenge without %s", f.name)
		case !clean(*f.value):
			return fmt.Errorf("control characters in a challenge's %s", f.name)
		}
	}
	return nil
}

func required(name string) bool {
	switch name {
	case "id", "realm", "method", "intent", "request":
		return true
	}
	return false
}

// Header is the challenge as a value of WWW-Authenticate.
func (c *Challenge) Header() (string, error) {
	if err := c.complete(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(256 + len(c.Request))
	b.WriteString(Scheme)
	for i, f := range c.fields() {
		if *f.value == "" {
			continue
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		quote(&b, f.name, *f.value)
	}
	return b.String(), nil
}

// ParseChallenges reads the offers of a response's WWW-Authenticate headers, of our scheme and of any payment
// method. Incomplete ones are left away; the error is ErrNoChallenge if none is left.
func ParseChallenges(headers ...string) (list []Challenge, err error) {
	for _, h := range headers {
		if len(h) > MaxHeader {
			return nil, fmt.Errorf("a header of %d bytes is above %d", len(h), MaxHeader)
		}
		all, err := parseAuth(h)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if c, ok := a.payment(); ok {
				list = append(list, c)
			}
		}
	}
	if len(list) == 0 {
		return nil, ErrNoChallenge
	}
	return list, nil
}

// payment is the challenge if it is one of our scheme and complete.
func (c *authChallenge) payment() (out Challenge, ok bool) {
	if !strings.EqualFold(c.scheme, Scheme) {
		return out, false
	}
	for _, f := range out.fields() {
		*f.value = c.get(f.name)
	}
	return out, out.complete() == nil
}
