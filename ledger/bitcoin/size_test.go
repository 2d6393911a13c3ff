package bitcoin

import (
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// The sizes that fees are computed from are those of real transactions.
func TestSizes(t *testing.T) {
	p := newPair(t)
	for _, n := range []int{1, 3, 100} {
		settle, refund := sweepSizes(t, p, n)
		t.Logf("%3d lanes: settle %d vB (%.2f a lane), refund %d vB", n, settle, float64(settle)/float64(n), refund)
		if want := p.scheme.SettleVSize(n); settle != want {
			t.Errorf("settlement of %d lanes: %d vB, SettleVSize says %d", n, settle, want)
		}
		if want := p.scheme.RefundVSize(n); refund != want {
			t.Errorf("refund of %d lanes: %d vB, RefundVSize says %d", n, refund, want)
		}
		if n == 1 && settle != 205 {
			t.Errorf("settlement of one lane: %d vB", settle)
		}
		if n == 100 && settle > 152*n {
			t.Errorf("settlement of 100 lanes: %d vB", settle)
		}
	}
	for n := 1; n <= 3; n++ {
		size := closeSize(t, p, uint32(n))
		t.Logf("close of %d lanes with two outputs: %d vB", n, size)
		if want := p.scheme.CloseVSize(n); size != want {
			t.Errorf("close of %d lanes: %d vB, CloseVSize says %d", n, size, want)
		}
		if n == 1 && size != 154 {
			t.Errorf("close of one lane: %d vB", size)
		}
	}
}

// Counts above 252 take three bytes. The weight is known before anything is signed.
func TestSizesOfLongTransactions(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 50_000)
	lane.Terms.Expiry += 800_000
	settle, err := p.payee.settleInput(p.settleLane(t, lane, 1, 10_000_001))
	must(t, err)
	refund, err := p.payer.refundInput(ledger.RefundInput{Terms: lane.Terms, Index: 1, Value: 50_000})
	must(t, err)
	for _, n := range []int{251, 252, 253, 600} {
		if got, want := p.scheme.SettleVSize(n), unsignedSize(t, settle, n); got != want {
			t.Errorf("settlement of %d lanes: %d vB, SettleVSize says %d", n, want, got)
		}
		if got, want := p.scheme.RefundVSize(n), unsignedSize(t, refund, n); got != want {
			t.Errorf("refund of %d lanes: %d vB, RefundVSize says %d", n, want, got)
		}
	}
}

// unsignedSize is the size of a transaction with an input n times.
func unsignedSize(t *testing.T, in leafInput, n int) int {
	t.Helper()
	inputs := make([]leafInput, n)
	for i := range inputs {
		inputs[i] = in
		inputs[i].outpoint.Index = uint32(i)
	}
	tx, _, _, err := assemble(inputs, 0, payout(1))
	must(t, err)
	return vsizeOf(tx)
}

// sweepSizes builds a settlement and a refund of n lanes.
func sweepSizes(t *testing.T, p *pair, n int) (settle, refund int) {
	t.Helper()
	var lanes []ledger.SettleLane
	var outputs []ledger.RefundInput
	for i := range uint32(n) {
		lane := p.lane(t, i, 50_000)
		lane.Terms.Expiry += 800_000 // a height of our time
		lanes = append(lanes, p.settleLane(t, lane, i, channel.Msat(10_000_001+i)))
		outputs = append(outputs, ledger.RefundInput{Terms: lane.Terms, Index: i, Outpoint: lane.Funding, Value: 50_000})
	}
	tx, err := p.payee.Settle(lanes, payout(1), rate)
	must(t, err)
	back, err := p.payer.Refund(outputs, payout(1), rate)
	must(t, err)
	return vsizeOf(decode(t, tx.Raw)), vsizeOf(decode(t, back.Raw))
}

// closeSize signs a close of n lanes.
func closeSize(t *testing.T, p *pair, n uint32) int {
	t.Helper()
	var ours, theirs []ledger.CloseLane
	for i := range n {
		lane := p.lane(t, i, 50_000)
		ours = append(ours, ledger.CloseLane{Lane: lane, Keys: ledger.LaneKeys{Lane: i, Payer: true}})
		theirs = append(theirs, ledger.CloseLane{Lane: lane, Keys: ledger.LaneKeys{Lane: i}})
	}
	outputs := []ledger.Output{{Script: payout(1), Value: 20_000}, {Script: payout(2), Value: 29_000}}
	a, err := p.payer.NewClose(ours, outputs)
	must(t, err)
	b, err := p.payee.NewClose(theirs, outputs)
	must(t, err)
	_, pb := sign(t, a, b)
	tx, err := a.Combine(pb)
	must(t, err)
	return vsizeOf(decode(t, tx.Raw))
}
