package gateway

import (
	"errors"
	"strings"
)

// RFC 9110: a header of challenges is a list whose commas separate challenges and their parameters alike.

var (
	errControl = errors.New("control characters in a header")
	errQuoted  = errors.New("a quoted string does not end")
)

// authChallenge is one challenge of any scheme: the first of each parameter, names in lower case.
type authChallenge struct {
	scheme string
	params []authParam
}

type authParam struct{ name, value string }

func (c *authChallenge) get(name string) string {
	for _, p := range c.params {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// maxChallengeParams bounds what is kept of one challenge.
const maxChallengeParams = 32

// parseAuth reads the challenges of a header's value. Of a parameter that is repeated the first counts: nobody on
// the way overrides what the server wrote by adding to it.
func parseAuth(header string) (list []authChallenge, err error) {
	if strings.ContainsAny(header, "\r\n\x00") {
		return nil, errControl
	}
	for rest := header; ; {
		rest = strings.TrimLeft(rest, ", \t")
		if rest == "" {
			return list, nil
		}
		word := takeToken(rest)
		after := rest[len(word):]
		if word == "" { // no token where one has to be: leave the element away
			if rest, err = skipElement(rest); err != nil {
				return nil, err
			}
			continue
		}
		if value, ok := paramValue(after); ok && len(list) > 0 {
			var v string
			if v, rest, err = takeValue(value); err != nil {
				return nil, err
			}
			list[len(list)-1].add(word, v)
			continue
		}
		list = append(list, authChallenge{scheme: word})
		if rest, err = schemeRest(after); err != nil {
			return nil, err
		}
	}
}

func (c *authChallenge) add(name, value string) {
	name = strings.ToLower(name)
	if c.get(name) == "" && len(c.params) < maxChallengeParams {
		c.params = append(c.params, authParam{name, value})
	}
}

// schemeRest is what follows a scheme's name: parameters, or a token68 that is skipped.
func schemeRest(after string) (string, error) {
	rest := strings.TrimLeft(after, " \t")
	if rest == "" || rest[0] == ',' || rest == after {
		return skipElement(rest)
	}
	word := takeToken(rest)
	if _, ok := paramValue(rest[len(word):]); ok && word != "" {
		return rest, nil
	}
	return skipElement(rest)
}

// paramValue is what follows the equals sign of a parameter; the second of two is token68 padding.
func paramValue(s string) (string, bool) {
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, "=") {
		return "", false
	}
	s = strings.TrimLeft(s[1:], " \t")
	return s, s != "" && s[0] != '=' && s[0] != ','
}

// takeValue reads a token or a quoted string, and what else stands before the comma is left away.
func takeValue(s string) (value, rest string, err error) {
	if s[0] == '"' {
		if value, rest, err = takeQuoted(s[1:]); err != nil {
			return "", "", err
		}
	} else {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		value, rest = s[:end], s[end:]
	}
	return value, rest, nil
}

// takeQuoted reads up to the closing quote and takes quoted pairs apart.
func takeQuoted(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c == '\\' || c < 0x20 && c != '\t' || c == 0x7f:
			return "", "", errControl
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errQuoted
}

// skipElement goes behind the next comma that is not quoted.
func skipElement(s string) (rest string, err error) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ',':
			return s[i+1:], nil
		case '"':
			_, after, err := takeQuoted(s[i+1:])
			if err != nil {
				return "", err
			}
			i = len(s) - len(after) - 1
		}
	}
	return "", nil
}

// takeToken is RFC 9110's token at the start of s.
func takeToken(s string) string {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return s[:i]
		}
	}
	return s
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isToken reports whether s is a token, so that it can stand in a header without quotes.
func isToken(s string) bool { return s != "" && takeToken(s) == s }

// quote writes a quoted string. Its text has no control characters but the tab.
func quote(b *strings.Builder, name, value string) {
	b.WriteString(name)
	b.WriteString(`="`)
	for i := range len(value) {
		if value[i] == '"' || value[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	b.WriteByte('"')
}

// clean reports whether s can stand in a quoted string.
func clean(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
