package btcwallet

import (
	"errors"
	"fmt"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
	"github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/walletdb"
)

// errOtherChain says that wallet and backend have no block in common.
var errOtherChain = errors.New("the backend's chain has nothing in common with the wallet's: is it the right node? (A private chain that was made anew needs a new data directory)")

// align makes the wallet fit to follow a newly reached backend: a new wallet starts at its birthday,
// and blocks that left the best chain meanwhile are taken back. The wallet's own check looks only at
// its last block, and so misses a reorganisation below blocks that a recovery has added since.
func align(c *client, w *wallet.Wallet, birthday Birthday) error {
	_, best, err := c.GetBestBlock()
	if err != nil {
		return err
	}
	if _, err := w.BirthdayBlock(); waddrmgr.IsError(err, waddrmgr.ErrBirthdayBlockNotSet) {
		return begin(c, w, birthday, best)
	} else if err != nil {
		return err
	}
	if err := takeBack(c, w); err != nil {
		return err
	}
	// The wallet notes a transaction before the block that it came in. Stopped in between, it knows
	// transactions of a block that it would not miss: they are taken back, and found again if they stand.
	return rollback(c, w, w.Manager.SyncedTo().Height+1)
}

// takeBack undoes the wallet's blocks that the backend's best chain does not have. The chain may change
// between its questions; then they are put again.
func takeBack(c *client, w *wallet.Wallet) (err error) {
	for attempt := range takeBackAttempts {
		time.Sleep(time.Duration(attempt) * takeBackPause)
		if err = takeBackOnce(c, w); !isRPCError(err) {
			return err
		}
	}
	return err
}

func takeBackOnce(c *client, w *wallet.Wallet) error {
	_, best, err := c.GetBestBlock()
	if err != nil {
		return err
	}
	from, err := firstStale(c, w, best)
	if err != nil {
		return err
	}
	if from < 0 {
		return nil
	}
	return rollback(c, w, from)
}

// begin sets where a new wallet starts. Without a height the wallet finds the block by time.
func begin(c *client, w *wallet.Wallet, birthday Birthday, best int32) error {
	height := int32(birthday.Height) - birthdayBlocks
	if height <= 0 || height > best {
		return nil
	}
	stamp, err := stampAt(c, height)
	if err != nil {
		return err
	}
	return walletdb.Update(w.Database(), func(tx walletdb.ReadWriteTx) error {
		ns := tx.ReadWriteBucket([]byte(addrBucket))
		if err := w.Manager.SetSyncedTo(ns, &stamp); err != nil {
			return err
		}
		return w.Manager.SetBirthdayBlock(ns, stamp, true)
	})
}

func stampAt(c *client, height int32) (waddrmgr.BlockStamp, error) {
	hash, err := c.GetBlockHash(int64(height))
	if err != nil {
		return waddrmgr.BlockStamp{}, err
	}
	h, err := c.GetBlockHeader(hash)
	if err != nil {
		return waddrmgr.BlockStamp{}, err
	}
	return waddrmgr.BlockStamp{Height: height, Hash: *hash, Timestamp: h.Timestamp}, nil
}

// firstStale returns the lowest of the wallet's blocks that the backend's best chain does not have, -1
// when there is none.
func firstStale(c *client, w *wallet.Wallet, best int32) (int32, error) {
	stale, agree := int32(-1), 0
	for h := w.Manager.SyncedTo().Height; h > 0 && agree < rollbackChecks; h-- {
		own, err := blockHash(w, h)
		if waddrmgr.IsError(err, waddrmgr.ErrBlockNotFound) {
			if stale == h+1 {
				return 0, errOtherChain // down to the first block of the wallet
			}
			break
		}
		if err != nil {
			return 0, err
		}
		if h <= best {
			theirs, err := c.GetBlockHash(int64(h))
			if err != nil {
				return 0, err
			}
			if *theirs == own {
				agree++
				continue
			}
		}
		stale, agree = h, 0
	}
	return stale, nil
}

func blockHash(w *wallet.Wallet, height int32) (chainhash.Hash, error) {
	var hash chainhash.Hash
	err := walletdb.View(w.Database(), func(tx walletdb.ReadTx) error {
		h, err := w.Manager.BlockHash(tx.ReadBucket([]byte(addrBucket)), height)
		if err == nil {
			hash = *h
		}
		return err
	})
	return hash, err
}

// rollback takes back the blocks from a height on. The block below is named as the wallet knows it: the
// backend may be in the middle of a reorganisation and have another there by now.
func rollback(c *client, w *wallet.Wallet, from int32) error {
	stamp := waddrmgr.BlockStamp{Height: from - 1}
	var err error
	if stamp.Hash, err = blockHash(w, stamp.Height); err != nil {
		return fmt.Errorf("rollback to block %d: %w", stamp.Height, err)
	}
	header, err := c.GetBlockHeader(&stamp.Hash)
	if err != nil {
		return fmt.Errorf("rollback to block %d: %w", stamp.Height, err)
	}
	stamp.Timestamp = header.Timestamp
	return walletdb.Update(w.Database(), func(tx walletdb.ReadWriteTx) error {
		if err := w.Manager.SetSyncedTo(tx.ReadWriteBucket([]byte(addrBucket)), &stamp); err != nil {
			return err
		}
		return w.TxStore.Rollback(tx.ReadWriteBucket([]byte(txBucket)), from)
	})
}
