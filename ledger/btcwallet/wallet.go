package btcwallet

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
	"github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/walletdb"
	"github.com/btcsuite/btcwallet/wtxmgr"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet/coins"
)

var _ ledger.Wallet = (*Wallet)(nil)

// account is the only one that is used, of taproot keys (BIP 86).
const account = waddrmgr.DefaultAccountNum

// Wallet holds the on-chain money. Safe for concurrent use.
type Wallet struct {
	w      *wallet.Wallet
	link   *link
	chain  *Chain
	params *chaincfg.Params
	close  func() error

	mu sync.Mutex // from the choice of coins until they are leased or spent
}

// Close ends the wallet, and the chain with it.
func (w *Wallet) Close() error { return w.close() }

func (w *Wallet) NewAddress(ctx context.Context) (string, []byte, error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	a, err := w.w.NewAddress(account, waddrmgr.KeyScopeBIP0086)
	if err != nil {
		return "", nil, fmt.Errorf("btcwallet: new address: %w", err)
	}
	script, err := txscript.PayToAddrScript(a)
	if err != nil {
		return "", nil, fmt.Errorf("btcwallet: new address: %w", err)
	}
	return a.EncodeAddress(), script, nil
}

func (w *Wallet) changeScript() ([]byte, error) {
	a, err := w.w.NewChangeAddress(account, waddrmgr.KeyScopeBIP0086)
	if err != nil {
		return nil, fmt.Errorf("btcwallet: change address: %w", err)
	}
	return txscript.PayToAddrScript(a)
}

// view reads the wallet's transactions.
func (w *Wallet) view(f func(ns walletdb.ReadBucket) error) error {
	err := walletdb.View(w.w.Database(), func(tx walletdb.ReadTx) error {
		return f(tx.ReadBucket([]byte(txBucket)))
	})
	if err != nil {
		return fmt.Errorf("btcwallet: %w", err)
	}
	return nil
}

func (w *Wallet) Balance(ctx context.Context) (ledger.Balance, error) {
	var b ledger.Balance
	if err := ctx.Err(); err != nil {
		return b, err
	}
	height := w.w.Manager.SyncedTo().Height
	err := w.view(func(ns walletdb.ReadBucket) error {
		unspent, err := w.w.TxStore.UnspentOutputs(ns)
		if err != nil {
			return err
		}
		for _, c := range unspent {
			if w.spendable(&c, height) {
				b.Confirmed += channel.Sat(c.Amount)
			} else {
				b.Pending += channel.Sat(c.Amount)
			}
		}
		b.Locked, err = w.locked(ns)
		return err
	})
	return b, err
}

// spendable reports whether a coin is confirmed, and mature where it was mined.
func (w *Wallet) spendable(c *wtxmgr.Credit, tip int32) bool {
	if c.Height < 0 {
		return false
	}
	return !c.FromCoinBase || tip-c.Height+1 >= int32(w.params.CoinbaseMaturity)
}

// locked sums up the leased coins that nothing spends yet.
func (w *Wallet) locked(ns walletdb.ReadBucket) (sum channel.Sat, err error) {
	leased, err := w.w.TxStore.ListLockedOutputs(ns)
	if err != nil {
		return 0, err
	}
	for _, l := range leased {
		d, err := w.w.TxStore.TxDetails(ns, &l.Outpoint.Hash)
		if err != nil {
			return 0, err
		}
		if d == nil {
			continue
		}
		for _, c := range d.Credits {
			if c.Index == l.Outpoint.Index && !c.Spent {
				sum += channel.Sat(c.Amount)
			}
		}
	}
	return sum, nil
}

// available are the coins that may be spent now.
func (w *Wallet) available() (cs []coins.Coin, err error) {
	height := w.w.Manager.SyncedTo().Height
	err = w.view(func(ns walletdb.ReadBucket) error {
		unspent, err := w.w.TxStore.UnspentOutputs(ns)
		if err != nil {
			return err
		}
		for _, c := range unspent {
			if w.spendable(&c, height) && txscript.IsPayToTaproot(c.PkScript) {
				cs = append(cs, coins.Coin{OutPoint: c.OutPoint, Value: int64(c.Amount), Script: c.PkScript})
			}
		}
		return nil
	})
	return cs, err
}

// details returns what the wallet knows of a transaction, nil when nothing.
func (w *Wallet) details(txid chainhash.Hash) (d *wtxmgr.TxDetails, err error) {
	err = w.view(func(ns walletdb.ReadBucket) error {
		d, err = w.w.TxStore.TxDetails(ns, &txid)
		return err
	})
	return d, err
}

// mined reports whether the wallet knows a transaction to be in a block.
func (w *Wallet) mined(txid chainhash.Hash) bool {
	d, err := w.details(txid)
	return err == nil && d != nil && d.Block.Height >= 0
}

func (w *Wallet) Record(ctx context.Context, tx ledger.Tx, label string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	msg, err := decode(tx.Raw)
	if err != nil {
		return err
	}
	return w.record(msg, label)
}

func (w *Wallet) record(tx *wire.MsgTx, label string) error {
	txid := tx.TxHash()
	label = label[:min(len(label), maxLabel)]
	known, err := w.details(txid)
	if err != nil {
		return err
	}
	if known == nil {
		w.link.quiet.Store(txid, nil)
		defer w.link.quiet.Delete(txid)
		if err := w.w.PublishTransaction(tx, label); err != nil {
			return fmt.Errorf("btcwallet: record %s: %w", txid, err)
		}
	} else if label != "" && known.Label != label {
		if err := w.w.LabelTransaction(txid, label, true); err != nil {
			return fmt.Errorf("btcwallet: label %s: %w", txid, err)
		}
	}
	w.unlease(txid, tx)
	return nil
}

func (w *Wallet) Release(ctx context.Context, tx ledger.Tx) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	msg, err := decode(tx.Raw)
	if err != nil {
		return err
	}
	w.unlease(tx.ID, msg)
	return nil
}

// unlease unlocks the inputs that are leased for the transaction of this id; others stay as they are.
func (w *Wallet) unlease(txid [32]byte, tx *wire.MsgTx) {
	for _, in := range tx.TxIn {
		w.w.ReleaseOutput(wtxmgr.LockID(txid), in.PreviousOutPoint) // not leased for it is no error
	}
}

func (w *Wallet) lease(txid [32]byte, cs []coins.Coin) error {
	for _, c := range cs {
		_, err := w.w.LeaseOutput(wtxmgr.LockID(txid), c.OutPoint, leaseTime)
		if err != nil && !errors.Is(err, wtxmgr.ErrOutputAlreadyLocked) {
			return fmt.Errorf("btcwallet: lock coin %s: %w", c.OutPoint, err)
		}
	}
	return nil
}

func (w *Wallet) Transactions(ctx context.Context) ([]ledger.WalletTx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tip := w.w.Manager.SyncedTo().Height
	var list []ledger.WalletTx
	err := w.view(func(ns walletdb.ReadBucket) error {
		// From the first block to the unconfirmed ones, which stand behind the last.
		return w.w.TxStore.RangeTransactions(ns, 0, -1, func(ds []wtxmgr.TxDetails) (bool, error) {
			for i := range ds {
				list = append(list, line(&ds[i], tip))
			}
			return false, ctx.Err()
		})
	})
	return list, err
}

func (w *Wallet) History(ctx context.Context, fn func(raw []byte, height uint32) error) error {
	var broken error
	err := w.view(func(ns walletdb.ReadBucket) error {
		return w.w.TxStore.RangeTransactions(ns, 0, -1, func(ds []wtxmgr.TxDetails) (bool, error) {
			for i := range ds {
				raw, err := serialize(&ds[i].MsgTx)
				if err == nil {
					err = ctx.Err()
				}
				if err == nil {
					err = fn(raw, uint32(max(ds[i].Block.Height, 0)))
				}
				if err != nil {
					broken = err
					return true, nil
				}
			}
			return false, nil
		})
	})
	return errors.Join(err, broken)
}

func line(d *wtxmgr.TxDetails, tip int32) ledger.WalletTx {
	l := ledger.WalletTx{ID: d.Hash, Label: d.Label, Time: d.Received.Unix()}
	if d.Block.Height >= 0 {
		l.Height = uint32(d.Block.Height)
		l.Time = d.Block.Time.Unix()
		l.Confirmations = uint32(max(tip-d.Block.Height+1, 1))
	}
	var in, out int64
	for _, c := range d.Credits {
		l.Amount += int64(c.Amount)
	}
	for _, c := range d.Debits {
		in += int64(c.Amount)
	}
	l.Amount -= in
	for _, o := range d.MsgTx.TxOut {
		out += o.Value
	}
	if len(d.Debits) == len(d.MsgTx.TxIn) {
		l.Fee = channel.Sat(in - out)
	}
	return l
}

func (w *Wallet) Synced(ctx context.Context) (uint32, bool) {
	stamp := w.w.Manager.SyncedTo()
	height := uint32(max(stamp.Height, 0))
	if !w.w.ChainSynced() {
		return height, false
	}
	best, err := ask(ctx, w.link, func(cl *client) (*chainhash.Hash, error) {
		hash, _, err := cl.GetBestBlock()
		return hash, err
	})
	return height, err == nil && *best == stamp.Hash
}
