package bitcoin

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/txscript/v2"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

func TestCheckTerms(t *testing.T) {
	p := newPair(t)
	good := p.lane(t, 1, 50_000).Terms
	must(t, p.scheme.CheckTerms(good))
	flip := func(k channel.Key) channel.Key { k[0] ^= 1; return k }
	offCurve := channel.Key{2, 31: 0, 32: 5} // x = 5 has no point
	for name, change := range map[string]func(*channel.LaneTerms){
		"other genesis":          func(t *channel.LaneTerms) { t.Genesis[5] ^= 1 },
		"deposit zero":           func(t *channel.LaneTerms) { t.Deposit = 0 },
		"deposit below minimum":  func(t *channel.LaneTerms) { t.Deposit = channel.MinDeposit - 1 },
		"deposit above money":    func(t *channel.LaneTerms) { t.Deposit = channel.MaxMoney + 1 },
		"expiry zero":            func(t *channel.LaneTerms) { t.Expiry = 0 },
		"expiry is a time":       func(t *channel.LaneTerms) { t.Expiry = 500_000_000 },
		"payer key zero":         func(t *channel.LaneTerms) { t.Payer = channel.Key{} },
		"payer off the curve":    func(t *channel.LaneTerms) { t.Payer = offCurve },
		"payee off the curve":    func(t *channel.LaneTerms) { t.Payee = offCurve },
		"refund off the curve":   func(t *channel.LaneTerms) { t.Refund = offCurve },
		"hybrid prefix":          func(t *channel.LaneTerms) { t.Payer[0] = 6 },
		"payer is payee":         func(t *channel.LaneTerms) { t.Payer = t.Payee },
		"payer is payee negated": func(t *channel.LaneTerms) { t.Payer = flip(t.Payee) },
		"payer is refund":        func(t *channel.LaneTerms) { t.Refund = t.Payer },
		"refund is payer neg.":   func(t *channel.LaneTerms) { t.Refund = flip(t.Payer) },
		"payee is refund":        func(t *channel.LaneTerms) { t.Refund = t.Payee },
		"refund is payee neg.":   func(t *channel.LaneTerms) { t.Refund = flip(t.Payee) },
	} {
		t.Run(name, func(t *testing.T) {
			terms := good
			change(&terms)
			wantErr(t, p.scheme.CheckTerms(terms), ledger.ErrBadTerms)
			_, err := p.scheme.FundingScript(terms)
			wantErr(t, err, ledger.ErrBadTerms)
			_, err = p.scheme.RefundScript(terms)
			wantErr(t, err, ledger.ErrBadTerms)
			lane := ledger.Lane{Terms: terms, Funding: p.lane(t, 1, 50_000).Funding}
			wantErr(t, p.scheme.VerifyVoucher(lane, 1, channel.Signature{}), ledger.ErrBadTerms)
			_, err = p.scheme.ParseSpend(lane, nil)
			wantErr(t, err, ledger.ErrBadTerms)
			_, _, err = p.scheme.CloseTx([]ledger.Lane{lane}, []ledger.Output{{Script: payout(1), Value: 1000}})
			wantErr(t, err, ledger.ErrBadTerms)
		})
	}
	for _, edge := range []func(*channel.LaneTerms){
		func(t *channel.LaneTerms) { t.Deposit = channel.MinDeposit },
		func(t *channel.LaneTerms) { t.Deposit = channel.MaxMoney },
		func(t *channel.LaneTerms) { t.Expiry = 1 },
		func(t *channel.LaneTerms) { t.Expiry = 499_999_999 },
	} {
		terms := good
		edge(&terms)
		must(t, p.scheme.CheckTerms(terms))
	}
}

// drawTerms draws valid terms of fresh keys.
func drawTerms(t *rapid.T, s *Scheme) channel.LaneTerms {
	key := func(name string) channel.Key {
		b := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name)
		b[0], b[31] = b[0]&0x7f, b[31]|1 // below the group order, not zero
		_, pub := btcec.PrivKeyFromBytes(b)
		return channel.Key(pub.SerializeCompressed())
	}
	terms := channel.LaneTerms{
		Genesis: s.Genesis(), Payer: key("payer"), Payee: key("payee"), Refund: key("refund"),
		Expiry:  rapid.Uint32Range(1, maxHeightLock-1).Draw(t, "expiry"),
		Deposit: channel.Sat(rapid.Uint64Range(uint64(channel.MinDeposit), uint64(channel.MaxMoney)).Draw(t, "deposit")),
	}
	if s.CheckTerms(terms) != nil {
		t.Skip("two keys are the same")
	}
	return terms
}

// Both sides derive the same scripts, whichever of them asks first, cached or not.
func TestBothSidesDeriveTheSameScripts(t *testing.T) {
	a, err := NewScheme("simnet")
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		terms := drawTerms(t, a)
		b, err := NewScheme("simnet")
		must(t, err)
		for range 2 {
			for name, f := range map[string][2]func(channel.LaneTerms) ([]byte, error){
				"funding": {a.FundingScript, b.FundingScript}, "refund": {a.RefundScript, b.RefundScript},
			} {
				x, err := f[0](terms)
				must(t, err)
				y, err := f[1](terms)
				must(t, err)
				if !bytes.Equal(x, y) || len(x) != 34 {
					t.Fatalf("%s: %x and %x", name, x, y)
				}
				x[5] ^= 1 // the caller owns what it gets
			}
		}
	})
}

// Every term but the deposit, which is in the output's value, changes the funding script.
func TestTermsAreBound(t *testing.T) {
	p := newPair(t)
	terms, other := p.lane(t, 1, 50_000).Terms, p.lane(t, 2, 50_000).Terms
	script, err := p.scheme.FundingScript(terms)
	must(t, err)
	for name, change := range map[string]func(*channel.LaneTerms){
		"payer":  func(t *channel.LaneTerms) { t.Payer = other.Payer },
		"payee":  func(t *channel.LaneTerms) { t.Payee = other.Payee },
		"expiry": func(t *channel.LaneTerms) { t.Expiry++ },
		"swap":   func(t *channel.LaneTerms) { t.Payer, t.Payee = t.Payee, t.Payer },
	} {
		changed := terms
		change(&changed)
		got, err := p.scheme.FundingScript(changed)
		must(t, err)
		if bytes.Equal(got, script) {
			t.Errorf("%s is not in the funding script", name)
		}
	}
	refund, err := p.scheme.RefundScript(terms)
	must(t, err)
	terms.Refund = other.Refund
	got, err := p.scheme.RefundScript(terms)
	must(t, err)
	if bytes.Equal(got, refund) {
		t.Error("the refund key is not in the refund script")
	}
}

// The scripts hold exactly the leaves of protocol.md, and control blocks that the library accepts.
func TestLeaves(t *testing.T) {
	p := newPair(t)
	for n := range uint32(16) { // both parities of the output key occur
		terms := p.lane(t, n, 50_000).Terms
		l, err := p.scheme.scripts(terms)
		must(t, err)
		want := append(append([]byte{32}, terms.Payer[1:]...), txscript.OP_CHECKSIGVERIFY, 32)
		want = append(append(want, terms.Payee[1:]...), txscript.OP_CHECKSIG)
		if !bytes.Equal(l.voucher.script, want) {
			t.Errorf("voucher leaf %x", l.voucher.script)
		}
		expiry := []byte{2, byte(terms.Expiry), byte(terms.Expiry >> 8)}
		want = append(expiry, txscript.OP_CHECKLOCKTIMEVERIFY, txscript.OP_DROP, 32)
		want = append(append(want, terms.Payer[1:]...), txscript.OP_CHECKSIG)
		if !bytes.Equal(l.expired.script, want) {
			t.Errorf("refund leaf %x", l.expired.script)
		}
		want = append(append([]byte{32}, terms.Refund[1:]...), txscript.OP_CHECKSIGVERIFY, txscript.OP_1, txscript.OP_CHECKSEQUENCEVERIFY)
		if !bytes.Equal(l.settled.script, want) {
			t.Errorf("leaf of the refund output %x", l.settled.script)
		}
		checkCommitment(t, l.voucher, l.funding)
		checkCommitment(t, l.expired, l.funding)
		checkCommitment(t, l.settled, l.refund)
	}
}

func checkCommitment(t *testing.T, f leaf, output []byte) {
	t.Helper()
	block, err := txscript.ParseControlBlock(f.control)
	must(t, err)
	must(t, txscript.VerifyTaprootLeafCommitment(block, output[2:], f.script))
}

// The internal key of a refund output is H plus a public multiple of G: nobody can know its secret.
func TestRefundInternalKey(t *testing.T) {
	p := newPair(t)
	l, err := p.scheme.scripts(p.lane(t, 3, 50_000).Terms)
	must(t, err)
	block, err := txscript.ParseControlBlock(l.settled.control)
	must(t, err)
	refund := p.lane(t, 3, 50_000).Terms.Refund
	secret := channel.TaggedHash("runnel/refund", refund[1:])
	_, tG := btcec.PrivKeyFromBytes(secret[:])
	h, err := schnorr.ParsePubKey([]byte(numsPoint))
	must(t, err)
	var a, b, sum btcec.JacobianPoint
	h.AsJacobian(&a)
	tG.AsJacobian(&b)
	btcec.AddNonConst(&a, &b, &sum)
	sum.ToAffine()
	if block.InternalKey.X().Cmp(btcec.NewPublicKey(&sum.X, &sum.Y).X()) != 0 {
		t.Errorf("internal key %x is not H + t*G", block.InternalKey.X())
	}
	// H itself is the hash of the generator's uncompressed encoding, lifted (BIP 341).
	g := btcec.Generator()
	if got := sha256sum(g.SerializeUncompressed()); !bytes.Equal(got, []byte(numsPoint)) {
		t.Errorf("H is %x", got)
	}
}
