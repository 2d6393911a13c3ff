package wire

import (
	"math"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/runnel/runnel/channel"
)

// The rules for values, the same for what is sent and for what is received. What a value means for a
// channel (capacity, order, signatures) is not judged here.

// CheckRef reports why a text can't be the reference of a payment: longer than channel.MaxRefBytes, not
// UTF-8, or with control characters, which would let a payer write to the payee's terminal.
func CheckRef(ref string) error { return checkText("reference", ref, channel.MaxRefBytes) }

func checkText(name, s string, limit int) error {
	if len(s) > limit {
		return malformed("%s has %d bytes, at most %d are allowed", name, len(s), limit)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return checkUnicode(name, s)
		}
	}
	return nil
}

// checkUnicode is for the rare text that is not plain ASCII.
func checkUnicode(name, s string) error {
	if !utf8.ValidString(s) {
		return malformed("%s is not UTF-8", name)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return malformed("%s has control characters", name)
	}
	return nil
}

// cleanText makes any text one that checkText accepts.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	for len(s) > channel.MaxTextBytes {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// checkCode: codes are compared by programs, so they are plain words.
func checkCode(name, s string) error {
	if s == "" || len(s) > MaxCodeBytes {
		return malformed("%s has %d bytes, want 1 to %d", name, len(s), MaxCodeBytes)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return malformed("%s has other characters than a-z, 0-9 and _", name)
		}
	}
	return nil
}

func checkFrame(m *channel.Frame) error {
	n := len(m.Payments)
	if n == 0 || n > channel.MaxFramePayments {
		return malformed("frame has %d payments, want 1 to %d", n, channel.MaxFramePayments)
	}
	if m.FirstSeq == 0 || m.NextSeq() < m.FirstSeq {
		return malformed("frame.first_seq %d with %d payments is out of range", m.FirstSeq, n)
	}
	var sum, carry uint64
	for i := range m.Payments {
		p := &m.Payments[i]
		if p.Amount == 0 {
			return malformed("frame.payments.amount of payment %d is 0", i)
		}
		if sum, carry = bits.Add64(sum, uint64(p.Amount), 0); carry != 0 {
			return malformed("frame.payments.amount: the sum overflows")
		}
		if err := checkText("frame.payments.ref", p.Ref, channel.MaxRefBytes); err != nil {
			return err
		}
	}
	return nil
}

func checkAck(m *channel.Ack) error {
	if m.NextSeq == 0 {
		return malformed("ack.next_seq is 0")
	}
	if len(m.Refused) > MaxAckRefused {
		return malformed("ack has %d refusals, at most %d are allowed", len(m.Refused), MaxAckRefused)
	}
	var last uint64
	for _, r := range m.Refused {
		if r.Seq <= last || r.Seq >= m.NextSeq {
			return malformed("ack.refused.seq %d is not ascending below next_seq %d", r.Seq, m.NextSeq)
		}
		if r.Reason == channel.Accepted {
			return malformed("ack.refused.reason is 0")
		}
		last = r.Seq
	}
	return nil
}

func checkRefuse(m *channel.Refuse) error {
	if err := checkCode("refuse.code", m.Code); err != nil {
		return err
	}
	return checkText("refuse.text", m.Text, channel.MaxTextBytes)
}

func checkError(m *Error) error {
	if err := checkCode("error.code", m.Code); err != nil {
		return err
	}
	return checkText("error.text", m.Text, channel.MaxTextBytes)
}

func checkResync(m *channel.Resync) error {
	if m.Phase > channel.PhaseAbandoned {
		return malformed("resync.phase %d is unknown", uint8(m.Phase))
	}
	return nil
}

func checkStop(m *channel.Stop) error {
	if len(m.Payout) > channel.MaxPayoutScript {
		return malformed("stop.payout has %d bytes, at most %d are allowed", len(m.Payout), channel.MaxPayoutScript)
	}
	return nil
}

func checkInputs(name string, n int) error {
	if n == 0 || n > channel.MaxCloseInputs {
		return malformed("%s has %d entries, want 1 to %d", name, n, channel.MaxCloseInputs)
	}
	return nil
}

func checkCloseSign(m *channel.CloseSign) error {
	if err := checkInputs("close_sign.nonces", len(m.Nonces)); err != nil {
		return err
	}
	if len(m.Partials) != len(m.Nonces) {
		return malformed("close_sign has %d nonces and %d partials", len(m.Nonces), len(m.Partials))
	}
	return nil
}

func checkCloseDone(m *channel.CloseDone) error {
	if len(m.Tx) == 0 || len(m.Tx) > MaxCloseTx {
		return malformed("close_done.tx has %d bytes, want 1 to %d", len(m.Tx), MaxCloseTx)
	}
	return nil
}

func checkLog(m *channel.LogRoot) error {
	switch {
	case m.Size == 0 || m.Size == math.MaxUint64:
		return malformed("log.size %d is out of range", m.Size)
	case m.Spent > m.Total:
		return malformed("log.spent %d is above log.total %d", m.Spent, m.Total)
	case m.Time > MaxTime:
		return malformed("log.time %d is out of range", m.Time)
	}
	return nil
}

func checkDraws(m *channel.Draws) error {
	n := len(m.Draws)
	if n == 0 || n > channel.MaxReportDraws {
		return malformed("draws has %d draws, want 1 to %d", n, channel.MaxReportDraws)
	}
	if m.FirstSeq == 0 || m.FirstSeq+uint64(n) < m.FirstSeq {
		return malformed("draws.first_seq %d with %d draws is out of range", m.FirstSeq, n)
	}
	for _, d := range m.Draws {
		if d.N == 0 {
			return malformed("draws.draws.n is 0")
		}
	}
	return nil
}

func checkDrawsVoid(m *channel.DrawsVoid) error {
	if n := len(m.N); n == 0 || n > channel.MaxReportDraws {
		return malformed("draws_void has %d numbers, want 1 to %d", n, channel.MaxReportDraws)
	}
	for i, n := range m.N {
		if n == 0 || i > 0 && n <= m.N[i-1] {
			return malformed("draws_void.n are not ascending from 1")
		}
	}
	return nil
}

func checkReturnOffer(m *channel.ReturnOffer) error {
	switch n := len(m.Payout); {
	case n == 0 || n > channel.MaxPayoutScript:
		return malformed("return_offer.payout has %d bytes, want 1 to %d", n, channel.MaxPayoutScript)
	case m.Value > channel.MaxMoney || m.Fee >= m.Value:
		return malformed("return_offer takes a fee of %d sat from %d sat", m.Fee, m.Value)
	}
	return nil
}

func checkHello(m *Hello) error {
	if n := len(m.Versions); n == 0 || n > MaxVersions {
		return malformed("hello has %d versions, want 1 to %d", n, MaxVersions)
	}
	if !ascending(m.Versions) {
		return malformed("hello.versions are not ascending")
	}
	n := len(m.Features)
	if n > MaxFeatures || !ascending(m.Features) || (n > 0 && m.Features[n-1] > MaxFeatureBit) {
		return malformed("hello.features must be at most %d ascending bits up to %d", MaxFeatures, MaxFeatureBit)
	}
	return checkText("hello.agent", m.Agent, MaxAgentBytes)
}

func ascending(list []uint32) bool {
	for i := 1; i < len(list); i++ {
		if list[i] <= list[i-1] {
			return false
		}
	}
	return true
}
