package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Network moves the chain under a backend that is tested.
type Network interface {
	// Height of the network's best chain, which a backend may still have to hear of.
	Height(ctx context.Context) (uint32, error)
	// Mine adds n blocks; the first takes the mempool.
	Mine(ctx context.Context, n int) error
	// Reorg replaces depth blocks by depth+1, the first of which holds txs; the rest of what they held
	// returns to the mempool.
	Reorg(ctx context.Context, depth int, txs ...[]byte) error
	// Pay sends value to script with a transaction that waits for the next block.
	Pay(ctx context.Context, script []byte, value channel.Sat) (txid [32]byte, err error)
}

// Env is a backend with its network.
type Env struct {
	Net    Network
	Chain  ledger.Chain
	Wallet ledger.Wallet
}

// Factory opens a fresh, empty wallet on a network of its own and closes all at the test's end.
type Factory func(t *testing.T) Env

// Net adapts Memory to Network.
func (m *Memory) Net() Network { return memoryNet{m} }

type memoryNet struct{ m *Memory }

func (n memoryNet) Height(context.Context) (uint32, error) { return n.m.Height(), nil }

func (n memoryNet) Mine(_ context.Context, blocks int) error {
	n.m.Mine(blocks)
	return nil
}

func (n memoryNet) Reorg(_ context.Context, depth int, txs ...[]byte) error {
	return n.m.Reorg(depth, txs...)
}

func (n memoryNet) Pay(_ context.Context, script []byte, value channel.Sat) ([32]byte, error) {
	op, err := n.m.Faucet(script, value)
	return op.TxID, err
}

// suite is an Env with the steps that tests repeat. Any failure ends the test.
type suite struct {
	Env
	t   *testing.T
	ctx context.Context
}

// patience bounds the wait for a backend that works in the background; it is not a verdict on speed.
const patience = 60 * time.Second

func newSuite(t *testing.T, env Env) *suite {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return &suite{Env: env, t: t, ctx: ctx}
}

func (s *suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("got error %v, want %v", err, want)
	}
}

// until waits for a condition and shows its last account of itself when it never comes true.
func (s *suite) until(what string, cond func() (bool, string)) {
	s.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var done bool
		if done, last = cond(); done {
			return
		}
	}
	s.t.Fatalf("never: %s (%s)", what, last)
}

func (s *suite) mine(n int) {
	s.t.Helper()
	s.ok(s.Net.Mine(s.ctx, n))
	s.settle()
}

// settle waits until chain and wallet are at the network's tip.
func (s *suite) settle() {
	s.t.Helper()
	height, err := s.Net.Height(s.ctx)
	s.ok(err)
	s.until("wallet at the tip", func() (bool, string) {
		tip, err := s.Chain.Tip(s.ctx)
		if err != nil {
			return false, err.Error()
		}
		h, synced := s.Wallet.Synced(s.ctx)
		return synced && h == height && tip.Height == height, sprint(tip.Height, " and ", h, " of ", height)
	})
}

// sees reports whether the backend hears of waiting transactions; a light client hears only of blocks.
func (s *suite) sees() bool { return s.Chain.Capabilities().MempoolWatch }

// conflicts checks that publishing tx fails for a spent input, where the backend can know.
func (s *suite) conflicts(tx ledger.Tx) {
	s.t.Helper()
	err := s.Chain.Publish(s.ctx, tx)
	if s.sees() || err != nil {
		s.is(err, ledger.ErrConflict)
	}
}

func (s *suite) tip() ledger.Block {
	s.t.Helper()
	b, err := s.Chain.Tip(s.ctx)
	s.ok(err)
	return b
}

func (s *suite) address() []byte {
	s.t.Helper()
	addr, script, err := s.Wallet.NewAddress(s.ctx)
	s.ok(err)
	if addr == "" || len(script) != 34 {
		s.t.Fatalf("address %q with script %x is not taproot", addr, script)
	}
	return script
}

func (s *suite) balance() ledger.Balance {
	s.t.Helper()
	b, err := s.Wallet.Balance(s.ctx)
	s.ok(err)
	return b
}

func (s *suite) balanceBecomes(want ledger.Balance) {
	s.t.Helper()
	s.until("the balance", func() (bool, string) {
		b := s.balance()
		return b == want, sprint(b, " is not ", want)
	})
}

// rich gives the wallet confirmed coins of these values.
func (s *suite) rich(values ...channel.Sat) {
	s.t.Helper()
	before := s.balance().Confirmed
	for _, v := range values {
		_, err := s.Net.Pay(s.ctx, s.address(), v)
		s.ok(err)
		before += v
	}
	s.mine(1)
	s.until("confirmed money", func() (bool, string) {
		b := s.balance()
		return b.Confirmed == before, sprint(b)
	})
}

func (s *suite) fund(rate ledger.FeeRate, outs ...ledger.Output) ledger.Tx {
	s.t.Helper()
	tx, err := s.Wallet.Fund(s.ctx, outs, rate, nil)
	s.ok(err)
	return tx
}

// foreign is a script that no wallet here owns.
func foreign(n byte) []byte {
	return append([]byte{0x00, 0x14}, bytes.Repeat([]byte{n}, 20)...)
}

func out(n byte, v channel.Sat) ledger.Output { return ledger.Output{Script: foreign(n), Value: v} }

func decode(t *testing.T, raw []byte) *wire.MsgTx {
	t.Helper()
	tx, err := btcutil.NewTxFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tx.MsgTx()
}

func (s *suite) decode(tx ledger.Tx) *wire.MsgTx {
	s.t.Helper()
	msg := decode(s.t, tx.Raw)
	if msg.TxHash() != chainhash.Hash(tx.ID) {
		s.t.Fatal("id is not that of the raw transaction")
	}
	for i, in := range msg.TxIn {
		if in.Sequence > 0xfffffffd {
			s.t.Fatalf("input %d has sequence %#x, which forbids replacement", i, in.Sequence)
		}
	}
	return msg
}

// paid checks the fee against rate: never below, and not wastefully above.
func (s *suite) paid(tx ledger.Tx, rate ledger.FeeRate) {
	s.t.Helper()
	size := int(mempool.GetTxVirtualSize(btcutil.NewTx(s.decode(tx))))
	if least := rate.Fee(size); tx.Fee < least || tx.Fee > least+channel.DustSat+rate.Fee(43) {
		s.t.Fatalf("fee %d for %d vB at %d sat/kvB", tx.Fee, size, rate)
	}
}

func (s *suite) output(tx ledger.Tx, index uint32) channel.Outpoint {
	return channel.Outpoint{TxID: tx.ID, Index: index}
}

func (s *suite) history(txid [32]byte) (ledger.WalletTx, bool) {
	s.t.Helper()
	list, err := s.Wallet.Transactions(s.ctx)
	s.ok(err)
	for _, l := range list {
		if l.ID == txid {
			return l, true
		}
	}
	return ledger.WalletTx{}, false
}
