package bitcoin

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/ledger"
)

// sampleTxs are transactions of every kind that the package makes, and foreign ones.
func sampleTxs(t tb) (p *pair, lane ledger.Lane, raws map[string][]byte) {
	p = newPair(t)
	lane = p.lane(t, 1, 100_000)
	settle, err := p.payee.Settle([]ledger.SettleLane{p.settleLane(t, lane, 1, 5_000_500)}, payout(1), rate)
	must(t, err)
	refund, err := p.payer.Refund([]ledger.RefundInput{{Terms: lane.Terms, Index: 1, Outpoint: lane.Funding, Value: 100_000}}, payout(1), rate)
	must(t, err)
	unsigned, _, err := p.scheme.CloseTx([]ledger.Lane{lane}, []ledger.Output{{Script: payout(1), Value: 90_000}})
	must(t, err)
	signed := decode(t, unsigned)
	signed.TxIn[0].Witness = wire.TxWitness{make([]byte, 64)}
	return p, lane, map[string][]byte{
		"settle": settle.Raw, "refund": refund.Raw, "unsigned close": unsigned, "close": encode(t, signed),
	}
}

func TestParseTx(t *testing.T) {
	p, _, raws := sampleTxs(t)
	for name, raw := range raws {
		tx, err := parseTx(raw)
		must(t, err)
		if !bytes.Equal(encode(t, tx), raw) {
			t.Errorf("%s: encodes to other bytes", name)
		}
		for n := range raw { // cut anywhere
			if _, err := p.scheme.TxID(raw[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are a transaction", name, n, len(raw))
			}
		}
		_, err = p.scheme.TxID(append(bytes.Clone(raw), 0))
		wantErr(t, err, ledger.ErrRejected)
	}
}

// checkShape stands alone before the library's decoder.
func TestCheckShape(t *testing.T) {
	_, _, raws := sampleTxs(t)
	for name, raw := range raws {
		must(t, checkShape(raw))
		if checkShape(append(bytes.Clone(raw), 0)) == nil || checkShape(raw[:len(raw)-1]) == nil {
			t.Errorf("%s: another length was accepted", name)
		}
	}
	long := wire.NewMsgTx(2)
	long.AddTxIn(&wire.TxIn{})
	long.AddTxOut(wire.NewTxOut(1, make([]byte, maxTxBytes-100)))
	must(t, checkShape(encode(t, long)))
	long.TxOut[0].PkScript = make([]byte, maxTxBytes)
	if checkShape(encode(t, long)) == nil {
		t.Error("more than a block was accepted")
	}
	for _, c := range []struct {
		in   []byte
		size int
		want int
	}{
		{[]byte{2, 0, 0, 0, 0}, 2, 2},
		{[]byte{3, 0, 0, 0, 0}, 2, 0}, // three of two bytes do not fit four
		{[]byte{0xfd, 1, 0, 9}, 1, 1},
		{[]byte{0xfd, 2, 0, 9}, 1, 0},
		{[]byte{0xfe, 1, 0, 0}, 1, 0},
		{[]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0x80, 1}, 1, 0},
		{nil, 1, 0},
	} {
		w := walker{rest: c.in}
		if got := w.count(c.size); got != c.want || w.bad != (c.want == 0) {
			t.Errorf("count of %x: %d, bad %v", c.in, got, w.bad)
		}
	}
}

func TestParts(t *testing.T) {
	p, lane, raws := sampleTxs(t)
	for name, raw := range raws {
		ins, outs, err := p.scheme.Parts(raw)
		must(t, err)
		m := decode(t, raw)
		if len(ins) != 1 || ins[0] != lane.Funding || len(outs) != len(m.TxOut) {
			t.Fatalf("%s: %v %v", name, ins, outs)
		}
		for i, out := range outs {
			if int64(out.Value) != m.TxOut[i].Value || !bytes.Equal(out.Script, m.TxOut[i].PkScript) {
				t.Errorf("%s: output %d is %+v", name, i, out)
			}
		}
	}
	_, _, err := p.scheme.Parts([]byte{1})
	wantErr(t, err, ledger.ErrRejected)
}

// Another encoding of the same transaction is refused.
func TestParseTxIsCanonical(t *testing.T) {
	p, _, raws := sampleTxs(t)
	raw := raws["unsigned close"]
	long := append(bytes.Clone(raw[:4]), 0xfd, 1, 0) // the input count in three bytes
	long = append(long, raw[5:]...)
	_, err := p.scheme.TxID(long)
	wantErr(t, err, ledger.ErrRejected)
	marked := append(bytes.Clone(raw[:4]), 0, 1) // witness format with empty witnesses
	marked = append(append(marked, raw[4:len(raw)-4]...), 0)
	marked = append(marked, raw[len(raw)-4:]...)
	_, err = p.scheme.TxID(marked)
	wantErr(t, err, ledger.ErrRejected)
}

// Huge counts in short messages must not allocate.
func TestParseTxAllocatesLittle(t *testing.T) {
	p, _, _ := sampleTxs(t)
	version := []byte{2, 0, 0, 0}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	input := make([]byte, 41)
	for name, raw := range map[string][]byte{
		"inputs":       join(version, []byte{0xfe, 0, 0, 10, 0}, input),
		"inputs wide":  join(version, []byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0x80}, input),
		"outputs":      join(version, []byte{1}, input, []byte{0xfe, 0, 0, 40, 0}, make([]byte, 9)),
		"witness":      join(version, []byte{0, 1, 1}, input, []byte{1}, make([]byte, 9), []byte{0xfe, 0, 0, 40, 0}, make([]byte, 4)),
		"script":       join(version, []byte{1}, input[:36], []byte{0xfe, 0, 0, 40, 0}, make([]byte, 9)),
		"witness item": join(version, []byte{0, 1, 1}, input, []byte{1}, make([]byte, 9), []byte{1, 0xfe, 0, 0, 40, 0}, make([]byte, 4)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := p.scheme.TxID(raw)
		runtime.ReadMemStats(&after)
		wantErr(t, err, ledger.ErrRejected)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes were allocated for %d", name, n, len(raw))
		}
	}
}
