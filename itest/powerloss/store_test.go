//go:build linux

package powerloss

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/badger"
)

const envChild = "RUNNEL_POWERLOSS_CHILD" // directory in which the child writes

// TestMain is also the program that writes until the power is gone.
func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func fromEnv(t *testing.T, name string, standard int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

var key = [32]byte{1, 2, 3}

const writers = 16

func openStore(dir string) (*badger.Store, error) {
	_, err := os.Stat(filepath.Join(dir, "db"))
	return badger.Open(badger.Options{Dir: filepath.Join(dir, "db"), Key: key, Create: errors.Is(err, os.ErrNotExist)})
}

// child writes numbered records as fast as it can and prints which are durable.
func child(dir string) error {
	db, err := openStore(dir)
	if err != nil {
		return err
	}
	committer := store.NewCommitter(db, store.Limits{})
	failed := make(chan error, writers)
	for w := range writers {
		last, err := lastOf(db, w)
		if err != nil {
			return err
		}
		go func() {
			for n := last + 1; ; n++ {
				batch := new(store.Batch).Put(recordKey(w, n), record(w, n)).Put(lastKey(w), binary.BigEndian.AppendUint64(nil, n))
				if err := committer.Commit(batch); err != nil {
					failed <- err
					return
				}
				fmt.Printf("%d %d\n", w, n)
			}
		}()
	}
	return <-failed
}

func recordKey(w int, n uint64) []byte { return fmt.Appendf(nil, "r/%d/%d", w, n) }
func lastKey(w int) []byte             { return fmt.Appendf(nil, "l/%d", w) }

// record is what writer w writes as its n-th record.
func record(w int, n uint64) []byte {
	rng := rand.New(rand.NewPCG(uint64(w), n))
	b := make([]byte, 100+rng.IntN(4000))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func lastOf(db store.Store, w int) (uint64, error) {
	b, err := db.Get(lastKey(w))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("last record of writer %d: %x, %w", w, b, err)
	}
	return binary.BigEndian.Uint64(b), nil
}

// TestPowerLossOfStore cuts the power under the database, again and again: what it said was durable is
// there, and nothing is there in part.
func TestPowerLossOfStore(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	cycles, seed := fromEnv(t, "RUNNEL_POWERLOSS", 3), uint64(fromEnv(t, "RUNNEL_SEED", 1))
	rng := rand.New(rand.NewPCG(seed, 2))
	left := t.TempDir()
	acked := make([]uint64, writers)
	commits := 0
	for round := range cycles {
		at := 1 + rng.IntN(300)
		if rng.IntN(4) == 0 {
			at = 1 + rng.IntN(6000) // as far as memtables that are flushed and tables that are merged
		}
		name := fmt.Sprintf("seed %d, round %d, in the dark after %d writes", seed, round, at)
		n, said := cycle(t, left, seed+uint64(round), at, acked)
		commits += n
		next := t.TempDir()
		if err := said.Restore(next); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(left); err != nil {
			t.Fatal(err)
		}
		left = next
		verify(t, name, left, acked)
	}
	t.Logf("%d power cuts under %d acknowledged commits: none is missing", cycles, commits)
}

// cycle lets the child write to a copy of a directory until the power is gone, and raises acked to what it
// said was durable.
func cycle(t *testing.T, from string, seed uint64, at int, acked []uint64) (commits int, d *Disk) {
	t.Helper()
	d = New(seed)
	if err := d.Load(from); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mount, err := d.Mount(dir)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	d.CutAfter(at)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+dir)
	var bad bytes.Buffer
	cmd.Stderr = &bad
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { commits = readAcks(out, acked) })
	ended := make(chan struct{})
	go func() { reading.Wait(); close(ended) }()
	select {
	case <-d.Dark():
	case <-ended:
		t.Errorf("the writer ended before the cut: %s", bad.String())
		d.Cut()
	}
	_ = cmd.Process.Kill()
	<-ended
	_ = cmd.Wait()
	if err := mount.Unmount(); err != nil {
		t.Fatal(err)
	}
	return commits, d
}

func readAcks(r io.Reader, acked []uint64) (n int) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		writer, number, _ := strings.Cut(lines.Text(), " ")
		w, err := strconv.Atoi(writer)
		last, err2 := strconv.ParseUint(number, 10, 64)
		if err == nil && err2 == nil && w < len(acked) {
			acked[w] = max(acked[w], last)
			n++
		}
	}
	return n
}

// verify opens what is left, and raises acked to what is there: that must stay, too.
func verify(t *testing.T, name, dir string, acked []uint64) {
	t.Helper()
	db, err := openStore(dir)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer db.Close()
	for w := range acked {
		last, err := lastOf(db, w)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if last < acked[w] {
			t.Fatalf("%s: writer %d has %d records, %d were acknowledged", name, w, last, acked[w])
		}
		for n := uint64(1); n <= last; n++ {
			if got, err := db.Get(recordKey(w, n)); err != nil || !bytes.Equal(got, record(w, n)) {
				t.Fatalf("%s: record %d of writer %d: %v", name, n, w, err)
			}
		}
		acked[w] = last
	}
}
