package bitcoin

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

func TestNetworks(t *testing.T) {
	seen := make(map[[32]byte]string)
	for _, name := range Networks() {
		s, err := NewScheme(name)
		must(t, err)
		if s.Network() != name {
			t.Errorf("%s calls itself %s", name, s.Network())
		}
		if other, ok := seen[s.Genesis()]; ok {
			t.Errorf("%s and %s have the same genesis block", name, other)
		}
		seen[s.Genesis()] = name
	}
	if seen[*chaincfg.MainNetParams.GenesisHash] != "mainnet" {
		t.Error("mainnet has another genesis block")
	}
	_, err := NewScheme("testnet")
	if err == nil {
		t.Fatal("testnet was accepted")
	}
	for _, name := range Networks() {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not offer %s", err, name)
		}
	}
}

// The paths of the table in keys.go, walked step by step.
func TestKeyPaths(t *testing.T) {
	p := newPair(t)
	walk := func(purpose, index uint32) channel.Key {
		key, err := hdkeychain.NewMaster(testSeed(1), &chaincfg.RegressionNetParams)
		must(t, err)
		for _, step := range []uint32{8402, 1, purpose, index} {
			key, err = key.Derive(step + 1<<31)
			must(t, err)
		}
		pub, err := key.ECPubKey()
		must(t, err)
		return channel.Key(pub.SerializeCompressed())
	}
	for _, index := range []uint32{0, 7, 1<<31 - 1} {
		for purpose, get := range map[uint32]func(uint32) (channel.Key, error){
			1: p.payer.PayerKey, 2: p.payer.PayeeKey, 3: p.payer.RefundKey,
		} {
			got, err := get(index)
			must(t, err)
			if got != walk(purpose, index) {
				t.Errorf("purpose %d, index %d: another key", purpose, index)
			}
		}
	}
	if _, err := p.payer.PayerKey(1 << 31); err == nil {
		t.Error("an index above the hardened range was accepted")
	}
	id, err := IdentityKey(testSeed(1), "regtest")
	must(t, err)
	_, pub := btcec.PrivKeyFromBytes(id[:])
	if channel.Key(pub.SerializeCompressed()) != walk(0, 0) {
		t.Error("identity: another key")
	}
}

func TestSecretsDiffer(t *testing.T) {
	seen := make(map[[32]byte]string)
	add := func(name string, secret [32]byte, err error) {
		must(t, err)
		if other, ok := seen[secret]; ok {
			t.Errorf("%s and %s share a secret", name, other)
		}
		seen[secret] = name
	}
	for _, seed := range []byte{1, 2} {
		for _, network := range []string{"mainnet", "signet", "regtest"} {
			name := network + string('0'+seed)
			secret, err := StoreKey(testSeed(seed), network)
			add("store "+name, secret, err)
			secret, err = JournalKey(testSeed(seed), network)
			add("journal "+name, secret, err)
			k, err := newSealKeys(testSeed(seed), network)
			add("mac "+name, k.mac, err)
			add("enc "+name, k.enc, err)
		}
		secret, err := IdentityKey(testSeed(seed), "mainnet")
		add("identity "+string('0'+seed), secret, err)
	}
	again, err := StoreKey(testSeed(1), "regtest")
	must(t, err)
	if seen[again] != "store regtest1" {
		t.Error("the store key is not a function of seed and network")
	}
}

func TestBadSeeds(t *testing.T) {
	scheme, err := NewScheme("regtest")
	must(t, err)
	for _, seed := range [][]byte{nil, make([]byte, 32), make([]byte, 65)} {
		if _, err := NewSigner(scheme, seed, SystemRandom); err == nil {
			t.Errorf("a seed of %d bytes was accepted", len(seed))
		}
		if _, err := IdentityKey(seed, "regtest"); err == nil {
			t.Errorf("identity: a seed of %d bytes was accepted", len(seed))
		}
	}
	if _, err := StoreKey(testSeed(1), "moonnet"); err == nil {
		t.Error("an unknown network was accepted")
	}
	if _, err := NewSigner(scheme, testSeed(1), nil); err == nil {
		t.Error("a signer without randomness was made")
	}
	if _, err := NewSigner(nil, testSeed(1), SystemRandom); err == nil {
		t.Error("a signer without scheme was made")
	}
	if a, b := SystemRandom(), SystemRandom(); a == b || a == [32]byte{} {
		t.Error("the system's randomness is not random")
	}
}

func TestLaneSecret(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 4, 50_000)
	ours := ledger.LaneKeys{Lane: 4, Payer: true}
	theirs := ledger.LaneKeys{Lane: 4}
	a, err := p.payer.LaneSecret(lane.Terms, ours, "http")
	must(t, err)
	b, err := p.payee.LaneSecret(lane.Terms, theirs, "http")
	must(t, err)
	if a != b || a == [32]byte{} {
		t.Fatal("the ends of the lane derive different secrets")
	}
	other, err := p.payer.LaneSecret(lane.Terms, ours, "draw")
	must(t, err)
	longer := lane.Terms
	longer.Expiry++
	renewed, err := p.payer.LaneSecret(longer, ours, "http")
	must(t, err)
	if other == a || renewed == a || renewed == other {
		t.Error("secrets of other purposes or lanes are the same")
	}
	if _, err := p.payer.LaneSecret(lane.Terms, ours, ""); err == nil {
		t.Error("a secret without purpose was made")
	}
	_, err = p.payer.LaneSecret(lane.Terms, ledger.LaneKeys{Lane: 5, Payer: true}, "http")
	wantErr(t, err, ledger.ErrBadTerms)
	_, err = p.payer.LaneSecret(lane.Terms, theirs, "http")
	wantErr(t, err, ledger.ErrBadTerms)
}

// Concurrent use derives, caches and signs without a race and with the same keys.
func TestSignerConcurrently(t *testing.T) {
	scheme, err := NewScheme("regtest")
	must(t, err)
	signer, err := NewSigner(scheme, testSeed(1), SystemRandom)
	must(t, err)
	p := newPair(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range uint32(8) {
				lane := p.lane(t, n, 50_000)
				sig, err := signer.SignVoucher(lane, n, 1234)
				if err == nil {
					err = scheme.VerifyVoucher(lane, 1234, sig)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int, int](10)
	for i := range 1000 {
		c.put(i, i)
		if v, ok := c.get(0); ok && v != 0 {
			t.Fatal("wrong value")
		}
		if v, ok := c.get(i); !ok || v != i {
			t.Fatal("the newest entry is gone")
		}
	}
	if _, ok := c.get(0); !ok {
		t.Error("an entry in constant use was dropped")
	}
	if _, ok := c.get(500); ok {
		t.Error("an entry out of use was kept")
	}
	if c.len() > 20 {
		t.Errorf("%d entries", c.len())
	}
}

// The library sorts the slice of keys that it is given; cached lanes must not notice.
func TestSignersKeepTheirOrder(t *testing.T) {
	p := newPair(t)
	for n := range uint32(8) {
		lane := p.lane(t, n, 50_000)
		l, err := p.scheme.scripts(lane.Terms)
		must(t, err)
		if bytes.Compare(l.signers[0].SerializeCompressed(), l.signers[1].SerializeCompressed()) >= 0 {
			t.Error("the keys are not sorted")
		}
		_, err = p.payer.NewClose([]ledger.CloseLane{{Lane: lane, Keys: ledger.LaneKeys{Lane: n, Payer: true}}},
			[]ledger.Output{{Script: payout(1), Value: 40_000}})
		must(t, err)
		if !l.signers[0].IsEqual(keySort(l.payee, l.payer)[0]) {
			t.Error("a close changed the order of the cached keys")
		}
	}
}
