package btcwallet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
	"github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/walletdb"
	_ "github.com/btcsuite/btcwallet/walletdb/bdb" // registers the database that walletdb opens
	"github.com/btcsuite/btcwallet/wtxmgr"

	"github.com/runnel/runnel/channel"
)

// Names of the buckets in the wallet's database, as btcwallet knows them.
const (
	addrBucket = "waddrmgr"
	txBucket   = "wtxmgr"
)

// ErrOtherSeed says that the database belongs to another seed.
var ErrOtherSeed = errors.New("btcwallet: the wallet database was made from another seed; use its seed, or move the database away to rebuild it from this one")

// Node is an open wallet with its chain.
type Node struct {
	Wallet *Wallet
	Chain  *Chain

	link *link
	db   walletdb.DB
	once sync.Once
	err  error
}

// Open opens the wallet in c.Dir, or makes it from the seed and looks for its money from the birthday
// on. It does not wait for the backend: until that is reached, methods that need it return
// ledger.ErrUnreachable, and connecting goes on in the background.
func Open(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	params, err := Params(c.Network)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("btcwallet: %w", err)
	}
	db, w, err := openWallet(&c, params)
	if err != nil {
		return nil, err
	}
	l := newLink(newDialer(&c, params), params, c.Log)
	node := &Node{link: l, db: db}
	node.Chain = &Chain{link: l, close: node.Close, blockFees: &blockFees{link: l, work: errand{ctx: l.ctx}}}
	if c.FeeURL != "" {
		node.Chain.feeURL = newFeeURL(l.ctx, c.FeeURL, c.Log)
	}
	node.Wallet = &Wallet{w: w, link: l, chain: node.Chain, params: params, close: node.Close}
	node.Chain.mined = node.Wallet.mined
	l.prepare = func(cl *client) error { return align(cl, w, c.Birthday) }
	l.reorged = func(cl *client) error { return takeBack(cl, w) }
	l.synced = func() { os.Remove(recoveryFile(c.Dir)) }
	l.Start(ctx)
	w.SynchronizeRPC(l)
	return node, nil
}

// Close ends wallet and chain and closes the database. It may be called more than once.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.link.Stop() // first, so that nothing waits for the backend
		n.Chain.stopFees()
		n.Wallet.w.Stop()
		n.Wallet.w.WaitForShutdown()
		n.link.WaitForShutdown()
		n.err = n.db.Close()
	})
	return n.err
}

// recoveryFile stands in the directory from the making of the database until the wallet has looked for
// its money once.
func recoveryFile(dir string) string { return filepath.Join(dir, "recovery-pending") }

func openWallet(c *Config, params *chaincfg.Params) (walletdb.DB, *wallet.Wallet, error) {
	path := filepath.Join(c.Dir, "wallet.db")
	if err := replaceDamaged(c, path); err != nil {
		return nil, nil, err
	}
	db, err := openDB(path)
	if err != nil {
		return nil, nil, err
	}
	if err := createOnce(db, c, params); err != nil {
		db.Close()
		return nil, nil, err
	}
	window := uint32(0)
	if _, err := os.Stat(recoveryFile(c.Dir)); err == nil {
		window = recoveryWindow
	}
	w, err := wallet.OpenWithRetry(db, publicPass(c.Seed), nil, params, window, syncRetry)
	if err != nil {
		db.Close()
		return nil, nil, wrongSeed(err)
	}
	w.Start()
	if err := w.Unlock(privatePass(c.Seed), nil); err != nil {
		w.Stop()
		w.WaitForShutdown()
		db.Close()
		return nil, nil, wrongSeed(err)
	}
	return db, w, nil
}

func wrongSeed(err error) error {
	if waddrmgr.IsError(err, waddrmgr.ErrWrongPassphrase) {
		return ErrOtherSeed
	}
	return fmt.Errorf("btcwallet: %w", err)
}

// replaceDamaged moves a wallet that can't be read out of the way: the seed and the chain make it again.
func replaceDamaged(c *Config, path string) error {
	err := sound(path)
	if err == nil {
		return nil
	}
	aside := path + ".damaged"
	c.Log.Error("the on-chain wallet's database is damaged; it is made again from the seed, which takes a scan of the chain. Labels are lost, money is not",
		"kept as", aside, "err", err)
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("btcwallet: %w", err)
	}
	c.NewSeed = false
	return nil
}

// openDB opens or makes a database file. A half-made one is finished by createOnce.
func openDB(path string) (walletdb.DB, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		db, err := walletdb.Create("bdb", path, true, dbTimeout, false)
		return db, dbError(path, err)
	}
	db, err := walletdb.Open("bdb", path, true, dbTimeout, false)
	return db, dbError(path, err)
}

func dbError(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("btcwallet: %s can't be opened (does another daemon use it?): %w", path, err)
}

// createOnce fills an empty database from the seed, all in one transaction.
func createOnce(db walletdb.DB, c *Config, params *chaincfg.Params) error {
	exists := false
	err := walletdb.View(db, func(tx walletdb.ReadTx) error {
		exists = tx.ReadBucket([]byte(addrBucket)) != nil
		return nil
	})
	if err != nil || exists {
		return err
	}
	if !c.NewSeed {
		if err := os.WriteFile(recoveryFile(c.Dir), nil, 0o600); err != nil {
			return fmt.Errorf("btcwallet: %w", err)
		}
	}
	root, err := hdkeychain.NewMaster(c.Seed, params)
	if err != nil {
		return fmt.Errorf("btcwallet: seed: %w", err)
	}
	defer root.Zero()
	return walletdb.Update(db, func(tx walletdb.ReadWriteTx) error {
		addrs, err := tx.CreateTopLevelBucket([]byte(addrBucket))
		if err != nil {
			return err
		}
		txs, err := tx.CreateTopLevelBucket([]byte(txBucket))
		if err != nil {
			return err
		}
		// The passphrases are 256 bits from the seed: stretching them would only cost time and memory.
		fast := &waddrmgr.ScryptOptions{N: 16, R: 8, P: 1}
		err = waddrmgr.Create(addrs, root, publicPass(c.Seed), privatePass(c.Seed), params, fast, birthTime(c.Birthday, params))
		if err != nil {
			return err
		}
		return wtxmgr.Create(txs)
	})
}

func birthTime(b Birthday, params *chaincfg.Params) time.Time {
	if b.Time.IsZero() {
		return params.GenesisBlock.Header.Timestamp
	}
	return b.Time.Add(-birthdayTime)
}

// The wallet's passphrases follow from the seed: whoever has it has the money anyway.
func publicPass(seed []byte) []byte { return pass32("runnel/wallet-public", seed) }

func privatePass(seed []byte) []byte { return pass32("runnel/wallet-private", seed) }

func pass32(tag string, seed []byte) []byte {
	h := channel.TaggedHash(tag, seed)
	return []byte(hex.EncodeToString(h[:]))
}
