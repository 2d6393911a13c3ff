// Package amount reads and writes the quantities that people type: amounts, fee rates and expiries.
//
// It knows nothing of channels or nodes, only of units: an amount without one is refused, because
// 20 satoshis and 20 thousandths of one look the same to somebody in a hurry.
//
//	m, err := amount.Parse("1_500sat") // 1500000 msat
package amount

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/runnel/runnel/channel"
)

// Error is what a person typed wrong.
type Error struct {
	Text string
	Hint string // what to type instead; may be empty
}

func (e *Error) Error() string { return e.Text }

func bad(hint, format string, args ...any) error {
	return &Error{Text: fmt.Sprintf(format, args...), Hint: hint}
}

// maxMsat is all the money that can ever exist.
const maxMsat = uint64(channel.MaxMoney) * 1000

// units lists what may follow a number, with the number of decimal places that reach down to 1 msat.
var units = []struct {
	name   string
	places int
}{{"msat", 0}, {"sat", 3}, {"btc", 11}}

const unitHint = "amounts look like 25msat, 5sat or 0.001btc"

// Parse reads an amount above zero, such as 25msat, 5sat, 1_000.5sat or 0.001btc.
func Parse(s string) (channel.Msat, error) {
	m, err := ParseOrZero(s)
	if err == nil && m == 0 {
		return 0, bad("the smallest amount is 1msat", "%s: an amount must be more than zero", s)
	}
	return m, err
}

// ParseOrZero is Parse where nothing is an answer too; a plain 0 needs no unit.
func ParseOrZero(s string) (channel.Msat, error) {
	if s == "0" {
		return 0, nil
	}
	number, unit := split(s)
	if number == "" {
		return 0, bad(unitHint, "%q is not an amount", s)
	}
	if err := checkNumber(s, number); err != nil {
		return 0, err
	}
	for _, u := range units {
		if u.name == unit {
			return scale(s, strings.ReplaceAll(number, "_", ""), u.places)
		}
	}
	return 0, wrongUnit(s, number, unit)
}

// ParseSat reads an amount for the chain: whole satoshis, above zero.
func ParseSat(s string) (channel.Sat, error) {
	m, err := Parse(s)
	if err != nil {
		return 0, err
	}
	return wholeSat(s, m)
}

// ParseSatOrZero is ParseSat where nothing is an answer too.
func ParseSatOrZero(s string) (channel.Sat, error) {
	m, err := ParseOrZero(s)
	if err != nil {
		return 0, err
	}
	return wholeSat(s, m)
}

func wholeSat(s string, m channel.Msat) (channel.Sat, error) {
	if m%1000 != 0 {
		return 0, bad("write "+String(m-m%1000+1000)+" or another whole number of satoshis",
			"%s: only whole satoshis exist on the chain", s)
	}
	return channel.Sat(m / 1000), nil
}

// ParseRange reads AMOUNT, or LOW..HIGH with both ends included.
func ParseRange(s string) (low, high channel.Msat, err error) {
	a, b, isRange := strings.Cut(s, "..")
	if low, err = Parse(a); err != nil || !isRange {
		return low, low, err
	}
	if high, err = Parse(b); err != nil {
		return 0, 0, err
	}
	if high < low {
		return 0, 0, bad("write "+b+".."+a, "%s: the range is upside down", s)
	}
	return low, high, nil
}

// split cuts s where its number ends.
func split(s string) (number, unit string) {
	i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789._", r) })
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// checkNumber admits digits with single underscores between them, and at most one point with digits on
// both sides.
func checkNumber(s, number string) error {
	whole, frac, hasPoint := strings.Cut(number, ".")
	if hasPoint && strings.Contains(frac, ".") {
		return bad("a number has one decimal point at most", "%q is not an amount", s)
	}
	if !digits(whole) || hasPoint && !digits(frac) {
		return bad("digits stand on both sides of a point, and of each _", "%q is not an amount", s)
	}
	return nil
}

func digits(s string) bool {
	return s != "" && s[0] != '_' && s[len(s)-1] != '_' && !strings.Contains(s, "__")
}

// scale turns a checked number into msat.
func scale(s, number string, places int) (channel.Msat, error) {
	whole, frac, _ := strings.Cut(number, ".")
	frac = strings.TrimRight(frac, "0")
	if len(frac) > places {
		return 0, bad("the smallest amount is 1msat", "%s has a part below 1 msat", s)
	}
	text := whole + frac + strings.Repeat("0", places-len(frac))
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil || v > maxMsat {
		return 0, bad("check the unit: "+unitHint, "%s is more than the 21 million btc that can exist", s)
	}
	return channel.Msat(v), nil
}

// wrongUnit finds the kindest words for a unit that does not exist.
func wrongUnit(s, number, unit string) error {
	lower := strings.ToLower(strings.TrimSpace(unit))
	switch {
	case unit == "" && strings.Contains(number, "."):
		return bad(number+"sat or "+number+"btc?", "%s has no unit", s)
	case unit == "":
		return bad(number+"sat or "+number+"msat?", "%s has no unit", s)
	case strings.HasPrefix(unit, ","):
		return bad("group digits with _, as in 1_000sat, and write a decimal point as a point", "%q is not an amount", s)
	case lower == "msat" || lower == "sat" || lower == "btc":
		return bad("units are lower case and follow the number at once: "+number+lower, "unknown unit in %q", s)
	case lower == "sats" || lower == "msats":
		return bad(number+strings.TrimSuffix(lower, "s")+"?", "unknown unit in %q", s)
	}
	return bad("units are msat, sat and btc: "+unitHint, "unknown unit in %q", s)
}

// String is the shortest exact form that Parse reads: 25msat, 5sat.
func String(m channel.Msat) string {
	if m%1000 == 0 {
		return strconv.FormatUint(uint64(m/1000), 10) + "sat"
	}
	return strconv.FormatUint(uint64(m), 10) + "msat"
}

// Msat shows an off-chain amount to people, in satoshis with separators: 1,234.5 sat.
func Msat(m channel.Msat) string {
	s := group(uint64(m / 1000))
	if frac := m % 1000; frac != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%03d", frac), "0")
	}
	return s + " sat"
}

// Sat shows an on-chain amount to people: 1,234 sat.
func Sat(v channel.Sat) string { return group(uint64(v)) + " sat" }

// SignedMsat is Msat with a sign.
func SignedMsat(v int64) string {
	sign, abs := signed(v)
	return sign + Msat(channel.Msat(abs))
}

// SignedSat is Sat with a sign.
func SignedSat(v int64) string {
	sign, abs := signed(v)
	return sign + Sat(channel.Sat(abs))
}

func signed(v int64) (sign string, abs uint64) {
	switch {
	case v < 0:
		return "-", uint64(-(v + 1)) + 1
	case v > 0:
		return "+", uint64(v)
	}
	return "", 0
}

func group(v uint64) string {
	if v <= 1<<63-1 {
		return humanize.Comma(int64(v))
	}
	return strconv.FormatUint(v, 10)
}
