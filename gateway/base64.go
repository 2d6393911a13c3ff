package gateway

import (
	"encoding/base64"
	"errors"
	"strings"
)

var errBase64 = errors.New("not base64url")

// EncodeBase64 is base64url without padding.
func EncodeBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// DecodeBase64 reads base64url, padded or not. Everything has one spelling beside the padding: bits that no byte
// has, line ends and the other alphabet are refused.
func DecodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which the library skips
		return nil, errBase64
	}
	enc := base64.RawURLEncoding
	if strings.HasSuffix(s, "=") {
		enc = base64.URLEncoding
	}
	b, err := enc.Strict().DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}
