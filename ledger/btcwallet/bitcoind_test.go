package btcwallet_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/btcwallet"
	"github.com/runnel/runnel/ledger/btcwallet/bitcoindtest"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// regtest is a bitcoind, a real one or not.
type regtest interface {
	Host() string
	CookieFile() string
	Net() ledgertest.Network
}

func onRegtest(t *testing.T, n regtest) btcwallet.Config {
	c := config(t, btcwallet.Backend{Kind: "bitcoind", Bitcoind: btcwallet.Bitcoind{Host: n.Host(), CookieFile: n.CookieFile()}})
	c.Network, c.Birthday = "regtest", btcwallet.Birthday{}
	return c
}

func onFakeBitcoind(t *testing.T) ledgertest.Env { return onBitcoind(t, bitcoindtest.NewFake(t)) }

func onRealBitcoind(t *testing.T) ledgertest.Env { return onBitcoind(t, bitcoindtest.Start(t)) }

func onBitcoind(t *testing.T, n regtest) ledgertest.Env {
	node := open(t, onRegtest(t, n))
	return ledgertest.Env{Net: n.Net(), Chain: node.Chain, Wallet: node.Wallet}
}

func TestRealBitcoindChain(t *testing.T) {
	t.Parallel()
	ledgertest.TestChain(t, onRealBitcoind)
}

func TestRealBitcoindWallet(t *testing.T) {
	t.Parallel()
	ledgertest.TestWallet(t, onRealBitcoind)
}

// The suite against a server that answers as Bitcoin Core is documented to: what can be known of the
// wiring without one.
func TestFakeBitcoindChain(t *testing.T) {
	t.Parallel()
	ledgertest.TestChain(t, onFakeBitcoind)
}

func TestFakeBitcoindWallet(t *testing.T) {
	t.Parallel()
	ledgertest.TestWallet(t, onFakeBitcoind)
}

// A bitcoind that starts again makes a new cookie, and an estimate is kept within bounds.
func TestFakeBitcoindCookieAndFees(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := bitcoindtest.NewFake(t)
	c, log := onRegtest(t, f), &lines{}
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	node := open(t, c)
	synced(t, node)
	for feerate, want := range map[float64]ledger.FeeRate{0.00012345: 12_345, 0.00000100: btcwallet.FeeFloor, 5: btcwallet.FeeCap} {
		f.SetFeeRate(feerate)
		if rate, source, err := node.Chain.EstimateFee(ctx, 6); err != nil || rate != want || !strings.Contains(source, "bitcoind") {
			t.Errorf("%g: %d from %q, %v; want %d", feerate, rate, source, err, want)
		}
	}
	ok(t, f.NewCookie("second"))
	until(t, "the old cookie is refused", func() bool { _, err := node.Chain.Tip(ctx); return err != nil })
	until(t, "the new cookie is read", func() bool { _, err := node.Chain.Tip(ctx); return err == nil })
	_, script, err := node.Wallet.NewAddress(ctx)
	ok(t, err)
	_, err = f.Memory.Faucet(script, 40_000)
	ok(t, err)
	f.Memory.Mine(1)
	confirmed(t, node, channel.Sat(40_000))
	if log.count("second") > 0 || log.count("first") > 0 {
		t.Error("a cookie is in the log")
	}
}

// A daemon of another network is told so.
func TestFakeBitcoindOtherNetwork(t *testing.T) {
	t.Parallel()
	f := bitcoindtest.NewFake(t)
	c := onRegtest(t, f)
	c.Network = "signet"
	node := open(t, c)
	until(t, "the network is named", func() bool {
		_, err := node.Chain.Tip(t.Context())
		return errors.Is(err, ledger.ErrUnreachable) && strings.Contains(err.Error(), "network")
	})
}
