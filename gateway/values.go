package gateway

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/runnel/runnel/channel"
)

// Values have one spelling each: decimal numbers without a sign or leading zeros, hex in lower case behind 0x.

// maxAmount is all the money that there can be.
const maxAmount = channel.Msat(channel.MaxMoney) * 1000

func formatMsat(m channel.Msat) string { return strconv.FormatUint(uint64(m), 10) }

func optionalMsat(m channel.Msat) string {
	if m == 0 {
		return ""
	}
	return formatMsat(m)
}

// ParseMsat reads an amount, which is not above all money that there can be.
func ParseMsat(s string) (channel.Msat, error) {
	n, err := parseNumber(s)
	if err != nil || n > uint64(maxAmount) {
		return 0, fmt.Errorf("%.30q is no amount of msat", s)
	}
	return channel.Msat(n), nil
}

func parseNumber(s string) (uint64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' || s[0] == '0' && len(s) > 1 {
		return 0, fmt.Errorf("%.30q is no number", s)
	}
	return strconv.ParseUint(s, 10, 64)
}

// FormatChannel is a channel's id as the scheme writes it.
func FormatChannel(id channel.ID) string { return "0x" + hex.EncodeToString(id[:]) }

// ParseChannel reads it.
func ParseChannel(s string) (id channel.ID, err error) {
	err = parseHex(id[:], s)
	return id, err
}

// formatSignature leaves a zero signature away: there is no voucher yet.
func formatSignature(s channel.Signature) string {
	if s == (channel.Signature{}) {
		return ""
	}
	return "0x" + hex.EncodeToString(s[:])
}

// parseHex fills all of out.
func parseHex(out []byte, s string) error {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(out) || strings.ToLower(digits) != digits {
		return fmt.Errorf("%.20q is not 0x and %d hex digits", s, 2*len(out))
	}
	_, err := hex.Decode(out, []byte(digits))
	return err
}

// parser reads members one after another and keeps the first error.
type parser struct{ err error }

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) note(name string, err error) {
	if err != nil {
		p.fail(fmt.Errorf("%s: %w", name, err))
	}
}

func (p *parser) msat(name, s string) channel.Msat {
	m, err := ParseMsat(s)
	p.note(name, err)
	return m
}

func (p *parser) optional(name, s string) channel.Msat {
	if s == "" {
		return 0
	}
	return p.msat(name, s)
}

func (p *parser) number(name, s string) uint64 {
	n, err := parseNumber(s)
	p.note(name, err)
	return n
}

func (p *parser) channel(name, s string) channel.ID {
	id, err := ParseChannel(s)
	p.note(name, err)
	return id
}

func (p *parser) signature(name, s string) (sig channel.Signature) {
	p.note(name, parseHex(sig[:], s))
	return sig
}
