package bitcoin

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// maxCachedKeys bounds the lane keys kept in memory, at about 300 bytes each.
const maxCachedKeys = 4096

// Signer holds the lane keys of one seed on one network. It implements ledger.Signer.
type Signer struct {
	scheme   *Scheme
	random   ledger.NonceSource
	branches map[keyPurpose]*hdkeychain.ExtendedKey // read-only
	keys     *cache[keyPath, *keyPair]
	seal     sealKeys
	sessions atomic.Uint64 // closes begun; part of every nonce
}

var _ ledger.Signer = (*Signer)(nil)

type keyPath struct {
	purpose keyPurpose
	index   uint32
}

// NewSigner derives the lane keys of a BIP 39 seed. random must be unguessable outside tests, like
// SystemRandom.
func NewSigner(scheme *Scheme, seed []byte, random ledger.NonceSource) (*Signer, error) {
	if scheme == nil || random == nil {
		return nil, errors.New("bitcoin: a signer needs a scheme and a source of randomness")
	}
	s := &Signer{
		scheme:   scheme,
		random:   random,
		branches: make(map[keyPurpose]*hdkeychain.ExtendedKey),
		keys:     newCache[keyPath, *keyPair](maxCachedKeys),
	}
	for _, p := range []keyPurpose{purposePayer, purposePayee, purposeRefund} {
		branch, err := deriveBranch(seed, scheme.network, p)
		if err != nil {
			return nil, err
		}
		s.branches[p] = branch
	}
	var err error
	s.seal, err = newSealKeys(seed, scheme.network)
	return s, err
}

// PayerKey is the key that signs vouchers of the outgoing lane with this index.
func (s *Signer) PayerKey(index uint32) (channel.Key, error) { return s.public(purposePayer, index) }

// PayeeKey is the key that settles the incoming lane with this index.
func (s *Signer) PayeeKey(index uint32) (channel.Key, error) { return s.public(purposePayee, index) }

// RefundKey is the key that owns what a settlement leaves of the outgoing lane with this index.
func (s *Signer) RefundKey(index uint32) (channel.Key, error) { return s.public(purposeRefund, index) }

func (s *Signer) public(p keyPurpose, index uint32) (channel.Key, error) {
	key, err := s.key(p, index)
	if err != nil {
		return channel.Key{}, err
	}
	return key.pub, nil
}

func (s *Signer) key(p keyPurpose, index uint32) (*keyPair, error) {
	path := keyPath{p, index}
	if key, ok := s.keys.get(path); ok {
		return key, nil
	}
	key, err := deriveKey(s.branches[p], index)
	if err != nil {
		return nil, err
	}
	s.keys.put(path, key)
	return key, nil
}

// keyFor is our key with an index, which must be the one that the lane names.
func (s *Signer) keyFor(p keyPurpose, index uint32, named channel.Key) (*keyPair, error) {
	key, err := s.key(p, index)
	if err != nil {
		return nil, err
	}
	if key.pub != named {
		return nil, badTerms("our key with index %d is not the one of this lane", index)
	}
	return key, nil
}

// laneKey is our key in a lane and the peer's.
func (s *Signer) laneKey(t channel.LaneTerms, k ledger.LaneKeys, l *laneScripts) (*keyPair, *btcec.PublicKey, error) {
	if k.Payer {
		key, err := s.keyFor(purposePayer, k.Lane, t.Payer)
		return key, l.payee, err
	}
	key, err := s.keyFor(purposePayee, k.Lane, t.Payee)
	return key, l.payer, err
}

// SignVoucher signs a total on a lane that we pay on. Whoever takes the voucher verifies it at once, so
// the signature isn't verified here a second time.
func (s *Signer) SignVoucher(lane ledger.Lane, index uint32, total channel.Msat) (channel.Signature, error) {
	l, err := s.scheme.scripts(lane.Terms)
	if err != nil {
		return channel.Signature{}, err
	}
	key, err := s.keyFor(purposePayer, index, lane.Terms.Payer)
	if err != nil {
		return channel.Signature{}, err
	}
	if err := checkTotal(lane, total); err != nil {
		return channel.Signature{}, err
	}
	return s.sign(key, l.voucherDigest(lane, total))
}

// sign makes a BIP 340 signature with fresh auxiliary randomness and does not verify it.
func (s *Signer) sign(key *keyPair, digest [32]byte) (channel.Signature, error) {
	sig, err := key.signer.Sign(digest, s.random())
	if err != nil {
		return channel.Signature{}, fmt.Errorf("bitcoin: sign: %w", err)
	}
	return channel.Signature(sig), nil
}

// LaneSecret is the key that both ends of a lane share for a purpose, and nobody else knows.
func (s *Signer) LaneSecret(t channel.LaneTerms, k ledger.LaneKeys, purpose string) ([32]byte, error) {
	if purpose == "" {
		return [32]byte{}, errors.New("bitcoin: a lane secret needs a purpose")
	}
	l, err := s.scheme.scripts(t)
	if err != nil {
		return [32]byte{}, err
	}
	own, peer, err := s.laneKey(t, k, l)
	if err != nil {
		return [32]byte{}, err
	}
	id := t.ID()
	return expand(btcec.GenerateSharedSecret(own.priv, peer), "runnel/"+purpose+string(id[:]))
}
