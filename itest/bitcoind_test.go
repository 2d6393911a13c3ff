package itest

import (
	"fmt"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
	"github.com/runnel/runnel/ledger/btcwallet/bitcoindtest"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// bitcoind is a real one, or one that answers as it is documented.
type bitcoind interface {
	Host() string
	CookieFile() string
	Net() ledgertest.Network
}

// TestDocumentedBitcoind: two daemons that reach the chain through the RPC that Bitcoin Core documents.
func TestDocumentedBitcoind(t *testing.T) {
	t.Parallel()
	throughBitcoind(t, bitcoindtest.NewFake(t))
}

func TestRealBitcoind(t *testing.T) {
	t.Parallel()
	throughBitcoind(t, bitcoindtest.Start(t))
}

// throughBitcoind funds, opens, pays, closes a channel together, and settles another alone.
func throughBitcoind(t *testing.T, node bitcoind) {
	flags := []string{"--network", "regtest", "--chain", "bitcoind", "--bitcoind.rpc-host", node.Host(), "--bitcoind.cookie", node.CookieFile()}
	w := newWorld(t, sandbox.Daemon{Name: "alice", Flags: flags}, sandbox.Daemon{Name: "bob", Flags: flags})
	r := &onRegtest{w, node.Net()}
	r.fund("alice", 3_000_000)
	r.fund("bob", 2_000_000)
	if s := w.one("alice", "status"); s.text("backend") != "bitcoind" || s.text("network") != "regtest" {
		t.Errorf("alice's status: %v", s)
	}

	id := r.open(1_000_000, 200_000)
	w.must("alice", "pay", id, "12_345_678msat")
	w.must("bob", "pay", id, "7_000_001msat")
	closed := w.one("alice", "close", id)
	if closed.text("kind") != "coop" || closed.number("local_sat")+closed.number("fee_sat") != 1_000_000-12_346+7_001 {
		t.Errorf("alice says %v", closed)
	}
	r.mineUntil("the channel is closed", 12, func() bool {
		return w.one("alice", "channel", id).text("phase") == "closed" && w.one("bob", "channel", id).text("phase") == "closed"
	})

	id = r.open(500_000, 0)
	w.must("alice", "pay", id, "50_000_001msat")
	w.Node("alice").Kill()
	before := w.one("bob", "balance").number("onchain_sat")
	settled := w.one("bob", "close", id, "--force")
	r.mineUntil("bob has what he was paid", 12, func() bool {
		got := w.one("bob", "balance").number("onchain_sat") - before
		return got > 45_000 && got < 50_001
	})
	if settled.text("txid") == "" {
		t.Errorf("bob says %v", settled)
	}
}

// onRegtest moves a chain that is not the sandbox's own.
type onRegtest struct {
	*world
	net ledgertest.Network
}

func (r *onRegtest) mine(n int) {
	r.t.Helper()
	r.check(r.net.Mine(r.ctx, n))
	height, err := r.net.Height(r.ctx)
	r.check(err)
	for _, node := range r.Nodes() {
		if node.Running() {
			r.until(node.Name+" has seen the block", func() bool {
				s := r.one(node.Name, "status")
				return s.number("height") >= int64(height) && s["synced"] == true
			})
		}
	}
}

// mineUntil adds blocks, at most so many, until something is so.
func (r *onRegtest) mineUntil(what string, most int, done func() bool) {
	r.t.Helper()
	for range most {
		if done() {
			return
		}
		r.mine(1)
	}
	r.until(what, done)
}

func (r *onRegtest) fund(name string, sat int64) {
	r.t.Helper()
	a, err := address.DecodeAddress(r.one(name, "address").text("address"), &chaincfg.RegressionNetParams)
	r.check(err)
	script, err := txscript.PayToAddrScript(a)
	r.check(err)
	_, err = r.net.Pay(r.ctx, script, channel.Sat(sat))
	r.check(err)
	r.mine(1)
	r.until(name+" has its money", func() bool { return r.one(name, "balance").number("onchain_sat") >= sat })
}

// open opens a channel from alice to bob and mines until both can use it.
func (r *onRegtest) open(deposit, peerDeposit int64) string {
	r.t.Helper()
	addr, err := r.Node("bob").Address(r.ctx)
	r.check(err)
	id := r.one("alice", "open", addr, "-y", "--deposit", fmt.Sprintf("%dsat", deposit), "--peer-deposit", fmt.Sprintf("%dsat", peerDeposit)).text("channel_id")
	r.mineUntil("the channel is open", 12, func() bool {
		return r.usable("alice", id, peerDeposit > 0) && r.usable("bob", id, peerDeposit > 0)
	})
	return id
}
