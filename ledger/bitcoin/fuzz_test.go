package bitcoin

import (
	"bytes"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// What ParseSpend says of any bytes is consistent with the voucher in them.
func FuzzParseSpend(f *testing.F) {
	p, lane, raws := sampleTxs(f)
	for _, raw := range raws {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		spend, err := p.scheme.ParseSpend(lane, raw)
		if err != nil {
			if spend != (ledger.Spend{}) {
				t.Fatalf("%+v beside an error", spend)
			}
			return
		}
		m := decode(t, raw)
		if spend.Kind != ledger.SpendSettle {
			if spend.Total != 0 || spend.RefundValue != 0 {
				t.Fatalf("%+v", spend)
			}
			return
		}
		in := m.TxIn[spend.RefundIndex]
		must(t, p.scheme.VerifyVoucher(lane, spend.Total, channel.Signature(in.Witness[1][:64])))
		want := template(t, p.scheme, lane, spend.Total)
		if want.TxIn[0].Sequence != in.Sequence || want.TxOut[0].Value != int64(spend.RefundValue) {
			t.Fatalf("%+v does not fit the template", spend)
		}
	})
}

// What parseTx accepts encodes to the same bytes.
func FuzzParseTx(f *testing.F) {
	_, _, raws := sampleTxs(f)
	for _, raw := range raws {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := parseTx(raw)
		if err == nil && !bytes.Equal(encode(t, tx), raw) {
			t.Fatal("accepted bytes encode to others")
		}
	})
}

// What OpenRecovery opens, SealRecovery seals to the same bytes.
func FuzzOpenRecovery(f *testing.F) {
	p := newPair(f)
	script, err := p.payer.SealRecovery(testRecovery(f, p), testAnchor)
	must(f, err)
	f.Add(script, uint32(7))
	f.Add(script, uint32(8))
	f.Add(script[:20], uint32(7))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, script []byte, index uint32) {
		anchor := channel.Outpoint{TxID: testAnchor.TxID, Index: index}
		r, err := p.payer.OpenRecovery(script, anchor)
		if err != nil {
			return
		}
		again, err := p.payer.SealRecovery(r, anchor)
		must(t, err)
		if !bytes.Equal(again, script) {
			t.Fatalf("%x opens, but is sealed as %x", script, again)
		}
	})
}
