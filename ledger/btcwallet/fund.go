package btcwallet

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/walletdb"
	"github.com/btcsuite/btcwallet/wtxmgr"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet/coins"
)

// blankScript stands for a script of ours whose address is not used up yet; it has the right length.
var blankScript = append([]byte{0x51, 0x20}, make([]byte, 32)...)

func (w *Wallet) Fund(ctx context.Context, outputs []ledger.Output, rate ledger.FeeRate,
	seal func(channel.Outpoint) ([]byte, error)) (ledger.Tx, error) {

	if err := w.ready(ctx); err != nil {
		return ledger.Tx{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fund(outputs, rate, seal)
}

// ready refuses to spend while the backend is away: what is spent already could not be known.
func (w *Wallet) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := w.link.trusted()
	return err
}

func (w *Wallet) fund(outputs []ledger.Output, rate ledger.FeeRate, seal func(channel.Outpoint) ([]byte, error)) (ledger.Tx, error) {
	have, err := w.available()
	if err != nil {
		return ledger.Tx{}, err
	}
	plan, err := coins.FundSealed(have, outputs, rate, blankScript, seal)
	if err != nil {
		return ledger.Tx{}, err
	}
	return w.finish(plan)
}

// finish gives a plan its change address and signatures and leases its coins.
func (w *Wallet) finish(plan coins.Plan) (ledger.Tx, error) {
	if plan.Change >= 0 {
		script, err := w.changeScript()
		if err != nil {
			return ledger.Tx{}, err
		}
		plan.Tx.TxOut[plan.Change].PkScript = script
	}
	tx, err := w.sign(plan)
	if err != nil {
		return ledger.Tx{}, err
	}
	raw, err := serialize(tx)
	if err != nil {
		return ledger.Tx{}, err
	}
	done := ledger.Tx{ID: tx.TxHash(), Raw: raw, Fee: channel.Sat(plan.Fee)}
	if err := w.lease(done.ID, plan.Coins); err != nil {
		w.unlease(done.ID, tx)
		return ledger.Tx{}, err
	}
	return done, nil
}

func (w *Wallet) sign(plan coins.Plan) (*wire.MsgTx, error) {
	packet, err := plan.Packet()
	if err != nil {
		return nil, err
	}
	if err := w.w.DecorateInputs(packet, true); err != nil {
		return nil, fmt.Errorf("btcwallet: inputs: %w", err)
	}
	if err := w.w.FinalizePsbt(nil, account, packet); err != nil {
		return nil, fmt.Errorf("btcwallet: sign: %w", err)
	}
	tx, err := psbt.Extract(packet)
	if err != nil {
		return nil, fmt.Errorf("btcwallet: sign: %w", err)
	}
	return tx, nil
}

func (w *Wallet) Send(ctx context.Context, script []byte, value channel.Sat, rate ledger.FeeRate) (ledger.Tx, error) {
	if err := w.ready(ctx); err != nil {
		return ledger.Tx{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tx, err := w.fund([]ledger.Output{{Script: script, Value: value}}, rate, nil)
	if err != nil {
		return ledger.Tx{}, err
	}
	return tx, w.publish(ctx, tx, coins.LabelSend)
}

func (w *Wallet) SendAll(ctx context.Context, script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
	if err := w.ready(ctx); err != nil {
		return ledger.Tx{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	have, err := w.available()
	if err != nil {
		return ledger.Tx{}, err
	}
	plan, err := coins.Sweep(have, script, rate)
	if err != nil {
		return ledger.Tx{}, err
	}
	tx, err := w.finish(plan)
	if err != nil {
		return ledger.Tx{}, err
	}
	return tx, w.publish(ctx, tx, coins.LabelSendAll)
}

// publish sends and records a transaction. When the backend went away just now it may have the
// transaction or not: then it is recorded all the same, and the wallet sends it again until it knows.
func (w *Wallet) publish(ctx context.Context, tx ledger.Tx, label string) error {
	msg, err := decode(tx.Raw)
	if err != nil {
		return err
	}
	err = w.chain.Publish(ctx, tx)
	if errors.Is(err, ledger.ErrRejected) || errors.Is(err, ledger.ErrConflict) {
		w.unlease(tx.ID, msg)
		return err
	}
	if rerr := w.record(msg, label); rerr != nil {
		return rerr
	}
	if err != nil {
		return fmt.Errorf("btcwallet: the transaction is kept and will be sent when the backend is back: %w", err)
	}
	return nil
}

func (w *Wallet) Bump(ctx context.Context, txid [32]byte, rate ledger.FeeRate) (ledger.Tx, error) {
	if err := w.ready(ctx); err != nil {
		return ledger.Tx{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old, err := w.details(txid)
	if err != nil {
		return ledger.Tx{}, err
	}
	if old == nil {
		return ledger.Tx{}, coins.Unknown(txid)
	}
	if old.Block.Height >= 0 {
		return ledger.Tx{}, coins.Confirmed(txid)
	}
	tx, replaced, err := w.bump(old, rate)
	if err != nil {
		return ledger.Tx{}, err
	}
	if !replaced {
		return tx, w.publish(ctx, tx, coins.LabelChild)
	}
	if err := w.chain.Publish(ctx, tx); err != nil {
		w.Release(context.WithoutCancel(ctx), tx)
		return ledger.Tx{}, err
	}
	if err := w.forget(&old.TxRecord); err != nil {
		return ledger.Tx{}, err
	}
	return tx, w.publish(ctx, tx, old.Label)
}

func (w *Wallet) bump(old *wtxmgr.TxDetails, rate ledger.FeeRate) (tx ledger.Tx, replaced bool, err error) {
	have, err := w.available()
	if err != nil {
		return ledger.Tx{}, false, err
	}
	// A replacement takes its change address only when it needs one; a child always does.
	plan, replaced, err := coins.Bump(waitingOf(old), have, blankScript, rate)
	if err != nil {
		return ledger.Tx{}, false, err
	}
	if !replaced {
		plan.Change = 0
	}
	tx, err = w.finish(plan)
	return tx, replaced, err
}

func waitingOf(d *wtxmgr.TxDetails) coins.Waiting {
	waiting := coins.Waiting{
		Tx: &d.MsgTx, Label: d.Label,
		Size: int(mempool.GetTxVirtualSize(btcutil.NewTx(&d.MsgTx))),
	}
	for _, in := range d.Debits {
		op := d.MsgTx.TxIn[in.Index].PreviousOutPoint
		waiting.Inputs = append(waiting.Inputs, coins.Coin{OutPoint: op, Value: int64(in.Amount)})
	}
	for _, c := range d.Credits {
		if out := d.MsgTx.TxOut[c.Index]; !c.Spent {
			op := wire.OutPoint{Hash: d.Hash, Index: c.Index}
			waiting.Own = append(waiting.Own, coins.Coin{OutPoint: op, Value: int64(c.Amount), Script: out.PkScript})
		}
	}
	return waiting
}

// forget removes a replaced transaction and what built on it.
func (w *Wallet) forget(rec *wtxmgr.TxRecord) error {
	err := walletdb.Update(w.w.Database(), func(tx walletdb.ReadWriteTx) error {
		return w.w.TxStore.RemoveUnminedTx(tx.ReadWriteBucket([]byte(txBucket)), rec)
	})
	if err != nil {
		return fmt.Errorf("btcwallet: replaced transaction %s: %w", rec.Hash, err)
	}
	return nil
}
