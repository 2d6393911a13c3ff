package bitcoin

import (
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2/schnorr"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Roots of a lane's log are signed with the lane keys, which also sign vouchers, settlements and closes. Those
// sign a digest of BIP 341, tagged TapSighash; the tag runnel/root keeps the one from ever being the other.

// VerifyRoot checks the signature of a lane's payer or payee over a root of its log.
func (s *Scheme) VerifyRoot(t channel.LaneTerms, payer bool, r channel.LogRoot, sig channel.Signature) error {
	l, err := s.scripts(t)
	if err != nil {
		return err
	}
	if r.Lane != t.ID() {
		return badRoot("it is about another lane")
	}
	parsed, err := parseSignature(sig[:])
	if err != nil {
		return badRoot("%v", err)
	}
	key, who := l.payee, "payee"
	if payer {
		key, who = l.payer, "payer"
	}
	if digest := r.Digest(); !parsed.Verify(digest[:], key) {
		return badRoot("not the %s's signature", who)
	}
	return nil
}

// SignRoot signs a root of the log of a lane that one of our keys has a part in. Unlike a voucher it is
// verified before it leaves: the other side may look at it much later.
func (s *Signer) SignRoot(t channel.LaneTerms, keys ledger.LaneKeys, r channel.LogRoot) (channel.Signature, error) {
	l, err := s.scheme.scripts(t)
	if err != nil {
		return channel.Signature{}, err
	}
	if r.Lane != t.ID() {
		return channel.Signature{}, badRoot("it is about another lane")
	}
	key, _, err := s.laneKey(t, keys, l)
	if err != nil {
		return channel.Signature{}, err
	}
	digest := r.Digest()
	sig, err := schnorr.Sign(key.priv, digest[:], schnorr.CustomNonce(s.random()))
	if err != nil {
		return channel.Signature{}, fmt.Errorf("bitcoin: sign a root: %w", err)
	}
	return channel.Signature(sig.Serialize()), nil
}

func badRoot(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ledger.ErrBadRoot, fmt.Sprintf(format, args...))
}
