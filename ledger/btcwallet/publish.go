package btcwallet

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/chain"

	"github.com/runnel/runnel/ledger"
)

// Publish hands a transaction to the node. A node without a transaction index can't tell a transaction
// that was mined and whose outputs are all spent from a conflicting one, unless the wallet knows it:
// then the answer is ledger.ErrConflict.
func (c *Chain) Publish(ctx context.Context, tx ledger.Tx) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	msg, err := decode(tx.Raw)
	if err != nil {
		return err
	}
	err = publish(ctx, c.link, msg)
	if errors.Is(err, ledger.ErrConflict) && c.mined(msg.TxHash()) {
		return nil
	}
	return err
}

func publish(ctx context.Context, l *link, tx *wire.MsgTx) error {
	_, err := ask(ctx, l, func(cl *client) (any, error) { return nil, send(cl, tx) })
	return err
}

// send hands a transaction to the node and sorts its answer.
func send(cl *client, tx *wire.MsgTx) error {
	if cl.rpc == nil {
		_, err := cl.SendRawTransaction(tx, true)
		return classify(cl, err)
	}
	_, err := cl.rpc.SendRawTransaction(tx, true)
	err = classify(cl, err)
	if errors.Is(err, ledger.ErrConflict) && mined(cl, tx) {
		return nil
	}
	return err
}

// mined reports whether the node knows tx itself to be in the chain: a node says of a mined transaction
// whose outputs are all spent only that its inputs are spent.
func mined(cl *client, tx *wire.MsgTx) bool {
	txid := tx.TxHash()
	res, err := cl.rpc.GetRawTransactionVerbose(&txid)
	return err == nil && res.Confirmations > 0
}

func (c *Chain) TestAccept(ctx context.Context, tx ledger.Tx) error {
	if !c.Capabilities().MempoolAccept {
		return fmt.Errorf("%w: a light client can't test transactions", ledger.ErrUnsupported)
	}
	msg, err := decode(tx.Raw)
	if err != nil {
		return err
	}
	_, err = ask(ctx, c.link, func(cl *client) (any, error) { return nil, test(cl, msg) })
	return err
}

func test(cl *client, tx *wire.MsgTx) error {
	res, err := cl.rpc.TestMempoolAccept([]*wire.MsgTx{tx}, 0)
	if err != nil {
		return err
	}
	if len(res) != 1 {
		return fmt.Errorf("%w: the node tested %d transactions instead of one", ledger.ErrRejected, len(res))
	}
	if res[0].Allowed {
		return nil
	}
	err = classify(cl, &btcjson.RPCError{Code: btcjson.ErrRPCVerifyRejected, Message: res[0].RejectReason})
	if errors.Is(err, ledger.ErrConflict) && mined(cl, tx) {
		return nil
	}
	return err
}

// classify sorts a node's refusal into the ledger's errors and keeps its text. Known and mined already
// is no error.
func classify(cl *client, err error) error {
	if err == nil || isDisconnect(err) {
		return err
	}
	kind := err
	if cl.rpc != nil {
		kind = cl.MapRPCErr(err)
	}
	for _, known := range []error{chain.ErrTxAlreadyInMempool, chain.ErrTxAlreadyKnown, chain.ErrTxAlreadyConfirmed, chain.ErrSameNonWitnessData} {
		if errors.Is(kind, known) {
			return nil
		}
	}
	for _, spent := range []error{chain.ErrMissingInputs, chain.ErrMissingInputsOrSpent, chain.ErrMempoolConflict, chain.ErrConflictingTx} {
		if errors.Is(kind, spent) {
			return fmt.Errorf("%w: %w", ledger.ErrConflict, err)
		}
	}
	return fmt.Errorf("%w: %w", ledger.ErrRejected, err)
}
