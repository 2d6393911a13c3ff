package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MinSecret is the least length in bytes of a secret that challenge ids are made with.
const MinSecret = 32

// Why a challenge that a credential echoes is not taken.
var (
	ErrUnknownChallenge = errors.New("the challenge is not ours, or was changed")
	ErrExpiredChallenge = errors.New("the challenge has expired")
)

// Mint makes challenge ids and knows its own again without keeping any: an id is a code over the challenge's other
// parameters. Safe for concurrent use.
type Mint struct{ secrets [][]byte }

// NewMint takes the secret and those before it, which know challenges until they expire.
func NewMint(secret []byte, previous ...[]byte) (*Mint, error) {
	m := &Mint{secrets: append([][]byte{secret}, previous...)}
	for _, s := range m.secrets {
		if len(s) < MinSecret {
			return nil, fmt.Errorf("gateway: a challenge secret of %d bytes is shorter than %d", len(s), MinSecret)
		}
	}
	return m, nil
}

// Sign fills in the challenge's id.
func (m *Mint) Sign(c *Challenge) error {
	if strings.Contains(c.Realm+c.Method+c.Intent, "|") {
		return errors.New("gateway: a realm, method or intent with |")
	}
	c.ID = EncodeBase64(challengeCode(m.secrets[0], c))
	return nil
}

// Verify says whether the challenge is one of ours that has not expired.
func (m *Mint) Verify(c *Challenge, now time.Time) error {
	if !m.made(c) {
		return ErrUnknownChallenge
	}
	expires, err := time.Parse(time.RFC3339, c.Expires)
	if err != nil {
		return ErrUnknownChallenge
	}
	if !now.Before(expires) {
		return ErrExpiredChallenge
	}
	return nil
}

func (m *Mint) made(c *Challenge) bool {
	id, err := DecodeBase64(c.ID)
	if err != nil || len(c.ID) != 43 || strings.Count(c.Realm+c.Method+c.Intent+c.Request+c.Expires+c.Digest, "|") > 0 {
		return false // with a bar the slots could be split in another way
	}
	for _, s := range m.secrets {
		if hmac.Equal(id, challengeCode(s, c)) {
			return true
		}
	}
	return false
}

// challengeCode is HMAC-SHA256 over the seven slots; an absent one is empty.
func challengeCode(secret []byte, c *Challenge) []byte {
	mac := hmac.New(sha256.New, secret)
	buf := make([]byte, 0, 1024)
	for i, slot := range [...]string{c.Realm, c.Method, c.Intent, c.Request, c.Expires, c.Digest, c.Opaque} {
		if i > 0 {
			buf = append(buf, '|')
		}
		buf = append(buf, slot...)
	}
	mac.Write(buf)
	return mac.Sum(nil)
}
