package bitcoin

import (
	"bytes"
	"math/big"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// template is the transaction of protocol.md 3, built without the package's own digest.
func template(t tb, s *Scheme, lane ledger.Lane, total channel.Msat) *wire.MsgTx {
	refund, err := s.RefundScript(lane.Terms)
	if err != nil {
		t.Fatal(err)
	}
	tx := wire.NewMsgTx(2)
	in := wire.NewTxIn(&wire.OutPoint{Hash: lane.Funding.TxID, Index: lane.Funding.Index}, nil, nil)
	in.Sequence = 0x80000000 | uint32(total%1000)
	tx.AddTxIn(in)
	taken := int64(total / 1000)
	if total%1000 != 0 {
		taken++
	}
	tx.AddTxOut(wire.NewTxOut(int64(lane.Terms.Deposit)-taken, refund))
	return tx
}

// The digest laid out by hand is the library's digest of the template.
func TestDigestIsTheTemplates(t *testing.T) {
	s, err := NewScheme("simnet")
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		terms := drawTerms(t, s)
		lane := ledger.Lane{Terms: terms, Funding: channel.Outpoint{
			TxID:  [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "txid")),
			Index: rapid.Uint32().Draw(t, "index"),
		}}
		total := channel.Msat(rapid.Uint64Range(1, uint64(terms.Capacity())).Draw(t, "total"))
		l, err := s.scripts(terms)
		must(t, err)
		tx := template(t, s, lane, total)
		fetcher := txscript.NewCannedPrevOutputFetcher(l.funding, int64(terms.Deposit))
		want, err := txscript.CalcTapscriptSignaturehash(txscript.NewTxSigHashes(tx, fetcher), 0x83, tx, 0, fetcher,
			txscript.NewBaseTapLeaf(l.voucher.script))
		must(t, err)
		if got := l.voucherDigest(lane, total); !bytes.Equal(got[:], want) {
			t.Fatalf("digest %x, want %x", got, want)
		}
	})
}

func TestVoucherTotals(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 50_000)
	capacity := lane.Terms.Capacity()
	for _, total := range []channel.Msat{1, 999, 1000, 1001, capacity - 1, capacity} {
		sig, err := p.payer.SignVoucher(lane, 1, total)
		must(t, err)
		must(t, p.scheme.VerifyVoucher(lane, total, sig))
		for _, other := range []channel.Msat{total - 1, total + 1, total + 1000} {
			wantErr(t, p.scheme.VerifyVoucher(lane, other, sig), ledger.ErrBadVoucher)
		}
	}
	for _, total := range []channel.Msat{0, capacity + 1, 1 << 63, 1<<64 - 1} {
		_, err := p.payer.SignVoucher(lane, 1, total)
		wantErr(t, err, ledger.ErrBadVoucher)
		wantErr(t, p.scheme.VerifyVoucher(lane, total, signAnyway(t, p, lane, 1, total)), ledger.ErrBadVoucher)
	}
}

// signAnyway signs what SignVoucher refuses, as a dishonest payer would.
func signAnyway(t *testing.T, p *pair, lane ledger.Lane, index uint32, total channel.Msat) channel.Signature {
	t.Helper()
	l, err := p.scheme.scripts(lane.Terms)
	must(t, err)
	key, err := p.payer.key(purposePayer, index)
	must(t, err)
	sig, err := p.payer.sign(key, l.voucherDigest(lane, total))
	must(t, err)
	return sig
}

// The table that a busy lane gets judges like the plain verification before it.
func TestVouchersOfABusyLane(t *testing.T) {
	p := newPair(t)
	lane, other := p.lane(t, 1, 50_000), p.lane(t, 2, 50_000)
	forged, err := p.payer.SignVoucher(other, 2, 5000)
	must(t, err)
	for i := range channel.Msat(2 * hotAfter) {
		sig, err := p.payer.SignVoucher(lane, 1, 5000+i)
		must(t, err)
		must(t, p.scheme.VerifyVoucher(lane, 5000+i, sig))
		wantErr(t, p.scheme.VerifyVoucher(lane, 4999+i, sig), ledger.ErrBadVoucher)
		wantErr(t, p.scheme.VerifyVoucher(lane, 5000, forged), ledger.ErrBadVoucher)
		wantErr(t, p.scheme.VerifyVoucher(other, 5000+i, sig), ledger.ErrBadVoucher)
	}
	if n := p.scheme.hot.len(); n != 2 {
		t.Errorf("%d keys have tables, want those of both lanes", n)
	}
	for _, total := range []channel.Msat{0, lane.Terms.Capacity() + 1} {
		wantErr(t, p.scheme.VerifyVoucher(lane, total, signAnyway(t, p, lane, 1, total)), ledger.ErrBadVoucher)
	}
}

func TestVoucherBelongsToOneLane(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 50_000)
	sig, err := p.payer.SignVoucher(lane, 1, 5000)
	must(t, err)
	for name, change := range map[string]func(*ledger.Lane){
		"txid":           func(l *ledger.Lane) { l.Funding.TxID[0] ^= 1 },
		"index":          func(l *ledger.Lane) { l.Funding.Index++ },
		"deposit":        func(l *ledger.Lane) { l.Terms.Deposit++ },
		"expiry":         func(l *ledger.Lane) { l.Terms.Expiry++ },
		"refund":         func(l *ledger.Lane) { l.Terms.Refund = p.lane(t, 2, 50_000).Terms.Refund },
		"payee":          func(l *ledger.Lane) { l.Terms.Payee = p.lane(t, 2, 50_000).Terms.Payee },
		"payer":          func(l *ledger.Lane) { l.Terms.Payer = p.lane(t, 2, 50_000).Terms.Payer },
		"nothing funded": func(l *ledger.Lane) { l.Funding = channel.Outpoint{} },
	} {
		other := lane
		change(&other)
		if err := p.scheme.VerifyVoucher(other, 5000, sig); err == nil {
			t.Errorf("%s: the voucher is valid on another lane", name)
		}
	}
	unfunded := lane
	unfunded.Funding = channel.Outpoint{}
	_, err = p.payer.SignVoucher(unfunded, 1, 5000)
	wantErr(t, err, ledger.ErrBadVoucher)
	wantErr(t, p.scheme.VerifyVoucher(unfunded, 5000, signAnyway(t, p, unfunded, 1, 5000)), ledger.ErrBadVoucher)
	_, err = p.payer.SignVoucher(lane, 2, 5000)
	wantErr(t, err, ledger.ErrBadTerms)
	_, err = p.payee.SignVoucher(lane, 1, 5000)
	wantErr(t, err, ledger.ErrBadTerms)
}

func TestVoucherBitFlips(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 50_000)
	sig, err := p.payer.SignVoucher(lane, 1, 5000)
	must(t, err)
	for i := range len(sig) * 8 {
		bad := sig
		bad[i/8] ^= 1 << (i % 8)
		wantErr(t, p.scheme.VerifyVoucher(lane, 5000, bad), ledger.ErrBadVoucher)
	}
	wantErr(t, p.scheme.VerifyVoucher(lane, 5000, channel.Signature{}), ledger.ErrBadVoucher)
}

// Only the canonical encoding of a signature is accepted: nodes refuse the others.
func TestSignatureEncoding(t *testing.T) {
	order, prime := btcec.S256().N, btcec.S256().P
	one := big.NewInt(1)
	encode := func(r, s *big.Int) []byte {
		b := make([]byte, 64)
		r.FillBytes(b[:32])
		s.FillBytes(b[32:])
		return b
	}
	below := func(n *big.Int) *big.Int { return new(big.Int).Sub(n, one) }
	for name, b := range map[string][]byte{
		"s is the order": encode(one, order),
		"s above":        encode(one, new(big.Int).Add(order, one)),
		"r is the prime": encode(prime, one),
		"r above":        encode(new(big.Int).Add(prime, one), one),
		"short":          make([]byte, 63),
		"long":           make([]byte, 65),
		"empty":          nil,
	} {
		if _, err := parseSignature(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	sig, err := parseSignature(encode(below(prime), below(order)))
	must(t, err)
	if !bytes.Equal(sig.Serialize(), encode(below(prime), below(order))) {
		t.Error("the largest signature changes when encoded again")
	}
}

// split and join are inverse, and no two totals share a settlement.
func TestSplitJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		deposit := channel.Sat(rapid.Uint64Range(uint64(channel.MinDeposit), uint64(channel.MaxMoney)).Draw(t, "deposit"))
		capacity := channel.LaneTerms{Deposit: deposit}.Capacity()
		total := channel.Msat(rapid.Uint64Range(1, uint64(capacity)).Draw(t, "total"))
		refund, sequence := split(deposit, total)
		if refund < channel.ReserveSat || sequence>>31 != 1 || sequence >= 0xfffffffe {
			t.Fatalf("refund %d, sequence %#x", refund, sequence)
		}
		if got, ok := join(deposit, refund, sequence); !ok || got != total {
			t.Fatalf("joined %d, %v", got, ok)
		}
	})
	for _, c := range []struct {
		refund   channel.Sat
		sequence uint32
		want     channel.Msat
		ok       bool
	}{
		{49_999, 0x80000000, 1000, true},
		{49_999, 0x80000001, 1, true},
		{49_999, 0x800003e7, 999, true},
		{49_999, 0x800003e8, 0, false}, // 1000 is no remainder
		{49_999, 0x00000001, 0, false}, // relative lock on
		{49_999, 0xffffffff, 0, false},
		{50_000, 0x80000000, 0, false}, // nothing taken
		{50_000, 0x80000001, 0, false},
		{50_001, 0x80000001, 0, false}, // more than the deposit
		{1 << 63, 0x80000000, 0, false},
	} {
		if got, ok := join(50_000, c.refund, c.sequence); got != c.want || ok != c.ok {
			t.Errorf("join(%d, %#x) = %d, %v", c.refund, c.sequence, got, ok)
		}
	}
}

// Two signatures over one total differ by their randomness, and both are good.
func TestAuxiliaryRandomness(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 50_000)
	a, err := p.payer.SignVoucher(lane, 1, 5000)
	must(t, err)
	b, err := p.payer.SignVoucher(lane, 1, 5000)
	must(t, err)
	if a == b {
		t.Error("no auxiliary randomness")
	}
	must(t, p.scheme.VerifyVoucher(lane, 5000, b))
}
