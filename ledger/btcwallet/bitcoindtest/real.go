package bitcoindtest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// Real is a bitcoind of its own on regtest. It reaches nobody.
type Real struct {
	dir, host string
	rpc       *rpcclient.Client
	address   string // of its own wallet, which mines and pays
}

const (
	startTimeout = 60 * time.Second
	matureBlocks = 101
)

// Start runs a bitcoind until the test's end. Without one in PATH the test is skipped.
func Start(t testing.TB) *Real {
	t.Helper()
	path, err := exec.LookPath("bitcoind")
	if err != nil {
		t.Skip("bitcoind is not in PATH: what it is documented to answer is tested, not what it does")
	}
	r := &Real{dir: t.TempDir()}
	if r.host, err = freeHost(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(r.host)
	cmd := exec.Command(path, "-regtest", "-datadir="+r.dir, "-server=1", "-listen=0", "-dnsseed=0", "-fallbackfee=0.00002",
		"-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-rpcport="+port, "-printtoconsole=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	return r
}

func freeHost() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// prepare waits for the RPC and mines the first coins.
func (r *Real) prepare() error {
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(100 * time.Millisecond) {
		err := r.connect()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("bitcoind does not answer: %w", err)
		}
	}
	if err := r.call(nil, "createwallet", "faucet"); err != nil {
		return err
	}
	if err := r.call(&r.address, "getnewaddress"); err != nil {
		return err
	}
	return r.Mine(context.Background(), matureBlocks+10)
}

func (r *Real) connect() error {
	if _, err := os.Stat(r.CookieFile()); err != nil {
		return err
	}
	rpc, err := rpcclient.New(&rpcclient.ConnConfig{Host: r.host, CookiePath: r.CookieFile(), DisableTLS: true, HTTPPostMode: true}, nil)
	if err != nil {
		return err
	}
	if _, err := rpc.GetBlockCount(); err != nil {
		rpc.Shutdown()
		return err
	}
	r.rpc = rpc
	return nil
}

// call makes one request and reads its result into v.
func (r *Real) call(v any, method string, params ...any) error {
	raw := []json.RawMessage{}
	for _, p := range params {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		raw = append(raw, b)
	}
	b, err := r.rpc.RawRequest(method, raw)
	if err != nil {
		return fmt.Errorf("bitcoind, %s: %w", method, err)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(b, v)
}

// Host is host:port of the RPC.
func (r *Real) Host() string { return r.host }

// CookieFile holds the credential.
func (r *Real) CookieFile() string { return filepath.Join(r.dir, "regtest", ".cookie") }

// Net moves the chain.
func (r *Real) Net() ledgertest.Network { return r }

// Height of the best chain.
func (r *Real) Height(context.Context) (h uint32, err error) {
	err = r.call(&h, "getblockcount")
	return h, err
}

// Mine adds blocks; the first takes what waits.
func (r *Real) Mine(_ context.Context, n int) error {
	return r.call(nil, "generatetoaddress", n, r.address)
}

// Reorg replaces depth blocks by depth+1, the first of which holds txs.
func (r *Real) Reorg(ctx context.Context, depth int, txs ...[]byte) error {
	tip, err := r.Height(ctx)
	if err != nil {
		return err
	}
	var hash string
	if err := r.call(&hash, "getblockhash", int(tip)-depth+1); err != nil {
		return err
	}
	if err := r.call(nil, "invalidateblock", hash); err != nil {
		return err
	}
	first := []string{}
	for _, raw := range txs {
		first = append(first, hex.EncodeToString(raw))
	}
	for range depth + 1 {
		if err := r.call(nil, "generateblock", r.address, first); err != nil {
			return err
		}
		first = []string{}
	}
	return nil
}

// Pay sends value to script from bitcoind's own wallet.
func (r *Real) Pay(_ context.Context, script []byte, value channel.Sat) ([32]byte, error) {
	_, addrs, _, err := txscript.ExtractPkScriptAddrs(script, &chaincfg.RegressionNetParams)
	if err != nil || len(addrs) != 1 {
		return [32]byte{}, errors.Join(err, fmt.Errorf("script %x has no address", script))
	}
	var id string
	amount := json.Number(fmt.Sprintf("%d.%08d", value/100_000_000, value%100_000_000))
	if err := r.call(&id, "sendtoaddress", addrs[0].EncodeAddress(), amount); err != nil {
		return [32]byte{}, err
	}
	hash, err := chainhash.NewHashFromStr(id)
	if err != nil {
		return [32]byte{}, err
	}
	return *hash, nil
}
