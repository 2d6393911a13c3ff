package hotkey_test

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"os"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/ledger/bitcoin/hotkey"
)

func key(t rapid.TB, b []byte) *btcec.PrivateKey {
	priv, _ := btcec.PrivKeyFromBytes(b)
	if priv.Key.IsZero() {
		t.Skip("not a secret")
	}
	return priv
}

func bytes32(t *rapid.T, name string) [32]byte {
	return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
}

// The library and this package must make the same signatures from the same randomness and judge every
// signature alike, valid or not.
func TestLikeTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret, message, aux := bytes32(t, "secret"), bytes32(t, "message"), bytes32(t, "aux")
		priv := key(t, secret[:])
		sig, err := hotkey.NewSigner(priv).Sign(message, aux)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := schnorr.Sign(priv, message[:], schnorr.CustomNonce(aux))
		if err != nil || !bytes.Equal(theirs.Serialize(), sig[:]) {
			t.Fatalf("signature %x, the library makes %x, %v", sig, theirs.Serialize(), err)
		}
		verifier := hotkey.NewVerifier(priv.PubKey())
		if !verifier.Verify(message, sig) {
			t.Fatal("the signature is not valid")
		}
		for range 20 {
			bad, text := sig, message
			at, flip := rapid.IntRange(0, 95).Draw(t, "at"), rapid.ByteRange(1, 255).Draw(t, "flip")
			if at < 64 {
				bad[at] ^= flip
			} else {
				text[at-64] ^= flip
			}
			if verifier.Verify(text, bad) || judge(priv.PubKey(), text, bad) {
				t.Fatalf("a signature altered at %d is taken", at)
			}
		}
	})
}

// judge is the library's opinion.
func judge(pub *btcec.PublicKey, message [32]byte, sig [64]byte) bool {
	parsed, err := schnorr.ParseSignature(sig[:])
	if err != nil {
		return false
	}
	even, err := schnorr.ParsePubKey(schnorr.SerializePubKey(pub))
	return err == nil && parsed.Verify(message[:], even)
}

// FuzzVerify hands the same signatures to both.
func FuzzVerify(f *testing.F) {
	priv, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{7}, 32))
	verifier := hotkey.NewVerifier(priv.PubKey())
	sig, err := hotkey.NewSigner(priv).Sign([32]byte{1}, [32]byte{2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{1}, sig[:])
	f.Add([]byte{2}, sig[:])
	f.Add([]byte{}, bytes.Repeat([]byte{0xff}, 64))
	f.Add([]byte{}, make([]byte, 64))
	f.Fuzz(func(t *testing.T, message, sig []byte) {
		var m [32]byte
		var s [64]byte
		copy(m[:], message)
		copy(s[:], sig)
		s2 := [32]byte(s[32:])
		var scalar btcec.ModNScalar
		if scalar.SetBytes(&s2) != 0 { // the library would reduce it
			if verifier.Verify(m, s) {
				t.Fatal("an s above the group order is taken")
			}
			return
		}
		if got, want := verifier.Verify(m, s), judge(priv.PubKey(), m, s); got != want {
			t.Fatalf("%v, the library says %v", got, want)
		}
	})
}

// R is the point at infinity, or s is not below the group order.
func TestNoSignatureWithoutNonce(t *testing.T) {
	priv, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{9}, 32))
	verifier := hotkey.NewVerifier(priv.PubKey())
	for _, s := range [][]byte{make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)} {
		var sig [64]byte
		copy(sig[32:], s)
		if verifier.Verify([32]byte{3}, sig) {
			t.Errorf("taken with s = %x", s)
		}
	}
}

func TestVectors(t *testing.T) {
	file, err := os.Open("../../../../shared/vectors/bip340.csv")
	if err != nil {
		t.Skip("the public vectors of BIP 340 are not there: ../shared/vectors/bip340.csv")
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) < 15 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows[1:] {
		secret, public, aux, message, sig := unhex(t, row[1]), unhex(t, row[2]), unhex(t, row[3]), unhex(t, row[4]), unhex(t, row[5])
		if len(message) != 32 {
			continue // messages here are digests
		}
		pub, err := schnorr.ParsePubKey(public)
		if err != nil {
			if row[6] == "TRUE" {
				t.Errorf("vector %s: %v", row[0], err)
			}
			continue
		}
		if got, want := hotkey.NewVerifier(pub).Verify([32]byte(message), [64]byte(sig)), row[6] == "TRUE"; got != want {
			t.Errorf("vector %s: %v (%s)", row[0], got, row[7])
		}
		if len(secret) > 0 {
			made, err := hotkey.NewSigner(key(t, secret)).Sign([32]byte(message), [32]byte(aux))
			if err != nil || !bytes.Equal(made[:], sig) {
				t.Errorf("vector %s: made %x, %v", row[0], made, err)
			}
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkSign(b *testing.B) {
	priv, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{7}, 32))
	s := hotkey.NewSigner(priv)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign([32]byte{1}, [32]byte{2}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	priv, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{7}, 32))
	sig, _ := hotkey.NewSigner(priv).Sign([32]byte{1}, [32]byte{2})
	v := hotkey.NewVerifier(priv.PubKey())
	b.ReportAllocs()
	for b.Loop() {
		if !v.Verify([32]byte{1}, sig) {
			b.Fatal("not valid")
		}
	}
}

func BenchmarkNewVerifier(b *testing.B) {
	priv, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{7}, 32))
	for b.Loop() {
		hotkey.NewVerifier(priv.PubKey())
	}
}
