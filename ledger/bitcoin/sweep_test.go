package bitcoin

import (
	"bytes"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

const rate = ledger.FeeRate(2000)

func TestSettleOneLane(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	tx, err := p.payee.Settle([]ledger.SettleLane{p.settleLane(t, lane, 1, 33_333_001)}, payout(1), rate)
	must(t, err)
	m := checkMinable(t, tx, fundings(t, p.scheme, lane))
	refund, err := p.scheme.RefundScript(lane.Terms)
	must(t, err)
	if m.Version != 2 || m.LockTime != 0 || len(m.TxIn) != 1 || len(m.TxOut) != 2 {
		t.Fatalf("transaction %+v", m)
	}
	if m.TxIn[0].Sequence != 0x80000001 {
		t.Errorf("sequence %#x", m.TxIn[0].Sequence)
	}
	if out := m.TxOut[0]; out.Value != 100_000-33_334 || !bytes.Equal(out.PkScript, refund) {
		t.Errorf("refund output %d %x", out.Value, out.PkScript)
	}
	if out := m.TxOut[1]; out.Value != 33_334-410 || !bytes.Equal(out.PkScript, payout(1)) {
		t.Errorf("payee's output %d %x", out.Value, out.PkScript)
	}
	w := m.TxIn[0].Witness
	if len(w) != 4 || len(w[0]) != 64 || len(w[1]) != 65 || w[1][64] != 0x83 {
		t.Errorf("witness %x", w)
	}
	if tx.Fee != rate.Fee(205) {
		t.Errorf("fee %d", tx.Fee)
	}
}

func TestSettleBatch(t *testing.T) {
	p := newPair(t)
	var lanes []ledger.SettleLane
	var plain []ledger.Lane
	for n := range uint32(20) {
		lane := p.lane(t, n, 50_000+channel.Sat(n))
		plain = append(plain, lane)
		lanes = append(lanes, p.settleLane(t, lane, n, channel.Msat(1_000_000+n*777)))
	}
	tx, err := p.payee.Settle(lanes, payout(1), rate)
	must(t, err)
	m := checkMinable(t, tx, fundings(t, p.scheme, plain...))
	for i, lane := range plain {
		refund, err := p.scheme.RefundScript(lane.Terms)
		must(t, err)
		if !bytes.Equal(m.TxOut[i].PkScript, refund) {
			t.Errorf("lane %d: its refund output is not at its index", i)
		}
		spend, err := p.scheme.ParseSpend(lane, tx.Raw)
		must(t, err)
		if spend.Total != lanes[i].Total || spend.RefundIndex != uint32(i) {
			t.Errorf("lane %d: %+v", i, spend)
		}
	}
}

func TestSettleRefuses(t *testing.T) {
	p := newPair(t)
	lane := p.settleLane(t, p.lane(t, 1, 100_000), 1, 5_000_000)
	try := func(want error, script []byte, rate ledger.FeeRate, lanes ...ledger.SettleLane) {
		t.Helper()
		tx, err := p.payee.Settle(lanes, script, rate)
		if err == nil {
			t.Fatalf("settled: %+v", tx)
		}
		if want != nil {
			wantErr(t, err, want)
		}
	}
	try(nil, payout(1), rate)
	try(nil, payout(1), rate, lane, lane)
	bad := lane
	bad.Total++
	try(ledger.ErrBadVoucher, payout(1), rate, bad)
	bad = lane
	bad.Signature[3] ^= 1
	try(ledger.ErrBadVoucher, payout(1), rate, lane, bad)
	bad = lane
	bad.Index++
	try(ledger.ErrBadTerms, payout(1), rate, bad)
	bad = lane
	bad.Terms.Expiry = 0
	try(ledger.ErrBadTerms, payout(1), rate, bad)
	try(ledger.ErrBadAddress, nil, rate, lane)
	try(ledger.ErrBadAddress, []byte{txscript.OP_RETURN}, rate, lane)
	try(ledger.ErrUneconomic, payout(1), 25_000, lane)       // 5,125 of 5,000 sat
	try(ledger.ErrUneconomic, payout(1), maxFeeRate+1, lane) // a typing error
	try(ledger.ErrUneconomic, payout(1), 1<<64-1, lane)      // must not overflow
	try(ledger.ErrTooSmall, payout(1), 23_000, lane)         // 285 sat left
	if _, err := p.payer.Settle([]ledger.SettleLane{lane}, payout(1), rate); err == nil {
		t.Error("the payer settled")
	}
}

// 600 lanes fit one standard transaction; more than a standard transaction is refused.
func TestSettleLimits(t *testing.T) {
	p := newPair(t)
	one := p.settleLane(t, p.lane(t, 1, 20_000), 1, 10_000_000)
	in, err := p.payee.settleInput(one)
	must(t, err)
	build := func(n int) error {
		inputs := make([]leafInput, n)
		for i := range inputs {
			inputs[i] = in
			inputs[i].outpoint.Index = uint32(i)
		}
		tx, _, _, err := assemble(inputs, 0, payout(1))
		must(t, err)
		if n == 600 && vsizeOf(tx) != p.scheme.SettleVSize(600) {
			t.Errorf("600 lanes: %d vB, SettleVSize says %d", vsizeOf(tx), p.scheme.SettleVSize(600))
		}
		_, err = p.payee.sweep(inputs, 0, payout(1), rate)
		return err
	}
	if err := build(664); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("664 lanes: %v", err)
	}
	if err := build(600); err == nil { // the vouchers are of another outpoint
		t.Error("foreign vouchers were settled")
	}
}

func TestRefundAfterExpiry(t *testing.T) {
	p := newPair(t)
	a, b := p.lane(t, 1, 100_000), p.lane(t, 7, 30_000)
	inputs := []ledger.RefundInput{
		{Terms: b.Terms, Index: 7, Outpoint: b.Funding, Value: b.Terms.Deposit},
		{Terms: a.Terms, Index: 1, Outpoint: a.Funding, Value: a.Terms.Deposit},
	}
	tx, err := p.payer.Refund(inputs, payout(2), rate)
	must(t, err)
	m := checkMinable(t, tx, fundings(t, p.scheme, a, b))
	if m.LockTime != 1007 || len(m.TxOut) != 1 || m.Version != 2 {
		t.Fatalf("transaction %+v", m)
	}
	for _, in := range m.TxIn {
		if in.Sequence != 0xfffffffd {
			t.Errorf("sequence %#x", in.Sequence)
		}
	}
	for _, lane := range []ledger.Lane{a, b} {
		spend, err := p.scheme.ParseSpend(lane, tx.Raw)
		must(t, err)
		if spend != (ledger.Spend{Kind: ledger.SpendRefund}) {
			t.Errorf("spend %+v", spend)
		}
	}
	// A block too early, or with the lock switched off, the script fails.
	for _, change := range []func(*wire.MsgTx){
		func(m *wire.MsgTx) { m.LockTime = 999 },
		func(m *wire.MsgTx) { m.TxIn[1].Sequence = wire.MaxTxInSequenceNum },
	} {
		early := m.Copy()
		change(early)
		resign(t, p.payer, early, fundings(t, p.scheme, a, b), inputs)
		if err := engine(early, 1, fundings(t, p.scheme, a, b)); !txscript.IsErrorCode(err, txscript.ErrUnsatisfiedLockTime) {
			t.Errorf("the lane did not hold until its expiry: %v", err)
		}
	}
}

// resign replaces the witnesses of a refund after a change to the transaction.
func resign(t *testing.T, s *Signer, tx *wire.MsgTx, prev map[wire.OutPoint]*wire.TxOut, outputs []ledger.RefundInput) {
	t.Helper()
	var inputs []leafInput
	for _, out := range outputs {
		in, err := s.refundInput(out)
		must(t, err)
		inputs = append(inputs, in)
	}
	must(t, s.signLeaves(tx, prev, inputs))
}

// What a settlement leaves can be spent one block later, not in the same block, and together with an
// expired lane.
func TestRefundAfterSettlement(t *testing.T) {
	p := newPair(t)
	lane, other := p.lane(t, 1, 100_000), p.lane(t, 2, 100_000)
	settled, err := p.payee.Settle([]ledger.SettleLane{p.settleLane(t, lane, 1, 5_000_000)}, payout(1), rate)
	must(t, err)
	spend, err := p.scheme.ParseSpend(lane, settled.Raw)
	must(t, err)
	inputs := []ledger.RefundInput{
		{Terms: lane.Terms, Index: 1, Outpoint: channel.Outpoint{TxID: settled.ID, Index: spend.RefundIndex}, Value: spend.RefundValue, Settled: true},
		{Terms: other.Terms, Index: 2, Outpoint: other.Funding, Value: other.Terms.Deposit},
	}
	prev := fundings(t, p.scheme, other)
	prev[wireOutpoint(inputs[0].Outpoint)] = decode(t, settled.Raw).TxOut[spend.RefundIndex]

	alone, err := p.payer.Refund(inputs[:1], payout(2), rate)
	must(t, err)
	if m := checkMinable(t, alone, prev); m.LockTime != 0 || m.TxIn[0].Sequence != 1 || m.Version != 2 {
		t.Errorf("transaction %+v", m)
	}
	both, err := p.payer.Refund(inputs, payout(2), rate)
	must(t, err)
	m := checkMinable(t, both, prev)
	if m.LockTime != 1002 {
		t.Errorf("locktime %d", m.LockTime)
	}
	for _, sequence := range []uint32{0, 1 << 31} { // the same block; lock off
		m.TxIn[0].Sequence = sequence
		resign(t, p.payer, m, prev, inputs)
		if err := engine(m, 0, prev); !txscript.IsErrorCode(err, txscript.ErrUnsatisfiedLockTime) {
			t.Errorf("sequence %#x: %v", sequence, err)
		}
	}
}

func TestRefundRefuses(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	good := ledger.RefundInput{Terms: lane.Terms, Index: 1, Outpoint: lane.Funding, Value: 100_000}
	try := func(want error, rate ledger.FeeRate, change func(*ledger.RefundInput)) {
		t.Helper()
		in := good
		change(&in)
		_, err := p.payer.Refund([]ledger.RefundInput{in}, payout(1), rate)
		if err == nil {
			t.Fatal("refunded")
		}
		if want != nil {
			wantErr(t, err, want)
		}
	}
	try(ledger.ErrBadTerms, rate, func(r *ledger.RefundInput) { r.Index = 2 })
	try(ledger.ErrBadTerms, rate, func(r *ledger.RefundInput) { r.Index = 2; r.Settled = true })
	try(ledger.ErrBadTerms, rate, func(r *ledger.RefundInput) { r.Terms.Genesis = [32]byte{} })
	try(ledger.ErrUneconomic, rate, func(r *ledger.RefundInput) { r.Value = 0 })
	try(nil, rate, func(r *ledger.RefundInput) { r.Value = channel.MaxMoney + 1 })
	try(ledger.ErrUneconomic, 1_000_000, func(r *ledger.RefundInput) {})
	if _, err := p.payer.Refund([]ledger.RefundInput{good, good}, payout(1), rate); err == nil {
		t.Error("one output was spent twice")
	}
	if _, err := p.payer.Refund(nil, payout(1), rate); err == nil || !strings.Contains(err.Error(), "nothing to sweep") {
		t.Errorf("nothing was refunded: %v", err)
	}
	wrap := good // two values whose sum wraps to what looks like money
	wrap.Value = 1<<63 + 50_000
	wrap2 := wrap
	wrap2.Outpoint.Index++
	if tx, err := p.payer.Refund([]ledger.RefundInput{wrap, wrap2}, payout(1), rate); err == nil {
		t.Errorf("a wrapped sum was refunded: %+v", tx)
	}
	if _, err := p.payee.Refund([]ledger.RefundInput{good}, payout(1), rate); err == nil {
		t.Error("the payee refunded the payer's lane")
	}
	rich := good
	rich.Value = channel.MaxMoney
	rich2 := rich
	rich2.Outpoint.Index++
	if _, err := p.payer.Refund([]ledger.RefundInput{rich, rich2}, payout(1), rate); err == nil {
		t.Error("more than all money was refunded")
	}
}
