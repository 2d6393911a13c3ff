package bitcoin

import (
	"bytes"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/address/v2/bech32"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/ledger"
)

// payable returns one script of each kind that can be paid.
func payable() map[string][]byte {
	zeros := make([]byte, 32)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	return map[string][]byte{
		"P2TR":   payout(1),
		"P2WPKH": join([]byte{0, 20}, zeros[:20]),
		"P2WSH":  join([]byte{0, 32}, zeros),
		"P2PKH":  join([]byte{0x76, 0xa9, 20}, zeros[:20], []byte{0x88, 0xac}),
		"P2SH":   join([]byte{0xa9, 20}, zeros[:20], []byte{0x87}),
	}
}

func TestAddressRoundTrip(t *testing.T) {
	for _, network := range Networks() {
		s, err := NewScheme(network)
		must(t, err)
		for kind, script := range payable() {
			text, err := s.Address(script)
			must(t, err)
			got, err := s.Script(text)
			must(t, err)
			if !bytes.Equal(got, script) {
				t.Errorf("%s %s: %x, want %x", network, kind, got, script)
			}
			if strings.HasPrefix(kind, "P2W") || kind == "P2TR" {
				got, err = s.Script(strings.ToUpper(text))
				must(t, err)
				if !bytes.Equal(got, script) {
					t.Errorf("%s %s in capitals: %x", network, kind, got)
				}
			}
		}
	}
}

func TestBadAddresses(t *testing.T) {
	regtest, err := NewScheme("regtest")
	must(t, err)
	mainnet, err := NewScheme("mainnet")
	must(t, err)
	good, err := regtest.Address(payout(1))
	must(t, err)
	foreign, err := mainnet.Address(payout(1))
	must(t, err)
	base58, err := mainnet.Address(payable()["P2PKH"])
	must(t, err)
	words, err := bech32.ConvertBits(make([]byte, 20), 8, 5, true)
	must(t, err)
	v1short, err := bech32.EncodeM("bcrt", append([]byte{1}, words...))
	must(t, err)
	anchor, err := address.NewAddressPayToAnchor(regtest.params)
	must(t, err)
	for name, text := range map[string]string{
		"empty":          "",
		"words":          "not an address",
		"other network":  foreign,
		"other base58":   base58,
		"check sum":      good[:len(good)-1] + "q",
		"mixed case":     strings.ToUpper(good[:10]) + good[10:],
		"cut":            good[:len(good)-2],
		"public key":     "02" + strings.Repeat("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", 1),
		"20 bytes of v1": v1short, // a careless decoder takes it for P2WPKH
		"anchor":         anchor.EncodeAddress(),
	} {
		if script, err := regtest.Script(text); err == nil {
			t.Errorf("%s: %q gave %x", name, text, script)
		} else {
			wantErr(t, err, ledger.ErrBadAddress)
		}
	}
	_, err = regtest.Script(foreign)
	if err == nil || !strings.Contains(err.Error(), "other than regtest") {
		t.Errorf("the error for another network does not name ours: %v", err)
	}
	for name, script := range map[string][]byte{
		"empty": nil, "data": {txscript.OP_RETURN, 1, 1}, "anchor": {0x51, 2, 0x4e, 0x73}, "true": {0x51},
		"bare key": append(append([]byte{33, 2}, payout(1)[2:]...), 0xac),
	} {
		if text, err := regtest.Address(script); err == nil {
			t.Errorf("%s: %q", name, text)
		} else {
			wantErr(t, err, ledger.ErrBadAddress)
		}
	}
}

// The limits of relay for the kinds that exist, at the default of 3 sat/vB.
func TestDust(t *testing.T) {
	for kind, want := range map[string]uint64{"P2TR": 330, "P2WPKH": 294, "P2WSH": 330, "P2PKH": 546, "P2SH": 540} {
		if got := dust(payable()[kind]); uint64(got) != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
}
