package amount

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]channel.Msat{
		"1msat":                         1,
		"25msat":                        25,
		"5sat":                          5_000,
		"0.001sat":                      1,
		"1.5sat":                        1_500,
		"1.5000sat":                     1_500,
		"1_000sat":                      1_000_000,
		"1_0_0msat":                     100,
		"0.001btc":                      100_000_000,
		"0.000_000_01btc":               1_000,
		"0.00000000001btc":              1,
		"21_000_000btc":                 channel.Msat(channel.MaxMoney) * 1000,
		"2100000000000000sat":           channel.Msat(channel.MaxMoney) * 1000,
		"2_100_000_000_000_000_000msat": channel.Msat(channel.MaxMoney) * 1000,
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, say := range map[string]string{
		"":                           "is not an amount",
		"20":                         "20sat or 20msat?",
		"0.5":                        "0.5sat or 0.5btc?",
		"sat":                        "is not an amount",
		"0sat":                       "more than zero",
		"0msat":                      "more than zero",
		"0":                          "more than zero",
		"0.0001sat":                  "below 1 msat",
		"1.0001sat":                  "below 1 msat",
		"0.5msat":                    "below 1 msat",
		"0.000000000001btc":          "below 1 msat",
		"21000001btc":                "21 million",
		"2100000000000001sat":        "21 million",
		"99999999999999999999999sat": "21 million",
		"18446744073709551616msat":   "21 million",
		"5SAT":                       "5sat",
		"5Msat":                      "5msat",
		"5BTC":                       "5btc",
		"5 sat":                      "5sat",
		"5sats":                      "5sat?",
		"5usd":                       "msat, sat and btc",
		"5satoshi":                   "msat, sat and btc",
		"1,000sat":                   "1_000sat",
		"-5sat":                      "is not an amount",
		"+5sat":                      "is not an amount",
		"1e3sat":                     "unknown unit",
		"0x10sat":                    "unknown unit",
		".5sat":                      "both sides",
		"5.sat":                      "both sides",
		"1.2.3sat":                   "one decimal point",
		"_5sat":                      "both sides",
		"5_sat":                      "both sides",
		"5__0sat":                    "both sides",
		"5_.0sat":                    "both sides",
		"٥sat":                       "is not an amount",
	} {
		_, err := Parse(text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Parse(%q): %v, want an *Error", text, err)
			continue
		}
		if !strings.Contains(e.Text+" | "+e.Hint, say) {
			t.Errorf("Parse(%q) says %q, hint %q; want %q", text, e.Text, e.Hint, say)
		}
	}
}

func TestParseSat(t *testing.T) {
	if v, err := ParseSat("0.5btc"); err != nil || v != 50_000_000 {
		t.Errorf("0.5btc: %d, %v", v, err)
	}
	for _, text := range []string{"1msat", "1.5sat", "1001msat", "0sat"} {
		if v, err := ParseSat(text); err == nil {
			t.Errorf("ParseSat(%q) = %d", text, v)
		}
	}
	for _, text := range []string{"0", "0sat", "0.0btc"} {
		if v, err := ParseSatOrZero(text); err != nil || v != 0 {
			t.Errorf("ParseSatOrZero(%q) = %d, %v", text, v, err)
		}
	}
}

func TestParseRange(t *testing.T) {
	low, high, err := ParseRange("1msat..1_000msat")
	if err != nil || low != 1 || high != 1000 {
		t.Errorf("%d..%d, %v", low, high, err)
	}
	if low, high, err = ParseRange("5sat"); err != nil || low != 5000 || high != 5000 {
		t.Errorf("%d..%d, %v", low, high, err)
	}
	for _, text := range []string{"2sat..1sat", "1..2sat", "1sat..", "..1sat", "1sat..2sat..3sat", "0sat..1sat"} {
		if _, _, err := ParseRange(text); err == nil {
			t.Errorf("ParseRange(%q) is accepted", text)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := channel.Msat(rapid.Uint64Range(1, maxMsat).Draw(t, "msat"))
		got, err := Parse(String(m))
		if err != nil || got != m {
			t.Fatalf("Parse(%q) = %d, %v; want %d", String(m), got, err, m)
		}
		shown := strings.ReplaceAll(strings.ReplaceAll(Msat(m), ",", "_"), " ", "")
		if got, err = Parse(shown); err != nil || got != m {
			t.Fatalf("what people see, %q, reads as %d, %v; want %d", shown, got, err, m)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"25msat", "5sat", "0.001btc", "1_000.5sat", "20", "0.0001sat", "1,000sat", "9e9btc", "_", ".", "21000000btc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := Parse(s)
		if err != nil {
			return
		}
		if m == 0 || uint64(m) > maxMsat {
			t.Fatalf("Parse(%q) = %d", s, m)
		}
		if again, err := Parse(String(m)); err != nil || again != m {
			t.Fatalf("Parse(%q) = %d, but its short form %q reads as %d, %v", s, m, String(m), again, err)
		}
		if strings.ToLower(s) != s || strings.ContainsAny(s, " ,+-") {
			t.Fatalf("%q is accepted", s)
		}
	})
}

func TestShow(t *testing.T) {
	for got, want := range map[string]string{
		Msat(0):                    "0 sat",
		Msat(1):                    "0.001 sat",
		Msat(1_234_567_500):        "1,234,567.5 sat",
		Sat(1_000_000):             "1,000,000 sat",
		SignedMsat(-1500):          "-1.5 sat",
		SignedMsat(1500):           "+1.5 sat",
		SignedSat(0):               "0 sat",
		SignedSat(-1 << 63):        "-9223372036854775808 sat",
		FeeRate(1500):              "1.5 sat/vB",
		FeeRate(2000):              "2 sat/vB",
		String(channel.Msat(25)):   "25msat",
		String(channel.Msat(5000)): "5sat",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestParseFeeRate(t *testing.T) {
	for text, want := range map[string]uint64{"1": 1000, "1.5": 1500, "0.25": 250, "10000": 10_000_000, "2.000": 2000, "1.0010": 1001} {
		if got, err := ParseFeeRate(text); err != nil || got != want {
			t.Errorf("ParseFeeRate(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "0.0", "-1", "1.0001", "10001", "1e3", "1sat", ".5", "5.", "99999999999999999999", "1_0"} {
		if got, err := ParseFeeRate(text); err == nil {
			t.Errorf("ParseFeeRate(%q) = %d", text, got)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	for text, want := range map[string]uint32{"30d": 4320, "4320": 4320, "2w": 2016, "12h": 72, "1": 1} {
		if got, err := ParseExpiry(text); err != nil || got != want {
			t.Errorf("ParseExpiry(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "0d", "d", "-1", "1.5d", "30m", "3651d", "99999999999999999999", "30D", "1y"} {
		if got, err := ParseExpiry(text); err == nil {
			t.Errorf("ParseExpiry(%q) = %d", text, got)
		}
	}
}
