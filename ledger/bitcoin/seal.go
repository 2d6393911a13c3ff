package bitcoin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// A recovery seal is an OP_RETURN output of 61 bytes:
//
//	"rnl" | version 1 | 16-byte tag | encrypted: payee key (33), u32 expiry, u32 index, big-endian
//
// The tag is HMAC-SHA256 over anchor, head and plain text, cut to 16 bytes, and also the initial counter
// of AES-256-CTR (a synthetic IV, as in RFC 5297): two lanes sealed under the same anchor, as when a
// funding transaction is replaced, still share no key stream. Both keys come from the seed.
const (
	sealHead  = "rnl\x01"
	sealTag   = 16
	sealPlain = 33 + 4 + 4
	sealSize  = len(sealHead) + sealTag + sealPlain
)

type sealKeys struct{ mac, enc [32]byte }

func newSealKeys(seed []byte, network string) (k sealKeys, err error) {
	if k.mac, err = namedSecret(seed, network, purposeSeal, "seal/mac"); err != nil {
		return k, err
	}
	k.enc, err = namedSecret(seed, network, purposeSeal, "seal/enc")
	return k, err
}

// SealRecovery makes the script of an unspendable output from which OpenRecovery reads r again. anchor
// is the first input of the funding transaction.
func (s *Signer) SealRecovery(r ledger.Recovery, anchor channel.Outpoint) ([]byte, error) {
	if err := checkRecovery(r); err != nil {
		return nil, err
	}
	plain := make([]byte, 0, sealPlain)
	plain = append(plain, r.Payee[:]...)
	plain = binary.BigEndian.AppendUint32(plain, r.Expiry)
	plain = binary.BigEndian.AppendUint32(plain, r.Index)
	tag := s.seal.tag(anchor, plain)
	if err := s.seal.xor(tag, plain); err != nil {
		return nil, err
	}
	script := append([]byte{txscript.OP_RETURN, byte(sealSize)}, sealHead...)
	script = append(script, tag...)
	return append(script, plain...), nil
}

// OpenRecovery reads what SealRecovery wrote. ErrNotFound: the script is no seal of this seed, network
// and anchor.
func (s *Signer) OpenRecovery(script []byte, anchor channel.Outpoint) (ledger.Recovery, error) {
	head := string([]byte{txscript.OP_RETURN, byte(sealSize)}) + sealHead
	if len(script) != 2+sealSize || string(script[:len(head)]) != head {
		return ledger.Recovery{}, notFound("no recovery seal")
	}
	tag := script[len(head) : len(head)+sealTag]
	plain := append([]byte(nil), script[len(head)+sealTag:]...)
	if err := s.seal.xor(tag, plain); err != nil {
		return ledger.Recovery{}, err
	}
	if !hmac.Equal(tag, s.seal.tag(anchor, plain)) {
		return ledger.Recovery{}, notFound("the recovery seal is not ours")
	}
	r := ledger.Recovery{
		Payee:  channel.Key(plain[:33]),
		Expiry: binary.BigEndian.Uint32(plain[33:37]),
		Index:  binary.BigEndian.Uint32(plain[37:]),
	}
	return r, checkRecovery(r)
}

func checkRecovery(r ledger.Recovery) error {
	if _, err := btcec.ParsePubKey(r.Payee[:]); err != nil {
		return badTerms("the payee key is not a point of the curve")
	}
	if r.Expiry == 0 || r.Expiry >= maxHeightLock {
		return badTerms("expiry %d is not a block height", r.Expiry)
	}
	if r.Index >= hdkeychain.HardenedKeyStart {
		return badTerms("key indexes end at 2147483647")
	}
	return nil
}

func notFound(text string) error { return fmt.Errorf("%w: %s", ledger.ErrNotFound, text) }

func (k *sealKeys) tag(anchor channel.Outpoint, plain []byte) []byte {
	h := hmac.New(sha256.New, k.mac[:])
	h.Write(anchor.TxID[:])
	h.Write(binary.BigEndian.AppendUint32(nil, anchor.Index))
	h.Write([]byte(sealHead))
	h.Write(plain)
	return h.Sum(nil)[:sealTag]
}

// xor encrypts or decrypts b in place.
func (k *sealKeys) xor(tag, b []byte) error {
	block, err := aes.NewCipher(k.enc[:])
	if err != nil {
		return fmt.Errorf("bitcoin: recovery seal: %w", err)
	}
	cipher.NewCTR(block, tag).XORKeyStream(b, b)
	return nil
}
