package ledgertest

import (
	"context"
	"fmt"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

var _ ledger.Chain = (*MemoryChain)(nil)

// MemoryChain is one node's view of Memory.
type MemoryChain struct {
	net   *Memory
	fault func(call string) error
	tick  chan struct{}
}

// NewChain gives a node its view of the network.
func (m *Memory) NewChain() *MemoryChain {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &MemoryChain{net: m, tick: make(chan struct{}, 1)}
	m.views = append(m.views, c)
	return c
}

// SetFault makes every call ask f first, by the name of the method, and return its error. nil ends it.
func (c *MemoryChain) SetFault(f func(call string) error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.fault = f
	c.notify()
}

// SetAway makes every call fail as if the backend could not be reached.
func (c *MemoryChain) SetAway(away bool) {
	if !away {
		c.SetFault(nil)
		return
	}
	c.SetFault(func(string) error { return fmt.Errorf("%w: switched off", ledger.ErrUnreachable) })
}

func (c *MemoryChain) notify() {
	select {
	case c.tick <- struct{}{}:
	default:
	}
}

// enter takes the lock when the call may go on. The caller unlocks c.net.mu.
func (c *MemoryChain) enter(ctx context.Context, call string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.net.mu.Lock()
	if c.fault != nil {
		if err := c.fault(call); err != nil {
			c.net.mu.Unlock()
			return err
		}
	}
	return nil
}

func (c *MemoryChain) Capabilities() ledger.Capabilities {
	return ledger.Capabilities{Name: "memory", MempoolAccept: true, MempoolWatch: true, FeeEstimate: true, Unspent: true}
}

func (c *MemoryChain) Tip(ctx context.Context) (ledger.Block, error) {
	if err := c.enter(ctx, "Tip"); err != nil {
		return ledger.Block{}, err
	}
	defer c.net.mu.Unlock()
	return c.net.tip().Block, nil
}

func (c *MemoryChain) BlockAt(ctx context.Context, height uint32) (ledger.Block, error) {
	if err := c.enter(ctx, "BlockAt"); err != nil {
		return ledger.Block{}, err
	}
	defer c.net.mu.Unlock()
	if height > c.net.tip().Height {
		return ledger.Block{}, fmt.Errorf("%w: no block at height %d yet", ledger.ErrNotFound, height)
	}
	return c.net.blocks[height].Block, nil
}

func (c *MemoryChain) Matches(ctx context.Context, block [32]byte, w *ledger.Watch) ([]ledger.Match, error) {
	if err := c.enter(ctx, "Matches"); err != nil {
		return nil, err
	}
	defer c.net.mu.Unlock()
	for _, b := range c.net.blocks {
		if b.Hash == block {
			return matchesOf(b.txs, w), nil
		}
	}
	return nil, fmt.Errorf("%w: block %s", ledger.ErrNotFound, chainhash.Hash(block))
}

func matchesOf(txs []*btcutil.Tx, w *ledger.Watch) []ledger.Match {
	var found []ledger.Match
	inside := make(map[channel.Outpoint]bool)
	for _, tx := range txs {
		hit := false
		for _, in := range tx.MsgTx().TxIn {
			op := channel.Outpoint{TxID: in.PreviousOutPoint.Hash, Index: in.PreviousOutPoint.Index}
			hit = hit || w.Outpoints[op] || inside[op]
		}
		for i, out := range tx.MsgTx().TxOut {
			if w.Scripts[string(out.PkScript)] {
				hit = true
				inside[channel.Outpoint{TxID: *tx.Hash(), Index: uint32(i)}] = true
			}
		}
		if hit {
			found = append(found, ledger.Match{TxID: *tx.Hash(), Raw: serialize(tx.MsgTx())})
		}
	}
	return found
}

func (c *MemoryChain) Publish(ctx context.Context, tx ledger.Tx) error {
	if err := c.enter(ctx, "Publish"); err != nil {
		return err
	}
	defer c.net.mu.Unlock()
	t, err := parse(tx.Raw)
	if err != nil {
		return err
	}
	return c.net.accept(t)
}

func (c *MemoryChain) TestAccept(ctx context.Context, tx ledger.Tx) error {
	if err := c.enter(ctx, "TestAccept"); err != nil {
		return err
	}
	defer c.net.mu.Unlock()
	t, err := parse(tx.Raw)
	if err != nil {
		return err
	}
	if known, _ := c.net.find(*t.Hash()); known != nil {
		return nil
	}
	res, err := c.net.pool.CheckMempoolAcceptance(t)
	if err != nil {
		return rejected(err)
	}
	if len(res.MissingParents) > 0 {
		return fmt.Errorf("%w: an input does not exist or is spent", ledger.ErrConflict)
	}
	return nil
}

func (c *MemoryChain) Unspent(ctx context.Context, o channel.Outpoint) (ledger.Output, uint32, error) {
	if err := c.enter(ctx, "Unspent"); err != nil {
		return ledger.Output{}, 0, err
	}
	defer c.net.mu.Unlock()
	op := wire.OutPoint{Hash: o.TxID, Index: o.Index}
	out, confirmations, ok := c.net.unspent(op)
	if !ok {
		return ledger.Output{}, 0, fmt.Errorf("%w: output %s is spent or never existed", ledger.ErrNotFound, op)
	}
	return out, confirmations, nil
}

// unspent looks in chain and mempool.
func (m *Memory) unspent(op wire.OutPoint) (out ledger.Output, confirmations uint32, ok bool) {
	if m.pool.CheckSpend(op) != nil {
		return ledger.Output{}, 0, false
	}
	tx, height := (*btcutil.Tx)(nil), int32(0)
	if c, found := m.utxo[op]; found {
		tx, height = c.tx, c.height
	} else if t, err := m.pool.FetchTransaction(&op.Hash); err == nil && int(op.Index) < len(t.MsgTx().TxOut) {
		tx = t
	}
	if tx == nil {
		return ledger.Output{}, 0, false
	}
	o := tx.MsgTx().TxOut[op.Index]
	if height > 0 {
		confirmations = m.tip().Height - uint32(height) + 1
	}
	return ledger.Output{Script: o.PkScript, Value: channel.Sat(o.Value)}, confirmations, true
}

func (c *MemoryChain) EstimateFee(ctx context.Context, _ uint32) (ledger.FeeRate, string, error) {
	if err := c.enter(ctx, "EstimateFee"); err != nil {
		return 0, "", err
	}
	defer c.net.mu.Unlock()
	if c.net.estimate == 0 {
		return c.net.minFee, "floor (no estimate)", nil
	}
	return c.net.estimate, "memory", nil
}

func (c *MemoryChain) Changed() <-chan struct{} { return c.tick }

func (c *MemoryChain) Close() error { return nil }
