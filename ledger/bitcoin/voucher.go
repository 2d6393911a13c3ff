package bitcoin

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin/hotkey"
)

const (
	txVersion = 2 // relative locks (BIP 68) need it

	// voucherSequence switches the relative lock off; the low bits carry total mod 1000. All such
	// numbers signal replacement (BIP 125).
	voucherSequence = 0x80000000
	msatMask        = 0x7fffffff

	// sigHashVoucher is SINGLE|ANYONECANPAY: the payee can add lanes, its own output and the fee.
	sigHashVoucher = txscript.SigHashSingle | txscript.SigHashAnyOneCanPay
)

// split says how a settlement at a total shows it: the value of the refund output and nSequence. The
// total must have passed checkTotal.
func split(deposit channel.Sat, total channel.Msat) (refund channel.Sat, sequence uint32) {
	return deposit - total.SatCeil(), voucherSequence | uint32(total%1000)
}

// join is the inverse of split: the one total that a settlement shows, or false when no voucher has
// such numbers.
func join(deposit, refund channel.Sat, sequence uint32) (channel.Msat, bool) {
	part := channel.Msat(sequence & msatMask)
	if sequence < voucherSequence || part >= 1000 || refund >= deposit {
		return 0, false
	}
	total, ok := (deposit - refund).Msat()
	if ok && part > 0 {
		total = total - 1000 + part
	}
	return total, ok
}

// checkTotal refuses totals that no voucher may have.
func checkTotal(lane ledger.Lane, total channel.Msat) error {
	switch {
	case lane.Funding.TxID == [32]byte{}:
		return badVoucher("the lane has no funding output")
	case total == 0:
		return badVoucher("the total is zero")
	case total > lane.Terms.Capacity():
		return badVoucher("a total of %d msat is above the capacity of %d msat", total, lane.Terms.Capacity())
	}
	return nil
}

func badVoucher(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ledger.ErrBadVoucher, fmt.Sprintf(format, args...))
}

// voucherDigest is what the payer signs: the BIP 341 digest of the fixed template (version 2, locktime
// 0, no annex, the funding outpoint, the sequence and the refund output of split) for SINGLE|ANYONECANPAY
// through the voucher leaf. It is laid out here by hand because it is computed for every payment.
func (l *laneScripts) voucherDigest(lane ledger.Lane, total channel.Msat) [32]byte {
	refund, sequence := split(lane.Terms.Deposit, total)
	out := sha256.Sum256(appendOutput(make([]byte, 0, 64), refund, l.refund))
	le := binary.LittleEndian
	b := make([]byte, 0, 320)
	b = append(b, tapSighashTag[:]...)
	b = append(b, 0x00, byte(sigHashVoucher)) // epoch, hash type
	b = le.AppendUint32(b, txVersion)
	b = le.AppendUint32(b, 0) // locktime
	b = append(b, 0x02)       // spend type: script path, no annex
	b = append(b, lane.Funding.TxID[:]...)
	b = le.AppendUint32(b, lane.Funding.Index)
	b = appendOutput(b, lane.Terms.Deposit, l.funding)
	b = le.AppendUint32(b, sequence)
	b = append(b, out[:]...)
	b = append(b, l.voucher.hash[:]...)
	b = append(b, 0x00)                // key version
	b = le.AppendUint32(b, 0xffffffff) // no OP_CODESEPARATOR
	return sha256.Sum256(b)
}

// tapSighashTag is SHA256(tag) || SHA256(tag), with which a tagged hash begins.
var tapSighashTag = func() (b [64]byte) {
	tag := sha256.Sum256(chainhash.TagTapSighash)
	copy(b[:32], tag[:])
	copy(b[32:], tag[:])
	return b
}()

// appendOutput appends an output in the encoding of transactions. Scripts here are 34 bytes.
func appendOutput(b []byte, value channel.Sat, script []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(value))
	return append(append(b, byte(len(script))), script...)
}

// VerifyVoucher checks the payer's signature over a total on a lane.
func (s *Scheme) VerifyVoucher(lane ledger.Lane, total channel.Msat, sig channel.Signature) error {
	l, err := s.scripts(lane.Terms)
	if err != nil {
		return err
	}
	hot := s.hotVerifier(lane.Terms.Payer, l)
	if hot == nil {
		return l.verifyVoucher(lane, total, sig)
	}
	if err := checkTotal(lane, total); err != nil {
		return err
	}
	if !hot.Verify(l.voucherDigest(lane, total), sig) {
		return badVoucher("not the payer's signature over %d msat", total)
	}
	return nil
}

// hotAfter is how many vouchers of a lane are verified without a table before one is made, and made again
// after it was dropped for others: its price is that of about ten of them.
const hotAfter = 64

// hotVerifier returns the table of a payer's key, or nil for one that is used seldom.
func (s *Scheme) hotVerifier(payer channel.Key, l *laneScripts) *hotkey.Verifier {
	if v, ok := s.hot.get(payer); ok {
		return v
	}
	if l.verified.Add(1) != hotAfter {
		return nil
	}
	l.verified.Store(0)
	v := hotkey.NewVerifier(l.payer)
	s.hot.put(payer, v)
	return v
}

func (l *laneScripts) verifyVoucher(lane ledger.Lane, total channel.Msat, sig channel.Signature) error {
	if err := checkTotal(lane, total); err != nil {
		return err
	}
	parsed, err := parseSignature(sig[:])
	if err != nil {
		return badVoucher("%v", err)
	}
	digest := l.voucherDigest(lane, total)
	if !parsed.Verify(digest[:], l.payer) {
		return badVoucher("not the payer's signature over %d msat", total)
	}
	return nil
}

// parseSignature reads a BIP 340 signature and refuses every encoding but the canonical one: what is
// accepted here must be accepted by every node.
func parseSignature(b []byte) (*schnorr.Signature, error) {
	if len(b) != schnorr.SignatureSize {
		return nil, fmt.Errorf("a signature has %d bytes, not %d", schnorr.SignatureSize, len(b))
	}
	var s btcec.ModNScalar
	if s.SetByteSlice(b[32:]) { // the library would reduce it
		return nil, fmt.Errorf("signature: s is not below the group order")
	}
	sig, err := schnorr.ParseSignature(b)
	if err != nil {
		return nil, fmt.Errorf("signature: r is not below the field prime")
	}
	return sig, nil
}
