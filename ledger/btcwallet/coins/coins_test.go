package coins

import (
	"errors"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/ledger"
)

var script = append([]byte{0x51, 0x20}, make([]byte, 32)...)

func coin(n byte, value int64) Coin {
	c := Coin{Value: value, Script: script}
	c.Hash[0] = n
	return c
}

func outs(values ...int64) (o []*wire.TxOut) {
	for _, v := range values {
		o = append(o, wire.NewTxOut(v, script))
	}
	return o
}

// check is what must hold of every plan: no money made, size and fee as said, all inputs replaceable.
func check(t interface{ Fatalf(string, ...any) }, p Plan, rate ledger.FeeRate) {
	if sum(p.Coins)-total(p.Tx.TxOut) != p.Fee {
		t.Fatalf("fee %d is not inputs minus outputs", p.Fee)
	}
	if p.Fee < int64(rate.Fee(VSize(len(p.Coins), p.Tx.TxOut))) {
		t.Fatalf("fee %d is below the rate", p.Fee)
	}
	for i, in := range p.Tx.TxIn {
		if in.Sequence > 0xfffffffd {
			t.Fatalf("input %d does not signal replacement", i)
		}
		if in.PreviousOutPoint != p.Coins[i].OutPoint {
			t.Fatalf("input %d is not coin %d", i, i)
		}
	}
}

func TestVSizeIsThatOfTheSignedTransaction(t *testing.T) {
	key, _ := btcec.PrivKeyFromBytes([]byte{1: 7, 31: 1})
	own, err := txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(key.PubKey()))
	if err != nil {
		t.Fatal(err)
	}
	for inputs := 1; inputs < 300; inputs += 50 {
		tx := wire.NewMsgTx(2)
		prev := txscript.NewMultiPrevOutFetcher(nil)
		for i := range inputs {
			op := wire.OutPoint{Index: uint32(i)}
			tx.AddTxIn(wire.NewTxIn(&op, nil, nil))
			prev.AddPrevOut(op, wire.NewTxOut(1000, own))
		}
		tx.TxOut = outs(1, 2)
		hashes := txscript.NewTxSigHashes(tx, prev)
		for i := range inputs {
			w, err := txscript.TaprootWitnessSignature(tx, hashes, i, 1000, own, txscript.SigHashDefault, key)
			if err != nil {
				t.Fatal(err)
			}
			tx.TxIn[i].Witness = w
		}
		if got, want := VSize(inputs, tx.TxOut), mempool.GetTxVirtualSize(btcutil.NewTx(tx)); int64(got) != want {
			t.Errorf("%d inputs: VSize %d, signed %d", inputs, got, want)
		}
	}
}

func TestFund(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var have []Coin
		for i := range rapid.IntRange(0, 12).Draw(t, "coins") {
			have = append(have, coin(byte(i), rapid.Int64Range(1, 200_000).Draw(t, "value")))
		}
		want := outs(rapid.Int64Range(330, 300_000).Draw(t, "a"), rapid.Int64Range(330, 300_000).Draw(t, "b"))
		rate := ledger.FeeRate(rapid.Uint64Range(1000, 100_000).Draw(t, "rate"))
		p, err := Fund(have, want, rate, script)
		if err != nil {
			if !errors.Is(err, ledger.ErrInsufficientFunds) {
				t.Fatal(err)
			}
			// All coins together, the uneconomic ones aside, must really be too little.
			var use []Coin
			for _, c := range have {
				if c.Value > inputFee(rate) {
					use = append(use, c)
				}
			}
			if len(use) > 0 && sum(use) >= total(want)+int64(rate.Fee(VSize(len(use), want))) {
				t.Fatalf("refused with %d sat at hand", sum(use))
			}
			return
		}
		check(t, p, rate)
		for i, o := range want {
			if p.Tx.TxOut[i].Value != o.Value {
				t.Fatalf("output %d moved", i)
			}
		}
		if p.Change >= 0 && (p.Change != len(want) || p.Tx.TxOut[p.Change].Value < Dust) {
			t.Fatalf("change at %d", p.Change)
		}
		if extra := p.Fee - int64(rate.Fee(VSize(len(p.Coins), p.Tx.TxOut))); extra > Dust+int64(rate.Fee(43)) {
			t.Fatalf("%d sat wasted", extra)
		}
	})
}

func TestReplaceNeverPaysLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := []Coin{coin(1, rapid.Int64Range(2_000, 60_000).Draw(t, "coin"))}
		old := ledger.FeeRate(rapid.Uint64Range(1000, 20_000).Draw(t, "old"))
		p, err := Fund(first, outs(1_000), old, script)
		if err != nil {
			return
		}
		more := []Coin{coin(2, rapid.Int64Range(300, 50_000).Draw(t, "more"))}
		rate := ledger.FeeRate(rapid.Uint64Range(1000, 60_000).Draw(t, "new"))
		r, err := Replace(Replaceable{Coins: p.Coins, Outputs: p.Tx.TxOut, Change: p.Change}, more, rate, script)
		if err != nil {
			if !errors.Is(err, ledger.ErrInsufficientFunds) && !errors.Is(err, ErrTooLow) {
				t.Fatal(err)
			}
			return
		}
		check(t, r, rate)
		size := VSize(len(r.Coins), r.Tx.TxOut)
		if r.Fee < p.Fee+int64(IncrementalRate.Fee(size)) {
			t.Fatalf("replacement pays %d after %d", r.Fee, p.Fee)
		}
		if r.Tx.TxOut[0].Value != 1_000 {
			t.Fatalf("the payment itself changed")
		}
	})
}

func TestReplaceSweepTakesTheFeeFromItsOutput(t *testing.T) {
	p, err := Sweep([]Coin{coin(1, 50_000), coin(2, 100)}, script, 2_000)
	if err != nil {
		t.Fatal(err)
	}
	check(t, p, 2_000)
	if len(p.Coins) != 1 {
		t.Fatal("a coin that costs more than it brings was spent")
	}
	old := Replaceable{Coins: p.Coins, Outputs: p.Tx.TxOut, Change: -1, Sweep: true}
	r, err := Replace(old, nil, 5_000, script)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, 5_000)
	if _, err := Replace(old, nil, 2_000, script); !errors.Is(err, ErrTooLow) || !errors.Is(err, ledger.ErrNoBump) {
		t.Fatalf("same rate: %v", err)
	}
	if _, err := Replace(old, nil, 2_500, script); !errors.Is(err, ErrTooLow) {
		t.Fatalf("rate that does not pay for the relay: %v", err)
	}
	if _, err := Replace(old, nil, 900_000, script); !errors.Is(err, ledger.ErrInsufficientFunds) {
		t.Fatalf("rate that eats everything: %v", err)
	}
}

func TestChildLiftsThePackage(t *testing.T) {
	p, err := Child(coin(1, 40_000), 200, 200, nil, script, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	check(t, p, 10_000)
	size := VSize(len(p.Coins), p.Tx.TxOut)
	if got, want := 200+p.Fee, int64(ledger.FeeRate(10_000).Fee(200+size)); got < want {
		t.Fatalf("package pays %d, not %d", got, want)
	}
	if _, err := Child(coin(1, 400), 200, 200, nil, script, 10_000); !errors.Is(err, ledger.ErrInsufficientFunds) {
		t.Fatalf("coin too small: %v", err)
	}
	p, err = Child(coin(1, 400), 200, 200, []Coin{coin(2, 90_000)}, script, 10_000)
	if err != nil || len(p.Coins) != 2 {
		t.Fatalf("helped by another coin: %v", err)
	}
	if _, err := Child(coin(1, 40_000), 200, 4_000, nil, script, 10_000); !errors.Is(err, ErrTooLow) {
		t.Fatalf("parent pays more already: %v", err)
	}
}

func TestBumpReplacesOnlyOwnPayments(t *testing.T) {
	p, err := Fund([]Coin{coin(1, 50_000)}, outs(10_000), 1_000, script)
	if err != nil {
		t.Fatal(err)
	}
	change := Coin{OutPoint: wire.OutPoint{Hash: p.Tx.TxHash(), Index: 1}, Value: p.Tx.TxOut[1].Value, Script: script}
	w := Waiting{Tx: p.Tx, Size: VSize(1, p.Tx.TxOut), Inputs: p.Coins, Own: []Coin{change}}
	for label, replaced := range map[string]bool{LabelSend: true, "channel funding": false, "": false} {
		w.Label = label
		b, got, err := Bump(w, nil, script, 3_000)
		if err != nil || got != replaced {
			t.Errorf("label %q: replaced %v, %v", label, got, err)
		}
		check(t, b, 3_000)
	}
	w.Own = nil
	w.Label = LabelSend
	if _, _, err := Bump(w, nil, script, 3_000); !errors.Is(err, ledger.ErrNoBump) {
		t.Errorf("change spent already: %v", err)
	}
	w.Label = "channel funding"
	if _, _, err := Bump(w, nil, script, 3_000); !errors.Is(err, ledger.ErrNoBump) {
		t.Errorf("nothing to hold on to: %v", err)
	}
}

func TestAbsurdRates(t *testing.T) {
	have := []Coin{coin(1, 50_000)}
	w := Waiting{Tx: wire.NewMsgTx(2), Size: 100, Own: have}
	for _, rate := range []ledger.FeeRate{0, MaxRate + 1, 1 << 60, 1<<64 - 1} {
		if _, err := Fund(have, outs(1_000), rate, script); !errors.Is(err, ledger.ErrUneconomic) {
			t.Errorf("Fund at %d: %v", rate, err)
		}
		if _, err := Sweep(have, script, rate); !errors.Is(err, ledger.ErrUneconomic) {
			t.Errorf("Sweep at %d: %v", rate, err)
		}
		if _, _, err := Bump(w, nil, script, rate); !errors.Is(err, ledger.ErrUneconomic) {
			t.Errorf("Bump at %d: %v", rate, err)
		}
	}
}
