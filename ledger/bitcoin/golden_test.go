package bitcoin

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew: this changes the protocol")

// Bytes that both sides must agree on, or that must be found again years later, for fixed seeds and no
// randomness. A difference here breaks open lanes or recovery: it is a new protocol version, not an
// update of this file.
func TestGoldenBytes(t *testing.T) {
	got := goldenBytes(t)
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		must(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if bytes.Equal(got, want) {
		return
	}
	wantLines := bytes.Split(want, []byte("\n"))
	for i, line := range bytes.Split(got, []byte("\n")) {
		if i >= len(wantLines) || !bytes.Equal(line, wantLines[i]) {
			t.Errorf("line %d is now\n%s", i+1, line)
		}
	}
}

func goldenBytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	put := func(name string, value []byte) { fmt.Fprintf(&b, "%s %s\n", name, hex.EncodeToString(value)) }
	p := newPair(t)
	zero := func() [32]byte { return [32]byte{} }
	p.payer.random, p.payee.random = zero, zero
	lane := p.lane(t, 1, 1_000_000)
	lane.Terms.Expiry = 850_000
	lane.Funding = channel.Outpoint{TxID: channel.TaggedHash("golden", nil), Index: 3}
	total := channel.Msat(123_456_789)

	put("payer_key", lane.Terms.Payer[:])
	put("payee_key", lane.Terms.Payee[:])
	put("refund_key", lane.Terms.Refund[:])
	id := lane.Terms.ID()
	put("lane_id", id[:])
	goldenScripts(t, p, lane, total, put)
	goldenTxs(t, p, lane, total, put)
	goldenSecrets(t, p, lane, put)
	return b.Bytes()
}

func goldenScripts(t *testing.T, p *pair, lane ledger.Lane, total channel.Msat, put func(string, []byte)) {
	t.Helper()
	l, err := p.scheme.scripts(lane.Terms)
	must(t, err)
	put("voucher_leaf", l.voucher.script)
	put("voucher_control", l.voucher.control)
	put("expired_leaf", l.expired.script)
	put("funding_script", l.funding)
	text, err := p.scheme.Address(l.funding)
	must(t, err)
	put("funding_address", []byte(text))
	put("refund_script", l.refund)
	put("settled_leaf", l.settled.script)
	digest := l.voucherDigest(lane, total)
	put("voucher_digest", digest[:])
}

func goldenTxs(t *testing.T, p *pair, lane ledger.Lane, total channel.Msat, put func(string, []byte)) {
	t.Helper()
	settle := p.settleLane(t, lane, 1, total)
	put("voucher_signature", settle.Signature[:])
	tx, err := p.payee.Settle([]ledger.SettleLane{settle}, payout(1), 2000)
	must(t, err)
	put("settlement", tx.Raw)
	tx, err = p.payer.Refund([]ledger.RefundInput{
		{Terms: lane.Terms, Index: 1, Outpoint: lane.Funding, Value: lane.Terms.Deposit},
		{Terms: lane.Terms, Index: 1, Outpoint: channel.Outpoint{TxID: tx.ID}, Value: 876_543, Settled: true},
	}, payout(2), 2000)
	must(t, err)
	put("refund", tx.Raw)
	raw, _, err := p.scheme.CloseTx([]ledger.Lane{lane}, []ledger.Output{
		{Script: payout(1), Value: 123_457}, {Script: payout(2), Value: 876_000},
	})
	must(t, err)
	put("close", raw)
}

func goldenSecrets(t *testing.T, p *pair, lane ledger.Lane, put func(string, []byte)) {
	t.Helper()
	seal, err := p.payer.SealRecovery(ledger.Recovery{Payee: lane.Terms.Payee, Expiry: lane.Terms.Expiry, Index: 1}, testAnchor)
	must(t, err)
	put("recovery_seal", seal)
	secret, err := p.payer.LaneSecret(lane.Terms, ledger.LaneKeys{Lane: 1, Payer: true}, "http")
	must(t, err)
	put("lane_secret", secret[:])
	secret, err = IdentityKey(testSeed(1), "regtest")
	must(t, err)
	put("identity_key", secret[:])
	secret, err = StoreKey(testSeed(1), "regtest")
	must(t, err)
	put("store_key", secret[:])
	secret, err = JournalKey(testSeed(1), "regtest")
	must(t, err)
	put("journal_key", secret[:])
}
