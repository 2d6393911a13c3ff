package bitcoin

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Guards that the other tests reach seldom, each at its limit.

func TestFeesAtTheLimits(t *testing.T) {
	script := payout(1)
	least := dust(script)
	for _, test := range []struct {
		value channel.Sat
		rate  ledger.FeeRate
		err   error
	}{
		{least, 0, nil},
		{least - 1, 0, ledger.ErrTooSmall},
		{1_000_000 + least, 1_000_000, nil}, // 1,000 sat for each of 1,000 vbytes
		{1_000_000, 1_000_000, ledger.ErrUneconomic},
		{channel.MaxMoney, maxFeeRate, nil},
		{channel.MaxMoney, maxFeeRate + 1, ledger.ErrUneconomic},
	} {
		if _, err := afterFee(test.value, test.rate, 1_000, script); test.err == nil {
			must(t, err)
		} else {
			wantErr(t, err, test.err)
		}
	}
	_, err := afterFee(channel.MaxMoney, maxFeeRate, 1, script)
	must(t, err)
	if _, err = afterFee(channel.MaxMoney, maxFeeRate+1, 1, script); err == nil || !strings.Contains(err.Error(), "mistake") {
		t.Errorf("a rate above all reason: %v", err)
	}
}

// All the money that there is can be swept and closed, and not one satoshi more.
func TestAllMoney(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	for value, ok := range map[channel.Sat]bool{channel.MaxMoney: true, channel.MaxMoney + 1: false} {
		_, err := p.payer.Refund([]ledger.RefundInput{{Outpoint: lane.Funding, Terms: lane.Terms, Index: 1, Value: value}}, payout(1), 1_000)
		if (err == nil) != ok {
			t.Errorf("a refund of %d sat: %v", value, err)
		}
	}
	rich := p.lane(t, 2, channel.MaxMoney)
	poor := p.lane(t, 3, channel.MinDeposit)
	outputs := []ledger.Output{{Script: payout(1), Value: 1_000_000}}
	_, _, err := p.scheme.CloseTx([]ledger.Lane{rich}, outputs)
	must(t, err)
	_, _, err = p.scheme.CloseTx([]ledger.Lane{rich, poor}, outputs)
	wantErr(t, err, ledger.ErrBadTerms)
}

// What is no transaction at all is refused before anything of it is used.
func TestNoTransaction(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	_, err := p.scheme.ParseSpend(lane, []byte("no transaction"))
	wantErr(t, err, ledger.ErrRejected)
	outputs := []ledger.Output{{Script: payout(1), Value: 50_000}}
	tx, _, err := p.scheme.closeTx([]ledger.Lane{lane}, outputs)
	must(t, err)
	garbage := bytes.Repeat([]byte{0xff}, tx.SerializeSize()+2+1+keyWeight)
	wantErr(t, p.scheme.VerifyClose(garbage, []ledger.Lane{lane}, outputs), ledger.ErrRejected)
	for size, text := range map[int]string{maxTxBytes: "exceed its length", maxTxBytes + 1: "more than a block"} {
		if err := checkShape(make([]byte, size)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// The marker of witnesses is a count of no inputs: an outpoint that begins with its second byte is no witness.
func TestNoWitnessMarker(t *testing.T) {
	tx := wire.NewMsgTx(txVersion)
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Hash: [32]byte{1, 2, 3}}})
	tx.AddTxOut(wire.NewTxOut(1, payout(1)))
	_, err := parseTx(encode(t, tx))
	must(t, err)
}

// A key or a lane that can't be is an error of every call, not a panic.
func TestImpossibleKeysAndLanes(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	_, err := p.payer.SignVoucher(lane, math.MaxUint32, 1_000)
	if err == nil {
		t.Error("a voucher is signed with a key index that does not exist")
	}
	bad := lane
	bad.Terms.Deposit = 0
	root := channel.LogRoot{Lane: bad.Terms.ID()}
	keys := ledger.LaneKeys{Payer: true, Lane: 1}
	for name, call := range map[string]func() error{
		"sign":        func() error { _, err := p.payer.SignVoucher(bad, 1, 1_000); return err },
		"verify":      func() error { return p.scheme.VerifyVoucher(bad, 1_000, channel.Signature{}) },
		"secret":      func() error { _, err := p.payer.LaneSecret(bad.Terms, keys, "test"); return err },
		"sign root":   func() error { _, err := p.payer.SignRoot(bad.Terms, keys, root); return err },
		"verify root": func() error { return p.scheme.VerifyRoot(bad.Terms, true, root, channel.Signature{}) },
	} {
		if err := call(); !errors.Is(err, ledger.ErrBadTerms) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A signature that is no pair of numbers, and a root of a lane that has the same keys.
func TestNoSignatures(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	var nonsense channel.Signature
	for i := range nonsense {
		nonsense[i] = 0xff
	}
	wantErr(t, p.scheme.VerifyVoucher(lane, 1_000, nonsense), ledger.ErrBadVoucher)
	root := channel.LogRoot{Lane: lane.Terms.ID(), Size: 3}
	wantErr(t, p.scheme.VerifyRoot(lane.Terms, true, root, nonsense), ledger.ErrBadRoot)
	twin := lane.Terms
	twin.Expiry++
	root.Lane = twin.ID()
	sig, err := p.payer.SignRoot(twin, ledger.LaneKeys{Payer: true, Lane: 1}, root)
	must(t, err)
	must(t, p.scheme.VerifyRoot(twin, true, root, sig))
	wantErr(t, p.scheme.VerifyRoot(lane.Terms, true, root, sig), ledger.ErrBadRoot)
}

// A seal that is ours and holds nonsense: no older version may make this one build an impossible refund.
func TestOpenRecoveryOfNonsense(t *testing.T) {
	p := newPair(t)
	good := testRecovery(t, p)
	for name, spoil := range map[string]func(plain []byte){
		"payee":  func(plain []byte) { clear(plain[:33]) },
		"expiry": func(plain []byte) { clear(plain[33:37]) },
		"index":  func(plain []byte) { plain[37] = 0xff },
	} {
		script, err := p.payer.SealRecovery(good, testAnchor)
		must(t, err)
		head := len(script) - sealPlain - sealTag
		tag, plain := script[head:head+sealTag], script[head+sealTag:]
		must(t, p.payer.seal.xor(bytes.Clone(tag), plain))
		spoil(plain)
		copy(tag, p.payer.seal.tag(testAnchor, plain))
		must(t, p.payer.seal.xor(bytes.Clone(tag), plain))
		if _, err := p.payer.OpenRecovery(script, testAnchor); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// A voucher counts on one lane, one output, one chain and for one total: shown 2,000 times elsewhere it
// counts nowhere (the daemon's TestReplaysPayNothing shows it again where it belongs).
func TestVoucherCountsNowhereElse(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	const total = 5_000
	sig, err := p.payer.SignVoucher(lane, 1, total)
	must(t, err)
	must(t, p.scheme.VerifyVoucher(lane, total, sig))
	other, err := NewScheme("simnet")
	must(t, err)
	replays := 2_000
	if testing.Short() {
		replays = 200
	}
	for i := range replays {
		l, s, sum := lane, p.scheme, channel.Msat(total)
		switch i % 6 {
		case 0:
			l = p.lane(t, uint32(2+i/6%50), 100_000)
		case 1:
			l.Funding.TxID[i%32] ^= byte(1 + i%255)
		case 2:
			l.Funding.Index += uint32(1 + i)
		case 3:
			sum += channel.Msat(1 + i)
		case 4:
			l.Terms.Expiry += uint32(1 + i%50)
		case 5:
			s = other
		}
		if s.VerifyVoucher(l, sum, sig) == nil {
			t.Fatalf("replay %d counts", i)
		}
	}
}
