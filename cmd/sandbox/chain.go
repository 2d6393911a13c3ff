package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/simnet"
)

// Tx is a transaction as btcd has it. Nothing here comes from a daemon.
type Tx struct {
	*wire.MsgTx
	ID            string // as shown to people
	Confirmations uint64
}

// Tx fetches a transaction from btcd.
func (s *Sandbox) Tx(ctx context.Context, txid string) (Tx, error) {
	t, err := s.Chain.RawTransaction(ctx, txid)
	if err != nil {
		return Tx{}, fmt.Errorf("sandbox: transaction %s: %w", txid, err)
	}
	msg := new(wire.MsgTx)
	if err := msg.Deserialize(bytes.NewReader(t.Raw)); err != nil {
		return Tx{}, fmt.Errorf("sandbox: transaction %s: %w", txid, err)
	}
	return Tx{msg, msg.TxHash().String(), t.Confirmations}, nil
}

// Fee is what the transaction leaves to the miner: its inputs, each looked up at btcd, less its outputs.
func (s *Sandbox) Fee(ctx context.Context, t Tx) (channel.Sat, error) {
	var in, out int64
	for _, i := range t.TxIn {
		prev, err := s.Tx(ctx, i.PreviousOutPoint.Hash.String())
		if err != nil {
			return 0, err
		}
		in += prev.TxOut[i.PreviousOutPoint.Index].Value
	}
	for _, o := range t.TxOut {
		out += o.Value
	}
	if out > in {
		return 0, fmt.Errorf("sandbox: transaction %s pays more than it has", t.ID)
	}
	return channel.Sat(in - out), nil
}

// Spender finds the transaction that spends an output of another one: in the mempool, or in the blocks
// from the tip down to one that has the other. It returns ok false when there is none.
func (s *Sandbox) Spender(ctx context.Context, of Tx, index uint32) (t Tx, ok bool, err error) {
	waiting, err := s.Chain.Mempool(ctx)
	if err != nil {
		return Tx{}, false, err
	}
	for _, id := range waiting {
		if t, err := s.Tx(ctx, id); err == nil && t.Spends(of, index) {
			return t, true, nil
		}
	}
	id, err := s.spenderInBlocks(of, index)
	if err != nil || id == "" {
		return Tx{}, false, err
	}
	t, err = s.Tx(ctx, id)
	return t, err == nil, err
}

// Spends reports whether an input of t spends an output of another transaction.
func (t Tx) Spends(of Tx, index uint32) bool {
	for _, in := range t.TxIn {
		if in.PreviousOutPoint == (wire.OutPoint{Hash: of.TxHash(), Index: index}) {
			return true
		}
	}
	return false
}

// spenderInBlocks looks through the last blocks.
func (s *Sandbox) spenderInBlocks(of Tx, index uint32) (txid string, err error) {
	rpc, err := dialRPC(s.Chain)
	if err != nil {
		return "", err
	}
	defer rpc.Shutdown()
	tip, err := rpc.GetBlockCount()
	if err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	for h := tip; h > tip-int64(of.Confirmations); h-- {
		block, err := blockAt(rpc, h)
		if err != nil {
			return "", err
		}
		for _, tx := range block.Transactions {
			if (Tx{MsgTx: tx}).Spends(of, index) {
				return tx.TxHash().String(), nil
			}
		}
	}
	return "", nil
}

func blockAt(rpc *rpcclient.Client, height int64) (*wire.MsgBlock, error) {
	hash, err := rpc.GetBlockHash(height)
	if err != nil {
		return nil, fmt.Errorf("sandbox: block %d: %w", height, err)
	}
	block, err := rpc.GetBlock((*chainhash.Hash)(hash))
	if err != nil {
		return nil, fmt.Errorf("sandbox: block %d: %w", height, err)
	}
	return block, nil
}

// dialRPC makes a client of btcd's RPC that asks by HTTP, one request at a time.
func dialRPC(n *simnet.Node) (*rpcclient.Client, error) {
	cert, err := os.ReadFile(n.CertFile())
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	rpc, err := rpcclient.New(&rpcclient.ConnConfig{
		Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass(), Certificates: cert, HTTPPostMode: true,
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return rpc, nil
}
