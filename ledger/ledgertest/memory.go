package ledgertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

const (
	genesisTime   = 1_700_000_000 // unix seconds of block 0
	blockSeconds  = 600
	faucetOutputs = 1000
	faucetValue   = 1000 * 100_000_000 // sat of each
	faucetFee     = 2000
	relayFee      = ledger.FeeRate(1000)
)

// ErrMemory is what a wrong use of Memory returns.
var ErrMemory = errors.New("ledgertest: no such block, transaction or output")

// Memory is a network in memory. It speaks of itself as simnet. Safe for concurrent use.
type Memory struct {
	mu       sync.Mutex
	blocks   []memBlock
	utxo     map[wire.OutPoint]memCoin
	byScript map[string]map[wire.OutPoint]bool
	mined    map[chainhash.Hash]int // height of each transaction in the chain
	pool     *mempool.TxPool
	waiting  []*btcutil.Tx // what pool holds, in the order of arrival
	minFee   ledger.FeeRate
	estimate ledger.FeeRate
	branch   uint32 // makes the blocks of a new branch differ from the old
	views    []*MemoryChain
	faucet   *btcec.PrivateKey
	unused   []wire.OutPoint // outputs of the faucet
}

type memBlock struct {
	ledger.Block
	txs   []*btcutil.Tx
	spent []memSpent // what its transactions spent, to undo them
}

type memCoin struct {
	tx     *btcutil.Tx
	height int32
}

type memSpent struct {
	op   wire.OutPoint
	coin memCoin
}

// NewMemory makes a network of two blocks; the second holds the faucet's money.
func NewMemory() *Memory {
	secret := sha256.Sum256([]byte("ledgertest faucet"))
	key, _ := btcec.PrivKeyFromBytes(secret[:])
	m := &Memory{
		utxo:     make(map[wire.OutPoint]memCoin),
		byScript: make(map[string]map[wire.OutPoint]bool),
		mined:    make(map[chainhash.Hash]int),
		minFee:   relayFee,
		faucet:   key,
	}
	m.pool = m.newPool()
	m.blocks = []memBlock{{Block: ledger.Block{Hash: *params().GenesisHash, Time: genesisTime}}}
	m.connect([]*btcutil.Tx{m.mint()})
	return m
}

func params() *chaincfg.Params { return &chaincfg.SimNetParams }

// mint makes the faucet's money out of nothing.
func (m *Memory) mint() *btcutil.Tx {
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: sha256.Sum256([]byte("nothing"))}, nil, nil))
	script := taprootScript(m.faucet.PubKey())
	for range faucetOutputs {
		tx.AddTxOut(wire.NewTxOut(faucetValue, script))
	}
	hash := tx.TxHash()
	for i := range faucetOutputs {
		m.unused = append(m.unused, wire.OutPoint{Hash: hash, Index: uint32(i)})
	}
	return btcutil.NewTx(tx)
}

// Height of the best chain.
func (m *Memory) Height() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tip().Height
}

func (m *Memory) tip() *memBlock { return &m.blocks[len(m.blocks)-1] }

// Mine adds n blocks; the first takes all that waits.
func (m *Memory) Mine(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.connect(m.waiting)
	}
	m.changed()
}

// MineEmpty adds n blocks without transactions, as a miner does who censors or has not heard.
func (m *Memory) MineEmpty(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.connect(nil)
	}
	m.changed()
}

// Plant adds a block with transactions that nobody judges, so that coins of another chain are here too.
func (m *Memory) Plant(txs ...[]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*btcutil.Tx
	for _, raw := range txs {
		tx, err := parse(raw)
		if err != nil {
			return err
		}
		all = append(all, tx)
	}
	m.connect(all)
	m.changed()
	return nil
}

// Reorg replaces the last depth blocks by depth+1 new ones. The first of these holds txs (raw, parents
// first); what the replaced blocks held returns to the mempool where it is still valid.
func (m *Memory) Reorg(depth int, txs ...[]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if depth < 1 || depth > len(m.blocks)-2 {
		return fmt.Errorf("%w: a reorganisation of %d blocks at height %d", ErrMemory, depth, m.tip().Height)
	}
	var first []*btcutil.Tx
	for _, raw := range txs {
		tx, err := parse(raw)
		if err != nil {
			return err
		}
		first = append(first, tx)
	}
	old := slices.Clone(m.blocks[len(m.blocks)-depth:])
	waiting := m.waiting
	var returned []*btcutil.Tx
	for range depth {
		returned = append(m.disconnect(), returned...)
	}
	returned = append(returned, waiting...)
	m.refill(nil)
	for _, tx := range first {
		if _, err := m.pool.ProcessTransaction(tx, false, false, 0); err != nil {
			for _, b := range old {
				m.attach(b)
			}
			m.refill(waiting)
			return rejected(err)
		}
	}
	m.branch++
	m.connect(first)
	for range depth {
		m.connect(nil)
	}
	m.refill(returned)
	m.changed()
	return nil
}

// Faucet pays sat to script with a real transaction that waits for the next block, and returns its
// outpoint.
func (m *Memory) Faucet(script []byte, sat channel.Sat) (channel.Outpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.unused) == 0 || sat > faucetValue-faucetFee {
		return channel.Outpoint{}, fmt.Errorf("%w: the faucet can't pay %d sat", ErrMemory, sat)
	}
	op := m.unused[0]
	own := taprootScript(m.faucet.PubKey())
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&op, nil, nil))
	tx.TxIn[0].Sequence = wire.MaxTxInSequenceNum - 2
	tx.AddTxOut(wire.NewTxOut(int64(sat), script))
	tx.AddTxOut(wire.NewTxOut(faucetValue-faucetFee-int64(sat), own))
	prev := txscript.NewCannedPrevOutputFetcher(own, faucetValue)
	w, err := txscript.TaprootWitnessSignature(tx, txscript.NewTxSigHashes(tx, prev), 0, faucetValue, own, txscript.SigHashDefault, m.faucet)
	if err != nil {
		return channel.Outpoint{}, err
	}
	tx.TxIn[0].Witness = w
	if err := m.accept(btcutil.NewTx(tx)); err != nil {
		return channel.Outpoint{}, err
	}
	m.unused = m.unused[1:]
	return channel.Outpoint{TxID: tx.TxHash()}, nil
}

// Publish hands the network a raw transaction as any node would, with the errors of ledger.Chain.
func (m *Memory) Publish(raw []byte) error {
	tx, err := parse(raw)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accept(tx)
}

// SetMinFee sets what the mempool asks, as when it fills up. What pays less is dropped from it.
func (m *Memory) SetMinFee(rate ledger.FeeRate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.minFee = rate
	m.refill(m.waiting)
}

// SetEstimate sets the rate that EstimateFee returns; 0 means that there is no estimate.
func (m *Memory) SetEstimate(rate ledger.FeeRate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.estimate = rate
}

// Evict drops a transaction and its descendants from the mempool.
func (m *Memory) Evict(txid [32]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hash := chainhash.Hash(txid)
	if tx, err := m.pool.FetchTransaction(&hash); err == nil {
		m.pool.RemoveTransaction(tx, true)
		m.trim()
	}
}

// Mempool lists the waiting transactions in the order of arrival.
func (m *Memory) Mempool() [][32]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids [][32]byte
	for _, tx := range m.waiting {
		ids = append(ids, *tx.Hash())
	}
	return ids
}

// Transaction returns a transaction of the chain or the mempool; confirmations is 0 for the latter.
func (m *Memory) Transaction(txid [32]byte) (raw []byte, confirmations uint32, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tx, height := m.find(txid)
	if tx == nil {
		return nil, 0, fmt.Errorf("%w: transaction %s", ErrMemory, chainhash.Hash(txid))
	}
	if height > 0 {
		confirmations = m.tip().Height - uint32(height) + 1
	}
	return serialize(tx.MsgTx()), confirmations, nil
}

// Block returns the block at a height with its raw transactions, nil when there is none yet.
func (m *Memory) Block(height uint32) (b ledger.Block, raw [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if height > m.tip().Height {
		return ledger.Block{}, nil
	}
	raw = [][]byte{}
	for _, tx := range m.blocks[height].txs {
		raw = append(raw, serialize(tx.MsgTx()))
	}
	return m.blocks[height].Block, raw
}

func (m *Memory) find(txid [32]byte) (tx *btcutil.Tx, height int) {
	hash := chainhash.Hash(txid)
	if h, ok := m.mined[hash]; ok {
		for _, tx := range m.blocks[h].txs {
			if *tx.Hash() == hash {
				return tx, h
			}
		}
	}
	tx, _ = m.pool.FetchTransaction(&hash)
	return tx, 0
}

// accept offers a transaction to the mempool.
func (m *Memory) accept(tx *btcutil.Tx) error {
	if t, _ := m.find(*tx.Hash()); t != nil {
		return nil // known or mined already
	}
	if _, err := m.pool.ProcessTransaction(tx, false, false, 0); err != nil {
		return rejected(err)
	}
	m.waiting = append(m.waiting, tx)
	m.trim()
	return nil
}

// trim drops from waiting what the pool let go: replaced transactions with their descendants.
func (m *Memory) trim() {
	m.waiting = slices.DeleteFunc(slices.Clone(m.waiting), func(tx *btcutil.Tx) bool {
		return !m.pool.IsTransactionInPool(tx.Hash())
	})
}

// refill judges txs anew, in order, in an empty mempool.
func (m *Memory) refill(txs []*btcutil.Tx) {
	m.pool, m.waiting = m.newPool(), nil
	for _, tx := range txs {
		m.accept(tx) // what is no longer valid is dropped, as a node does
	}
}

// connect adds a block.
func (m *Memory) connect(txs []*btcutil.Tx) {
	prev := m.tip()
	b := memBlock{Block: ledger.Block{
		Height: prev.Height + 1,
		Prev:   prev.Hash,
		Time:   genesisTime + blockSeconds*int64(prev.Height+1),
	}, txs: txs}
	b.Hash = blockHash(b.Block, m.branch, txs)
	m.attach(b)
}

// attach puts a finished block on the tip.
func (m *Memory) attach(b memBlock) {
	b.spent = nil
	for _, tx := range b.txs {
		for _, in := range tx.MsgTx().TxIn {
			if c, ok := m.utxo[in.PreviousOutPoint]; ok {
				b.spent = append(b.spent, memSpent{in.PreviousOutPoint, c})
				m.remove(in.PreviousOutPoint)
			}
		}
		for i := range tx.MsgTx().TxOut {
			m.add(wire.OutPoint{Hash: *tx.Hash(), Index: uint32(i)}, memCoin{tx, int32(b.Height)})
		}
		m.mined[*tx.Hash()] = int(b.Height)
	}
	m.blocks = append(m.blocks, b)
	for _, tx := range b.txs {
		m.pool.RemoveTransaction(tx, false)
		m.pool.RemoveDoubleSpends(tx)
	}
	m.trim()
}

// disconnect takes the last block off and returns its transactions. The mempool must be refilled.
func (m *Memory) disconnect() []*btcutil.Tx {
	b := m.tip()
	for _, tx := range slices.Backward(b.txs) {
		for i := range tx.MsgTx().TxOut {
			m.remove(wire.OutPoint{Hash: *tx.Hash(), Index: uint32(i)})
		}
		delete(m.mined, *tx.Hash())
	}
	for _, s := range b.spent {
		if _, inside := m.mined[s.op.Hash]; inside {
			m.add(s.op, s.coin)
		}
	}
	m.blocks = m.blocks[:len(m.blocks)-1]
	return b.txs
}

func (m *Memory) add(op wire.OutPoint, c memCoin) {
	script := c.tx.MsgTx().TxOut[op.Index].PkScript
	if txscript.IsUnspendable(script) {
		return
	}
	m.utxo[op] = c
	if m.byScript[string(script)] == nil {
		m.byScript[string(script)] = make(map[wire.OutPoint]bool)
	}
	m.byScript[string(script)][op] = true
}

func (m *Memory) remove(op wire.OutPoint) {
	if c, ok := m.utxo[op]; ok {
		script := string(c.tx.MsgTx().TxOut[op.Index].PkScript)
		delete(m.byScript[script], op)
		if len(m.byScript[script]) == 0 {
			delete(m.byScript, script)
		}
		delete(m.utxo, op)
	}
}

func (m *Memory) changed() {
	for _, v := range m.views {
		v.notify()
	}
}

func blockHash(b ledger.Block, branch uint32, txs []*btcutil.Tx) [32]byte {
	buf := binary.BigEndian.AppendUint32(b.Prev[:], b.Height)
	buf = binary.BigEndian.AppendUint32(buf, branch)
	for _, tx := range txs {
		buf = append(buf, tx.Hash()[:]...)
	}
	return sha256.Sum256(buf)
}

// newPool is a mempool with the policy of a public node.
func (m *Memory) newPool() *mempool.TxPool {
	return mempool.New(&mempool.Config{
		Policy: mempool.Policy{
			MaxTxVersion:         2,
			DisableRelayPriority: true,
			MaxSigOpCostPerTx:    blockchain.MaxBlockSigOpsCost / 4,
			MinRelayTxFee:        btcutil.Amount(m.minFee),
		},
		ChainParams:        params(),
		FetchUtxoView:      m.view,
		BestHeight:         func() int32 { return int32(m.tip().Height) },
		MedianTimePast:     func() time.Time { return time.Unix(m.tip().Time, 0) },
		CalcSequenceLock:   m.sequenceLock,
		IsDeploymentActive: func(uint32) (bool, error) { return true, nil },
		SigCache:           txscript.NewSigCache(1000),
		HashCache:          txscript.NewHashCache(1000),
	})
}

// view gives the mempool the chain's outputs that tx spends or repeats.
func (m *Memory) view(tx *btcutil.Tx) (*blockchain.UtxoViewpoint, error) {
	v := blockchain.NewUtxoViewpoint()
	look := func(op wire.OutPoint) {
		if c, ok := m.utxo[op]; ok {
			v.AddTxOut(c.tx, op.Index, c.height)
			return
		}
		v.Entries()[op] = nil
	}
	for _, in := range tx.MsgTx().TxIn {
		look(in.PreviousOutPoint)
	}
	for i := range tx.MsgTx().TxOut {
		look(wire.OutPoint{Hash: *tx.Hash(), Index: uint32(i)})
	}
	return v, nil
}

// sequenceLock is BIP 68 for locks in blocks. Nothing here locks by time.
func (m *Memory) sequenceLock(tx *btcutil.Tx, v *blockchain.UtxoViewpoint) (*blockchain.SequenceLock, error) {
	lock := &blockchain.SequenceLock{Seconds: -1, BlockHeight: -1}
	if tx.MsgTx().Version < 2 {
		return lock, nil
	}
	for _, in := range tx.MsgTx().TxIn {
		if in.Sequence&wire.SequenceLockTimeDisabled != 0 {
			continue
		}
		if in.Sequence&wire.SequenceLockTimeIsSeconds != 0 {
			return nil, fmt.Errorf("%w: locks by time are not known here", ErrMemory)
		}
		height := int32(m.tip().Height) + 1 // of an input that waits itself
		if e := v.LookupEntry(in.PreviousOutPoint); e != nil && e.BlockHeight() != mining {
			height = e.BlockHeight()
		}
		lock.BlockHeight = max(lock.BlockHeight, height+int32(in.Sequence&wire.SequenceLockTimeMask)-1)
	}
	return lock, nil
}

// mining is the height that the mempool gives to outputs of waiting transactions.
const mining = 0x7fffffff

// rejected sorts the mempool's refusals into the ledger's errors.
func rejected(err error) error {
	kind := ledger.ErrRejected
	for _, text := range []string{"orphan transaction", "already spent", "replacement transaction spends parent"} {
		if bytes.Contains([]byte(err.Error()), []byte(text)) {
			kind = ledger.ErrConflict
		}
	}
	return fmt.Errorf("%w: %w", kind, err)
}

func parse(raw []byte) (*btcutil.Tx, error) {
	tx, err := btcutil.NewTxFromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: not a transaction: %w", ledger.ErrRejected, err)
	}
	return tx, nil
}

func serialize(tx *wire.MsgTx) []byte {
	var b bytes.Buffer
	b.Grow(tx.SerializeSize())
	if err := tx.Serialize(&b); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

func taprootScript(key *btcec.PublicKey) []byte {
	script, err := txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(key))
	if err != nil {
		panic(err) // every public key has a script
	}
	return script
}
