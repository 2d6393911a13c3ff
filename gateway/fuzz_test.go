package gateway

import (
	"reflect"
	"testing"
)

// What a parser takes is written again as something that it reads as the same.

func FuzzParseChallenges(f *testing.F) {
	c := sampleChallenge(f, sampleMint(f))
	header, _ := c.Header()
	for _, s := range []string{header, `Basic realm="a, b", Payment id=a, realm="r\"", method=m, intent=i, request=cQ`, `Payment`, `a b=="`, `Negotiate aaa==, Payment id="\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseChallenges(s)
		for i := range list {
			header, err := list[i].Header()
			if err != nil {
				t.Fatalf("%+v can't be written: %v", list[i], err)
			}
			again, err := ParseChallenges(header)
			if err != nil || len(again) != 1 || again[0] != list[i] {
				t.Fatalf("%q is read as %+v, %v", header, again, err)
			}
			_, _ = list[i].SessionRequest()
		}
		if err == nil && len(list) == 0 {
			t.Fatal("nothing and no error")
		}
	})
}

func FuzzParseCredential(f *testing.F) {
	for _, a := range []Action{ActionOpen, ActionVoucher, ActionTopUp, ActionClose} {
		payload, _ := samplePayload(a).Encode()
		header, _ := (&Credential{Challenge: sampleChallenge(f, sampleMint(f)), Payload: payload}).Header()
		f.Add(header)
	}
	f.Add("Payment e30")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCredential(s)
		if err != nil {
			return
		}
		p, err := c.SessionPayload()
		if err != nil {
			return
		}
		if c.Payload, err = p.Encode(); err != nil {
			t.Fatal(err)
		}
		again, err := c.SessionPayload()
		if err != nil || *again != *p {
			t.Fatalf("%s is read as %+v, %v", c.Payload, again, err)
		}
	})
}

func FuzzSessionRequest(f *testing.F) {
	c := sampleChallenge(f, sampleMint(f))
	b, _ := DecodeBase64(c.Request)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c.Request = EncodeBase64(b)
		r, err := c.SessionRequest()
		if err != nil {
			return
		}
		if c.Request, err = r.Encode(); err != nil {
			return // text that is not UTF-8 has no canonical form
		}
		again, err := c.SessionRequest()
		if err != nil || !sameRequest(again, r) {
			t.Fatalf("%+v is read as %+v, %v", r, again, err)
		}
	})
}

func sameRequest(a, b *Request) bool {
	if len(a.Details.Addrs) == 0 && len(b.Details.Addrs) == 0 {
		a.Details.Addrs, b.Details.Addrs = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func FuzzParseReceipt(f *testing.F) {
	r := &Receipt{Method: Method, Intent: IntentSession, Reference: "r", N: 7}
	header, _ := r.Header()
	f.Add(header)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReceipt(s)
		if err != nil || r.Method != Method {
			return
		}
		header, err := r.Header()
		if err != nil {
			return
		}
		if again, err := ParseReceipt(header); err != nil || !again.Time.Equal(r.Time) && r.Time.Nanosecond() == 0 {
			t.Fatalf("%+v is read as %+v, %v", r, again, err)
		}
	})
}

func FuzzParseNeedVoucher(f *testing.F) {
	data, _ := (&NeedVoucher{N: 7}).Encode()
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNeedVoucher(b)
		if err != nil {
			return
		}
		data, _ := n.Encode()
		if again, err := ParseNeedVoucher(data); err != nil || *again != *n {
			t.Fatalf("%+v is read as %+v, %v", n, again, err)
		}
	})
}

func FuzzParseProblem(f *testing.F) {
	f.Add(ProblemBalance.Problem("x").Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProblem(b)
		if err != nil {
			return
		}
		if again, err := ParseProblem(p.Encode()); err != nil || *again != *p {
			t.Fatalf("%+v is read as %+v, %v", p, again, err)
		}
	})
}

func FuzzParseAcceptPayment(f *testing.F) {
	f.Add("runnel/session;q=0.5, */*;q=0")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseAcceptPayment(s)
		for _, r := range list {
			if err != nil || r.Weight < 0 || r.Weight > 1000 || !isToken(r.Method) || !isToken(r.Intent) {
				t.Fatalf("%+v, %v", list, err)
			}
		}
	})
}

func FuzzEventCutter(f *testing.F) {
	f.Add([]byte("data: a\n\ndata: b\r\n\r\n: c\r\rdata: d"), 3)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		step = max(1, step%16)
		var c eventCutter
		var out []byte
		for rest := b; len(rest) > 0; {
			n := min(step, len(rest))
			c.push(rest[:n])
			rest = rest[n:]
			for {
				e, err := c.next()
				if err != nil {
					return
				}
				if e == nil {
					break
				}
				out = append(out, e...)
			}
		}
		if out = append(out, c.rest()...); string(out) != string(b) {
			t.Fatalf("%q came out as %q", b, out)
		}
	})
}
