package bitcoin

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

func BenchmarkSignVoucher(b *testing.B) {
	p := newPair(b)
	lane := p.lane(b, 1, 1_000_000)
	var total channel.Msat
	for b.Loop() {
		total = total%900_000_000 + 1
		if _, err := p.payer.SignVoucher(lane, 1, total); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyVoucher(b *testing.B) {
	p := newPair(b)
	lane := p.lane(b, 1, 1_000_000)
	sig, err := p.payer.SignVoucher(lane, 1, 5000)
	must(b, err)
	for b.Loop() {
		if err := p.scheme.VerifyVoucher(lane, 5000, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVoucherDigest(b *testing.B) {
	p := newPair(b)
	lane := p.lane(b, 1, 1_000_000)
	l, err := p.scheme.scripts(lane.Terms)
	must(b, err)
	for b.Loop() {
		l.voucherDigest(lane, 5001)
	}
}

func BenchmarkDeriveScripts(b *testing.B) {
	p := newPair(b)
	terms := p.lane(b, 1, 1_000_000).Terms
	keys, err := parseKeys(terms)
	must(b, err)
	for b.Loop() {
		if _, err := deriveScripts(keys, terms.Expiry); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSettle100(b *testing.B) {
	p := newPair(b)
	var lanes []ledger.SettleLane
	for i := range uint32(100) {
		lanes = append(lanes, p.settleLane(b, p.lane(b, i, 50_000), i, 10_000_000))
	}
	for b.Loop() {
		if _, err := p.payee.Settle(lanes, payout(1), rate); err != nil {
			b.Fatal(err)
		}
	}
}
