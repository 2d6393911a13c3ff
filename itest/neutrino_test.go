package itest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// lightPair is a world in which alice has a light client and bob what is given, with 5,000,000 sat each.
func lightPair(t testing.TB, bob bool) *world {
	t.Helper()
	w := newWorld(t, sandbox.Daemon{Name: "alice", Light: true}, sandbox.Daemon{Name: "bob", Light: bob})
	for _, name := range []string{"alice", "bob"} {
		w.check(w.Fund(w.ctx, name, 3_000_000, 2_000_000))
	}
	return w
}

// noCredentials holds that a daemon's process and files know no password of btcd.
func (w *world) noCredentials(name string) {
	w.t.Helper()
	n, secret := w.Node(name), []byte(w.Chain.RPCPass())
	for _, file := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.PID(), file))
		if err != nil { // the system does not show it: the flags are the sandbox's
			continue
		}
		for _, word := range [][]byte{secret, []byte(w.PassFile()), []byte("rpc-user")} {
			if bytes.Contains(b, word) {
				w.t.Errorf("%s was started with a credential of btcd (%s)", name, file)
			}
		}
	}
	w.check(filepath.WalkDir(n.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, secret) {
			w.t.Errorf("%s holds btcd's password", path)
		}
		return err
	}))
}

// TestLightClients: two daemons that have nothing of btcd but its address for peers open, pay both ways,
// are killed in between, and close together.
func TestLightClients(t *testing.T) {
	t.Parallel()
	w := lightPair(t, true)
	for _, name := range []string{"alice", "bob"} {
		if s := w.one(name, "status"); s.text("backend") != "neutrino" || s.text("fee_source") == "" {
			t.Errorf("%s's status: %v", name, s)
		}
		w.noCredentials(name)
	}
	id := w.open("alice", "bob", 1_000_000, 200_000)
	funding, at := w.funding(w.one("alice", "channel", id).text("funding_txid"), 1_000_000)

	w.must("alice", "pay", id, "12_345_678msat")
	w.Node("bob").Kill()
	w.check(w.Chain.Mine(w.ctx, 2)) // while it is away
	w.check(w.Node("bob").Restart(w.ctx))
	w.check(w.Synced(w.ctx))
	w.until("bob pays after the restart", func() bool {
		return w.runnel("--node", "bob", "pay", id, "7_000_001msat", "--id", "00112233445566778899aabbccddeeff").code == 0
	})
	w.must("alice", "pay", id, "1sat")

	closed := w.one("alice", "close", id)
	tx := w.spender(funding, at)
	if tx.ID != closed.text("txid") || closed.text("kind") != "coop" {
		t.Errorf("the deposit is spent by %s; alice says %v", tx.ID, closed)
	}
	fee, err := w.Fee(w.ctx, tx)
	w.check(err)
	if got, want := closed.number("local_sat")+int64(fee), int64(1_000_000-12_346-1+7_001); got < want-1 || got > want+1 {
		t.Errorf("alice gets %d sat before the fee, want %d", got, want)
	}
	w.check(w.Mine(w.ctx, 6))
	for _, name := range []string{"alice", "bob"} {
		w.until(name+"'s channel is closed", func() bool { return w.one(name, "channel", id).text("phase") == "closed" })
	}
}

// TestLightPayeeSettles: the payer is gone for good. A payee with a light client settles alone, over a
// reorganisation, and has its own deposit back when it expires.
func TestLightPayeeSettles(t *testing.T) {
	t.Parallel()
	w := lightPair(t, true)
	id := w.open("alice", "bob", 1_000_000, 200_000)
	fundedBy := map[string]string{"alice": w.one("alice", "channel", id).text("funding_txid"), "bob": w.one("bob", "channel", id).text("funding_txid")}
	w.must("alice", "pay", id, "50_000_001msat")
	w.Node("alice").Kill()

	closed := w.one("bob", "close", id, "--force")
	funding, at := w.funding(fundedBy["alice"], 1_000_000)
	settled := w.spender(funding, at)
	if settled.ID != closed.text("txid") || settled.TxOut[0].Value != 1_000_000-50_001 {
		t.Errorf("settlement %s pays %v; bob says %v", settled.ID, settled.TxOut, closed)
	}
	// The block with the settlement leaves the chain, and the settlement comes again.
	w.check(w.Mine(w.ctx, 2))
	w.check(w.Chain.Reorg(w.ctx, 3))
	w.check(w.Synced(w.ctx))
	w.check(w.Mine(w.ctx, 1))
	again := w.spender(funding, at) // the same, or one that replaced it with a higher fee
	if again.TxOut[0].Value != settled.TxOut[0].Value || again.TxOut[1].Value > settled.TxOut[1].Value {
		t.Errorf("after the reorganisation %s pays %v, before it %v", again.ID, again.TxOut, settled.TxOut)
	}
	w.refunded("bob", fundedBy["bob"], 200_000, closed.number("refund_height"))
}

// refunded mines until a deposit has expired and holds that it returns.
func (w *world) refunded(name, fundingTx string, deposit channel.Sat, expiry int64) {
	w.t.Helper()
	tip, err := w.Chain.Height(w.ctx)
	w.check(err)
	own, ownAt := w.funding(fundingTx, int64(deposit))
	w.check(w.Mine(w.ctx, int(expiry)-int(tip)-2))
	own, err = w.Tx(w.ctx, own.ID)
	w.check(err)
	if _, early, err := w.Spender(w.ctx, own, ownAt); early || err != nil {
		w.t.Fatalf("%s was refunded before block %d (%v)", name, expiry, err)
	}
	w.check(w.Mine(w.ctx, 2))
	refund := w.spender(own, ownAt)
	fee, err := w.Fee(w.ctx, refund)
	if w.check(err); len(refund.TxOut) != 1 || refund.TxOut[0].Value != int64(deposit)-int64(fee) {
		w.t.Errorf("the refund pays %v, fee %d", refund.TxOut, fee)
	}
}

// TestLightBesideFull: a light client that pays a daemon with a btcd; btcd goes away and comes back, the
// light client says so, and its wallet and headers are lost and come back from the seed.
func TestLightBesideFull(t *testing.T) {
	t.Parallel()
	w := lightPair(t, false)
	id := w.open("alice", "bob", 500_000, 0)
	w.must("alice", "pay", id, "1_000sat")

	w.check(w.Chain.Stop())
	w.until("alice says that the chain is away", func() bool {
		return strings.Contains(w.runnel("--node", "alice", "status").out, "neutrino") && !w.one("alice", "status")["synced"].(bool)
	})
	w.check(w.RestartChain(w.ctx))
	w.until("the chain is back", func() bool { return w.one("alice", "status")["synced"].(bool) })
	w.check(w.Mine(w.ctx, 1))

	w.check(w.Node("alice").Stop())
	w.check(os.RemoveAll(filepath.Join(w.Node("alice").Dir, "wallet")))
	w.check(w.Node("alice").Restart(w.ctx))
	w.check(w.Synced(w.ctx))
	w.must("alice", "pay", id, "500sat")
	w.until("the wallet's money is found again", func() bool {
		return w.one("alice", "balance").number("onchain_sat") > 5_000_000-500_000-10_000
	})
	closed := w.one("alice", "close", id)
	funding, at := w.funding(w.one("alice", "channel", id).text("funding_txid"), 500_000)
	if tx := w.spender(funding, at); tx.ID != closed.text("txid") {
		t.Errorf("the deposit is spent by %s; alice says %v", tx.ID, closed)
	}
}
