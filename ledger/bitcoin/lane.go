package bitcoin

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// maxHeightLock is the first value that OP_CHECKLOCKTIMEVERIFY reads as a time (BIP 65).
const maxHeightLock = 500_000_000

// numsPoint is H of BIP 341: nobody knows its discrete logarithm.
const numsPoint = "\x50\x92\x9b\x74\xc1\xa0\x49\x54\xb7\x8b\x4b\x60\x35\xe9\x7a\x5e" +
	"\x07\x8a\x5a\x0f\x28\xec\x96\xd5\x47\xbf\xee\x9a\xce\x80\x3a\xc0"

// leaf is one tapscript with what a spend through it needs.
type leaf struct {
	script  []byte
	hash    [32]byte
	control []byte
}

// laneScripts is everything that follows from the terms of a lane. It is immutable but for the count.
type laneScripts struct {
	verified atomic.Uint32 // vouchers since the payer's key was last found not to be hot

	payer   *btcec.PublicKey
	payee   *btcec.PublicKey
	signers []*btcec.PublicKey // both in BIP 327 order; copy before handing out
	root    [32]byte           // of the script tree
	funding []byte             // output script of the lane
	voucher leaf
	expired leaf   // refund leaf
	refund  []byte // output script of what a settlement leaves to the payer
	settled leaf   // only leaf of refund
}

// CheckTerms validates the terms of a lane on this network. Everything else here calls it first.
func (s *Scheme) CheckTerms(t channel.LaneTerms) error {
	if err := s.checkNumbers(t); err != nil {
		return err
	}
	_, err := parseKeys(t)
	return err
}

func (s *Scheme) checkNumbers(t channel.LaneTerms) error {
	switch {
	case t.Genesis != s.Genesis():
		return badTerms("the lane is not on %s", s.network)
	case t.Deposit < channel.MinDeposit:
		return badTerms("a deposit of %d sat is below the minimum of %d sat", t.Deposit, channel.MinDeposit)
	case t.Deposit > channel.MaxMoney:
		return badTerms("a deposit of %d sat is more than can exist", t.Deposit)
	case t.Expiry == 0 || t.Expiry >= maxHeightLock:
		return badTerms("expiry %d is not a block height", t.Expiry)
	}
	return nil
}

// parseKeys returns payer, payee and refund key. No two may have the same x coordinate: in a leaf they
// would be the same key.
func parseKeys(t channel.LaneTerms) (keys [3]*btcec.PublicKey, err error) {
	named := [3]struct {
		name string
		key  channel.Key
	}{{"payer", t.Payer}, {"payee", t.Payee}, {"refund", t.Refund}}
	for i, k := range named {
		if keys[i], err = btcec.ParsePubKey(k.key[:]); err != nil {
			return keys, badTerms("the %s key is not a point of the curve", k.name)
		}
		for _, earlier := range named[:i] {
			if bytes.Equal(earlier.key[1:], k.key[1:]) {
				return keys, badTerms("%s and %s key are the same", earlier.name, k.name)
			}
		}
	}
	return keys, nil
}

func badTerms(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ledger.ErrBadTerms, fmt.Sprintf(format, args...))
}

// scripts checks terms and derives all scripts from them.
func (s *Scheme) scripts(t channel.LaneTerms) (*laneScripts, error) {
	if l, ok := s.lanes.get(t); ok {
		return l, nil
	}
	if err := s.checkNumbers(t); err != nil {
		return nil, err
	}
	keys, err := parseKeys(t)
	if err != nil {
		return nil, err
	}
	l, err := deriveScripts(keys, t.Expiry)
	if err != nil {
		return nil, badTerms("%v", err)
	}
	s.lanes.put(t, l)
	return l, nil
}

// FundingScript is the output script of the lane.
func (s *Scheme) FundingScript(t channel.LaneTerms) ([]byte, error) {
	l, err := s.scripts(t)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(l.funding), nil
}

// RefundScript is the output script of what a settlement leaves to the payer.
func (s *Scheme) RefundScript(t channel.LaneTerms) ([]byte, error) {
	l, err := s.scripts(t)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(l.refund), nil
}

func deriveScripts(keys [3]*btcec.PublicKey, expiry uint32) (*laneScripts, error) {
	payer, payee, refund := keys[0], keys[1], keys[2]
	voucher, err := voucherLeaf(payer, payee)
	if err != nil {
		return nil, err
	}
	expired, err := expiredLeaf(payer, expiry)
	if err != nil {
		return nil, err
	}
	root := [32]byte(txscript.NewTapBranch(txscript.NewBaseTapLeaf(voucher), txscript.NewBaseTapLeaf(expired)).TapHash())
	signers := keySort(payer, payee)
	internal, err := keyAgg(signers)
	if err != nil {
		return nil, err
	}
	l := &laneScripts{payer: payer, payee: payee, signers: signers, root: root}
	output := txscript.ComputeTaprootOutputKey(internal, root[:])
	l.funding = taprootScript(output)
	voucherHash, expiredHash := leafHash(voucher), leafHash(expired)
	l.voucher = leaf{voucher, voucherHash, controlBlock(internal, output, expiredHash[:])}
	l.expired = leaf{expired, expiredHash, controlBlock(internal, output, voucherHash[:])}
	l.refund, l.settled, err = refundOutput(refund)
	return l, err
}

// voucherLeaf lets payer and payee spend together: the payer through a voucher.
func voucherLeaf(payer, payee *btcec.PublicKey) ([]byte, error) {
	return txscript.NewScriptBuilder().
		AddData(schnorr.SerializePubKey(payer)).AddOp(txscript.OP_CHECKSIGVERIFY).
		AddData(schnorr.SerializePubKey(payee)).AddOp(txscript.OP_CHECKSIG).Script()
}

// expiredLeaf lets the payer spend alone from a height on.
func expiredLeaf(payer *btcec.PublicKey, expiry uint32) ([]byte, error) {
	return txscript.NewScriptBuilder().
		AddInt64(int64(expiry)).AddOp(txscript.OP_CHECKLOCKTIMEVERIFY).AddOp(txscript.OP_DROP).
		AddData(schnorr.SerializePubKey(payer)).AddOp(txscript.OP_CHECKSIG).Script()
}

// refundOutput is the output of a settlement that belongs to the payer. It has no usable key path, and
// its leaf asks for one block of age: a child of the unconfirmed settlement could pin it.
func refundOutput(refund *btcec.PublicKey) (script []byte, settled leaf, err error) {
	x := schnorr.SerializePubKey(refund)
	code, err := txscript.NewScriptBuilder().
		AddData(x).AddOp(txscript.OP_CHECKSIGVERIFY).
		AddInt64(refundAge).AddOp(txscript.OP_CHECKSEQUENCEVERIFY).Script()
	if err != nil {
		return nil, leaf{}, err
	}
	internal, err := blindedNUMS(x)
	if err != nil {
		return nil, leaf{}, err
	}
	hash := leafHash(code)
	output := txscript.ComputeTaprootOutputKey(internal, hash[:])
	return taprootScript(output), leaf{code, hash, controlBlock(internal, output, nil)}, nil
}

// blindedNUMS is H + t*G with t from the refund key: no two refund outputs share an internal key, and
// nobody knows a secret for any.
func blindedNUMS(refund []byte) (*btcec.PublicKey, error) {
	h, err := schnorr.ParsePubKey([]byte(numsPoint))
	if err != nil {
		return nil, err
	}
	blind := channel.TaggedHash("runnel/refund", refund)
	var t btcec.ModNScalar
	if t.SetBytes(&blind) != 0 {
		return nil, fmt.Errorf("blinding factor exceeds the group order")
	}
	var hJ, tG, sum btcec.JacobianPoint
	h.AsJacobian(&hJ)
	btcec.ScalarBaseMultNonConst(&t, &tG)
	btcec.AddNonConst(&hJ, &tG, &sum)
	sum.ToAffine()
	return btcec.NewPublicKey(&sum.X, &sum.Y), nil
}

// keySort orders two keys by their 33-byte encoding (KeySort of BIP 327).
func keySort(a, b *btcec.PublicKey) []*btcec.PublicKey {
	if bytes.Compare(a.SerializeCompressed(), b.SerializeCompressed()) > 0 {
		a, b = b, a
	}
	return []*btcec.PublicKey{a, b}
}

// keyAgg is KeyAgg of BIP 327 over sorted keys. The library may reorder the slice that it is given, so
// it gets a copy.
func keyAgg(sorted []*btcec.PublicKey) (*btcec.PublicKey, error) {
	agg, _, _, err := musig2.AggregateKeys(append([]*btcec.PublicKey(nil), sorted...), false)
	if err != nil {
		return nil, err
	}
	return agg.PreTweakedKey, nil
}

func leafHash(script []byte) [32]byte { return txscript.NewBaseTapLeaf(script).TapHash() }

// taprootScript is OP_1 with the x-only output key (BIP 341).
func taprootScript(output *btcec.PublicKey) []byte {
	return append([]byte{txscript.OP_1, txscript.OP_DATA_32}, schnorr.SerializePubKey(output)...)
}

// controlBlock proves that a leaf belongs to an output (BIP 341); sibling is nil for a tree of one leaf.
func controlBlock(internal, output *btcec.PublicKey, sibling []byte) []byte {
	parity := output.SerializeCompressed()[0] & 1 // 0x02 is even, 0x03 odd
	b := []byte{byte(txscript.BaseLeafVersion) | parity}
	b = append(b, schnorr.SerializePubKey(internal)...)
	return append(b, sibling...)
}

// fundingOut is the funding output as the chain holds it.
func (l *laneScripts) fundingOut(value channel.Sat) *wire.TxOut {
	return wire.NewTxOut(int64(value), l.funding)
}
