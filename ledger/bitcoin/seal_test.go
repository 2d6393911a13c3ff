package bitcoin

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

var testAnchor = channel.Outpoint{TxID: [32]byte{1, 2, 3}, Index: 7}

func testRecovery(t tb, p *pair) ledger.Recovery {
	payee, err := p.payee.PayeeKey(9)
	must(t, err)
	return ledger.Recovery{Payee: payee, Expiry: 1234, Index: 42}
}

func TestSealRoundTrip(t *testing.T) {
	p := newPair(t)
	rapid.Check(t, func(t *rapid.T) {
		r := testRecovery(t, p)
		r.Expiry = rapid.Uint32Range(1, maxHeightLock-1).Draw(t, "expiry")
		r.Index = rapid.Uint32Range(0, 1<<31-1).Draw(t, "index")
		anchor := channel.Outpoint{
			TxID: [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "txid")), Index: rapid.Uint32().Draw(t, "n"),
		}
		script, err := p.payer.SealRecovery(r, anchor)
		must(t, err)
		got, err := p.payer.OpenRecovery(script, anchor)
		must(t, err)
		if got != r {
			t.Fatalf("%+v, want %+v", got, r)
		}
	})
}

// The output is standard: data only, at most 80 bytes.
func TestSealIsStandard(t *testing.T) {
	p := newPair(t)
	script, err := p.payer.SealRecovery(testRecovery(t, p), testAnchor)
	must(t, err)
	if class := txscript.GetScriptClass(script); class != txscript.NullDataTy {
		t.Errorf("script class %v", class)
	}
	if len(script) != 63 {
		t.Errorf("%d bytes", len(script))
	}
	plain := testRecovery(t, p).Payee
	if bytes.Contains(script, plain[1:]) {
		t.Error("the payee key can be read")
	}
}

// Nobody but the seed's owner, nothing but the whole seal, and under no other anchor.
func TestOpenRecoveryRefuses(t *testing.T) {
	p := newPair(t)
	script, err := p.payer.SealRecovery(testRecovery(t, p), testAnchor)
	must(t, err)
	open := func(s *Signer, script []byte, anchor channel.Outpoint) {
		t.Helper()
		r, err := s.OpenRecovery(script, anchor)
		wantErr(t, err, ledger.ErrNotFound)
		if r != (ledger.Recovery{}) {
			t.Errorf("%+v", r)
		}
	}
	open(p.payee, script, testAnchor)
	mainnet, err := NewScheme("mainnet")
	must(t, err)
	elsewhere, err := NewSigner(mainnet, testSeed(1), SystemRandom)
	must(t, err)
	open(elsewhere, script, testAnchor)
	signet, err := NewScheme("signet") // shares its coin type with regtest
	must(t, err)
	sibling, err := NewSigner(signet, testSeed(1), SystemRandom)
	must(t, err)
	open(sibling, script, testAnchor)
	open(p.payer, script, channel.Outpoint{TxID: testAnchor.TxID, Index: 8})
	open(p.payer, script, channel.Outpoint{Index: testAnchor.Index})
	open(p.payer, nil, testAnchor)
	open(p.payer, script[:len(script)-1], testAnchor)
	open(p.payer, append(bytes.Clone(script), 0), testAnchor)
	for i := range len(script) * 8 {
		bad := bytes.Clone(script)
		bad[i/8] ^= 1 << (i % 8)
		open(p.payer, bad, testAnchor)
	}
}

func TestSealRecoveryRefuses(t *testing.T) {
	p := newPair(t)
	for name, change := range map[string]func(*ledger.Recovery){
		"no key":           func(r *ledger.Recovery) { r.Payee = channel.Key{} },
		"no expiry":        func(r *ledger.Recovery) { r.Expiry = 0 },
		"expiry is a time": func(r *ledger.Recovery) { r.Expiry = maxHeightLock },
		"index":            func(r *ledger.Recovery) { r.Index = 1 << 31 },
	} {
		r := testRecovery(t, p)
		change(&r)
		_, err := p.payer.SealRecovery(r, testAnchor)
		if err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

// Two lanes sealed under one anchor share no key stream.
func TestSealsUnderOneAnchor(t *testing.T) {
	p := newPair(t)
	r := testRecovery(t, p)
	a, err := p.payer.SealRecovery(r, testAnchor)
	must(t, err)
	r.Index++
	b, err := p.payer.SealRecovery(r, testAnchor)
	must(t, err)
	same := 0
	for i := len(a) - sealPlain; i < len(a); i++ {
		if a[i] == b[i] {
			same++
		}
	}
	if same > 8 {
		t.Errorf("%d of %d encrypted bytes are the same", same, sealPlain)
	}
}

// The seed alone finds a refund: what the seal holds, our keys at its index and the output's value are
// the whole lane.
func TestRefundFromTheSeedAlone(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 42, 80_000)
	script, err := p.payer.SealRecovery(ledger.Recovery{Payee: lane.Terms.Payee, Expiry: lane.Terms.Expiry, Index: 42}, testAnchor)
	must(t, err)
	fresh := newPair(t).payer
	r, err := fresh.OpenRecovery(script, testAnchor)
	must(t, err)
	payer, err := fresh.PayerKey(r.Index)
	must(t, err)
	refund, err := fresh.RefundKey(r.Index)
	must(t, err)
	terms := channel.LaneTerms{
		Genesis: p.scheme.Genesis(), Payer: payer, Payee: r.Payee, Refund: refund, Expiry: r.Expiry, Deposit: 80_000,
	}
	tx, err := fresh.Refund([]ledger.RefundInput{{Terms: terms, Index: r.Index, Outpoint: lane.Funding, Value: 80_000}}, payout(1), rate)
	must(t, err)
	checkMinable(t, tx, fundings(t, p.scheme, lane))
}
