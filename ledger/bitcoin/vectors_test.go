package bitcoin

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
)

// vectors reads a file of public test vectors, which stand beside the repository, not in it.
func vectors(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "vectors", filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("test vectors %s are not beside the repository (../shared/vectors)", name)
	}
	must(t, err)
	return b
}

func vectorsJSON(t *testing.T, name string, into any) {
	t.Helper()
	must(t, json.Unmarshal(vectors(t, name), into))
}

// hexBytes is a hex string of a vector.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func TestVectorsBIP340(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(vectors(t, "bip340.csv"))).ReadAll()
	must(t, err)
	signed, verified := 0, 0
	for _, row := range rows[1:] {
		fields := make([][]byte, 6)
		for i := 1; i < 6; i++ { // secret, public, randomness, message, signature
			fields[i], err = hex.DecodeString(row[i])
			must(t, err)
		}
		secret, public, random, message, signature := fields[1], fields[2], fields[3], fields[4], row[5]
		if len(message) != 32 {
			continue // every message here is a digest
		}
		sig, err := hex.DecodeString(signature)
		must(t, err)
		if got, want := verifies(public, message, sig), row[6] == "TRUE"; got != want {
			t.Errorf("vector %s: verifies %v, want %v (%s)", row[0], got, want, row[7])
		}
		verified++
		if len(secret) == 0 {
			continue
		}
		priv, _ := btcec.PrivKeyFromBytes(secret)
		s := &Signer{random: func() [32]byte { return [32]byte(random) }}
		got, err := s.sign(newKeyPair(priv), [32]byte(message))
		must(t, err)
		if !bytes.Equal(got[:], sig) {
			t.Errorf("vector %s: signed %x", row[0], got)
		}
		signed++
	}
	if verified < 15 || signed < 4 {
		t.Errorf("only %d verified, %d signed", verified, signed)
	}
}

func verifies(public, message, signature []byte) bool {
	key, err := schnorr.ParsePubKey(public)
	if err != nil {
		return false
	}
	sig, err := parseSignature(signature)
	return err == nil && sig.Verify(message, key)
}

type tapNode struct {
	leaf        *tapLeafJSON
	left, right *tapNode
}

type tapLeafJSON struct {
	ID      int
	Script  hexBytes
	Version byte `json:"leafVersion"`
}

func (n *tapNode) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		pair := []**tapNode{&n.left, &n.right}
		return json.Unmarshal(b, &pair)
	}
	return json.Unmarshal(b, &n.leaf)
}

// visit calls f with every leaf and the path from it to the root, and returns the hash of n.
func (n *tapNode) visit(path []byte, f func(*tapLeafJSON, []byte)) [32]byte {
	if n.leaf != nil {
		f(n.leaf, path)
		return n.hash()
	}
	l, r := n.left.hash(), n.right.hash()
	n.left.visit(append(bytes.Clone(r[:]), path...), f)
	n.right.visit(append(bytes.Clone(l[:]), path...), f)
	return n.hash()
}

func (n *tapNode) hash() [32]byte {
	if n.leaf != nil {
		return txscript.NewTapLeaf(txscript.TapscriptLeafVersion(n.leaf.Version), n.leaf.Script).TapHash()
	}
	l, r := n.left.hash(), n.right.hash()
	if bytes.Compare(l[:], r[:]) > 0 {
		l, r = r, l
	}
	return channel.TaggedHash("TapBranch", append(l[:], r[:]...))
}

func TestVectorsBIP341Scripts(t *testing.T) {
	var v struct {
		ScriptPubKey []struct {
			Given struct {
				InternalPubkey hexBytes
				ScriptTree     *tapNode
			}
			Intermediary struct{ LeafHashes []hexBytes }
			Expected     struct {
				ScriptPubKey            hexBytes
				Bip350Address           string
				ScriptPathControlBlocks []hexBytes
			}
		}
	}
	vectorsJSON(t, "bip341_wallet.json", &v)
	mainnet, err := NewScheme("mainnet")
	must(t, err)
	if len(v.ScriptPubKey) < 7 {
		t.Fatalf("%d vectors", len(v.ScriptPubKey))
	}
	for i, c := range v.ScriptPubKey {
		internal, err := schnorr.ParsePubKey(c.Given.InternalPubkey)
		must(t, err)
		var root []byte
		if tree := c.Given.ScriptTree; tree != nil {
			h := tree.hash()
			root = h[:]
		}
		output := txscript.ComputeTaprootOutputKey(internal, root)
		script := taprootScript(output)
		if !bytes.Equal(script, c.Expected.ScriptPubKey) {
			t.Errorf("vector %d: script %x", i, script)
		}
		text, err := mainnet.Address(script)
		must(t, err)
		if text != c.Expected.Bip350Address {
			t.Errorf("vector %d: address %s", i, text)
		}
		if c.Given.ScriptTree == nil {
			continue
		}
		c.Given.ScriptTree.visit(nil, func(f *tapLeafJSON, path []byte) {
			if f.Version != byte(txscript.BaseLeafVersion) {
				return
			}
			if h := leafHash(f.Script); !bytes.Equal(h[:], c.Intermediary.LeafHashes[f.ID]) {
				t.Errorf("vector %d: leaf %d has hash %x", i, f.ID, h)
			}
			if got := controlBlock(internal, output, path); !bytes.Equal(got, c.Expected.ScriptPathControlBlocks[f.ID]) {
				t.Errorf("vector %d: leaf %d has control block %x", i, f.ID, got)
			}
		})
	}
}

// The library's key path digests and our signatures over them.
func TestVectorsBIP341KeyPath(t *testing.T) {
	var v struct {
		KeyPathSpending []struct {
			Given struct {
				RawUnsignedTx hexBytes
				UtxosSpent    []struct {
					ScriptPubKey hexBytes
					AmountSats   int64
				}
			}
			InputSpending []struct {
				Given struct {
					TxinIndex int
					HashType  txscript.SigHashType
				}
				Intermediary struct{ TweakedPrivkey, SigHash hexBytes }
				Expected     struct{ Witness []hexBytes }
			}
		}
	}
	vectorsJSON(t, "bip341_wallet.json", &v)
	s := &Signer{random: func() [32]byte { return [32]byte{} }}
	done := 0
	for _, c := range v.KeyPathSpending {
		tx := decode(t, c.Given.RawUnsignedTx)
		prev := make(spent)
		for i, out := range c.Given.UtxosSpent {
			prev[tx.TxIn[i].PreviousOutPoint] = wire.NewTxOut(out.AmountSats, out.ScriptPubKey)
		}
		fetcher := prev.fetcher()
		hashes := txscript.NewTxSigHashes(tx, fetcher)
		for _, in := range c.InputSpending {
			digest, err := txscript.CalcTaprootSignatureHash(hashes, in.Given.HashType, tx, in.Given.TxinIndex, fetcher)
			must(t, err)
			if !bytes.Equal(digest, in.Intermediary.SigHash) {
				t.Errorf("input %d: digest %x", in.Given.TxinIndex, digest)
			}
			priv, _ := btcec.PrivKeyFromBytes(in.Intermediary.TweakedPrivkey)
			sig, err := s.sign(newKeyPair(priv), [32]byte(digest))
			must(t, err)
			if !bytes.Equal(sig[:], in.Expected.Witness[0][:64]) {
				t.Errorf("input %d: signature %x", in.Given.TxinIndex, sig)
			}
			done++
		}
	}
	if done < 7 {
		t.Errorf("only %d inputs", done)
	}
}

// pick parses the keys with the given indexes.
func pick(keys []hexBytes, indexes []int) ([]*btcec.PublicKey, error) {
	var picked []*btcec.PublicKey
	for _, i := range indexes {
		if len(keys[i]) != 33 {
			return nil, errors.New("not 33 bytes")
		}
		key, err := btcec.ParsePubKey(keys[i])
		if err != nil {
			return nil, err
		}
		picked = append(picked, key)
	}
	return picked, nil
}

func TestVectorsBIP327Keys(t *testing.T) {
	var order struct {
		SortedPubkeys []hexBytes `json:"sorted_pubkeys"`
	}
	vectorsJSON(t, "bip327/key_sort_vectors.json", &order)
	for i := range order.SortedPubkeys[1:] {
		pair, err := pick(order.SortedPubkeys, []int{i, i + 1})
		must(t, err)
		for _, sorted := range [][]*btcec.PublicKey{keySort(pair[0], pair[1]), keySort(pair[1], pair[0])} {
			if !sorted[0].IsEqual(pair[0]) || !sorted[1].IsEqual(pair[1]) {
				t.Errorf("pair %d is sorted wrongly", i)
			}
		}
	}
	var agg struct {
		Pubkeys []hexBytes
		Valid   []struct {
			KeyIndices []int `json:"key_indices"`
			Expected   hexBytes
		} `json:"valid_test_cases"`
		Bad []struct {
			KeyIndices   []int `json:"key_indices"`
			TweakIndices []int `json:"tweak_indices"`
			Comment      string
		} `json:"error_test_cases"`
	}
	vectorsJSON(t, "bip327/key_agg_vectors.json", &agg)
	for i, c := range agg.Valid {
		keys, err := pick(agg.Pubkeys, c.KeyIndices)
		must(t, err)
		key, err := keyAgg(keys)
		must(t, err)
		if got := schnorr.SerializePubKey(key); !bytes.Equal(got, c.Expected) {
			t.Errorf("vector %d: aggregate %x", i, got)
		}
	}
	for _, c := range agg.Bad {
		if len(c.TweakIndices) > 0 {
			continue // the only tweak here is taproot's
		}
		if _, err := pick(agg.Pubkeys, c.KeyIndices); err == nil {
			t.Errorf("accepted: %s", c.Comment)
		}
	}
}

func TestVectorsBIP327Nonces(t *testing.T) {
	var v struct {
		Pnonces []hexBytes
		Valid   []struct {
			Indices  []int `json:"pnonce_indices"`
			Expected hexBytes
		} `json:"valid_test_cases"`
		Bad []struct {
			Indices []int `json:"pnonce_indices"`
			Error   struct{ Signer int }
			Comment string
		} `json:"error_test_cases"`
	}
	vectorsJSON(t, "bip327/nonce_agg_vectors.json", &v)
	for i, c := range v.Valid {
		var nonces [][66]byte
		for _, n := range c.Indices {
			must(t, checkNonce([66]byte(v.Pnonces[n])))
			nonces = append(nonces, [66]byte(v.Pnonces[n]))
		}
		got, err := musig2.AggregateNonces(nonces)
		must(t, err)
		if !bytes.Equal(got[:], c.Expected) {
			t.Errorf("vector %d: nonce %x", i, got)
		}
	}
	for _, c := range v.Bad {
		if checkNonce([66]byte(v.Pnonces[c.Indices[c.Error.Signer]])) == nil {
			t.Errorf("accepted: %s", c.Comment)
		}
	}
}

func TestVectorsBIP327Signatures(t *testing.T) {
	var v struct {
		SK        hexBytes
		Pubkeys   []hexBytes
		Secnonces []hexBytes
		Pnonces   []hexBytes
		Aggnonces []hexBytes
		Msgs      []hexBytes
		Valid     []struct {
			Keys     []int `json:"key_indices"`
			Nonces   []int `json:"nonce_indices"`
			Agg      int   `json:"aggnonce_index"`
			Msg      int   `json:"msg_index"`
			Signer   int   `json:"signer_index"`
			Expected hexBytes
		} `json:"valid_test_cases"`
		Fail []struct {
			Sig     hexBytes
			Keys    []int `json:"key_indices"`
			Nonces  []int `json:"nonce_indices"`
			Msg     int   `json:"msg_index"`
			Signer  int   `json:"signer_index"`
			Comment string
		} `json:"verify_fail_test_cases"`
	}
	vectorsJSON(t, "bip327/sign_verify_vectors.json", &v)
	priv, _ := btcec.PrivKeyFromBytes(v.SK)
	done := 0
	for i, c := range v.Valid {
		if len(v.Msgs[c.Msg]) != 32 {
			continue
		}
		keys, err := pick(v.Pubkeys, c.Keys)
		must(t, err)
		sig, err := musig2.Sign([97]byte(v.Secnonces[0]), priv, [66]byte(v.Aggnonces[c.Agg]), keys, [32]byte(v.Msgs[c.Msg]))
		must(t, err)
		if got := sig.S.Bytes(); !bytes.Equal(got[:], c.Expected) {
			t.Errorf("vector %d: partial signature %x", i, got)
		}
		done++
	}
	if done < 4 {
		t.Errorf("only %d signed", done)
	}
	for _, c := range v.Fail {
		keys, err := pick(v.Pubkeys, c.Keys)
		must(t, err)
		var nonces [][66]byte
		for _, n := range c.Nonces {
			nonces = append(nonces, [66]byte(v.Pnonces[n]))
		}
		agg, err := musig2.AggregateNonces(nonces)
		must(t, err)
		var s btcec.ModNScalar
		overflow := s.SetByteSlice(c.Sig)
		sig := musig2.NewPartialSignature(&s, nil)
		if !overflow && sig.Verify(nonces[c.Signer], agg, keys, keys[c.Signer], [32]byte(v.Msgs[c.Msg])) {
			t.Errorf("accepted: %s", c.Comment)
		}
	}
}

func TestVectorsBIP327Tweaks(t *testing.T) {
	var v struct {
		SK       hexBytes
		Pubkeys  []hexBytes
		Secnonce hexBytes
		Aggnonce hexBytes
		Tweaks   []hexBytes
		Msg      hexBytes
		Valid    []struct {
			Keys     []int  `json:"key_indices"`
			Tweaks   []int  `json:"tweak_indices"`
			XOnly    []bool `json:"is_xonly"`
			Expected hexBytes
			Comment  string
		} `json:"valid_test_cases"`
	}
	vectorsJSON(t, "bip327/tweak_vectors.json", &v)
	priv, _ := btcec.PrivKeyFromBytes(v.SK)
	for _, c := range v.Valid {
		keys, err := pick(v.Pubkeys, c.Keys)
		must(t, err)
		var tweaks []musig2.KeyTweakDesc
		for i, n := range c.Tweaks {
			tweaks = append(tweaks, musig2.KeyTweakDesc{Tweak: [32]byte(v.Tweaks[n]), IsXOnly: c.XOnly[i]})
		}
		sig, err := musig2.Sign([97]byte(v.Secnonce), priv, [66]byte(v.Aggnonce), keys, [32]byte(v.Msg), musig2.WithTweaks(tweaks...))
		must(t, err)
		if got := sig.S.Bytes(); !bytes.Equal(got[:], c.Expected) {
			t.Errorf("%s: partial signature %x", c.Comment, got)
		}
	}
	if len(v.Valid) < 5 || !strings.Contains(v.Valid[0].Comment, "x-only") {
		t.Errorf("%d vectors", len(v.Valid))
	}
}

func TestVectorsBIP327Aggregation(t *testing.T) {
	var v struct {
		Pubkeys []hexBytes
		Tweaks  []hexBytes
		Psigs   []hexBytes
		Msg     hexBytes
		Valid   []struct {
			Aggnonce hexBytes
			Keys     []int  `json:"key_indices"`
			Tweaks   []int  `json:"tweak_indices"`
			XOnly    []bool `json:"is_xonly"`
			Psigs    []int  `json:"psig_indices"`
			Expected hexBytes
		} `json:"valid_test_cases"`
		Bad []struct {
			Psigs []int `json:"psig_indices"`
			Error struct{ Signer int }
		} `json:"error_test_cases"`
	}
	vectorsJSON(t, "bip327/sig_agg_vectors.json", &v)
	for i, c := range v.Valid {
		keys, err := pick(v.Pubkeys, c.Keys)
		must(t, err)
		var tweaks []musig2.KeyTweakDesc
		for j, n := range c.Tweaks {
			tweaks = append(tweaks, musig2.KeyTweakDesc{Tweak: [32]byte(v.Tweaks[n]), IsXOnly: c.XOnly[j]})
		}
		agg, _, _, err := musig2.AggregateKeys(keys, false, musig2.WithKeyTweaks(tweaks...))
		must(t, err)
		var partials []*musig2.PartialSignature
		for _, n := range c.Psigs {
			partial, err := parsePartial([32]byte(v.Psigs[n]))
			must(t, err)
			partials = append(partials, partial)
		}
		nonce := signingNonce(t, c.Aggnonce, agg.FinalKey, v.Msg)
		sig := musig2.CombineSigs(nonce, partials, musig2.WithTweakedCombine([32]byte(v.Msg), keys, tweaks, false))
		if got := sig.Serialize(); !bytes.Equal(got, c.Expected) {
			t.Errorf("vector %d: signature %x", i, got)
		}
	}
	for _, c := range v.Bad {
		if _, err := parsePartial([32]byte(v.Psigs[c.Psigs[c.Error.Signer]])); err == nil {
			t.Error("a partial signature above the group order was accepted")
		}
	}
}

// signingNonce is R1 + b*R2 of BIP 327.
func signingNonce(t *testing.T, agg []byte, key *btcec.PublicKey, msg []byte) *btcec.PublicKey {
	t.Helper()
	hash := channel.TaggedHash("MuSig/noncecoef", bytes.Join([][]byte{agg, schnorr.SerializePubKey(key), msg}, nil))
	var b btcec.ModNScalar
	b.SetBytes(&hash)
	r1, err := btcec.ParseJacobian(agg[:33])
	must(t, err)
	r2, err := btcec.ParseJacobian(agg[33:])
	must(t, err)
	var sum btcec.JacobianPoint
	btcec.ScalarMultNonConst(&b, &r2, &r2)
	btcec.AddNonConst(&r1, &r2, &sum)
	sum.ToAffine()
	return btcec.NewPublicKey(&sum.X, &sum.Y)
}
