package receipt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/receipt"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a lane with both its ends.
type pair struct {
	scheme       *bitcoin.Scheme
	payer, payee *bitcoin.Signer
	terms        channel.LaneTerms
}

func newPair(t testing.TB, network string) *pair {
	scheme, err := bitcoin.NewScheme(network)
	must(t, err)
	signer := func(name string) *bitcoin.Signer {
		h := sha256.Sum256([]byte(name))
		var n uint64
		s, err := bitcoin.NewSigner(scheme, append(h[:], h[:]...), func() [32]byte {
			n++
			return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), n))
		})
		must(t, err)
		return s
	}
	p := &pair{scheme: scheme, payer: signer("payer"), payee: signer("payee")}
	p.terms = channel.LaneTerms{Genesis: scheme.Genesis(), Expiry: 5000, Deposit: 100_000}
	p.terms.Payer, err = p.payer.PayerKey(3)
	must(t, err)
	p.terms.Refund, err = p.payer.RefundKey(3)
	must(t, err)
	p.terms.Payee, err = p.payee.PayeeKey(4)
	must(t, err)
	return p
}

// receipt makes one for a payment of a log of so many.
func (p *pair) receipt(t testing.TB, seq, size uint64) channel.Receipt {
	t.Helper()
	id := p.terms.ID()
	empty, err := receipt.NewTree(0, nil)
	must(t, err)
	prover, err := receipt.NewProver(empty, seq, size)
	must(t, err)
	root := channel.LogRoot{Lane: id, Size: size, Time: 1_800_000_000}
	for n := prover.Next(); n != 0; n = prover.Next() {
		pay, r := entry(n)
		must(t, prover.Append(receipt.Leaf(id, n, pay, r)))
		root.Hash = channel.LaneHash(root.Hash, id, n, pay, r)
		root.Total += pay.Amount
		if r == channel.Accepted {
			root.Spent += pay.Amount
		}
	}
	path, hash, err := prover.Path()
	must(t, err)
	root.Root = hash
	r := channel.Receipt{Network: p.scheme.Network(), Terms: p.terms, Seq: seq, Path: path, Checkpoint: p.sign(t, root)}
	r.Payment, r.Result = entry(seq)
	return r
}

func (p *pair) sign(t testing.TB, root channel.LogRoot) channel.Checkpoint {
	t.Helper()
	payee, err := p.payee.SignRoot(p.terms, ledger.LaneKeys{Lane: 4}, root)
	must(t, err)
	payer, err := p.payer.SignRoot(p.terms, ledger.LaneKeys{Lane: 3, Payer: true}, root)
	must(t, err)
	return channel.Checkpoint{LogRoot: root, Payee: payee, Payer: payer}
}

func TestReceipts(t *testing.T) {
	p := newPair(t, "simnet")
	for size := uint64(1); size <= 20; size++ {
		for seq := uint64(1); seq <= size; seq++ {
			r := p.receipt(t, seq, size)
			must(t, receipt.Verify(p.scheme, r))
			b, err := receipt.Marshal(r)
			must(t, err)
			back, err := receipt.Parse(b)
			must(t, err)
			if !reflect.DeepEqual(back, r) {
				t.Fatalf("read\n%+v\nwant\n%+v", back, r)
			}
		}
	}
}

// golden is a receipt as programs years ago wrote it.
func golden(t testing.TB) []byte {
	t.Helper()
	const path = "testdata/receipt.json"
	if *update {
		b, err := receipt.Marshal(newPair(t, "simnet").receipt(t, 5, 11))
		must(t, err)
		var pretty bytes.Buffer
		must(t, json.Indent(&pretty, b, "", "  "))
		must(t, os.WriteFile(path, append(pretty.Bytes(), '\n'), 0o644))
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func TestGolden(t *testing.T) {
	p := newPair(t, "simnet")
	r, err := receipt.Parse(golden(t))
	must(t, err)
	must(t, receipt.Verify(p.scheme, r))
	if want := p.receipt(t, 5, 11); !reflect.DeepEqual(want.Path, r.Path) || want.Checkpoint.LogRoot != r.Checkpoint.LogRoot || want.Terms != r.Terms {
		t.Errorf("read\n%+v\nmade today\n%+v", r, want)
	}
}

// TestEveryFieldCounts alters each value of the file in turn: no altered receipt may pass.
func TestEveryFieldCounts(t *testing.T) {
	p := newPair(t, "simnet")
	file := golden(t)
	fields := 0
	eachValue(t, file, func(name string, altered []byte) {
		fields++
		r, err := receipt.Parse(altered)
		if err == nil {
			err = receipt.Verify(p.scheme, r)
		}
		if err == nil {
			t.Errorf("%s can be altered:\n%s", name, altered)
		}
	})
	if fields < 3*20 {
		t.Errorf("only %d alterations were tried", fields)
	}
}

// eachValue calls try with every value of a JSON file altered in a few ways, and with every field left out.
func eachValue(t *testing.T, file []byte, try func(name string, altered []byte)) {
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	for i, line := range lines {
		text := strings.TrimRight(line, ",")
		comma := line[len(text):]
		name, value, field := strings.Cut(strings.TrimSpace(text), ": ")
		if !field {
			value = name
		}
		put := func(v string) {
			changed := append([]string(nil), lines...)
			changed[i] = strings.TrimSuffix(text, value) + v + comma
			try(fmt.Sprintf("%s as %s", name, v), []byte(strings.Join(changed, "\n")))
		}
		switch {
		case value == "" || strings.ContainsAny(value, "{}[]"):
			continue
		case strings.HasPrefix(value, `"`):
			last := len(value) - 2
			digit := "1"
			if value[last] == '1' {
				digit = "2"
			}
			put(value[:last] + digit + value[last+1:])
			put(`"` + value[2:])
			put(`""`)
			if up := strings.ToUpper(value); up != value {
				put(up)
			}
		default:
			put(value + "1")
			put("0")
			put("-" + value)
			put(`"` + value + `"`)
			put(value + ".0")
		}
		if field {
			put(value + ", " + name + ": " + value) // twice
			without := append(append([]string(nil), lines[:i]...), lines[i+1:]...)
			try(name+" left out", []byte(strings.Join(without, "\n")))
			changed := append([]string(nil), lines...)
			changed[i] = strings.Replace(line, name, strings.ToUpper(name), 1)
			try(name+" in capitals", []byte(strings.Join(changed, "\n")))
		}
	}
}

// What is well signed and still makes no receipt.
func TestForgeries(t *testing.T) {
	p := newPair(t, "simnet")
	resigned := func(change func(*channel.LogRoot)) channel.Receipt {
		r := p.receipt(t, 4, 11)
		root := r.Checkpoint.LogRoot
		change(&root)
		r.Checkpoint = p.sign(t, root)
		return r
	}
	other := newPair(t, "simnet")
	other.terms.Expiry++
	for name, r := range map[string]channel.Receipt{
		"another root":         resigned(func(r *channel.LogRoot) { r.Root[0] ^= 1 }),
		"larger log":           resigned(func(r *channel.LogRoot) { r.Size = 40 }),
		"spent above capacity": resigned(func(r *channel.LogRoot) { r.Total, r.Spent = 1<<40, 1<<39 }),
		"paid more than spent": resigned(func(r *channel.LogRoot) { r.Spent = 1 }),
		"signatures exchanged": func() channel.Receipt {
			r := p.receipt(t, 5, 11)
			c := &r.Checkpoint
			c.Payee, c.Payer = c.Payer, c.Payee
			return r
		}(),
		"another lane's terms":   func() channel.Receipt { r := p.receipt(t, 5, 11); r.Terms = other.terms; return r }(),
		"payer signed for both":  func() channel.Receipt { r := p.receipt(t, 5, 11); r.Checkpoint.Payee = r.Checkpoint.Payer; return r }(),
		"path of another":        func() channel.Receipt { r := p.receipt(t, 5, 11); r.Path = p.receipt(t, 6, 11).Path; return r }(),
		"path with one too many": func() channel.Receipt { r := p.receipt(t, 5, 11); r.Path = append(r.Path, receipt.Hash{}); return r }(),
		"no path":                func() channel.Receipt { r := p.receipt(t, 5, 11); r.Path = nil; return r }(),
	} {
		if err := receipt.Verify(p.scheme, r); !errors.Is(err, receipt.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	elsewhere, err := bitcoin.NewScheme("regtest")
	must(t, err)
	if err := receipt.Verify(elsewhere, p.receipt(t, 1, 1)); !errors.Is(err, receipt.ErrInvalid) {
		t.Errorf("on another network: %v", err)
	}
}

func TestNoReceipt(t *testing.T) {
	good := string(golden(t))
	for _, c := range []struct{ file, want string }{
		{"", "not a receipt"},
		{"{}", `its format is ""`},
		{"[]", "not a receipt"},
		{good + "{}", "not a receipt"},
		{strings.Replace(good, `"version": 1`, `"version": 2`, 1), "has version 2, this program knows 1"},
		{strings.Replace(good, `"network"`, `"more": 1, "network"`, 1), "unknown field"},
		{strings.Replace(good, "ref ", "ref\xff", 1), "not UTF-8"},
		{strings.Replace(good, `"seq": 5`, `"seq": 5, "seq": 5`, 1), "there twice"},
		{strings.Replace(good, `"seq": 5`, `"seq": 5e0`, 1), "not a receipt"},
		{strings.Repeat(" ", receipt.MaxFile) + good, "larger than 64 KiB"},
	} {
		if _, err := receipt.Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.file, err, c.want)
		}
	}
}

// FuzzParse: what is taken is written again in the same way, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(golden(f))
	f.Add([]byte(`{"format":"runnel-receipt","version":1,"path":["` + strings.Repeat("0", 64) + `"]}`))
	scheme := newPair(f, "simnet").scheme
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := receipt.Parse(b)
		if err != nil {
			return
		}
		again, err := receipt.Marshal(r)
		must(t, err)
		back, err := receipt.Parse(again)
		must(t, err)
		if !reflect.DeepEqual(back, r) {
			t.Errorf("read\n%+v\nwritten and read\n%+v", r, back)
		}
		_ = receipt.Verify(scheme, r)
	})
}
