package ledgertest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/ledgertest"
)

func open(t *testing.T) ledgertest.Env {
	m := ledgertest.NewMemory()
	m.Mine(10)
	chain := m.NewChain()
	return ledgertest.Env{Net: m.Net(), Chain: chain, Wallet: m.NewWallet(chain, "alice")}
}

func TestMemoryChain(t *testing.T)  { ledgertest.TestChain(t, open) }
func TestMemoryWallet(t *testing.T) { ledgertest.TestWallet(t, open) }

// The same calls must give the same chain to the byte.
func TestMemoryIsDeterministic(t *testing.T) {
	run := func() [32]byte {
		ctx := context.Background()
		m := ledgertest.NewMemory()
		c := m.NewChain()
		w := m.NewWallet(c, "alice")
		for i := range 5 {
			_, script, err := w.NewAddress(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Faucet(script, channel.Sat(50_000+i)); err != nil {
				t.Fatal(err)
			}
		}
		m.Mine(3)
		_, script, _ := w.NewAddress(ctx)
		tx, err := w.Send(ctx, script, 120_000, 2000)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Bump(ctx, tx.ID, 5000); err != nil {
			t.Fatal(err)
		}
		m.Mine(1)
		if err := m.Reorg(2); err != nil {
			t.Fatal(err)
		}
		m.Mine(1)
		tip, err := c.Tip(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return tip.Hash
	}
	if a, b := run(), run(); a != b {
		t.Fatalf("two runs end at %x and %x", a, b)
	}
}

func TestMemoryFaults(t *testing.T) {
	ctx := context.Background()
	m := ledgertest.NewMemory()
	c := m.NewChain()
	w := m.NewWallet(c, "alice")
	c.SetAway(true)
	if _, err := c.Tip(ctx); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("away: %v", err)
	}
	if _, err := w.Send(ctx, make([]byte, 22), 1000, 1000); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("send while away: %v", err)
	}
	if _, synced := w.Synced(ctx); synced {
		t.Error("synced while away")
	}
	c.SetAway(false)
	if _, err := c.Tip(ctx); err != nil {
		t.Error(err)
	}
}

func TestMemoryMinFeeAndEviction(t *testing.T) {
	ctx := context.Background()
	m := ledgertest.NewMemory()
	c := m.NewChain()
	w := m.NewWallet(c, "alice")
	_, script, err := w.NewAddress(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Faucet(script, 90_000); err != nil {
		t.Fatal(err)
	}
	m.Mine(1)
	tx, err := w.Send(ctx, script, 50_000, 2000)
	if err != nil {
		t.Fatal(err)
	}
	m.SetMinFee(5000)
	if len(m.Mempool()) != 0 {
		t.Fatal("a full mempool keeps a transaction below its fee")
	}
	if err := c.Publish(ctx, tx); !errors.Is(err, ledger.ErrRejected) {
		t.Fatalf("published below the mempool's fee: %v", err)
	}
	m.SetMinFee(1000)
	if err := c.Publish(ctx, tx); err != nil {
		t.Fatal(err)
	}
	m.Evict(tx.ID)
	if len(m.Mempool()) != 0 {
		t.Fatal("evicted, but still there")
	}
	if err := m.Reorg(1, []byte("no transaction")); !errors.Is(err, ledger.ErrRejected) {
		t.Fatalf("a block of garbage: %v", err)
	}
	if err := m.Reorg(50); !errors.Is(err, ledgertest.ErrMemory) {
		t.Fatalf("too deep: %v", err)
	}
}
