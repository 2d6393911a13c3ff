package simnet_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2"

	"github.com/runnel/runnel/ledger/simnet"
	"github.com/runnel/runnel/ledger/simnet/simnettest"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func confirmations(t *testing.T, ctx context.Context, n *simnet.Node, txid string) uint64 {
	t.Helper()
	return must(n.RawTransaction(ctx, txid))(t).Confirmations
}

func TestFundMineReorg(t *testing.T) {
	ctx := testContext(t)
	n := simnettest.Start(t)
	addr := must(n.FaucetAddress())(t)
	start := must(n.Height(ctx))(t)

	txid := must(n.Fund(ctx, addr, 123_456))(t)
	if got := confirmations(t, ctx, n, txid); got != 0 {
		t.Fatalf("confirmations before mining: %d", got)
	}
	if err := n.Mine(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if got := must(n.Height(ctx))(t); got != start+3 {
		t.Fatalf("height %d after 3 blocks on %d", got, start)
	}
	if got := confirmations(t, ctx, n, txid); got != 3 {
		t.Fatalf("confirmations after 3 blocks: %d", got)
	}
	tx := must(btcutil.NewTxFromBytes(must(n.RawTransaction(ctx, txid))(t).Raw))(t)
	if got := tx.MsgTx().TxOut[0].Value; got != 123_456 {
		t.Fatalf("funded %d sat", got)
	}

	if err := n.Reorg(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if got := must(n.Height(ctx))(t); got != start+4 {
		t.Fatalf("height %d after the reorganisation", got)
	}
	if got := must(n.Mempool(ctx))(t); len(got) != 1 || got[0] != txid {
		t.Fatalf("mempool after the reorganisation: %v", got)
	}
	if err := n.Reorg(ctx, 2, tx.MsgTx().TxOut[0].PkScript); err == nil {
		t.Fatal("a reorganisation with garbage was taken")
	}
	if err := n.Reorg(ctx, 2, must(raw(tx))(t)); err != nil {
		t.Fatal(err)
	}
	if got := confirmations(t, ctx, n, txid); got != 3 {
		t.Fatalf("confirmations in the new branch: %d", got)
	}
	if err := n.Reorg(ctx, 300); !errors.Is(err, simnet.ErrBadDepth) {
		t.Fatalf("reorganisation into the first blocks: %v", err)
	}
}

func raw(tx *btcutil.Tx) ([]byte, error) {
	var b bytes.Buffer
	err := tx.MsgTx().Serialize(&b)
	return b.Bytes(), err
}

func TestFundTwoCoinsAtOnceAndBadAmounts(t *testing.T) {
	ctx := testContext(t)
	n := simnettest.Start(t)
	addr := must(n.FaucetAddress())(t)
	txid := must(n.Fund(ctx, addr, 7_500_000_000))(t) // more than one subsidy
	if err := n.Mine(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := confirmations(t, ctx, n, txid); got != 1 {
		t.Fatalf("confirmations: %d", got)
	}
	for _, sat := range []uint64{0, 329, 1 << 63} {
		if _, err := n.Fund(ctx, addr, sat); !errors.Is(err, simnet.ErrAmount) {
			t.Errorf("Fund of %d sat: %v", sat, err)
		}
	}
	if _, err := n.Fund(ctx, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", 1000); err == nil {
		t.Error("Fund took an address of another network")
	}
}

// Retargets happen every 2016 blocks; a sandbox that mines across two of them must go on.
func TestMineAcrossRetargets(t *testing.T) {
	ctx := testContext(t)
	n := simnettest.Start(t)
	addr := must(n.FaucetAddress())(t)
	if err := n.MineTo(ctx, addr, 4100); err != nil {
		t.Fatal(err)
	}
	if err := n.Reorg(ctx, 80); err != nil {
		t.Fatal(err)
	}
}

func TestRestartAndAttach(t *testing.T) {
	ctx := testContext(t)
	dir, btcd := t.TempDir(), simnettest.Btcd(t)
	n := must(simnet.Start(ctx, simnet.Options{Dir: dir, BtcdPath: btcd}))(t)
	t.Cleanup(func() { n.Stop() })

	info := must(os.Stat(n.StateFile()))(t)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("state file is %v", info.Mode())
	}
	other := must(simnet.Attach(ctx, simnet.StateFile(dir)))(t)
	if err := other.Mine(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := other.Stop(); err != nil {
		t.Fatal(err)
	}
	height := must(n.Height(ctx))(t)
	host := n.RPCHost()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := simnet.Attach(ctx, simnet.StateFile(dir)); err == nil {
		t.Fatal("attached to a stopped node")
	}

	again := must(simnet.Start(ctx, simnet.Options{Dir: dir, BtcdPath: btcd}))(t)
	t.Cleanup(func() { again.Stop() })
	if got := must(again.Height(ctx))(t); got != height || again.RPCHost() != host {
		t.Fatalf("restarted at height %d on %s, was %d on %s", got, again.RPCHost(), height, host)
	}
	if _, err := again.Fund(ctx, must(again.FaucetAddress())(t), 1000); err != nil {
		t.Fatal(err)
	}
}

func TestFindBtcd(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := simnet.FindBtcd(""); !errors.Is(err, simnet.ErrNoBtcd) {
		t.Errorf("without one: %v", err)
	}
	if _, err := simnet.FindBtcd("/nonexistent/btcd"); !errors.Is(err, simnet.ErrNoBtcd) {
		t.Errorf("explicit path that is not there: %v", err)
	}
	_, err := simnet.Start(context.Background(), simnet.Options{Dir: t.TempDir()})
	if !errors.Is(err, simnet.ErrNoBtcd) {
		t.Errorf("Start: %v", err)
	}
}

func TestStartTellsWhyBtcdEnded(t *testing.T) {
	dir := t.TempDir()
	fake := dir + "/btcd"
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho no room left >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := simnet.Start(testContext(t), simnet.Options{Dir: dir, BtcdPath: fake})
	if !errors.Is(err, simnet.ErrExited) || !strings.Contains(err.Error(), "no room left") {
		t.Fatalf("Start of a failing btcd: %v", err)
	}
}

// A killed parent must not leave btcd behind. The parent is this test binary, run again.
func TestDiesWithParent(t *testing.T) {
	const role = "RUNNEL_SIMNET_PARENT"
	if dir := os.Getenv(role); dir != "" {
		n := must(simnet.Start(context.Background(), simnet.Options{Dir: dir, BtcdPath: os.Getenv("RUNNEL_BTCD")}))(t)
		os.Stdout.WriteString("PID " + strconv.Itoa(n.PID()) + "\n")
		select {}
	}
	if !diesWithParent {
		t.Skip("the kernel of this system has no signal for the parent's death")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiesWithParent$")
	cmd.Env = append(os.Environ(), role+"="+t.TempDir(), "RUNNEL_BTCD="+simnettest.Btcd(t))
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	buf := make([]byte, 4096)
	for text := ""; pid == 0; {
		k, err := out.Read(buf)
		text += string(buf[:k])
		if i := strings.Index(text, "PID "); i >= 0 && strings.Contains(text[i:], "\n") {
			pid = must(strconv.Atoi(strings.Fields(text[i+4:])[0]))(t)
		} else if err != nil {
			t.Fatalf("parent: %v: %s", err, text)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("btcd %d outlives its parent", pid)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
