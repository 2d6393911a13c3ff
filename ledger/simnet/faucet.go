package simnet

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

const (
	// faucetFee for each input is generous for its 58 virtual bytes and those of the change; outputFee for
	// each output.
	faucetFee = 2000
	outputFee = 100
	dust      = 330
	maxFund   = 21_000_000 * 100_000_000
)

// ErrAmount refuses an amount that the faucet can't pay.
var ErrAmount = errors.New("simnet: the faucet pays amounts from 330 sat to 21 million coins")

// coin is a mature subsidy of the faucet.
type coin struct {
	op    wire.OutPoint
	value int64
}

// faucetScript is a taproot output with the faucet's key alone.
func (n *Node) faucetScript() []byte {
	key := txscript.ComputeTaprootKeyNoScript(n.faucet.PubKey())
	script, err := txscript.PayToTaprootScript(key)
	if err != nil {
		panic(err) // a valid public key always has a script
	}
	return script
}

// Fund pays sat to a simnet address and returns the transaction's id (as shown to people). The payment
// waits in the mempool until the next Mine. Where the faucet has no mature coin left it mines.
func (n *Node) Fund(ctx context.Context, addr string, sat uint64) (string, error) {
	script, err := payScript(addr)
	if err != nil {
		return "", err
	}
	return n.FundScript(ctx, script, sat)
}

// FundScript is Fund for an output script.
func (n *Node) FundScript(ctx context.Context, script []byte, sat uint64) (string, error) {
	return n.fund(ctx, [][]byte{script}, sat)
}

// FundAll is Fund for several addresses, sat for each, in one transaction.
func (n *Node) FundAll(ctx context.Context, addrs []string, sat uint64) (string, error) {
	var scripts [][]byte
	for _, addr := range addrs {
		script, err := payScript(addr)
		if err != nil {
			return "", err
		}
		scripts = append(scripts, script)
	}
	return n.fund(ctx, scripts, sat)
}

func (n *Node) fund(ctx context.Context, scripts [][]byte, sat uint64) (string, error) {
	count := uint64(len(scripts))
	if count == 0 || sat < dust || sat > maxFund/count {
		return "", fmt.Errorf("%w, not %d sat to %d addresses", ErrAmount, sat, count)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	fee := int64(count) * outputFee
	coins, total, err := n.collect(ctx, int64(sat*count)+fee)
	if err != nil {
		return "", err
	}
	tx, err := n.pay(coins, total-fee, scripts, int64(sat))
	if err != nil {
		return "", err
	}
	hash, err := call(ctx, func() (*chainhash.Hash, error) { return n.rpc.SendRawTransaction(tx, true) })
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}

// collect takes mature subsidies until they cover sat and the fee. Each is used once and change is never
// touched again, so that payments don't depend on each other.
func (n *Node) collect(ctx context.Context, sat int64) (coins []coin, total int64, err error) {
	for total < sat+int64(len(coins))*faucetFee || len(coins) == 0 {
		tip, err := n.Height(ctx)
		if err != nil {
			return nil, 0, err
		}
		if n.next+int32(params().CoinbaseMaturity) > int32(tip)+1 {
			if err := n.mineLocked(ctx, n.faucetScript(), int(params().CoinbaseMaturity)); err != nil {
				return nil, 0, err
			}
			continue
		}
		c, ok, err := n.subsidy(ctx, n.next)
		if err != nil {
			return nil, 0, err
		}
		n.next++
		if ok {
			coins, total = append(coins, c), total+c.value
		}
	}
	return coins, total, nil
}

// subsidy returns the coinbase output of a block when it is the faucet's and unspent.
func (n *Node) subsidy(ctx context.Context, height int32) (coin, bool, error) {
	hash, err := call(ctx, func() (*chainhash.Hash, error) { return n.rpc.GetBlockHash(int64(height)) })
	if err != nil {
		return coin{}, false, err
	}
	block, err := call(ctx, func() (*wire.MsgBlock, error) { return n.rpc.GetBlock(hash) })
	if err != nil {
		return coin{}, false, err
	}
	coinbase := block.Transactions[0]
	if !bytes.Equal(coinbase.TxOut[0].PkScript, n.faucetScript()) {
		return coin{}, false, nil
	}
	txid := coinbase.TxHash()
	out, err := call(ctx, func() (*btcjson.GetTxOutResult, error) { return n.rpc.GetTxOut(&txid, 0, true) })
	if err != nil || out == nil {
		return coin{}, false, err
	}
	return coin{*wire.NewOutPoint(&txid, 0), coinbase.TxOut[0].Value}, true, nil
}

func (n *Node) pay(coins []coin, total int64, scripts [][]byte, sat int64) (*wire.MsgTx, error) {
	tx := wire.NewMsgTx(2)
	prev := txscript.NewMultiPrevOutFetcher(nil)
	own := n.faucetScript()
	for _, c := range coins {
		in := wire.NewTxIn(&c.op, nil, nil)
		in.Sequence = wire.MaxTxInSequenceNum - 2
		tx.AddTxIn(in)
		prev.AddPrevOut(c.op, wire.NewTxOut(c.value, own))
	}
	for _, script := range scripts {
		tx.AddTxOut(wire.NewTxOut(sat, script))
	}
	if change := total - sat*int64(len(scripts)) - faucetFee*int64(len(coins)); change >= dust {
		tx.AddTxOut(wire.NewTxOut(change, own))
	}
	hashes := txscript.NewTxSigHashes(tx, prev)
	for i, c := range coins {
		w, err := txscript.TaprootWitnessSignature(tx, hashes, i, c.value, own, txscript.SigHashDefault, n.faucet)
		if err != nil {
			return nil, fmt.Errorf("simnet: faucet can't sign: %w", err)
		}
		tx.TxIn[i].Witness = w
	}
	return tx, nil
}

// FaucetAddress is where Mine sends the subsidies.
func (n *Node) FaucetAddress() (string, error) {
	key := txscript.ComputeTaprootKeyNoScript(n.faucet.PubKey())
	return taprootAddress(schnorr.SerializePubKey(key))
}

// Transaction is a transaction that the node has, in a block or waiting.
type Transaction struct {
	Raw           []byte
	Confirmations uint64 // 0 while it waits in the mempool
}

// RawTransaction fetches a transaction by its id as shown to people.
func (n *Node) RawTransaction(ctx context.Context, txid string) (Transaction, error) {
	hash, err := chainhash.NewHashFromStr(txid)
	if err != nil {
		return Transaction{}, fmt.Errorf("simnet: %q is not a transaction id: %w", txid, err)
	}
	res, err := call(ctx, func() (*btcjson.TxRawResult, error) { return n.rpc.GetRawTransactionVerbose(hash) })
	if err != nil {
		return Transaction{}, err
	}
	raw, err := hex.DecodeString(res.Hex)
	return Transaction{Raw: raw, Confirmations: res.Confirmations}, err
}

// Send publishes a raw transaction and returns its id as shown to people.
func (n *Node) Send(ctx context.Context, raw []byte) (string, error) {
	tx, err := decodeTx(raw)
	if err != nil {
		return "", err
	}
	hash, err := call(ctx, func() (*chainhash.Hash, error) { return n.rpc.SendRawTransaction(tx, true) })
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}

// Mempool lists the ids of the waiting transactions.
func (n *Node) Mempool(ctx context.Context) ([]string, error) {
	hashes, err := call(ctx, n.rpc.GetRawMempool)
	var ids []string
	for _, h := range hashes {
		ids = append(ids, h.String())
	}
	return ids, err
}

func decodeTx(raw []byte) (*wire.MsgTx, error) {
	tx, err := btcutil.NewTxFromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("simnet: not a transaction: %w", err)
	}
	return tx.MsgTx(), nil
}

func taprootAddress(key []byte) (string, error) {
	a, err := address.NewAddressTaproot(key, params())
	if err != nil {
		return "", fmt.Errorf("simnet: %w", err)
	}
	return a.EncodeAddress(), nil
}
