package itest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tyler-smith/go-bip39"
	"golang.org/x/sync/errgroup"

	"github.com/runnel/runnel/cmd/sandbox"
	"github.com/runnel/runnel/ledger/bitcoin"
)

// badInput are commands of scripts about bad input, beside those of TestScripts:
//
//	address NAME             a fresh address of a wallet, as $NAME_wallet
//	launch NAME              like restart, without waiting until it is ready
//	freeze NAME, thaw NAME   the daemon stands still (SIGSTOP) and goes on
//	together N COMMAND...    runs it N times at once; all must succeed, stdout has what they all said
//	mempool                  waits until a transaction waits to be mined
//	edit FILE OLD NEW        replaces a text that is there once
//	format NAME N            writes a format version into the database of a daemon that does not run
//	stranger NAME WHAT       a peer, in this process, that answers in a way of its own; see manners.
//	                         Sets $NAME_id and $NAME_addr
func badInput() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"address": scriptAddress,
		"launch":  onNode((*sandbox.Node).Launch),
		"freeze":  onNode(func(n *sandbox.Node) error { return syscall.Kill(n.PID(), syscall.SIGSTOP) }),
		"thaw":    onNode(func(n *sandbox.Node) error { return syscall.Kill(n.PID(), syscall.SIGCONT) }),
		"edit":    scriptEdit, "format": scriptFormat, "mempool": scriptMempool, "stranger": scriptStranger, "together": scriptTogether,
	}
}

func scriptAddress(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "address NAME", 1)
	w := of(ts)
	addr, err := w.Node(args[0]).API.NewAddress(w.ctx)
	ts.Check(err)
	ts.Setenv(args[0]+"_wallet", addr)
}

func scriptEdit(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "edit FILE OLD NEW", 3)
	text := ts.ReadFile(args[0])
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%q is not once in %s: %s", args[1], args[0], text)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}

func scriptMempool(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "mempool", 0)
	of(ts).published()
}

// published waits until a transaction waits to be mined.
func (w *world) published() {
	w.t.Helper()
	w.until("a transaction is in the mempool", func() bool {
		ids, err := w.Chain.Mempool(w.ctx)
		w.check(err)
		return len(ids) > 0
	})
}

// scriptFormat writes the version of the database's layout as a future program would.
func scriptFormat(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "format NAME N", 2)
	n, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	dir := of(ts).Node(args[0]).Dir
	key, err := storeKey(dir)
	ts.Check(err)
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "db")).WithEncryptionKey(key[:]).
		WithIndexCacheSize(1 << 20).WithSyncWrites(true).WithLogger(nil))
	ts.Check(err)
	ts.Check(db.Update(func(txn *badger.Txn) error {
		if _, err := txn.Get([]byte("mf")); err != nil {
			return fmt.Errorf("no format record where it is looked for: %w", err)
		}
		return txn.Set([]byte("mf"), binary.BigEndian.AppendUint32(nil, uint32(n)))
	}))
	ts.Check(db.Close())
}

// storeKey is the key of a daemon's database, which follows from its seed.
func storeKey(dir string) (key [32]byte, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "seed.json"))
	if err != nil {
		return key, err
	}
	var file struct{ Entropy string }
	if err := json.Unmarshal(b, &file); err != nil {
		return key, err
	}
	entropy, err := hex.DecodeString(file.Entropy)
	if err != nil {
		return key, err
	}
	words, err := bip39.NewMnemonic(entropy)
	if err != nil {
		return key, err
	}
	return bitcoin.StoreKey(bip39.NewSeed(words, ""), "simnet")
}

func scriptTogether(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "together N COMMAND...", 2)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(of(ts).ctx, time.Minute)
	defer cancel()
	program := findIn(ts, args[1])
	outs := make([]bytes.Buffer, n)
	var all errgroup.Group
	for i := range n {
		all.Go(func() error {
			cmd := exec.CommandContext(ctx, program, args[2:]...)
			cmd.Env = append(os.Environ(), "NO_COLOR=1", "RUNNEL_HOME="+of(ts).Dir)
			var bad bytes.Buffer
			cmd.Stdout, cmd.Stderr = &outs[i], &bad
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%w: %s%s", err, outs[i].String(), bad.String())
			}
			return nil
		})
	}
	ts.Check(all.Wait())
	for i := range outs {
		_, err := ts.Stdout().Write(outs[i].Bytes())
		ts.Check(err)
	}
}
