package ledgertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet/coins"
)

var _ ledger.Wallet = (*MemoryWallet)(nil)

// MemoryWallet is a wallet of taproot keys on Memory. Its transactions are real and valid. Safe for
// concurrent use.
type MemoryWallet struct {
	net      *Memory
	chain    *MemoryChain
	seed     string
	keys     map[string]*btcec.PrivateKey // by output script
	leased   map[wire.OutPoint]chainhash.Hash
	recorded []*btcutil.Tx // told by Record, in order
	labels   map[chainhash.Hash]string
}

// NewWallet makes a wallet that reaches the network through chain. The same seed gives the same
// addresses in the same order.
func (m *Memory) NewWallet(chain *MemoryChain, seed string) *MemoryWallet {
	return &MemoryWallet{
		net: m, chain: chain, seed: seed,
		keys:   make(map[string]*btcec.PrivateKey),
		leased: make(map[wire.OutPoint]chainhash.Hash),
		labels: make(map[chainhash.Hash]string),
	}
}

func (w *MemoryWallet) NewAddress(ctx context.Context) (string, []byte, error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	script := w.fresh()
	a, err := address.NewAddressTaproot(script[2:], params())
	if err != nil {
		return "", nil, err
	}
	return a.EncodeAddress(), script, nil
}

// fresh makes the next key and returns its script.
func (w *MemoryWallet) fresh() []byte {
	secret := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("ledgertest wallet "+w.seed), uint64(len(w.keys))))
	key, _ := btcec.PrivKeyFromBytes(secret[:])
	script := taprootScript(key.PubKey())
	w.keys[string(script)] = key
	return script
}

// Owns reports whether a script is one of this wallet's.
func (w *MemoryWallet) Owns(script []byte) bool {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	return w.keys[string(script)] != nil
}

func (w *MemoryWallet) Balance(ctx context.Context) (ledger.Balance, error) {
	if err := ctx.Err(); err != nil {
		return ledger.Balance{}, err
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	var b ledger.Balance
	for _, c := range w.confirmed() {
		if _, locked := w.leased[c.OutPoint]; locked {
			b.Locked += channel.Sat(c.Value)
		} else {
			b.Confirmed += channel.Sat(c.Value)
		}
	}
	spent := w.spentWaiting()
	for _, tx := range w.waiting() {
		for _, c := range w.outputsOf(tx) {
			if !spent[c.OutPoint] {
				b.Pending += channel.Sat(c.Value)
			}
		}
	}
	return b, nil
}

// waiting is what the wallet knows to be unconfirmed: the mempool and what it was told of.
func (w *MemoryWallet) waiting() []*btcutil.Tx {
	all := slices.Clone(w.net.waiting)
	for _, tx := range w.recorded { // they stay there: a reorganisation may take them out of their block
		_, mined := w.net.mined[*tx.Hash()]
		if !mined && !w.net.pool.IsTransactionInPool(tx.Hash()) && !w.conflicts(tx) {
			all = append(all, tx)
		}
	}
	return all
}

// conflicts reports whether something else spends an input of tx, in the chain or the mempool.
func (w *MemoryWallet) conflicts(tx *btcutil.Tx) bool {
	if w.net.pool.IsTransactionInPool(tx.Hash()) {
		return false
	}
	for _, in := range tx.MsgTx().TxIn {
		op := in.PreviousOutPoint
		if w.net.pool.CheckSpend(op) != nil {
			return true
		}
		_, mined := w.net.mined[op.Hash]
		if _, unspent := w.net.utxo[op]; mined && !unspent {
			return true
		}
	}
	return false
}

func (w *MemoryWallet) spentWaiting() map[wire.OutPoint]bool {
	spent := make(map[wire.OutPoint]bool)
	for _, tx := range w.waiting() {
		for _, in := range tx.MsgTx().TxIn {
			spent[in.PreviousOutPoint] = true
		}
	}
	return spent
}

func (w *MemoryWallet) outputsOf(tx *btcutil.Tx) (own []coins.Coin) {
	for i, o := range tx.MsgTx().TxOut {
		if w.keys[string(o.PkScript)] != nil {
			op := wire.OutPoint{Hash: *tx.Hash(), Index: uint32(i)}
			own = append(own, coins.Coin{OutPoint: op, Value: o.Value, Script: o.PkScript})
		}
	}
	return own
}

// confirmed lists the coins in the chain that nothing spends, in a fixed order.
func (w *MemoryWallet) confirmed() []coins.Coin {
	spent := w.spentWaiting()
	var cs []coins.Coin
	for script := range w.keys {
		for op := range w.net.byScript[script] {
			if !spent[op] {
				cs = append(cs, w.coin(op))
			}
		}
	}
	slices.SortFunc(cs, func(a, b coins.Coin) int {
		if c := bytes.Compare(a.Hash[:], b.Hash[:]); c != 0 {
			return c
		}
		return int(a.Index) - int(b.Index)
	})
	return cs
}

func (w *MemoryWallet) coin(op wire.OutPoint) coins.Coin {
	o := w.net.utxo[op].tx.MsgTx().TxOut[op.Index]
	return coins.Coin{OutPoint: op, Value: o.Value, Script: o.PkScript}
}

// available are the confirmed coins that are not locked.
func (w *MemoryWallet) available() []coins.Coin {
	return slices.DeleteFunc(w.confirmed(), func(c coins.Coin) bool {
		_, locked := w.leased[c.OutPoint]
		return locked
	})
}

func (w *MemoryWallet) Fund(ctx context.Context, outputs []ledger.Output, rate ledger.FeeRate, seal func(channel.Outpoint) ([]byte, error)) (ledger.Tx, error) {
	if err := w.chain.enter(ctx, "Fund"); err != nil {
		return ledger.Tx{}, err
	}
	defer w.net.mu.Unlock()
	return w.fund(outputs, rate, seal)
}

func (w *MemoryWallet) fund(outputs []ledger.Output, rate ledger.FeeRate, seal func(channel.Outpoint) ([]byte, error)) (ledger.Tx, error) {
	plan, err := coins.FundSealed(w.available(), outputs, rate, w.fresh(), seal)
	if err != nil {
		return ledger.Tx{}, err
	}
	return w.finish(plan)
}

// finish signs a plan and locks its inputs.
func (w *MemoryWallet) finish(plan coins.Plan) (ledger.Tx, error) {
	tx := plan.Tx
	prev := txscript.NewMultiPrevOutFetcher(nil)
	for _, c := range plan.Coins {
		prev.AddPrevOut(c.OutPoint, wire.NewTxOut(c.Value, c.Script))
	}
	hashes := txscript.NewTxSigHashes(tx, prev)
	for i, c := range plan.Coins {
		wit, err := txscript.TaprootWitnessSignature(tx, hashes, i, c.Value, c.Script, txscript.SigHashDefault, w.keys[string(c.Script)])
		if err != nil {
			return ledger.Tx{}, err
		}
		tx.TxIn[i].Witness = wit
		w.leased[c.OutPoint] = tx.TxHash()
	}
	return ledger.Tx{ID: tx.TxHash(), Raw: serialize(tx), Fee: channel.Sat(plan.Fee)}, nil
}

func (w *MemoryWallet) Release(ctx context.Context, tx ledger.Tx) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.release(tx)
	return nil
}

func (w *MemoryWallet) release(tx ledger.Tx) {
	for op, id := range w.leased {
		if id == chainhash.Hash(tx.ID) {
			delete(w.leased, op)
		}
	}
}

func (w *MemoryWallet) Record(ctx context.Context, tx ledger.Tx, label string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	t, err := parse(tx.Raw)
	if err != nil {
		return err
	}
	w.record(t, label)
	return nil
}

func (w *MemoryWallet) record(tx *btcutil.Tx, label string) {
	w.labels[*tx.Hash()] = label
	if !slices.ContainsFunc(w.recorded, func(o *btcutil.Tx) bool { return *o.Hash() == *tx.Hash() }) {
		w.recorded = append(w.recorded, tx)
	}
}

func (w *MemoryWallet) Send(ctx context.Context, script []byte, value channel.Sat, rate ledger.FeeRate) (ledger.Tx, error) {
	if err := w.chain.enter(ctx, "Send"); err != nil {
		return ledger.Tx{}, err
	}
	defer w.net.mu.Unlock()
	tx, err := w.fund([]ledger.Output{{Script: script, Value: value}}, rate, nil)
	if err != nil {
		return ledger.Tx{}, err
	}
	return tx, w.publish(tx, coins.LabelSend)
}

func (w *MemoryWallet) SendAll(ctx context.Context, script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
	if err := w.chain.enter(ctx, "SendAll"); err != nil {
		return ledger.Tx{}, err
	}
	defer w.net.mu.Unlock()
	plan, err := coins.Sweep(w.available(), script, rate)
	if err != nil {
		return ledger.Tx{}, err
	}
	tx, err := w.finish(plan)
	if err != nil {
		return ledger.Tx{}, err
	}
	return tx, w.publish(tx, coins.LabelSendAll)
}

func (w *MemoryWallet) publish(tx ledger.Tx, label string) error {
	t, err := parse(tx.Raw)
	if err != nil {
		return err
	}
	if err := w.net.accept(t); err != nil {
		w.release(tx)
		return err
	}
	w.record(t, label)
	return nil
}

func (w *MemoryWallet) Bump(ctx context.Context, txid [32]byte, rate ledger.FeeRate) (ledger.Tx, error) {
	if err := w.chain.enter(ctx, "Bump"); err != nil {
		return ledger.Tx{}, err
	}
	defer w.net.mu.Unlock()
	t, height := w.net.find(txid)
	if height > 0 {
		return ledger.Tx{}, coins.Confirmed(txid)
	}
	for _, r := range w.waiting() {
		if *r.Hash() == chainhash.Hash(txid) {
			t = r
		}
	}
	if t == nil {
		return ledger.Tx{}, coins.Unknown(txid)
	}
	waiting := coins.Waiting{
		Tx: t.MsgTx(), Label: w.labels[*t.Hash()],
		Size: int(mempool.GetTxVirtualSize(t)), Inputs: w.inputsOf(t),
	}
	spent := w.spentWaiting()
	for _, c := range w.outputsOf(t) {
		if !spent[c.OutPoint] {
			waiting.Own = append(waiting.Own, c)
		}
	}
	plan, replaced, err := coins.Bump(waiting, w.available(), w.fresh(), rate)
	if err != nil {
		return ledger.Tx{}, err
	}
	tx, err := w.finish(plan)
	if err != nil {
		return ledger.Tx{}, err
	}
	label := coins.LabelChild
	if replaced {
		label = waiting.Label
	}
	return tx, w.publish(tx, label)
}

// inputsOf returns the inputs of a transaction that are ours.
func (w *MemoryWallet) inputsOf(tx *btcutil.Tx) (own []coins.Coin) {
	for _, in := range tx.MsgTx().TxIn {
		op := in.PreviousOutPoint
		prev, _ := w.net.find(op.Hash)
		if prev == nil || int(op.Index) >= len(prev.MsgTx().TxOut) {
			continue
		}
		o := prev.MsgTx().TxOut[op.Index]
		if w.keys[string(o.PkScript)] != nil {
			own = append(own, coins.Coin{OutPoint: op, Value: o.Value, Script: o.PkScript})
		}
	}
	return own
}

func (w *MemoryWallet) Transactions(ctx context.Context) ([]ledger.WalletTx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	tip := w.net.tip()
	var list []ledger.WalletTx
	for _, b := range w.net.blocks {
		for _, tx := range b.txs {
			if line, ok := w.line(tx); ok {
				line.Height, line.Time = b.Height, b.Time
				line.Confirmations = tip.Height - b.Height + 1
				list = append(list, line)
			}
		}
	}
	for _, tx := range w.waiting() {
		if line, ok := w.line(tx); ok {
			line.Time = tip.Time
			list = append(list, line)
		}
	}
	return list, nil
}

func (w *MemoryWallet) History(ctx context.Context, fn func(raw []byte, height uint32) error) error {
	lines, err := w.Transactions(ctx)
	if err != nil {
		return err
	}
	for _, l := range lines {
		raw, _, err := w.net.Transaction(l.ID)
		if err != nil {
			raw, err = w.kept(l.ID), nil
		}
		if err = fn(raw, l.Height); err != nil {
			return err
		}
	}
	return nil
}

// kept is a transaction that the wallet keeps and the network has forgotten.
func (w *MemoryWallet) kept(txid [32]byte) []byte {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	for _, tx := range w.recorded {
		if *tx.Hash() == chainhash.Hash(txid) {
			return serialize(tx.MsgTx())
		}
	}
	return nil
}

// Rebroadcast publishes what is not in a block once more, as wallets do when they start.
func (w *MemoryWallet) Rebroadcast() {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	for _, tx := range w.waiting() {
		_ = w.net.accept(tx) // it is there already, or void
	}
}

// line sums up what a transaction did to the wallet; ok is false when it does not concern it.
func (w *MemoryWallet) line(tx *btcutil.Tx) (l ledger.WalletTx, ok bool) {
	in, out := w.inputsOf(tx), w.outputsOf(tx)
	if len(in)+len(out) == 0 {
		return l, false
	}
	l = ledger.WalletTx{ID: *tx.Hash(), Label: w.labels[*tx.Hash()]}
	spent := int64(0)
	for _, c := range in {
		spent += c.Value
	}
	l.Amount = -spent
	for _, c := range out {
		l.Amount += c.Value
	}
	if len(in) == len(tx.MsgTx().TxIn) {
		for _, o := range tx.MsgTx().TxOut {
			spent -= o.Value
		}
		l.Fee = channel.Sat(spent)
	}
	return l, true
}

func (w *MemoryWallet) Synced(ctx context.Context) (uint32, bool) {
	err := w.chain.enter(ctx, "Synced")
	if err != nil {
		w.net.mu.Lock()
	}
	defer w.net.mu.Unlock()
	return w.net.tip().Height, err == nil
}

func (w *MemoryWallet) Close() error { return nil }
