package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/p2p/p2ptest"
	"github.com/runnel/runnel/store"
)

// TestBitFlips flips one bit of a data directory, in a byte that is in use, and opens it as a start does:
// the damage is repaired and told, refused, or harmless. Never is a record gone without a word.
func TestBitFlips(t *testing.T) {
	if dir := os.Getenv(envFlipped); dir != "" {
		answer(t, dir)
		return
	}
	flips := 14
	if os.Getenv("RUNNEL_SOAK") != "" {
		flips = 10_000
	}
	seed := uint64(1)
	if text := os.Getenv("RUNNEL_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	killed, closed := usedDirs(t)
	bases := map[string]map[string]record{}
	byKind := map[string][]target{}
	for _, dir := range []string{killed, closed} {
		a := ask(t, dir)
		if a.Err != "" || a.Told || len(a.Book) == 0 {
			t.Fatalf("as it is: %q, told %v, %d records", a.Err, a.Told, len(a.Book))
		}
		bases[dir] = a.Book
		for kind, list := range targets(t, dir) {
			byKind[kind] = append(byKind[kind], list...)
		}
	}
	if !maps.Equal(bases[killed], bases[closed]) {
		t.Fatal("the two directories differ before anything was flipped")
	}
	rng := rand.New(rand.NewPCG(seed, 5))
	kinds := slices.Sorted(maps.Keys(byKind))
	table := map[string]map[string]int{}
	for n := range flips {
		kind := kinds[n%len(kinds)]
		hit := byKind[kind][rng.IntN(len(byKind[kind]))]
		at, bit := rng.Int64N(hit.live), rng.IntN(8)
		outcome, words := flip(t, hit, at, bit, bases[hit.dir])
		if table[kind] == nil {
			table[kind] = map[string]int{}
		}
		table[kind][outcome]++
		if outcome == silent {
			t.Errorf("seed %d: bit %d of byte %d of %s: %s", seed, bit, at, hit.name, words)
		}
	}
	t.Logf("%-16s %9s %9s %9s %9s %9s", "file", harmless, repaired, refused, crashed, silent)
	for _, kind := range kinds {
		r := table[kind]
		t.Logf("%-16s %9d %9d %9d %9d %9d", kind, r[harmless], r[repaired], r[refused], r[crashed], r[silent])
	}
}

const (
	harmless = "harmless"
	repaired = "repaired"
	refused  = "refused"
	crashed  = "crashed" // the program ends with a panic of Badger's: nothing is lost, and nothing is explained
	silent   = "silent"
)

// The opening is another process: a damaged table can make Badger panic.
const (
	envFlipped = "RUNNEL_FLIPPED" // directory to open
	answerFile = "answer.json"
)

// opened is what came of an opening.
type opened struct {
	Err  string
	Told bool
	Book map[string]record
}

// answer opens a directory and writes down what came of it.
func answer(t *testing.T, dir string) {
	book, told, err := inspect(dir)
	a := opened{Told: told, Book: map[string]record{}}
	if err != nil {
		a.Err = err.Error()
	}
	for key, value := range book {
		a.Book[hex.EncodeToString([]byte(key))] = record(hex.EncodeToString([]byte(value)))
	}
	b, err := json.Marshal(a)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, answerFile), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ask opens a copy of a directory, or returns what the process said when it crashed.
func ask(t *testing.T, dir string) (a opened) {
	t.Helper()
	copied, err := os.MkdirTemp("", "runnel-open-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(copied)
	copyDir(t, dir, copied)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBitFlips$")
	cmd.Env = append(os.Environ(), envFlipped+"="+copied)
	out, _ := cmd.CombinedOutput() // its answer is the file
	b, err := os.ReadFile(filepath.Join(copied, answerFile))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		a.Err = crashed + ": " + string(out)
	}
	return a
}

// target is a file of a directory, and how much of it is in use.
type target struct {
	dir, name string
	live      int64
}

// targets are the files by kind.
func targets(t *testing.T, dir string) map[string][]target {
	t.Helper()
	all := map[string][]target{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		live := int64(len(strings.TrimRight(string(b), "\x00")))
		base := filepath.Base(name)
		if live == 0 || base == "LOCK" || base == "lock" {
			return err
		}
		kind := "badger " + strings.TrimPrefix(filepath.Ext(name), ".")
		switch {
		case strings.HasSuffix(name, ".json"):
			kind = base
		case strings.HasPrefix(name, journalDir):
			kind = "journal"
		case filepath.Ext(name) == "":
			kind = base
		}
		all[kind] = append(all[kind], target{dir, name, live})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// flip opens a copy of the directory with one bit of a file changed.
func flip(t *testing.T, hit target, at int64, bit int, want map[string]record) (outcome, words string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "runnel-flip-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	copyDir(t, hit.dir, dir)
	f, err := os.OpenFile(filepath.Join(dir, hit.name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	b[0] ^= 1 << bit
	_, err2 := f.WriteAt(b[:], at)
	if err := errors.Join(err, err2, f.Close()); err != nil {
		t.Fatal(err)
	}
	a := ask(t, dir)
	switch missing := lost(want, a.Book); {
	case strings.HasPrefix(a.Err, crashed):
		return crashed, a.Err
	case a.Err != "":
		return refused, a.Err
	case a.Told:
		return repaired, missing
	case missing != "":
		return silent, missing
	}
	return harmless, ""
}

type record string

// lost names a record that is not as it was.
func lost(want, got map[string]record) string {
	for key, value := range want {
		if got[key] != value {
			return fmt.Sprintf("record %s is %s, was %s", key, got[key], value)
		}
	}
	return ""
}

// inspect opens a directory as a start does, up to the point where peers and the chain would come, and
// returns the records that both copies keep, and whether the owner was told of damage.
func inspect(path string) (book map[string]record, told bool, err error) {
	p, close, err := openOffline(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, close()) }()
	book = map[string]record{}
	err = p.deps.Store.Scan(nil, nil, func(key, value []byte) bool {
		if daemon.Journaled(&store.Op{Key: key, Value: value}) {
			book[string(key)] = record(value)
		}
		return true
	})
	return book, len(p.deps.Notices) > 0, err
}

const offlinePeer = channel.PeerID("peerbob")

func openOffline(path string) (p *parts, close func() error, err error) {
	c := &Config{Network: "simnet", DataDir: path}
	p = &parts{dir: path, log: slog.New(slog.DiscardHandler)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	dir, err := openDataDir(path, c.Network)
	if err != nil {
		return p, nil, err
	}
	p.onClose(dir.close)
	s, err := loadSeed(dir, c.Network, p.log)
	if err == nil {
		err = p.openScheme(c, s)
	}
	if err == nil {
		p.self = offlinePeer
		err = dir.belongs(offlinePeer)
	}
	if err == nil {
		err = p.openStore(c, s, dir)
	}
	return p, p.close, err
}

// usedDirs are two copies of a directory on whose node a peer paid 200 times: as a SIGKILL leaves it, and
// after an orderly stop.
func usedDirs(t *testing.T) (killed, closed string) {
	t.Helper()
	path := t.TempDir()
	p, close, err := openOffline(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &offline{t: t, chain: ledgertest.NewMemory(), net: p2ptest.NewNetwork()}
	bob := w.start("bob", p.deps)
	aliceDeps := daemon.Deps{Log: p.log, Store: store.NewMemory(), Scheme: p.deps.Scheme}
	committer := store.NewCommitter(aliceDeps.Store, store.Limits{})
	aliceDeps.Committer = committer
	if aliceDeps.Signer, err = bitcoin.NewSigner(p.deps.Scheme.(*bitcoin.Scheme), make([]byte, 64), bitcoin.SystemRandom); err != nil {
		t.Fatal(err)
	}
	alice := w.start("alice", aliceDeps)
	w.pay(alice, bob, 200)
	w.stop()
	if err := committer.Close(); err != nil {
		t.Fatal(err)
	}
	killed, closed = t.TempDir(), t.TempDir()
	copyDir(t, path, killed)
	if err := close(); err != nil {
		t.Fatal(err)
	}
	copyDir(t, path, closed)
	return killed, closed
}

// copyDir copies files without the zeros at their ends, which stay holes.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(at, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		live := strings.TrimRight(string(b), "\x00")
		if err := os.WriteFile(at, []byte(live), 0o600); err != nil {
			return err
		}
		return os.Truncate(at, int64(len(b)))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// offline is two nodes in this process on a chain in memory.
type offline struct {
	t     *testing.T
	chain *ledgertest.Memory
	net   *p2ptest.Network
	ends  []func()
}

func (w *offline) start(name string, deps daemon.Deps) *daemon.Node {
	w.t.Helper()
	cfg, err := daemon.DefaultConfig("simnet")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Version = "test"
	chain := w.chain.NewChain()
	deps.Chain, deps.Wallet = chain, w.chain.NewWallet(chain, name)
	deps.Transport, deps.Log = w.net.Host(channel.PeerID("peer"+name)), slog.New(slog.DiscardHandler)
	n, err := daemon.New(cfg, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	w.ends = append(w.ends, func() { cancel(); <-done })
	return n
}

func (w *offline) stop() {
	for _, end := range w.ends {
		end()
	}
}

// pay opens a channel and pays on it.
func (w *offline) pay(alice, bob *daemon.Node, payments int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	addr, err := alice.NewAddress(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	script, err := must1(bitcoin.NewScheme("simnet")).Script(addr)
	if err == nil {
		_, err = w.chain.Faucet(script, 2_000_000)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.until(ctx, "alice has money", func() bool { b, err := alice.Balance(ctx); return err == nil && b.Onchain > 0 })
	if _, err := alice.Connect(ctx, "/mem/p2p/"+string(offlinePeer)); err != nil {
		w.t.Fatal(err)
	}
	r, err := alice.Open(ctx, channel.OpenRequest{Peer: string(offlinePeer), Deposit: 1_000_000})
	if err != nil {
		w.t.Fatal(err)
	}
	w.until(ctx, "the channel is open", func() bool {
		i, err := alice.Channel(ctx, r.Channel.String())
		return err == nil && i.Spendable > 0
	})
	for i := range payments {
		p, err := alice.Pay(ctx, channel.PayRequest{Target: r.Channel.String(), Amount: channel.Msat(1_000 + i), Ref: fmt.Sprintf("payment %d", i)})
		if err != nil || p.Status != channel.PayAcknowledged {
			w.t.Fatal(p.Status, err)
		}
	}
}

// until mines until something is so.
func (w *offline) until(ctx context.Context, what string, so func() bool) {
	w.t.Helper()
	for n := 0; !so(); n++ {
		if ctx.Err() != nil {
			w.t.Fatalf("never: %s", what)
		}
		if n%50 == 0 {
			w.chain.Mine(1)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
