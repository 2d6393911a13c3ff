// Package hotkey signs and verifies BIP 340 for keys that are used again and again: what follows from the
// key alone is computed once. It gives the same answers as btcec's schnorr package, which its tests compare
// it with, and knows nothing of transactions.
//
//	ok := hotkey.NewVerifier(payer).Verify(digest, sig)
package hotkey

import (
	"crypto/sha256"

	"github.com/btcsuite/btcd/btcec/v2"
)

// A verification is s*G - e*P. For a fixed P the multiples that e can need are kept in a table, so that e*P
// is one addition for each window of six bits and no doubling. Digits are signed, which halves the table.
const (
	windowBits = 6
	windows    = 43 // 43 * 6 = 258 bits: the carry of the last full window finds room
	half       = 1 << (windowBits - 1)
)

// TableBytes is the memory of one Verifier.
const TableBytes = windows * half * 80

// affine is a point of the curve that is not the point at infinity.
type affine struct{ x, y btcec.FieldVal }

// Verifier checks signatures of one key. It is immutable and safe for concurrent use.
type Verifier struct {
	x     [32]byte
	table [windows][half]affine // table[i][j] is (j+1) * 2^(6i) * P
}

// NewVerifier computes the table, which takes as long as some ten plain verifications. BIP 340 keys are
// x-only: the point with the even y counts.
func NewVerifier(pub *btcec.PublicKey) *Verifier {
	v := &Verifier{}
	var base btcec.JacobianPoint
	pub.AsJacobian(&base)
	base.Y.Normalize()
	if base.Y.IsOdd() {
		base.Y.Negate(1).Normalize()
	}
	base.X.Normalize()
	base.X.PutBytes(&v.x)
	points := make([]btcec.JacobianPoint, 0, windows*half)
	for range windows {
		multiple := base
		for range half {
			points = append(points, multiple)
			var sum btcec.JacobianPoint
			btcec.AddNonConst(&multiple, &base, &sum)
			multiple = sum
		}
		// The last in the table is 2^5 times the base of this window, and the next base twice that.
		btcec.DoubleNonConst(&points[len(points)-1], &base)
	}
	v.fill(points)
	return v
}

// fill brings all points to Z = 1 with a single inversion.
func (v *Verifier) fill(points []btcec.JacobianPoint) {
	before := make([]btcec.FieldVal, len(points)) // product of all Z before this one
	var product btcec.FieldVal
	product.SetInt(1)
	for i := range points {
		before[i] = product
		product.Mul(&points[i].Z)
	}
	product.Normalize()
	product.Inverse()
	for i := len(points) - 1; i >= 0; i-- {
		p := &points[i]
		var inverse, square, cube btcec.FieldVal
		inverse.Mul2(&product, &before[i])
		product.Mul(&p.Z)
		square.SquareVal(&inverse)
		cube.Mul2(&square, &inverse)
		a := &v.table[i/half][i%half]
		a.x.Mul2(&p.X, &square).Normalize()
		a.y.Mul2(&p.Y, &cube).Normalize()
	}
}

// Verify reports whether sig is a valid BIP 340 signature of the key over a message of 32 bytes.
func (v *Verifier) Verify(message [32]byte, sig [64]byte) bool {
	var r btcec.FieldVal
	var s btcec.ModNScalar
	if r.SetByteSlice(sig[:32]) || s.SetByteSlice(sig[32:]) {
		return false
	}
	e := challenge(sig[:32], v.x[:], message)
	var point btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&s, &point)
	v.subtract(&e, &point)
	if (point.X.IsZero() && point.Y.IsZero()) || point.Z.IsZero() {
		return false
	}
	point.ToAffine()
	return !point.Y.IsOdd() && point.X.Equals(&r)
}

// subtract takes e*P away from sum.
func (v *Verifier) subtract(e *btcec.ModNScalar, sum *btcec.JacobianPoint) {
	bytes := e.Bytes()
	var term, next btcec.JacobianPoint
	term.Z.SetInt(1)
	carry := 0
	for i := range windows {
		digit := window(&bytes, i) + carry
		carry = 0
		if digit >= half {
			digit, carry = digit-2*half, 1
		}
		if digit == 0 {
			continue
		}
		a := &v.table[i][max(digit, -digit)-1]
		term.X, term.Y = a.x, a.y
		if digit > 0 {
			term.Y.Negate(1).Normalize()
		}
		btcec.AddNonConst(sum, &term, &next)
		*sum = next
	}
}

// window returns the six bits of a big-endian number that begin at bit 6i.
func window(b *[32]byte, i int) int {
	bit := i * windowBits
	at := 31 - bit/8
	word := int(b[at])
	if at > 0 {
		word |= int(b[at-1]) << 8
	}
	return word >> (bit % 8) & (2*half - 1)
}

// Tags are those of BIP 340, each already hashed and doubled: SHA256(tag) || SHA256(tag) is one block.
var (
	tagAux       = doubled("BIP0340/aux")
	tagNonce     = doubled("BIP0340/nonce")
	tagChallenge = doubled("BIP0340/challenge")
)

func doubled(tag string) (b [64]byte) {
	h := sha256.Sum256([]byte(tag))
	copy(b[:32], h[:])
	copy(b[32:], h[:])
	return b
}

func challenge(r, key []byte, message [32]byte) (e btcec.ModNScalar) {
	h := tagged(&tagChallenge, r, key, message[:])
	e.SetBytes(&h)
	return e
}

func tagged(tag *[64]byte, parts ...[]byte) [32]byte {
	var room [160]byte
	b := append(room[:0], tag[:]...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}
