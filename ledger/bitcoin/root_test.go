package bitcoin

import (
	"testing"

	"github.com/btcsuite/btcd/btcec/v2/schnorr"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

func TestRootSignatures(t *testing.T) {
	p := newPair(t)
	lane, other := p.lane(t, 1, 100_000), p.lane(t, 2, 100_000)
	terms := lane.Terms
	r := channel.LogRoot{Lane: terms.ID(), Size: 3, Total: 5_000, Spent: 4_000, Hash: [32]byte{1}, Root: [32]byte{2}, Time: 1_800_000_000}
	payee, err := p.payee.SignRoot(terms, ledger.LaneKeys{Lane: 1}, r)
	must(t, err)
	payer, err := p.payer.SignRoot(terms, ledger.LaneKeys{Lane: 1, Payer: true}, r)
	must(t, err)
	must(t, p.scheme.VerifyRoot(terms, false, r, payee))
	must(t, p.scheme.VerifyRoot(terms, true, r, payer))

	wantErr(t, p.scheme.VerifyRoot(terms, true, r, payee), ledger.ErrBadRoot)
	wantErr(t, p.scheme.VerifyRoot(terms, false, r, payer), ledger.ErrBadRoot)
	wantErr(t, p.scheme.VerifyRoot(other.Terms, false, r, payee), ledger.ErrBadRoot)
	wantErr(t, p.scheme.VerifyRoot(channel.LaneTerms{}, false, r, payee), ledger.ErrBadTerms)
	for name, change := range map[string]func(*channel.LogRoot){
		"lane":  func(r *channel.LogRoot) { r.Lane[0] ^= 1 },
		"size":  func(r *channel.LogRoot) { r.Size++ },
		"total": func(r *channel.LogRoot) { r.Total++ },
		"spent": func(r *channel.LogRoot) { r.Spent-- },
		"hash":  func(r *channel.LogRoot) { r.Hash[31] ^= 1 },
		"root":  func(r *channel.LogRoot) { r.Root[31] ^= 1 },
		"time":  func(r *channel.LogRoot) { r.Time++ },
	} {
		altered := r
		change(&altered)
		if p.scheme.VerifyRoot(terms, false, altered, payee) == nil {
			t.Errorf("a signature also holds for another %s", name)
		}
	}
	for i := range payee {
		bad := payee
		bad[i] ^= 1
		wantErr(t, p.scheme.VerifyRoot(terms, false, r, bad), ledger.ErrBadRoot)
	}
}

// Nobody signs for a lane that it has no part in, or a root of one lane as if it were another's.
func TestRootsOfOtherLanes(t *testing.T) {
	p := newPair(t)
	lane, other := p.lane(t, 1, 100_000).Terms, p.lane(t, 2, 100_000).Terms
	r := channel.LogRoot{Lane: lane.ID(), Size: 1}
	_, err := p.payee.SignRoot(other, ledger.LaneKeys{Lane: 2}, r)
	wantErr(t, err, ledger.ErrBadRoot)
	_, err = p.payee.SignRoot(channel.LaneTerms{}, ledger.LaneKeys{Lane: 1}, channel.LogRoot{Lane: channel.LaneTerms{}.ID()})
	wantErr(t, err, ledger.ErrBadTerms)

	twin := lane // the same keys
	twin.Expiry++
	of := channel.LogRoot{Lane: twin.ID(), Size: 1}
	sig, err := p.payee.SignRoot(twin, ledger.LaneKeys{Lane: 1}, of)
	must(t, err)
	must(t, p.scheme.VerifyRoot(twin, false, of, sig))
	wantErr(t, p.scheme.VerifyRoot(lane, false, of, sig), ledger.ErrBadRoot)

	for i := range sig { // no signature at all: neither half is a number
		sig[i] = 0xff
	}
	wantErr(t, p.scheme.VerifyRoot(twin, false, of, sig), ledger.ErrBadRoot)
	_, err = p.payee.SignRoot(lane, ledger.LaneKeys{Lane: 2}, r)
	wantErr(t, err, ledger.ErrBadTerms)
	_, err = p.payee.SignRoot(lane, ledger.LaneKeys{Lane: 1, Payer: true}, r)
	wantErr(t, err, ledger.ErrBadTerms)
}

// A signature over a root is never one over money, and the other way round: the digests have other tags.
func TestRootsAreNoVouchers(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	r := channel.LogRoot{Lane: lane.Terms.ID(), Size: 1, Total: 5_000}
	sig, err := p.payer.SignRoot(lane.Terms, ledger.LaneKeys{Lane: 1, Payer: true}, r)
	must(t, err)
	wantErr(t, p.scheme.VerifyVoucher(lane, r.Total, sig), ledger.ErrBadVoucher)
	voucher, err := p.payer.SignVoucher(lane, 1, r.Total)
	must(t, err)
	wantErr(t, p.scheme.VerifyRoot(lane.Terms, true, r, voucher), ledger.ErrBadRoot)
	if l, err := p.scheme.scripts(lane.Terms); err != nil || l.voucherDigest(lane, r.Total) == r.Digest() {
		t.Fatal("one digest for both", err)
	}
	if _, err := schnorr.ParseSignature(sig[:]); err != nil {
		t.Fatal(err)
	}
}
