package bitcoin

import (
	"strings"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Any totals of any lanes come back out of their common settlement, to the msat.
func TestTotalsSurviveSettlement(t *testing.T) {
	p := newPair(t)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "lanes")
		var lanes []ledger.SettleLane
		for i := range n {
			deposit := channel.Sat(rapid.Uint64Range(uint64(channel.MinDeposit), 1_000_000).Draw(t, "deposit"))
			lane := p.lane(t, uint32(i), deposit)
			total := channel.Msat(rapid.Uint64Range(4_000_000, uint64(lane.Terms.Capacity())).Draw(t, "total"))
			lanes = append(lanes, p.settleLane(t, lane, uint32(i), total))
		}
		tx, err := p.payee.Settle(lanes, payout(1), 1000)
		must(t, err)
		out := channel.Sat(decode(t, tx.Raw).TxOut[n].Value)
		for i, lane := range lanes {
			spend, err := p.scheme.ParseSpend(lane.Lane, tx.Raw)
			must(t, err)
			if spend.Kind != ledger.SpendSettle || spend.Total != lane.Total || spend.RefundIndex != uint32(i) {
				t.Fatalf("lane %d: %+v, want %d msat", i, spend, lane.Total)
			}
			if spend.RefundValue+lane.Total.SatCeil() != lane.Terms.Deposit {
				t.Fatalf("lane %d: %d sat back of %d", i, spend.RefundValue, lane.Terms.Deposit)
			}
			out -= lane.Total.SatCeil()
		}
		if out+tx.Fee != 0 {
			t.Fatalf("the payee's output and the fee are %d sat off", out+tx.Fee)
		}
	})
}

// A settlement is believed only as a whole: every part that tells the total is checked.
func TestParseSpendRefuses(t *testing.T) {
	p := newPair(t)
	a, b := p.lane(t, 1, 100_000), p.lane(t, 2, 100_000)
	settled, err := p.payee.Settle([]ledger.SettleLane{
		p.settleLane(t, a, 1, 5_000_500), p.settleLane(t, b, 2, 6_000_500),
	}, payout(1), rate)
	must(t, err)
	for name, c := range map[string]struct {
		want   error
		change func(*wire.MsgTx)
	}{
		"another outpoint":      {ledger.ErrNotFound, func(m *wire.MsgTx) { m.TxIn[0].PreviousOutPoint.Index++ }},
		"refund value":          {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxOut[0].Value++ }},
		"refund of everything":  {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxOut[0].Value = 100_000 }},
		"negative refund":       {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxOut[0].Value = -1 }},
		"refund to another":     {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxOut[0].PkScript = payout(3) }},
		"refund at other index": {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxOut[0], m.TxOut[1] = m.TxOut[1], m.TxOut[0] }},
		"no output":             {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxOut = nil }},
		"sequence":              {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxIn[0].Sequence++ }},
		"sequence above 999":    {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxIn[0].Sequence = 0x800003e8 }},
		"relative lock":         {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxIn[0].Sequence &= 0x7fffffff }},
		"voucher":               {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxIn[0].Witness[1][7] ^= 1 }},
		"other hash type":       {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxIn[0].Witness[1][64] = 0x81 }},
		"default hash type":     {ledger.ErrBadVoucher, func(m *wire.MsgTx) { m.TxIn[0].Witness[1] = m.TxIn[0].Witness[1][:64] }},
		"annex": {ledger.ErrBadVoucher, func(m *wire.MsgTx) {
			m.TxIn[0].Witness = append(m.TxIn[0].Witness, []byte{annexTag, 1})
		}},
		"leaf":            {ledger.ErrRejected, func(m *wire.MsgTx) { m.TxIn[0].Witness[2][1] ^= 1 }},
		"control block":   {ledger.ErrRejected, func(m *wire.MsgTx) { m.TxIn[0].Witness[3][40] ^= 1 }},
		"one item more":   {ledger.ErrRejected, func(m *wire.MsgTx) { m.TxIn[0].Witness = append([][]byte{{1}}, m.TxIn[0].Witness...) }},
		"no witness":      {ledger.ErrRejected, func(m *wire.MsgTx) { m.TxIn[0].Witness = nil }},
		"signature short": {ledger.ErrRejected, func(m *wire.MsgTx) { m.TxIn[0].Witness = wire.TxWitness{make([]byte, 63)} }},
		"script":          {ledger.ErrRejected, func(m *wire.MsgTx) { m.TxIn[0].SignatureScript = []byte{0x51} }},
	} {
		t.Run(name, func(t *testing.T) {
			m := decode(t, settled.Raw)
			c.change(m)
			spend, err := p.scheme.ParseSpend(a, encode(t, m))
			wantErr(t, err, c.want)
			if name == "sequence above 999" && !strings.Contains(err.Error(), "no voucher pays") {
				t.Errorf("the error hides the reason: %v", err)
			}
			if spend != (ledger.Spend{}) {
				t.Errorf("spend %+v", spend)
			}
		})
	}
	stranger := p.lane(t, 3, 100_000)
	_, err = p.scheme.ParseSpend(stranger, settled.Raw)
	wantErr(t, err, ledger.ErrNotFound)
	stranger.Funding = a.Funding
	_, err = p.scheme.ParseSpend(stranger, settled.Raw)
	wantErr(t, err, ledger.ErrRejected)
}

// The payee's part may be anything: its signature and outputs don't change what the payer learns.
func TestParseSpendIgnoresThePayee(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	settled, err := p.payee.Settle([]ledger.SettleLane{p.settleLane(t, lane, 1, 5_000_500)}, payout(1), rate)
	must(t, err)
	m := decode(t, settled.Raw)
	m.TxIn = append([]*wire.TxIn{{PreviousOutPoint: wire.OutPoint{Index: 9}}}, m.TxIn...)
	m.TxOut = append([]*wire.TxOut{wire.NewTxOut(1, payout(9))}, m.TxOut...)
	spend, err := p.scheme.ParseSpend(lane, encode(t, m))
	must(t, err)
	want := ledger.Spend{Kind: ledger.SpendSettle, Total: 5_000_500, RefundIndex: 1, RefundValue: 94_999}
	if spend != want {
		t.Errorf("%+v, want %+v", spend, want)
	}
}

func TestParseSpendKeyPath(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	for _, witness := range []wire.TxWitness{
		{make([]byte, 64)}, {make([]byte, 65)}, {make([]byte, 64), {annexTag}},
	} {
		tx := wire.NewMsgTx(2)
		tx.AddTxIn(&wire.TxIn{PreviousOutPoint: wireOutpoint(lane.Funding), Witness: witness})
		tx.AddTxOut(wire.NewTxOut(1000, payout(1)))
		spend, err := p.scheme.ParseSpend(lane, encode(t, tx))
		must(t, err)
		if spend != (ledger.Spend{}) || spend.Kind != ledger.SpendUnknown {
			t.Errorf("%+v", spend)
		}
	}
}
