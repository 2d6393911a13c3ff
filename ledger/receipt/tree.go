// Package receipt grows the Merkle tree (RFC 6962) over the log of a lane, proves one entry of it, and reads,
// writes and checks receipts: files by which anybody can see, without a node, that a payment was agreed. It
// knows no store, peer or clock; signatures are checked through ledger.Scheme.
//
//	r, err := receipt.Parse(file)
//	err = receipt.Verify(scheme, r)
package receipt

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"

	"github.com/runnel/runnel/channel"
)

// Hash is a node of the tree.
type Hash = [32]byte

// Leaf is the leaf hash of one entry of a lane's log.
func Leaf(lane channel.LaneID, seq uint64, p channel.Payment, r channel.RefuseReason) Hash {
	entry := channel.LogLeaf(lane, seq, p, r)
	var b [1 + channel.LeafSize]byte // 0x00 and the entry
	copy(b[1:], entry[:])
	return sha256.Sum256(b[:])
}

// children is the hash of an inner node.
func children(left, right []byte) []byte {
	var b [1 + 32 + 32]byte
	b[0] = 1
	copy(b[1:], left)
	copy(b[33:], right)
	h := sha256.Sum256(b[:])
	return h[:]
}

// Tree is as much of the tree as it takes to grow it and to know its root: one hash for each bit that is set
// in its size. It is not safe for concurrent use.
type Tree struct{ r *compact.Range }

// NewTree is the tree with so many entries whose Peaks are given; NewTree(0, nil) is empty.
func NewTree(size uint64, peaks []Hash) (*Tree, error) {
	hashes := make([][]byte, len(peaks))
	for i := range peaks {
		hashes[i] = append([]byte(nil), peaks[i][:]...)
	}
	factory := &compact.RangeFactory{Hash: children}
	r, err := factory.NewRange(0, size, hashes)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	return &Tree{r}, nil
}

// PeakCount is how many peaks a tree of a size has.
func PeakCount(size uint64) int { return compact.RangeSize(0, size) }

// Append adds an entry by its leaf hash.
func (t *Tree) Append(leaf Hash) error { return t.r.Append(leaf[:], nil) }

// Size is the number of entries.
func (t *Tree) Size() uint64 { return t.r.End() }

// Peaks are the roots of the perfect subtrees that the tree consists of, the largest first.
func (t *Tree) Peaks() []Hash {
	peaks := make([]Hash, 0, len(t.r.Hashes()))
	for _, h := range t.r.Hashes() {
		peaks = append(peaks, Hash(h))
	}
	return peaks
}

// Root is the Merkle root; that of an empty tree is SHA256 of nothing, as in RFC 6962.
func (t *Tree) Root() Hash {
	root, err := t.r.GetRootHash(nil)
	if err != nil || root == nil { // a range from 0 has a root unless it is empty
		return sha256.Sum256(nil)
	}
	return Hash(root)
}

// ErrPruned says that a path needs entries that the tree was not given.
var ErrPruned = errors.New("receipt: the entry was pruned")

// Prover finds the path of one entry while the entries pass by.
type Prover struct {
	tree  *Tree
	size  uint64
	nodes proof.Nodes
	found map[compact.NodeID][]byte
}

// NewProver is for the path from the entry with a sequence number to the root over size entries. base is the
// tree of all entries before the first that Append will be given; NewProver grows it.
func NewProver(base *Tree, seq, size uint64) (*Prover, error) {
	if seq == 0 || seq > size {
		return nil, fmt.Errorf("receipt: no entry %d in a log of %d", seq, size)
	}
	if seq <= base.Size() || size < base.Size() {
		return nil, fmt.Errorf("%w: the log begins after entry %d", ErrPruned, base.Size())
	}
	nodes, err := proof.Inclusion(seq-1, size)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	p := &Prover{tree: base, size: size, nodes: nodes, found: map[compact.NodeID][]byte{}}
	for _, id := range nodes.IDs {
		p.found[id] = nil
	}
	for i, id := range compact.RangeNodes(0, base.Size(), nil) {
		p.see(id, base.r.Hashes()[i])
	}
	return p, nil
}

func (p *Prover) see(id compact.NodeID, hash []byte) {
	if _, wanted := p.found[id]; wanted {
		p.found[id] = hash
	}
}

// Append takes the next entry by its leaf hash.
func (p *Prover) Append(leaf Hash) error { return p.tree.r.Append(leaf[:], p.see) }

// Next is the sequence number of the entry that Append wants, 0 when it has all.
func (p *Prover) Next() uint64 {
	if p.tree.Size() >= p.size {
		return 0
	}
	return p.tree.Size() + 1
}

// Path is the inclusion proof of RFC 6962, and the root to which it leads.
func (p *Prover) Path() (path []Hash, root Hash, err error) {
	hashes := make([][]byte, len(p.nodes.IDs))
	for i, id := range p.nodes.IDs {
		if hashes[i] = p.found[id]; hashes[i] == nil {
			return nil, root, fmt.Errorf("%w: a part of the path is missing", ErrPruned)
		}
	}
	if hashes, err = p.nodes.Rehash(hashes, children); err != nil {
		return nil, root, fmt.Errorf("receipt: %w", err)
	}
	for _, h := range hashes {
		path = append(path, Hash(h))
	}
	return path, p.tree.Root(), nil
}
