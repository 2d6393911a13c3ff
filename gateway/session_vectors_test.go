package gateway

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

var update = flag.Bool("update", false, "write docs/vectors/session.json anew")

const sessionVectors = "../docs/vectors/session.json"

// sessionVector is the method runnel byte for byte, for those who write another client or server.
type sessionVector struct {
	Description string             `json:"description"`
	Secret      string             `json:"hmacSecretHex"`
	LaneSecret  string             `json:"laneSecretHex"`
	Lane        string             `json:"laneIdHex"`
	RequestJSON string             `json:"requestJson"`
	Challenge   Challenge          `json:"challenge"`
	Header      string             `json:"wwwAuthenticate"`
	Bindings    []bindingVector    `json:"bindings"`
	Credentials []credentialVector `json:"credentials"`
	Receipt     wireVector         `json:"receipt"`
	NeedVoucher string             `json:"paymentNeedVoucherData"`
	Problem     string             `json:"problemJson"`
	Refused     []wireVector       `json:"refusedCredentials"`
}

type bindingVector struct {
	Name           string `json:"name"`
	Challenge      string `json:"challengeId"`
	Total          string `json:"cumulativeAmount"`
	Method         string `json:"method"`
	Authority      string `json:"authority"`
	Target         string `json:"target"`
	Body           string `json:"bodySha256Hex"`
	IdempotencyKey string `json:"idempotencyKey"`
	N              uint64 `json:"n"`
	Max            string `json:"max"`
	Raise          uint64 `json:"raise"`
	Bytes          string `json:"bytesHex"`
	MAC            string `json:"macHex"`
}

type credentialVector struct {
	Name          string          `json:"name"`
	Payload       json.RawMessage `json:"payload"`
	Authorization string          `json:"authorization"`
}

type wireVector struct {
	Name   string `json:"name"`
	JSON   string `json:"json"`
	Header string `json:"header"`
}

func makeBinding(name string, lane channel.LaneID, secret []byte, total channel.Msat, b channel.Binding) (bindingVector, [32]byte) {
	mac := hmac.New(sha256.New, secret)
	mac.Write(b.Bytes(lane, total))
	code := [32]byte(mac.Sum(nil))
	return bindingVector{name, b.Challenge, formatMsat(total), b.Method, b.Authority, b.Target, hex.EncodeToString(b.Body[:]), b.IdempotencyKey,
		b.N, formatMsat(b.Max), b.Raise, hex.EncodeToString(b.Bytes(lane, total)), hex.EncodeToString(code[:])}, code
}

// makeVectors writes down what this code does.
func makeVectors(t *testing.T) *sessionVector {
	m, c := sampleMint(t), sampleChallenge(t, sampleMint(t))
	secret, lane := bytes.Repeat([]byte{0x1a}, 32), channel.LaneID{0xaa, 0xbb}
	request, err := DecodeBase64(c.Request)
	if err != nil {
		t.Fatal(err)
	}
	v := &sessionVector{Description: "Intent session with the payment method runnel: challenge, binding, credentials, receipt, event and problem, byte for byte.",
		Secret: hex.EncodeToString(m.secrets[0]), LaneSecret: hex.EncodeToString(secret), Lane: lane.String(), RequestJSON: string(request), Challenge: c}
	if v.Header, err = c.Header(); err != nil {
		t.Fatal(err)
	}
	get := channel.Binding{Challenge: c.ID, Method: "GET", Authority: "api.example", Target: "/v1/forecast?day=1", Body: sha256.Sum256(nil), N: 7, Max: 5000}
	post := channel.Binding{Challenge: c.ID, Method: "POST", Authority: "api.example:8443", Target: "/v1/chat", Body: sha256.Sum256([]byte("{}")), IdempotencyKey: "k-1", N: 8, Max: 200}
	raise := channel.Binding{Challenge: c.ID, Method: "HEAD", Authority: "api.example", Target: "/v1/chat", Body: sha256.Sum256(nil), N: 9, Max: 900, Raise: 8}
	for i, b := range []channel.Binding{get, post, raise} {
		name := []string{"a request without a body", "a body and an Idempotency-Key", "a top-up that raises draw 8"}[i]
		one, code := makeBinding(name, lane, secret, 9000, b)
		v.Bindings = append(v.Bindings, one)
		auth := &channel.Authorisation{Channel: channel.ID{0xaa}, Total: 9000, Signature: channel.Signature{0x52}, Binding: b, MAC: code}
		v.Credentials = append(v.Credentials, makeCredential(t, name, &c, PayloadOf(ActionVoucher, auth)))
		if i == 0 {
			v.Credentials = append(v.Credentials, makeCredential(t, "open", &c, PayloadOf(ActionOpen, auth)), makeCredential(t, "close", &c, PayloadOf(ActionClose, auth)))
		}
	}
	v.Credentials = append(v.Credentials, makeCredential(t, "topUp", &c, samplePayload(ActionTopUp)))
	r := &Receipt{Method: Method, Intent: IntentSession, Time: time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC), Reference: FormatChannel(channel.ID{0xaa}) + ":7", ChallengeID: c.ID,
		Channel: channel.ID{0xaa}, Accepted: 9000, Spent: 8000, N: 7, Amount: 1000, Units: 50}
	if v.Receipt.Header, err = r.Header(); err != nil {
		t.Fatal(err)
	}
	text, _ := DecodeBase64(v.Receipt.Header)
	v.Receipt.Name, v.Receipt.JSON = "50 tokens", string(text)
	need, err := (&NeedVoucher{Channel: channel.ID{0xaa}, N: 8, Max: 220, Required: 9020, Accepted: 9000, Deposit: 99_000_000}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	p := ProblemBalance.Problem("200 msat are authorised and this costs 220 msat")
	p.RequiredTopUp, p.RequiredMax, p.Code = 20, 220, string(channel.CodeNoCredit)
	v.NeedVoucher, v.Problem = string(need), strings.TrimSpace(string(p.Encode()))
	v.Refused = refusedCredentials(t, v.Credentials[0].Authorization)
	return v
}

func makeCredential(t *testing.T, name string, c *Challenge, p *Payload) credentialVector {
	payload, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	header, err := (&Credential{Challenge: *c, Source: "12D3KooWPayer", Payload: payload}).Header()
	if err != nil {
		t.Fatal(err)
	}
	return credentialVector{name, payload, header}
}

// refusedCredentials are changes to a good one.
func refusedCredentials(t *testing.T, good string) (list []wireVector) {
	b, err := DecodeBase64(strings.TrimPrefix(good, Scheme+" "))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][3]string{
		{"an amount that is a number", `"cumulativeAmount":"9000"`, `"cumulativeAmount":9000`},
		{"a leading zero", `"cumulativeAmount":"9000"`, `"cumulativeAmount":"09000"`},
		{"n is 0", `"n":"7"`, `"n":"0"`},
		{"a member twice", `"n":"7"`, `"n":"7","n":"8"`},
		{"a member twice in other letters", `"n":"7"`, `"n":"7","N":"8"`},
		{"an unknown action", `"action":"voucher"`, `"action":"bearer"`},
		{"hex in capitals", `"channelId":"0xaa`, `"channelId":"0xAA`},
		{"no mac", `"mac":"0x`, `"MAK":"0x`},
	} {
		text := strings.Replace(string(b), change[1], change[2], 1)
		if text == string(b) {
			t.Fatalf("%s changes nothing", change[0])
		}
		list = append(list, wireVector{change[0], text, Scheme + " " + EncodeBase64([]byte(text))})
	}
	return list
}

// The vectors that the documents offer are what this code does.
func TestSessionVectors(t *testing.T) {
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(makeVectors(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(sessionVectors, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(sessionVectors)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatal("docs/vectors/session.json differs from what the code does: if that is meant, run this test with -update")
	}
	var v sessionVector
	if err := json.Unmarshal(want, &v); err != nil {
		t.Fatal(err)
	}
	list, err := ParseChallenges(v.Header)
	if err != nil || len(list) != 1 || list[0] != v.Challenge || sampleMint(t).Verify(&list[0], time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC)) != nil {
		t.Errorf("the challenge is read as %+v, %v", list, err)
	}
	for _, one := range v.Credentials {
		c, err := ParseCredential(one.Authorization)
		if err == nil {
			_, err = c.SessionPayload()
		}
		if err != nil {
			t.Errorf("%s: %v", one.Name, err)
		}
	}
	for _, one := range v.Refused {
		c, err := ParseCredential(one.Header)
		if err == nil {
			_, err = c.SessionPayload()
		}
		if err == nil {
			t.Errorf("%s is taken", one.Name)
		}
	}
	if _, err := ParseReceipt(v.Receipt.Header); err != nil {
		t.Error(err)
	}
	if _, err := ParseNeedVoucher([]byte(v.NeedVoucher)); err != nil {
		t.Error(err)
	}
	if _, err := ParseProblem([]byte(v.Problem)); err != nil {
		t.Error(err)
	}
}
