package channel_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

func TestSatCeil(t *testing.T) {
	for _, c := range []struct {
		msat channel.Msat
		sat  channel.Sat
	}{
		{0, 0}, {1, 1}, {999, 1}, {1000, 1}, {1001, 2}, {1_999, 2}, {2_000, 2},
		{2_100_000_000_000_000_000, channel.MaxMoney}, {2_100_000_000_000_000_001, channel.MaxMoney + 1},
		{math.MaxUint64 - 615, 18_446_744_073_709_551}, {math.MaxUint64 - 614, 18_446_744_073_709_552}, {math.MaxUint64, 18_446_744_073_709_552},
	} {
		if got := c.msat.SatCeil(); got != c.sat {
			t.Errorf("%d msat are %d sat, want %d", c.msat, got, c.sat)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := channel.Msat(rapid.Uint64Max(math.MaxUint64/2).Draw(t, "msat"))
		if up := channel.Msat(m.SatCeil()) * 1000; up < m || up-m > 999 {
			t.Fatalf("%d msat are %d sat", m, m.SatCeil())
		}
	})
}

func TestSatToMsat(t *testing.T) {
	if m, ok := channel.MaxMoney.Msat(); !ok || m != 2_100_000_000_000_000_000 {
		t.Errorf("all money is %d, %v", m, ok)
	}
	if m, ok := (channel.MaxMoney + 1).Msat(); ok || m != 0 {
		t.Errorf("more than all money is %d, %v", m, ok)
	}
}

func TestCapacity(t *testing.T) {
	for deposit, want := range map[channel.Sat]channel.Msat{
		0: 0, 1: 0, 999: 0, 1_000: 0, 1_001: 1_000, 20_000: 19_000_000,
		channel.MaxMoney: 2_099_999_999_999_000_000, channel.MaxMoney + 1: 0, math.MaxUint64: 0,
	} {
		terms := channel.LaneTerms{Deposit: deposit}
		if got := terms.Capacity(); got != want || terms.Exists() != (deposit > 0) {
			t.Errorf("%d sat carry %d msat, want %d", deposit, got, want)
		}
	}
}

func goldenTerms() (terms channel.LaneTerms) {
	for i := range terms.Genesis {
		terms.Genesis[i] = byte(i)
	}
	fill := func(k *channel.Key, first, rest byte) {
		for i := range k {
			k[i] = rest
		}
		k[0] = first
	}
	fill(&terms.Payer, 2, 0x11)
	fill(&terms.Payee, 3, 0x22)
	fill(&terms.Refund, 2, 0x33)
	terms.Expiry, terms.Deposit = 845_000, 1_000_000
	return terms
}

// The ids and hashes below were computed by a few lines in another language: two nodes that differ in a
// byte of them can't pay each other.
func TestGoldenIDs(t *testing.T) {
	terms := goldenTerms()
	nonce := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	one := channel.LaneHash([32]byte{}, terms.ID(), 1, channel.Payment{ID: nonce, Amount: 1500, Ref: "coffee"}, channel.Accepted)
	id := channel.PaymentID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	two := channel.LaneHash(one, terms.ID(), 2, channel.Payment{ID: id, Amount: 1 << 53}, channel.RefusedDisk)
	empty := channel.TaggedHash("BIP0340/challenge", nil)
	for _, c := range []struct{ name, got, want string }{
		{"lane", terms.ID().String(), "e3677a2aea2c1ab82b5873abe0df382420e77e47fa3458df7245ae7a143c16ec"},
		{"channel", channel.NewID("alice", "bob", nonce).String(), "d62b061740d8e68d8bfe3302b5aa471fb09b31a052474770f001022e3f1ebd6b"},
		{"channel, other order", channel.NewID("bob", "alice", nonce).String(), "d62b061740d8e68d8bfe3302b5aa471fb09b31a052474770f001022e3f1ebd6b"},
		{"first payment", hex.EncodeToString(one[:]), "c2cedd903d0dad5ddf0e7e47cf6bbda4cbe10c00d491f520c27f47340c79c7ff"},
		{"second payment", hex.EncodeToString(two[:]), "db1e911dcd1d44c7426c7408ee0aebeee4823367753f1f5ae7e963aae09858df"},
		{"tag", hex.EncodeToString(empty[:]), "c216d352f5818b7b4beacd4ae0a26fe888080823d2a598856661bcd54f1b3713"},
		{"payment", id.String(), "0102030405060708090a0b0c0d0e0f10"},
		{"transaction", channel.TxIDString([32]byte{0xab, 31: 0xcd}), "cd" + strings.Repeat("00", 30) + "ab"},
		{"no transaction", channel.TxIDString([32]byte{}), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.name, c.got, c.want)
		}
	}
}

// Every field counts.
func TestIDsDiffer(t *testing.T) {
	seen := map[string]string{}
	add := func(name string, id fmt.Stringer) {
		if other, ok := seen[id.String()]; ok {
			t.Errorf("%s has the id of %s", name, other)
		}
		seen[id.String()] = name
	}
	for name, change := range map[string]func(*channel.LaneTerms){
		"nothing": func(*channel.LaneTerms) {}, "genesis": func(l *channel.LaneTerms) { l.Genesis[31]++ }, "payer": func(l *channel.LaneTerms) { l.Payer[32]++ },
		"payee": func(l *channel.LaneTerms) { l.Payee[32]++ }, "refund": func(l *channel.LaneTerms) { l.Refund[32]++ },
		"expiry": func(l *channel.LaneTerms) { l.Expiry++ }, "deposit": func(l *channel.LaneTerms) { l.Deposit++ },
		"payer and payee": func(l *channel.LaneTerms) { l.Payer, l.Payee = l.Payee, l.Payer },
	} {
		terms := goldenTerms()
		change(&terms)
		add(name, terms.ID())
	}
	add("ab, c", channel.NewID("ab", "c", [16]byte{}))
	add("a, bc", channel.NewID("a", "bc", [16]byte{}))
	add("abc, nobody", channel.NewID("abc", "", [16]byte{}))
	add("other nonce", channel.NewID("ab", "c", [16]byte{1}))

	p := channel.Payment{ID: channel.PaymentID{1}, Amount: 1, Ref: "r"}
	hash := func(name string, seq uint64, p channel.Payment, r channel.RefuseReason) {
		add("hash with "+name, channel.ID(channel.LaneHash([32]byte{}, channel.LaneID{}, seq, p, r)))
	}
	hash("nothing", 1, p, 0)
	hash("seq", 2, p, 0)
	hash("result", 1, p, 1)
	hash("id", 1, channel.Payment{ID: channel.PaymentID{2}, Amount: 1, Ref: "r"}, 0)
	hash("amount", 1, channel.Payment{ID: channel.PaymentID{1}, Amount: 2, Ref: "r"}, 0)
	hash("ref", 1, channel.Payment{ID: channel.PaymentID{1}, Amount: 1, Ref: "s"}, 0)
}

func TestCheckPayment(t *testing.T) {
	all, _ := channel.MaxMoney.Msat()
	for name, c := range map[string]struct {
		p  channel.Payment
		ok bool
	}{
		"nothing": {channel.Payment{}, false}, "the least": {channel.Payment{Amount: 1}, true},
		"all money": {channel.Payment{Amount: all}, true}, "more": {channel.Payment{Amount: all + 1}, false},
		"longest ref": {channel.Payment{Amount: 1, Ref: strings.Repeat("é", 32)}, true}, "too long": {channel.Payment{Amount: 1, Ref: strings.Repeat("a", 65)}, false},
	} {
		if err := channel.CheckPayment(c.p); (err == nil) != c.ok || err != nil && !errors.Is(err, channel.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrors(t *testing.T) {
	_, _, err := channel.Step(open(t), channel.Pay{})
	wrapped := fmt.Errorf("outer: %w", err)
	if !errors.Is(wrapped, channel.KindInvalid) || errors.Is(wrapped, channel.KindCapacity) || channel.KindOf(wrapped) != channel.KindInvalid {
		t.Errorf("%v is %s", wrapped, channel.KindOf(wrapped))
	}
	if channel.KindOf(errors.New("other")) != 0 || channel.KindOf(nil) != 0 {
		t.Error("a kind from nowhere")
	}
}
