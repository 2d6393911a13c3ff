package gateway

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

func sampleRequest() *Request {
	return &Request{Amount: 20, Unit: UnitToken, Recipient: "12D3KooWPayee", SuggestedDeposit: 100_000_000, Details: Details{
		Network: "simnet", Addrs: []string{"/ip4/127.0.0.1/tcp/9745/p2p/12D3KooWPayee"}, UnitSize: 1, Typical: 5000, MinDeposit: 20_000_000,
		Channel:  channel.ID{0xaa},
		Snapshot: &Snapshot{Channel: channel.ID{0xaa}, Accepted: 7000, Spent: 6800, Signature: channel.Signature{0x51}},
	}}
}

func sampleChallenge(t testing.TB, m *Mint) Challenge {
	request, err := sampleRequest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	c := Challenge{Realm: "api.example", Method: Method, Intent: IntentSession, Request: request, Expires: "2026-11-24T12:00:00Z", Description: "Tokens & more"}
	if err := m.Sign(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func sampleMint(t testing.TB) *Mint {
	m, err := NewMint([]byte(strings.Repeat("k", MinSecret)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func samplePayload(a Action) *Payload {
	p := &Payload{Action: a, Channel: channel.ID{0xaa}}
	if a == ActionTopUp {
		p.Deposit, p.Proof = 50_000, "proof"
		return p
	}
	p.Total, p.Signature, p.N, p.Max, p.MAC = 9000, channel.Signature{0x52}, 7, 5000, [32]byte{0x53}
	return p
}

func TestRequestRoundTrip(t *testing.T) {
	c := sampleChallenge(t, sampleMint(t))
	got, err := c.SessionRequest()
	if err != nil || !reflect.DeepEqual(got, sampleRequest()) {
		t.Fatalf("got %+v, %v", got, err)
	}
	header, err := c.Header()
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseChallenges("Basic realm=\"x\"", header)
	if err != nil || len(list) != 1 || list[0] != c {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestCredentialRoundTrip(t *testing.T) {
	for _, a := range []Action{ActionOpen, ActionVoucher, ActionTopUp, ActionClose} {
		want := samplePayload(a)
		payload, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		header, err := (&Credential{Challenge: sampleChallenge(t, sampleMint(t)), Source: "12D3KooWPayer", Payload: payload}).Header()
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseCredential(header)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.SessionPayload(); err != nil || *got != *want {
			t.Errorf("%s: got %+v, %v", a, got, err)
		}
		if c.Source != "12D3KooWPayer" || c.Challenge != sampleChallenge(t, sampleMint(t)) {
			t.Errorf("%s: got %+v", a, c)
		}
	}
}

func TestMint(t *testing.T) {
	old, now := sampleMint(t), time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC)
	c := sampleChallenge(t, old)
	fresh := []byte(strings.Repeat("n", MinSecret))
	rotated, err := NewMint(fresh, []byte(strings.Repeat("k", MinSecret)))
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := NewMint(fresh)
	for name, tc := range map[string]struct {
		mint   *Mint
		change func(*Challenge)
		at     time.Time
		want   error
	}{
		"our own":              {mint: old},
		"of the secret before": {mint: rotated},
		"of a stranger":        {mint: foreign, want: ErrUnknownChallenge},
		"expired":              {mint: old, at: now.Add(time.Hour), want: ErrExpiredChallenge},
		"a later end":          {mint: old, change: func(c *Challenge) { c.Expires = "2027-11-24T12:00:00Z" }, want: ErrUnknownChallenge},
		"a lower price":        {mint: old, change: func(c *Challenge) { c.Request = EncodeBase64([]byte(`{"amount":"1"}`)) }, want: ErrUnknownChallenge},
		"another realm":        {mint: old, change: func(c *Challenge) { c.Realm = "api.other" }, want: ErrUnknownChallenge},
		"moved bars":           {mint: old, change: func(c *Challenge) { c.Realm, c.Method = c.Realm+"|"+c.Method, "" }, want: ErrUnknownChallenge},
		"other words":          {mint: old, change: func(c *Challenge) { c.Description = "not bound" }},
		"a padded id":          {mint: old, change: func(c *Challenge) { c.ID += "=" }, want: ErrUnknownChallenge},
	} {
		changed, at := c, now
		if tc.change != nil {
			tc.change(&changed)
		}
		if !tc.at.IsZero() {
			at = tc.at
		}
		if err := tc.mint.Verify(&changed, at); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewMint([]byte("short")); err == nil {
		t.Error("a short secret is taken")
	}
}

func TestMalformedCredentials(t *testing.T) {
	good := sampleChallenge(t, sampleMint(t))
	payload, _ := samplePayload(ActionVoucher).Encode()
	wrap := func(payload string) string {
		c, _ := json.Marshal(&good)
		return Scheme + " " + EncodeBase64([]byte(`{"challenge":`+string(c)+`,"payload":`+payload+`}`))
	}
	text := string(payload)
	for name, header := range map[string]string{
		"another action":       wrap(strings.Replace(text, "voucher", "steal", 1)),
		"no binding":           wrap(`{"action":"voucher","channelId":"0x` + strings.Repeat("a", 64) + `","cumulativeAmount":"1","signature":"0x` + strings.Repeat("a", 128) + `"}`),
		"a number":             wrap(strings.Replace(text, `"9000"`, `9000`, 1)),
		"a negative amount":    wrap(strings.Replace(text, `"9000"`, `"-9000"`, 1)),
		"a leading zero":       wrap(strings.Replace(text, `"9000"`, `"09000"`, 1)),
		"too much money":       wrap(strings.Replace(text, `"9000"`, `"18446744073709551615"`, 1)),
		"n is 0":               wrap(strings.Replace(text, `"n":"7"`, `"n":"0"`, 1)),
		"capital hex":          wrap(strings.Replace(text, "0xaa", "0xAA", 1)),
		"a short signature":    wrap(strings.Replace(text, "0x52", "0x", 1)),
		"a doubled member":     wrap(strings.Replace(text, `"action"`, `"action":"close","action"`, 1)),
		"a doubled n":          wrap(strings.Replace(text, `"n":"7"`, `"n":"7","n":"8"`, 1)),
		"deep nesting":         wrap(strings.Replace(text, `"action"`, `"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"action"`, 1)),
		"no object":            Scheme + " " + EncodeBase64([]byte(`[]`)),
		"something behind":     wrap(text) + "e30",
		"too long":             Scheme + " " + strings.Repeat("A", MaxHeader+4),
		"payload is no object": wrap(`"x"`),
	} {
		c, err := ParseCredential(header)
		if err == nil {
			_, err = c.SessionPayload()
		}
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestReceiptAndEvents(t *testing.T) {
	want := &Receipt{Method: Method, Intent: IntentSession, Time: time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC), Reference: "r", ChallengeID: "c",
		Channel: channel.ID{0xaa}, Accepted: 9000, Spent: 8000, N: 7, Amount: 1000, Units: 50}
	header, err := want.Header()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReceipt(header)
	if err != nil || *got != *want {
		t.Errorf("got %+v, %v", got, err)
	}
	need := &NeedVoucher{Channel: channel.ID{0xaa}, N: 7, Max: 2000, Required: 9500, Accepted: 9000, Deposit: 99_000}
	data, err := need.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseNeedVoucher(data); err != nil || *got != *need {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestProblemRoundTrip(t *testing.T) {
	p := ProblemBalance.Problem("needs %d msat more", 12)
	p.RequiredTopUp, p.RequiredMax, p.Code = 12, 20, string(channel.CodeNoCredit)
	got, err := ParseProblem(p.Encode())
	if err != nil || *got != *p || !errors.Is(got, ProblemBalance.Problem("")) || errors.Is(got, ProblemDelta.Problem("")) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAcceptPayment(t *testing.T) {
	for header, want := range map[string]bool{
		"": true, "runnel/session": true, "*/*": true, "runnel/*;q=0.5": true, "tempo/charge, */session;q=0.1": true,
		"tempo/charge": false, "runnel/charge": false, "*/*, runnel/session;q=0": false, "runnel/*;q=0, runnel/session": true, "x/y;q=1;a=b , ,": false,
	} {
		a, err := ParseAcceptPayment(header)
		if err != nil || a.Accepts(Method, IntentSession) != want {
			t.Errorf("%q: %v, %v", header, a, err)
		}
	}
	for _, header := range []string{"runnel", "/", "a/b;q=2", "a/b;q=0.1234", "a b/c", strings.Repeat("a/b,", 65)} {
		if _, err := ParseAcceptPayment(header); err == nil {
			t.Errorf("%q is taken", header)
		}
	}
}
