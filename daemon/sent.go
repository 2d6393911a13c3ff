package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
)

// Payments and fee bumps of the own wallet are published until they are deep, like all else: a node that
// forgets them, or a reorganisation, must not.

const prefixSent = 'w'

func sentKey(txid [32]byte) []byte { return append([]byte{prefixSent}, txid[:]...) }

// keepSent remembers a transaction that the wallet has published. Without the record it would only not be
// published again.
func (n *Node) keepSent(tx ledger.Tx) {
	value := append(binary.BigEndian.AppendUint64(nil, uint64(tx.Fee)), tx.Raw...)
	n.deps.Committer.Submit(new(store.Batch).Put(sentKey(tx.ID), value), func(err error) {
		if err != nil {
			n.log.Warn("a transaction of the wallet is not published again if nodes forget it", "txid", channel.TxIDString(tx.ID), "err", err)
		}
	})
}

// resendSent publishes what waits, and forgets what is deep or was replaced.
func (n *Node) resendSent(ctx context.Context) error {
	var kept []ledger.Tx
	err := n.deps.Store.Scan([]byte{prefixSent}, nil, func(key, value []byte) bool {
		if len(key) == 33 && len(value) > 8 {
			kept = append(kept, ledger.Tx{ID: [32]byte(key[1:]), Fee: channel.Sat(binary.BigEndian.Uint64(value)), Raw: append([]byte(nil), value[8:]...)})
		}
		return true
	})
	if err != nil || len(kept) == 0 {
		return err
	}
	list, err := n.deps.Wallet.Transactions(ctx)
	if err != nil {
		return err
	}
	depth := make(map[[32]byte]uint32, len(list))
	for _, t := range list {
		depth[t.ID] = t.Confirmations // a replaced one is not listed any more
	}
	for _, tx := range kept {
		confirmations, known := depth[tx.ID]
		if confirmations == 0 {
			refused := n.deps.Chain.Publish(ctx, tx)
			if refused != nil {
				n.log.Debug("a transaction of the wallet was not taken again", "txid", channel.TxIDString(tx.ID), "err", refused)
			}
			if known || !errors.Is(refused, ledger.ErrConflict) {
				continue
			}
		} else if confirmations < channel.DeepConfirmations {
			continue
		}
		err = errors.Join(err, n.deps.Committer.Commit(new(store.Batch).Delete(sentKey(tx.ID)))) // deep, or replaced by what is
	}
	return err
}

// resendWallet looks after the wallet's transactions beside what else happens.
func (n *Node) resendWallet() {
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
		defer cancel()
		if err := n.resendSent(ctx); err != nil {
			n.log.Warn("the wallet's transactions could not be published again", "err", err)
		}
	})
}
