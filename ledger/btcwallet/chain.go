package btcwallet

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/btcutil/v2/gcs"
	"github.com/btcsuite/btcd/btcutil/v2/gcs/builder"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/chain"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

var _ ledger.Chain = (*Chain)(nil)

// Chain follows the best chain through a backend. Safe for concurrent use.
type Chain struct {
	link  *link
	mined func(txid chainhash.Hash) bool // whether the wallet saw a transaction in a block
	close func() error

	feeURL    *feeURL // nil without one
	blockFees *blockFees
}

func (c *Chain) Capabilities() ledger.Capabilities { return c.link.dialer.capabilities() }

// Changed also yields when the backend went away or came back.
func (c *Chain) Changed() <-chan struct{} { return c.link.changed }

// Close ends the connection, and the wallet's with it.
func (c *Chain) Close() error { return c.close() }

func (c *Chain) Tip(ctx context.Context) (ledger.Block, error) {
	return ask(ctx, c.link, func(cl *client) (ledger.Block, error) {
		hash, height, err := cl.GetBestBlock()
		if err != nil {
			return ledger.Block{}, err
		}
		return blockOf(cl, hash, uint32(height))
	})
}

func (c *Chain) BlockAt(ctx context.Context, height uint32) (ledger.Block, error) {
	return ask(ctx, c.link, func(cl *client) (ledger.Block, error) {
		hash, err := cl.GetBlockHash(int64(height))
		if err != nil {
			if _, best, berr := cl.GetBestBlock(); berr == nil && int64(height) > int64(best) {
				return ledger.Block{}, fmt.Errorf("%w: no block at height %d yet", ledger.ErrNotFound, height)
			}
			return ledger.Block{}, err
		}
		return blockOf(cl, hash, height)
	})
}

func blockOf(cl *client, hash *chainhash.Hash, height uint32) (ledger.Block, error) {
	h, err := cl.GetBlockHeader(hash)
	if err != nil {
		return ledger.Block{}, err
	}
	return ledger.Block{Height: height, Hash: *hash, Prev: h.PrevBlock, Time: h.Timestamp.Unix()}, nil
}

func (c *Chain) Matches(ctx context.Context, block [32]byte, w *ledger.Watch) ([]ledger.Match, error) {
	if len(w.Scripts) == 0 && len(w.Outpoints) == 0 {
		return nil, ctx.Err()
	}
	hash := chainhash.Hash(block)
	return ask(ctx, c.link, func(cl *client) ([]ledger.Match, error) {
		if light, ok := cl.Interface.(*chain.NeutrinoClient); ok {
			hit, err := filterHit(light, hash, w)
			if err != nil || !hit {
				return nil, err
			}
		}
		b, err := cl.GetBlock(&hash)
		switch {
		case err != nil && cl.rpc == nil:
			return nil, fmt.Errorf("%w: no peer gave the block: %w", ledger.ErrUnreachable, err)
		case err != nil:
			return nil, notFound(err, "block", hash)
		}
		return matches(b, w)
	})
}

// notFound turns a node's "no such block" into ledger.ErrNotFound.
func notFound(err error, what string, id fmt.Stringer) error {
	var rpcErr *btcjson.RPCError
	if errors.As(err, &rpcErr) && (rpcErr.Code == btcjson.ErrRPCBlockNotFound || rpcErr.Code == btcjson.ErrRPCInvalidAddressOrKey) {
		return fmt.Errorf("%w: %s %s: %w", ledger.ErrNotFound, what, id, err)
	}
	return err
}

// filterHit asks the block's compact filter (BIP 158), which never misses and seldom errs.
func filterHit(light *chain.NeutrinoClient, hash chainhash.Hash, w *ledger.Watch) (bool, error) {
	if _, err := light.CS.GetBlockHeader(&hash); err != nil {
		return false, fmt.Errorf("%w: block %s: %w", ledger.ErrNotFound, hash, err)
	}
	filter, err := light.CS.GetCFilter(hash, wire.GCSFilterRegular)
	if err != nil {
		return false, fmt.Errorf("%w: no peer gave the block filter: %w", ledger.ErrUnreachable, err)
	}
	var scripts [][]byte
	for s := range w.Scripts {
		scripts = append(scripts, []byte(s))
	}
	for op := range w.Outpoints {
		s := w.OutScripts[op]
		if s == nil {
			return true, nil // only the whole block can tell
		}
		scripts = append(scripts, s)
	}
	return matchAny(filter, hash, scripts)
}

func matchAny(filter *gcs.Filter, hash chainhash.Hash, scripts [][]byte) (bool, error) {
	if filter.N() == 0 || len(scripts) == 0 {
		return false, nil
	}
	return filter.MatchAny(builder.DeriveKey(&hash), scripts)
}

func matches(b *wire.MsgBlock, w *ledger.Watch) ([]ledger.Match, error) {
	var found []ledger.Match
	inside := make(map[channel.Outpoint]bool) // outputs to watched scripts made in this block
	for _, tx := range b.Transactions {
		hit := false
		for _, in := range tx.TxIn {
			op := channel.Outpoint{TxID: in.PreviousOutPoint.Hash, Index: in.PreviousOutPoint.Index}
			hit = hit || w.Outpoints[op] || inside[op]
		}
		txid := tx.TxHash()
		for i, out := range tx.TxOut {
			if w.Scripts[string(out.PkScript)] {
				hit = true
				inside[channel.Outpoint{TxID: txid, Index: uint32(i)}] = true
			}
		}
		if !hit {
			continue
		}
		raw, err := serialize(tx)
		if err != nil {
			return nil, err
		}
		found = append(found, ledger.Match{TxID: txid, Raw: raw})
	}
	return found, nil
}

func (c *Chain) Unspent(ctx context.Context, o channel.Outpoint) (ledger.Output, uint32, error) {
	if !c.Capabilities().Unspent {
		return ledger.Output{}, 0, fmt.Errorf("%w: a light client can't look up outputs", ledger.ErrUnsupported)
	}
	op := wire.OutPoint{Hash: o.TxID, Index: o.Index}
	res, err := ask(ctx, c.link, func(cl *client) (*btcjson.GetTxOutResult, error) {
		res, err := cl.rpc.GetTxOut(&op.Hash, op.Index, true)
		if err == nil && res != nil && cl.BackEnd() == "btcd" && spentWaiting(cl, op) {
			return nil, nil
		}
		return res, err
	})
	if err != nil {
		return ledger.Output{}, 0, err
	}
	if res == nil {
		return ledger.Output{}, 0, fmt.Errorf("%w: output %s is spent or never existed", ledger.ErrNotFound, op)
	}
	value, err := btcutil.NewAmount(res.Value)
	if err != nil {
		return ledger.Output{}, 0, err
	}
	script, err := hex.DecodeString(res.ScriptPubKey.Hex)
	if err != nil {
		return ledger.Output{}, 0, err
	}
	return ledger.Output{Script: script, Value: channel.Sat(value)}, uint32(max(res.Confirmations, 0)), nil
}

// spentWaiting reports whether a waiting transaction spends op: btcd's gettxout does not look.
func spentWaiting(cl *client, op wire.OutPoint) bool {
	res, err := cl.rpc.GetTxSpendingPrevOut([]wire.OutPoint{op})
	return err == nil && len(res) == 1 && res[0].SpendingTxid != ""
}

func serialize(tx *wire.MsgTx) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(tx.SerializeSize())
	err := tx.Serialize(&b)
	return b.Bytes(), err
}

// decode parses a raw transaction, all of it.
func decode(raw []byte) (*wire.MsgTx, error) {
	tx, err := btcutil.NewTxFromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: not a transaction: %w", ledger.ErrRejected, err)
	}
	return tx.MsgTx(), nil
}
