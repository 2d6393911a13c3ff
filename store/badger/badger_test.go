package badger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/storetest"
)

// childEnv names the directory that a child process of this test binary writes to until it is killed.
const childEnv = "RUNNEL_BADGER_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

var testKey = [32]byte{1, 2, 3}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	o.Key = testKey
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func write1(t testing.TB, s *Store, key, value string) {
	t.Helper()
	errs, err := s.Apply([]*store.Batch{new(store.Batch).Put([]byte(key), []byte(value))})
	if err = errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
}

func wantGet(t testing.TB, s *Store, key, want string) {
	t.Helper()
	if got, err := s.Get([]byte(key)); err != nil || string(got) != want {
		t.Errorf("Get(%q) = %q, %v, want %q", key, got, err, want)
	}
}

func TestSuite(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			return mustOpen(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Create: true})
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			old := s.(*Store)
			mustClose(t, old)
			return mustOpen(t, Options{Dir: old.dir.path})
		},
	})
}

func TestMissingDatabaseIsNotReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := Open(Options{Dir: dir, Key: testKey}); !errors.Is(err, store.ErrMissing) {
		t.Fatalf("no directory: %v, want ErrMissing", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused open left something behind: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Key: testKey}); !errors.Is(err, store.ErrMissing) {
		t.Fatalf("empty directory: %v, want ErrMissing", err)
	}
	mustClose(t, mustOpen(t, Options{Dir: dir, Create: true}))
	mustClose(t, mustOpen(t, Options{Dir: dir}))
}

// A power loss can leave a memtable that has a name and no length yet.
func TestEmptyMemtable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, Options{Dir: dir, Create: true})
	if errs, err := s.Apply([]*store.Batch{new(store.Batch).Put([]byte("key"), []byte("value"))}); err != nil || errs[0] != nil {
		t.Fatal(err, errs)
	}
	mustClose(t, s)
	empty := filepath.Join(dir, "00099.mem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, Options{Dir: dir})
	if got, err := s.Get([]byte("key")); err != nil || string(got) != "value" {
		t.Errorf("%q, %v", got, err)
	}
	mustClose(t, s)
}

func TestHalfADatabaseIsRefused(t *testing.T) {
	for _, name := range []string{badger.ManifestFilename, badger.KeyRegistryFileName} {
		dir := filepath.Join(t.TempDir(), "store")
		mustClose(t, mustOpen(t, Options{Dir: dir, Create: true}))
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		for _, create := range []bool{false, true} {
			if _, err := Open(Options{Dir: dir, Key: testKey, Create: create}); !errors.Is(err, store.ErrMissing) || !strings.Contains(err.Error(), name) {
				t.Errorf("without %s, create %v: %v", name, create, err)
			}
		}
	}
}

func TestCreateOpensAnExistingDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, Options{Dir: dir, Create: true})
	write1(t, s, "a", "1")
	mustClose(t, s)
	s = mustOpen(t, Options{Dir: dir, Create: true})
	wantGet(t, s, "a", "1")
	mustClose(t, s)
}

func TestCreateStartsAgainAfterACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(filepath.Join(dir+".new", "junk"), 0o700); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, Options{Dir: dir, Create: true}))
	if _, err := os.Stat(dir + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished database is still there: %v", err)
	}
}

func TestWrongKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, Options{Dir: dir, Create: true})
	write1(t, s, "a", "1")
	mustClose(t, s)
	if _, err := Open(Options{Dir: dir, Key: [32]byte{9}}); !errors.Is(err, store.ErrWrongKey) {
		t.Fatalf("%v, want ErrWrongKey", err)
	}
	s = mustOpen(t, Options{Dir: dir})
	wantGet(t, s, "a", "1")
	mustClose(t, s)
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, Options{Dir: dir, Create: true})
	if _, err := Open(Options{Dir: dir, Key: testKey}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
	write1(t, s, "a", "1")
	mustClose(t, s)
	mustClose(t, mustOpen(t, Options{Dir: dir}))
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, Options{Dir: dir, Create: true}))
	setFormat(t, dir, binary.BigEndian.AppendUint32(nil, Format+1))
	if _, err := Open(Options{Dir: dir, Key: testKey}); !errors.Is(err, store.ErrNewer) {
		t.Errorf("%v, want ErrNewer", err)
	}
	setFormat(t, dir, []byte("?"))
	if _, err := Open(Options{Dir: dir, Key: testKey}); err == nil {
		t.Error("a format record of one byte was taken")
	}
	setFormat(t, dir, nil)
	if _, err := Open(Options{Dir: dir, Key: testKey, Create: true}); !errors.Is(err, store.ErrMissing) {
		t.Errorf("no format record: %v, want ErrMissing", err)
	}
}

// setFormat changes the record behind the store's back; nil removes it.
func setFormat(t *testing.T, dir string, value []byte) {
	t.Helper()
	db, err := open(dir, Options{Dir: dir, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(txn *badger.Txn) error {
		if value == nil {
			return txn.Delete(formatKey)
		}
		return txn.Set(formatKey, value)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestFullDiskIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	o := Options{Dir: dir, Key: testKey, Create: true, MinFree: 1 << 60}
	if _, err := Open(o); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused open left something behind: %v", err)
	}
	mustClose(t, mustOpen(t, Options{Dir: dir, Create: true}))
	if _, err := Open(o); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
}

// TestNothingReadableOnDisk looks at the files while the data is in the log and again when it is in
// tables.
func TestNothingReadableOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, Options{Dir: dir, Create: true})
	const key, value = "channel-key-in-the-clear", "voucher-signature-in-the-clear"
	for i := range 200 {
		write1(t, s, fmt.Sprintf("%s-%d", key, i), strings.Repeat(value, 20))
	}
	wantNowhere(t, dir, key, value)
	mustClose(t, s)
	wantNowhere(t, dir, key, value)
	s = mustOpen(t, Options{Dir: dir})
	wantGet(t, s, key+"-199", strings.Repeat(value, 20))
	mustClose(t, s)
}

func wantNowhere(t *testing.T, dir string, needles ...string) {
	t.Helper()
	bytesSeen := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		bytesSeen += len(bytes.TrimRight(data, "\x00"))
		for _, n := range needles {
			if bytes.Contains(data, []byte(n)) {
				t.Errorf("%q stands in %s", n, e.Name())
			}
		}
		return err
	})
	if err != nil || bytesSeen < 100_000 {
		t.Fatalf("looked at %d bytes only, %v", bytesSeen, err)
	}
}

func TestLogHoldsNoKeysOrValues(t *testing.T) {
	var log bytes.Buffer
	h := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	s := mustOpen(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Create: true, Log: slog.New(h)})
	write1(t, s, "secret-key", "secret-value")
	mustClose(t, s)
	s = mustOpen(t, Options{Dir: s.dir.path, Log: slog.New(h)})
	mustClose(t, s)
	if log.Len() == 0 || bytes.Contains(log.Bytes(), []byte("secret")) {
		t.Errorf("log is empty or tells too much:\n%s", &log)
	}
}

func TestOversizedTransactionWritesNothing(t *testing.T) {
	s := mustOpen(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Create: true})
	defer mustClose(t, s)
	var batches []*store.Batch
	for i := range 40_000 {
		batches = append(batches, new(store.Batch).Put(fmt.Appendf(nil, "%08d", i), []byte("x")))
	}
	if _, err := s.Apply(batches); !errors.Is(err, store.ErrTooBig) {
		t.Fatalf("%v, want ErrTooBig", err)
	}
	if err := s.Scan(nil, nil, func(k, _ []byte) bool { t.Errorf("%q was written", k); return false }); err != nil {
		t.Fatal(err)
	}
	write1(t, s, "a", "1") // it did not break the store

	c := store.NewCommitter(s, store.Limits{})
	results := make(chan error, len(batches))
	for _, b := range batches {
		c.Submit(b, func(err error) { results <- err })
	}
	for range batches {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailedCommitBreaksTheStore(t *testing.T) {
	s := mustOpen(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Create: true})
	write1(t, s, "a", "1")
	if err := s.dir.file.Close(); err != nil { // the next directory sync fails
		t.Fatal(err)
	}
	batch := []*store.Batch{new(store.Batch).Put([]byte("a"), []byte("2"))}
	if _, err := s.Apply(batch); err == nil || errors.Is(err, store.ErrBroken) {
		t.Errorf("first failure: %v", err)
	}
	for range 2 {
		if _, err := s.Apply(batch); !errors.Is(err, store.ErrBroken) {
			t.Errorf("%v, want ErrBroken", err)
		}
	}
	_ = s.Close()
}

// TestManyTables writes several tables full, overwriting the same keys, so that logs rotate and tables
// are merged, and reads all of it back after a reopen.
func TestManyTables(t *testing.T) {
	s := mustOpen(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Create: true})
	const keys, rounds = 3000, 8
	value := func(i, round int) string { return fmt.Sprintf("%d/%d/%s", i, round, strings.Repeat("x", 1000)) }
	for round := range rounds {
		for first := 0; first < keys; first += 500 {
			b := new(store.Batch)
			for i := first; i < first+500; i++ {
				b.Put(fmt.Appendf(nil, "%06d", i), []byte(value(i, round)))
			}
			if errs, err := s.Apply([]*store.Batch{b}); err != nil || errs[0] != nil {
				t.Fatal(errs, err)
			}
		}
	}
	if err := s.RunGC(); err != nil {
		t.Error(err)
	}
	if size := s.Size(); size < keys*1000 {
		t.Errorf("%d bytes on disk for %d that are live", size, keys*1000)
	}
	mustClose(t, s)
	s = mustOpen(t, Options{Dir: s.dir.path})
	defer mustClose(t, s)
	i := 0
	err := s.Scan(nil, nil, func(k, v []byte) bool {
		if string(k) != fmt.Sprintf("%06d", i) || string(v) != value(i, rounds-1) {
			t.Errorf("key %d is %q with a wrong value", i, k)
			return false
		}
		i++
		return true
	})
	if err != nil || i != keys {
		t.Errorf("%d of %d keys, %v", i, keys, err)
	}
}

// child commits numbered keys from several goroutines and prints each number after its commit.
func child(dir string) {
	s, err := Open(Options{Dir: dir, Key: testKey, Create: true})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	c := store.NewCommitter(s, store.Limits{})
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%08d", w, i)
				if err := c.Commit(new(store.Batch).Put([]byte(key), []byte(key))); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println(key)
			}
		}()
	}
	select {}
}

// TestKilledProcessLosesNothingAcknowledged: this proves the order of write and answer and the replay of
// the log, not the sync, because the page cache outlives a killed process.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	acknowledged := 0
	for round := range 3 {
		keys := runChild(t, dir, 500)
		s := mustOpen(t, Options{Dir: dir})
		for _, key := range keys {
			wantGet(t, s, key, key)
		}
		acknowledged += len(keys)
		mustClose(t, s)
		if len(keys) < 500 {
			t.Fatalf("round %d: only %d keys", round, len(keys))
		}
	}
	t.Logf("%d acknowledged keys, none lost", acknowledged)
}

// runChild kills the child after n keys and returns all that it had acknowledged until then.
func runChild(t *testing.T, dir string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // SIGKILL
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Fatal(lines.Text())
		}
		if len(lines.Text()) == len("0/00000000") { // the last line may be torn
			keys = append(keys, lines.Text())
		}
		if len(keys) == n {
			cancel()
		}
	}
	_ = cmd.Wait()
	return keys
}
