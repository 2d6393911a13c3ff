package daemon_test

import (
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/btcsuite/btcd/btcutil/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// TestMain finds goroutines that a node leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errDisk  = errors.New("the disk does not write")
	errPower = errors.New("the power is gone")
)

// disk is a store whose writes can be made to fail or to wait.
type disk struct {
	*store.Memory
	mu     sync.Mutex
	before func([]*store.Batch) error // asked before each transaction
	dead   bool                       // nothing is written
}

func (d *disk) Apply(batches []*store.Batch) ([]error, error) {
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before != nil {
		if err := before(batches); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errPower
	}
	return d.Memory.Apply(batches)
}

// die ends all writing and returns what was written until then.
func (d *disk) die() store.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	return d.Snapshot()
}

// revive restores what die returned.
func (d *disk) revive(s store.Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Restore(s)
	d.dead, d.before = false, nil
}

// fault makes every write ask f first; nil ends it.
func (d *disk) fault(f func([]*store.Batch) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = f
}

// failNth makes the nth transaction from now on fail, and those beside it succeed.
func (d *disk) failNth(n int) {
	var mu sync.Mutex
	d.fault(func([]*store.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 {
			return errDisk
		}
		return nil
	})
}

// powerLoss ends the node in the middle of what it does: from one moment on nothing is written, and what
// was written by then is all that the next start finds.
func (m *member) powerLoss() {
	durable := m.disk.die()
	m.halt()
	m.disk.revive(durable)
	m.boot()
}

// lose makes messages vanish for which f is true; nil ends that.
func (w *world) lose(f func(from channel.PeerID, m wire.Message) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing = f
}

// pass sees every message that is sent. It holds each node to "first stored, then sent".
func (w *world) pass(from, to channel.PeerID, b []byte) (lost bool) {
	m, err := wire.Decode(b)
	if err != nil {
		return false
	}
	w.mu.Lock()
	sender, losing := w.members[from], w.losing
	w.mu.Unlock()
	if sender != nil {
		if err := daemon.Promised(sender.disk.Memory, from, to, m); err != nil {
			w.t.Errorf("%s: %v", sender.name, err)
		}
	}
	return losing != nil && losing(from, m)
}

// onchain is all that a node's wallet has or waits for.
func (m *member) onchain() channel.Sat {
	m.w.t.Helper()
	b, err := m.wallet.Balance(m.w.ctx())
	must(m.w.t, err)
	return b.Confirmed + b.Pending + b.Locked
}

// conserved checks that wallets, fees and what is locked add up to the money that came in.
func (w *world) conserved(ms ...*member) {
	w.t.Helper()
	var have, given channel.Sat
	for _, m := range ms {
		have += m.onchain()
		given += m.given
	}
	fees, locked := w.feesAndLocked(w.ownTxs(ms), ms)
	if have+fees+locked != given {
		w.t.Errorf("wallets %d + fees %d + locked %d = %d sat, and %d came in", have, fees, locked, have+fees+locked, given)
	}
}

// lockedNow is what stands at the scripts of lanes.
func (w *world) lockedNow(ms ...*member) channel.Sat {
	w.t.Helper()
	_, locked := w.feesAndLocked(w.ownTxs(ms), ms)
	return locked
}

func (w *world) ownTxs(ms []*member) map[[32]byte]bool {
	w.t.Helper()
	own := map[[32]byte]bool{}
	for _, m := range ms {
		list, err := m.wallet.Transactions(w.ctx())
		must(w.t, err)
		for _, l := range list {
			own[l.ID] = true
		}
	}
	return own
}

// feesAndLocked sums up what own transactions left to miners, and those outputs at the scripts of lanes
// that are not spent.
func (w *world) feesAndLocked(own map[[32]byte]bool, ms []*member) (fees, locked channel.Sat) {
	w.t.Helper()
	for id := range own {
		tx := w.tx(id)
		var in, out int64
		faucet := false
		for _, i := range tx.MsgTx().TxIn {
			prev := channel.Outpoint{TxID: i.PreviousOutPoint.Hash, Index: i.PreviousOutPoint.Index}
			if !own[prev.TxID] && !w.gifts[prev] {
				faucet = true
				break
			}
			in += w.tx(i.PreviousOutPoint.Hash).MsgTx().TxOut[i.PreviousOutPoint.Index].Value
		}
		if faucet {
			continue
		}
		for n, o := range tx.MsgTx().TxOut {
			out += o.Value
			if w.isLane(o.PkScript, ms) {
				if _, _, err := ms[0].chain.Unspent(w.ctx(), channel.Outpoint{TxID: id, Index: uint32(n)}); err == nil {
					locked += channel.Sat(o.Value)
				}
			}
		}
		fees += channel.Sat(in - out)
	}
	for o := range w.gifts {
		if out, _, err := ms[0].chain.Unspent(w.ctx(), o); err == nil {
			locked += out.Value
		}
	}
	return fees, locked
}

func (w *world) tx(id [32]byte) *btcutil.Tx {
	w.t.Helper()
	raw, _, err := w.chain.Transaction(id)
	must(w.t, err)
	tx, err := btcutil.NewTxFromBytes(raw)
	must(w.t, err)
	return tx
}

// isLane reports whether no wallet owns a script that takes money.
func (w *world) isLane(script []byte, ms []*member) bool {
	if len(script) == 0 || script[0] == 0x6a {
		return false
	}
	for _, m := range ms {
		if m.wallet.Owns(script) {
			return false
		}
	}
	return true
}
