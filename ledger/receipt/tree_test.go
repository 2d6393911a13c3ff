package receipt_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/receipt"
)

// naive is the definition of RFC 6962, 2.1, word for word.
func naive(entries [][]byte) receipt.Hash {
	switch n := len(entries); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, entries[0]...))
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := naive(entries[:k]), naive(entries[k:])
		return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
	}
}

var lane = channel.LaneID{7}

// entry is payment number seq of a log, every third one refused.
func entry(seq uint64) (channel.Payment, channel.RefuseReason) {
	p := channel.Payment{Amount: channel.Msat(seq), Ref: fmt.Sprint("ref ", seq%50)}
	binary.BigEndian.PutUint64(p.ID[:], seq)
	return p, channel.RefuseReason(seq % 3 / 2)
}

func leaf(seq uint64) receipt.Hash {
	p, r := entry(seq)
	return receipt.Leaf(lane, seq, p, r)
}

func encoded(n uint64) (list [][]byte) {
	for seq := uint64(1); seq <= n; seq++ {
		p, r := entry(seq)
		b := channel.LogLeaf(lane, seq, p, r)
		list = append(list, b[:])
	}
	return list
}

// tree grows one by one, and begins anew from its peaks now and then.
func tree(t interface{ Fatal(...any) }, n uint64, restart func(uint64) bool) *receipt.Tree {
	tr, err := receipt.NewTree(0, nil)
	for seq := uint64(1); seq <= n && err == nil; seq++ {
		if err = tr.Append(leaf(seq)); err == nil && restart(seq) {
			tr, err = receipt.NewTree(tr.Size(), tr.Peaks())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func never(uint64) bool { return false }

func TestTree(t *testing.T) {
	for n := range uint64(200) {
		tr := tree(t, n, func(seq uint64) bool { return seq%5 == 0 })
		if tr.Size() != n || tr.Root() != naive(encoded(n)) || len(tr.Peaks()) != receipt.PeakCount(n) {
			t.Fatalf("%d entries: size %d, root %x, want %x", n, tr.Size(), tr.Root(), naive(encoded(n)))
		}
	}
	if _, err := receipt.NewTree(3, make([]receipt.Hash, 1)); err == nil {
		t.Error("a tree of three entries with one peak")
	}
}

// The path of any entry, found by a prover that starts anywhere before it, leads to the root, and no other
// entry has it.
func TestProver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(1, 300).Draw(t, "size")
		seq := rapid.Uint64Range(1, size).Draw(t, "seq")
		from := rapid.Uint64Range(0, seq-1).Draw(t, "from")
		p, err := receipt.NewProver(tree(t, from, never), seq, size)
		if err != nil {
			t.Fatal(err)
		}
		for n := p.Next(); n != 0; n = p.Next() {
			if err := p.Append(leaf(n)); err != nil {
				t.Fatal(err)
			}
		}
		path, root, err := p.Path()
		if err != nil || root != naive(encoded(size)) {
			t.Fatalf("root %x, %v", root, err)
		}
		hashes := make([][]byte, len(path))
		for i := range path {
			hashes[i] = path[i][:]
		}
		for other := uint64(1); other <= size; other++ {
			l := leaf(other)
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, seq-1, size, l[:], hashes, root[:]); (err == nil) != (other == seq) {
				t.Fatalf("entry %d in place of %d: %v", other, seq, err)
			}
		}
	})
}

func TestPruned(t *testing.T) {
	for _, c := range []struct{ from, seq, size uint64 }{{5, 5, 9}, {5, 1, 9}, {9, 9, 9}, {10, 10, 9}} {
		if _, err := receipt.NewProver(tree(t, c.from, never), c.seq, c.size); err == nil || c.seq <= c.size && !errors.Is(err, receipt.ErrPruned) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := receipt.NewProver(tree(t, 0, never), 0, 9); err == nil {
		t.Error("entry 0 has a path")
	}
	p, err := receipt.NewProver(tree(t, 2, never), 3, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Path(); !errors.Is(err, receipt.ErrPruned) {
		t.Errorf("a path without the entries after it: %v", err)
	}
}

// The bytes of an entry and of what is signed are an interface: they are checked years later.
func TestEncodings(t *testing.T) {
	p := channel.Payment{ID: channel.PaymentID{1, 2, 3}, Amount: 25_000, Ref: "coffee"}
	b := channel.LogLeaf(lane, 7, p, channel.RefusedPolicy)
	ref := sha256.Sum256([]byte("coffee"))
	want := slices.Concat(lane[:], binary.BigEndian.AppendUint64(nil, 7), binary.BigEndian.AppendUint64(nil, 25_000), p.ID[:], ref[:], []byte{1})
	if !slices.Equal(b[:], want) {
		t.Errorf("leaf %x, want %x", b, want)
	}
	r := channel.LogRoot{Lane: lane, Size: 1, Total: 2, Spent: 3, Hash: [32]byte{4}, Root: [32]byte{5}, Time: 6}
	u := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	if got := r.Digest(); got != channel.TaggedHash("runnel/root", slices.Concat(lane[:], u(1), u(2), u(3), r.Hash[:], r.Root[:], u(6))) {
		t.Errorf("digest %x", got)
	}
}
