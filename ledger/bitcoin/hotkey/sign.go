package hotkey

import (
	"errors"

	"github.com/btcsuite/btcd/btcec/v2"
)

// Signer signs with one key. It is immutable and safe for concurrent use.
type Signer struct {
	d btcec.ModNScalar // of the point with the even y
	x [32]byte
}

// NewSigner computes the public key, which a single signature would compute again.
func NewSigner(priv *btcec.PrivateKey) *Signer {
	s := &Signer{d: priv.Key}
	pub := priv.PubKey().SerializeCompressed()
	copy(s.x[:], pub[1:])
	if pub[0] == 0x03 { // odd
		s.d.Negate()
	}
	return s
}

var errNonce = errors.New("hotkey: no signature for this nonce") // has the probability of guessing a key

// Sign makes the default signature of BIP 340 with auxiliary randomness over a message of 32 bytes. It
// does not verify what it made.
func (s *Signer) Sign(message, aux [32]byte) (sig [64]byte, err error) {
	k, rx, err := s.nonce(message, aux)
	if err != nil {
		return sig, err
	}
	e := challenge(rx[:], s.x[:], message)
	e.Mul(&s.d).Add(&k)
	k.Zero()
	copy(sig[:32], rx[:])
	e.PutBytesUnchecked(sig[32:])
	return sig, nil
}

// nonce returns k and the x coordinate of k*G, whose y is even.
func (s *Signer) nonce(message, aux [32]byte) (k btcec.ModNScalar, rx [32]byte, err error) {
	t := tagged(&tagAux, aux[:])
	d := s.d.Bytes()
	for i := range t {
		t[i] ^= d[i]
	}
	h := tagged(&tagNonce, t[:], s.x[:], message[:])
	clear(t[:])
	clear(d[:])
	k.SetBytes(&h)
	if k.IsZero() {
		return k, rx, errNonce
	}
	var r btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&k, &r)
	r.ToAffine()
	if r.Y.IsOdd() {
		k.Negate()
	}
	r.X.PutBytes(&rx)
	return k, rx, nil
}
