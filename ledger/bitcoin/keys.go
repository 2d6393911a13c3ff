package bitcoin

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/bitcoin/hotkey"
)

// SeedSize is the length of a BIP 39 seed.
const SeedSize = 64

// keyPurpose is the third step of a key's path m/8402'/coin'/purpose'/index' (BIP 32, every step
// hardened, so that one leaked key tells nothing of another). coin is the network's coin type (SLIP 44):
// the test networks share theirs, what must differ between them also binds the network's name.
//
//	purpose  keys                                        index
//	0        node identity; never holds money            0
//	1        payer lane keys: sign vouchers, refund      one for each outgoing lane
//	2        payee lane keys: settle                     one for each incoming lane
//	3        refund keys: own what a settlement leaves   the same as the payer key's
//	4        store encryption                            0
//	5        journal encryption                          0
//	6        recovery seal                               0
//	7        backup encryption                           0
//	8        replica encryption                          0
type keyPurpose uint32

const (
	purposeIdentity keyPurpose = iota
	purposePayer
	purposePayee
	purposeRefund
	purposeStore
	purposeJournal
	purposeSeal
	purposeBackup
	purposeReplica
)

const keyRoot = 8402

// IdentityKey, StoreKey, JournalKey, BackupKey and ReplicaKey are the only functions here that return secrets. A Signer never
// does.

// IdentityKey returns the secp256k1 secret of the node's identity between peers. Money is never sent to
// this key.
func IdentityKey(seed []byte, network string) ([32]byte, error) {
	return soleSecret(seed, network, purposeIdentity)
}

// StoreKey returns the key that encrypts the store.
func StoreKey(seed []byte, network string) ([32]byte, error) {
	return namedSecret(seed, network, purposeStore, "store")
}

// JournalKey returns the key that encrypts the journal.
func JournalKey(seed []byte, network string) ([32]byte, error) {
	return namedSecret(seed, network, purposeJournal, "journal")
}

// ReplicaKey returns the key that encrypts the replica.
func ReplicaKey(seed []byte, network string) ([32]byte, error) {
	return namedSecret(seed, network, purposeReplica, "replica")
}

// BackupKey returns the key that encrypts backups.
func BackupKey(seed []byte, network string) ([32]byte, error) {
	return namedSecret(seed, network, purposeBackup, "backup")
}

// SystemRandom is the NonceSource of every signer outside tests.
func SystemRandom() (b [32]byte) {
	_, _ = rand.Read(b[:]) // fills b or ends the program; never returns an error
	return b
}

// soleSecret is the secret at index 0 of a purpose.
func soleSecret(seed []byte, network string, p keyPurpose) ([32]byte, error) {
	branch, err := deriveBranch(seed, network, p)
	if err != nil {
		return [32]byte{}, err
	}
	key, err := deriveKey(branch, 0)
	if err != nil {
		return [32]byte{}, err
	}
	return key.priv.Key.Bytes(), nil
}

// namedSecret expands the secret of a purpose for one network and use.
func namedSecret(seed []byte, network string, p keyPurpose, use string) ([32]byte, error) {
	secret, err := soleSecret(seed, network, p)
	if err != nil {
		return [32]byte{}, err
	}
	return expand(secret[:], "runnel/"+use+"/"+network)
}

func expand(secret []byte, info string) ([32]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("bitcoin: derive key: %w", err)
	}
	return [32]byte(key), nil
}

// keyPair is a secret key with its public key in the form of the wire and what signs with it.
type keyPair struct {
	priv   *btcec.PrivateKey
	pub    channel.Key
	signer *hotkey.Signer
}

func newKeyPair(priv *btcec.PrivateKey) *keyPair {
	return &keyPair{priv, channel.Key(priv.PubKey().SerializeCompressed()), hotkey.NewSigner(priv)}
}

func deriveBranch(seed []byte, network string, p keyPurpose) (*hdkeychain.ExtendedKey, error) {
	params, err := Params(network)
	if err != nil {
		return nil, err
	}
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("bitcoin: the seed has %d bytes, a BIP 39 seed has %d", len(seed), SeedSize)
	}
	key, err := hdkeychain.NewMaster(seed, params)
	if err != nil {
		return nil, fmt.Errorf("bitcoin: seed: %w", err)
	}
	for _, step := range []uint32{keyRoot, params.HDCoinType, uint32(p)} {
		if key, err = key.Derive(hdkeychain.HardenedKeyStart + step); err != nil {
			return nil, fmt.Errorf("bitcoin: derive key: %w", err)
		}
	}
	// Derive memoises the parent's public key. Done here, so that the branch is read-only afterwards
	// and safe for concurrent use.
	if _, err := key.ECPubKey(); err != nil {
		return nil, fmt.Errorf("bitcoin: derive key: %w", err)
	}
	return key, nil
}

func deriveKey(branch *hdkeychain.ExtendedKey, index uint32) (*keyPair, error) {
	if index >= hdkeychain.HardenedKeyStart {
		return nil, errors.New("bitcoin: key indexes end at 2147483647")
	}
	child, err := branch.Derive(hdkeychain.HardenedKeyStart + index)
	if err != nil {
		return nil, fmt.Errorf("bitcoin: derive key %d: %w", index, err)
	}
	priv, err := child.ECPrivKey()
	if err != nil {
		return nil, fmt.Errorf("bitcoin: derive key %d: %w", index, err)
	}
	return newKeyPair(priv), nil
}
