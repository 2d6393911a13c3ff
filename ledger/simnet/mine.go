package simnet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mining"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// params of the only network that this package knows.
func params() *chaincfg.Params { return &chaincfg.SimNetParams }

const (
	// blockVersion votes for the soft forks of simnet: CSV (bit 0), segwit (1) and taproot (2).
	blockVersion = 0x20000000 | 1<<0 | 1<<1 | 1<<2
	// maxBlockTxWeight leaves room for the coinbase below the consensus limit of 4,000,000.
	maxBlockTxWeight = 3_900_000
	retargetBlocks   = 2016
	medianBlocks     = 11
)

// ErrBadDepth refuses a reorganisation that would reach the first blocks.
var ErrBadDepth = errors.New("simnet: depth must be between 1 and the number of blocks above the first 300")

// Mine adds blocks with everything in the mempool; the faucet takes their subsidies.
func (n *Node) Mine(ctx context.Context, blocks int) error {
	return n.mineTo(ctx, n.faucetScript(), blocks)
}

// MineTo is Mine with the subsidies going to addr. The fees of the transactions are left unclaimed. A
// subsidy can be spent 100 blocks later.
func (n *Node) MineTo(ctx context.Context, addr string, blocks int) error {
	script, err := payScript(addr)
	if err != nil {
		return err
	}
	return n.mineTo(ctx, script, blocks)
}

// MineForFees adds a block whose faucet takes the fees of its transactions too, as miners do.
func (n *Node) MineForFees(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := n.branchFromTip(ctx)
	if err != nil {
		return err
	}
	txs, err := n.mempool(ctx)
	if err != nil {
		return err
	}
	waiting, err := call(ctx, n.rpc.GetRawMempoolVerbose)
	if err != nil {
		return err
	}
	for _, tx := range txs {
		fee, err := btcutil.NewAmount(waiting[tx.TxHash().String()].Fee)
		if err != nil {
			return err
		}
		b.fees += int64(fee)
	}
	return b.add(ctx, n.faucetScript(), txs)
}

func (n *Node) mineTo(ctx context.Context, script []byte, blocks int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mineLocked(ctx, script, blocks)
}

func (n *Node) mineLocked(ctx context.Context, script []byte, blocks int) error {
	b, err := n.branchFromTip(ctx)
	if err != nil {
		return err
	}
	for range blocks {
		txs, err := n.mempool(ctx)
		if err != nil {
			return err
		}
		if err := b.add(ctx, script, txs); err != nil {
			return err
		}
	}
	return nil
}

// Reorg replaces the last depth blocks by depth+1 new ones. The first of these holds txs (raw, parents
// first) and the others nothing; what the replaced blocks held returns to the mempool where it is still
// valid.
func (n *Node) Reorg(ctx context.Context, depth int, txs ...[]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var msgs []*wire.MsgTx
	for _, raw := range txs {
		tx, err := decodeTx(raw)
		if err != nil {
			return err
		}
		msgs = append(msgs, tx)
	}
	tip, err := n.Height(ctx)
	if err != nil {
		return err
	}
	if depth < 1 || depth > int(tip)-activeHeight {
		return fmt.Errorf("%w, not %d at height %d", ErrBadDepth, depth, tip)
	}
	b, err := n.branchFrom(ctx, int64(tip)-int64(depth))
	if err != nil {
		return err
	}
	for range depth + 1 {
		if err := b.add(ctx, n.faucetScript(), msgs); err != nil {
			return err
		}
		msgs = nil
	}
	n.next = 1 // coinbases of the replaced blocks are gone
	return nil
}

// branch grows blocks on a block of the best chain.
type branch struct {
	node   *Node
	height int32
	hash   chainhash.Hash
	fees   int64              // what the next coinbase takes above the subsidy
	recent []wire.BlockHeader // the last ones, newest last; at least medianBlocks where the chain has them
}

func (n *Node) branchFromTip(ctx context.Context) (*branch, error) {
	h, err := n.Height(ctx)
	if err != nil {
		return nil, err
	}
	return n.branchFrom(ctx, int64(h))
}

func (n *Node) branchFrom(ctx context.Context, height int64) (*branch, error) {
	b := &branch{node: n, height: int32(height)}
	for h := max(0, height-medianBlocks+1); h <= height; h++ {
		hash, header, err := n.header(ctx, h)
		if err != nil {
			return nil, err
		}
		b.hash, b.recent = hash, append(b.recent, header)
	}
	return b, nil
}

func (n *Node) header(ctx context.Context, height int64) (chainhash.Hash, wire.BlockHeader, error) {
	hash, err := call(ctx, func() (*chainhash.Hash, error) { return n.rpc.GetBlockHash(height) })
	if err != nil {
		return chainhash.Hash{}, wire.BlockHeader{}, err
	}
	header, err := call(ctx, func() (*wire.BlockHeader, error) { return n.rpc.GetBlockHeader(hash) })
	if err != nil {
		return chainhash.Hash{}, wire.BlockHeader{}, err
	}
	return *hash, *header, nil
}

// add mines one block on the branch and submits it.
func (b *branch) add(ctx context.Context, script []byte, txs []*wire.MsgTx) error {
	stamp := b.timestamp()
	bits, err := b.bits(ctx, stamp)
	if err != nil {
		return err
	}
	block, err := assemble(b.height+1, script, b.fees, txs)
	if err != nil {
		return err
	}
	h := &block.Header
	h.PrevBlock, h.Timestamp, h.Bits = b.hash, stamp, bits
	solve(h)
	if _, err := call(ctx, func() (any, error) {
		return nil, b.node.rpc.SubmitBlock(btcutil.NewBlock(block), nil)
	}); err != nil {
		return err
	}
	b.height++
	b.hash = h.BlockHash()
	b.recent = append(b.recent, *h)
	return nil
}

// timestamp is now, or just above the median of the last blocks where many were mined at once.
func (b *branch) timestamp() time.Time {
	last := b.recent[max(0, len(b.recent)-medianBlocks):]
	var stamps []int64
	for _, h := range last {
		stamps = append(stamps, h.Timestamp.Unix())
	}
	slices.Sort(stamps)
	median := stamps[len(stamps)/2]
	return time.Unix(max(time.Now().Unix(), median+1), 0)
}

// bits is the difficulty of the next block by the rules of simnet: as before, back to the easiest after
// twenty minutes without a block, adjusted every 2016 blocks.
func (b *branch) bits(ctx context.Context, stamp time.Time) (uint32, error) {
	prev := b.recent[len(b.recent)-1]
	if (b.height+1)%retargetBlocks == 0 {
		return b.retarget(ctx, prev)
	}
	if stamp.After(prev.Timestamp.Add(params().MinDiffReductionTime)) {
		return params().PowLimitBits, nil
	}
	// Only the first block of a period sets the difficulty; it is never an eased one.
	first, err := b.ancestor(ctx, b.height-b.height%retargetBlocks)
	return first.Bits, err
}

func (b *branch) ancestor(ctx context.Context, height int32) (wire.BlockHeader, error) {
	if i := len(b.recent) - 1 - int(b.height-height); i >= 0 {
		return b.recent[i], nil
	}
	_, h, err := b.node.header(ctx, int64(height))
	return h, err
}

func (b *branch) retarget(ctx context.Context, prev wire.BlockHeader) (uint32, error) {
	first, err := b.ancestor(ctx, b.height-retargetBlocks+1)
	if err != nil {
		return 0, err
	}
	span := int64(params().TargetTimespan / time.Second)
	factor := params().RetargetAdjustmentFactor
	took := prev.Timestamp.Unix() - first.Timestamp.Unix()
	took = min(max(took, span/factor), span*factor)
	target := blockchain.CompactToBig(prev.Bits)
	target.Mul(target, big.NewInt(took)).Div(target, big.NewInt(span))
	if target.Cmp(params().PowLimit) > 0 {
		target.Set(params().PowLimit)
	}
	return blockchain.BigToCompact(target), nil
}

// assemble makes a block with a coinbase to script; header fields that the place in the chain decides
// are left open.
func assemble(height int32, script []byte, fees int64, txs []*wire.MsgTx) (*wire.MsgBlock, error) {
	nonce := make([]byte, 8)
	rand.Read(nonce)
	sigScript, err := txscript.NewScriptBuilder().AddInt64(int64(height)).AddData(nonce).Script()
	if err != nil {
		return nil, err
	}
	coinbase := wire.NewMsgTx(1)
	coinbase.AddTxIn(wire.NewTxIn(wire.NewOutPoint(&chainhash.Hash{}, wire.MaxPrevOutIndex), sigScript, nil))
	coinbase.AddTxOut(wire.NewTxOut(blockchain.CalcBlockSubsidy(height, params())+fees, script))

	all := []*btcutil.Tx{btcutil.NewTx(coinbase)}
	witness := false
	for _, tx := range txs {
		all = append(all, btcutil.NewTx(tx))
		witness = witness || tx.HasWitness()
	}
	if witness {
		mining.AddWitnessCommitment(all[0], all)
	}
	block := wire.NewMsgBlock(&wire.BlockHeader{
		Version:    blockVersion,
		MerkleRoot: blockchain.CalcMerkleRoot(all, false),
	})
	for _, tx := range all {
		if err := block.AddTransaction(tx.MsgTx()); err != nil {
			return nil, err
		}
	}
	return block, nil
}

// solve finds a nonce. Simnet's target takes a few attempts.
func solve(h *wire.BlockHeader) {
	target := blockchain.CompactToBig(h.Bits)
	for {
		hash := h.BlockHash()
		if blockchain.HashToBig(&hash).Cmp(target) <= 0 {
			return
		}
		h.Nonce++
	}
}

// mempool returns the waiting transactions with parents before their children.
func (n *Node) mempool(ctx context.Context) ([]*wire.MsgTx, error) {
	hashes, err := call(ctx, n.rpc.GetRawMempool)
	if err != nil {
		return nil, err
	}
	txs := make(map[chainhash.Hash]*wire.MsgTx, len(hashes))
	for _, h := range hashes {
		tx, err := call(ctx, func() (*btcutil.Tx, error) { return n.rpc.GetRawTransaction(h) })
		if err != nil {
			return nil, err
		}
		txs[*h] = tx.MsgTx()
	}
	var sorted []*wire.MsgTx
	var weight int64
	var place func(h chainhash.Hash)
	place = func(h chainhash.Hash) {
		tx, waiting := txs[h]
		if !waiting {
			return
		}
		delete(txs, h)
		for _, in := range tx.TxIn {
			place(in.PreviousOutPoint.Hash)
		}
		if weight += blockchain.GetTransactionWeight(btcutil.NewTx(tx)); weight <= maxBlockTxWeight {
			sorted = append(sorted, tx)
		}
	}
	for _, h := range hashes {
		place(*h)
	}
	return sorted, nil
}

func payScript(addr string) ([]byte, error) {
	a, err := address.DecodeAddress(addr, params())
	if err != nil || !a.IsForNet(params()) {
		return nil, fmt.Errorf("simnet: %q is not a simnet address", addr)
	}
	return txscript.PayToAddrScript(a)
}
