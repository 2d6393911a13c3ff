package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
	"github.com/runnel/runnel/store/journal/file"
	"github.com/runnel/runnel/store/journal/journaltest"
)

var testKey = [32]byte{1, 2, 3}

func options(fs file.FS) file.Options {
	return file.Options{FS: fs, Key: testKey, Segment: 4 << 10, Now: func() time.Time { return time.UnixMilli(1) }}
}

func mustOpen(t testing.TB, o file.Options) *file.Journal {
	t.Helper()
	j, err := file.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func value(n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "value %d.", n), 1+n%40) }

func group(n int) []*store.Batch {
	return []*store.Batch{new(store.Batch).Put(fmt.Appendf(nil, "k%06d", n), value(n)), new(store.Batch).Put([]byte("hot"), fmt.Append(nil, n))}
}

func add(t testing.TB, j *file.Journal, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := j.Append(group(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// numbers lists which groups a journal holds, checking their content.
func numbers(t testing.TB, j *file.Journal) (list []int, findings []journal.Finding) {
	t.Helper()
	findings, err := j.Replay(func(g *journal.Group) error {
		var n int
		if _, err := fmt.Sscanf(string(g.Ops[0].Key), "k%06d", &n); err != nil || !bytes.Equal(g.Ops[0].Value, value(n)) {
			return fmt.Errorf("group %d holds %q", g.Number, g.Ops[0].Key)
		}
		list = append(list, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, findings
}

func wantNumbers(t testing.TB, j *file.Journal, n int) {
	t.Helper()
	list, findings := numbers(t, j)
	if len(findings) > 0 {
		t.Fatalf("findings: %v", findings)
	}
	if len(list) != n {
		t.Fatalf("%d groups, want %d", len(list), n)
	}
	for i, v := range list {
		if v != i {
			t.Fatalf("group %d is %d", i, v)
		}
	}
}

func TestAppendAndReplay(t *testing.T) {
	dir := t.TempDir()
	o := options(file.OS(dir))
	j := mustOpen(t, o)
	if !j.Empty() {
		t.Error("a new journal is not empty")
	}
	add(t, j, 0, 100)
	wantNumbers(t, j, 100) // while it is written
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(group(1)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	for round := range 3 {
		j = mustOpen(t, o)
		wantNumbers(t, j, 100+10*round)
		if j.Empty() || j.Cut().Bytes != 0 {
			t.Error("a closed journal was cut")
		}
		add(t, j, 100+10*round, 110+10*round)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var size int64
	names, err := filepath.Glob(dir + "/*")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d segments, %v", len(names), err)
	}
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", n, info.Mode(), err)
		}
		size += info.Size()
	}
	if size != j.Size() {
		t.Errorf("Size %d, the files have %d", j.Size(), size)
	}
}

func TestKeepsOnlyWhatIsAsked(t *testing.T) {
	o := options(journaltest.NewDisk())
	o.Keep = func(op *store.Op) bool { return op.Key[0] == 'k' }
	j := mustOpen(t, o)
	batches := append(group(0), new(store.Batch).Put([]byte("k000001"), value(1)))
	if err := j.Prepare(batches, []error{nil, nil, store.ErrConflict}); err != nil {
		t.Fatal(err)
	}
	if err := j.Write(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]*store.Batch{new(store.Batch).Put([]byte("other"), nil)}); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, j, 1)
	if j.Next() != 2 {
		t.Errorf("next is %d: a group without a write was written", j.Next())
	}
}

// TestPowerLoss: every group that was appended is there afterwards, then at most one that was on its way,
// and nothing is a finding; over several losses.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(1, seed))
		disk := journaltest.NewDisk()
		acknowledged := 0
		for range 4 {
			var snapshot *journaltest.Disk
			fail := random.IntN(60)
			errCut := errors.New("power lost")
			disk.Fail = func(string, string) error {
				if snapshot != nil {
					return errCut
				}
				if fail--; fail < 0 {
					snapshot = disk.PowerLoss(random)
					return errCut
				}
				return nil
			}
			j, err := file.Open(options(disk))
			for err == nil && snapshot == nil {
				if err = j.Append(group(acknowledged)); err == nil {
					acknowledged++
				}
			}
			if snapshot == nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			disk = snapshot
			j = mustOpen(t, options(disk))
			list, findings := numbers(t, j)
			if len(findings) > 0 || len(list) < acknowledged || len(list) > acknowledged+1 {
				t.Fatalf("seed %d: %d groups of %d acknowledged, %v", seed, len(list), acknowledged, findings)
			}
			acknowledged = len(list)
		}
	}
}

// TestFlips: a flipped bit anywhere is a finding, or looks like the last write cut short.
func TestFlips(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	add(t, j, 0, 60)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := disk.List()
	random := rand.New(rand.NewPCG(1, 2))
	for range 250 {
		d := disk.PowerLoss(nil)
		name := names[random.IntN(len(names))]
		d.Flip(name, random.Int64N(8*int64(len(d.Bytes(name)))))
		j := mustOpen(t, options(d))
		list, findings := numbers(t, j)
		last := name == names[len(names)-1] && len(list) == 59 && list[58] == 58 && j.Cut().Bytes > 0
		if len(findings) == 0 && !last {
			t.Fatalf("%s: no finding, %d groups, cut %+v", name, len(list), j.Cut())
		}
		if len(findings) > 0 && !strings.HasPrefix(fmt.Sprintf("%010d", findings[0].Segment), name[:10]) {
			t.Fatalf("%s: finding %v", name, findings[0])
		}
		// The log goes on, and the damage stays a finding.
		if err := j.Append(group(60)); err != nil {
			t.Fatal(err)
		}
		again, after := numbers(t, j)
		if len(again) != len(list)+1 || len(findings) > 0 && len(after) == 0 {
			t.Fatalf("%s: after one more %d groups of %d, %v", name, len(again), len(list), after)
		}
	}
}

func TestMissingSegment(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	add(t, j, 0, 60)
	names, _ := disk.List()
	if err := disk.Remove(names[2]); err != nil {
		t.Fatal(err)
	}
	_, findings := numbers(t, mustOpen(t, options(disk)))
	if len(findings) == 0 || findings[0].Segment != 3 || !strings.Contains(findings[0].Text, "missing") {
		t.Errorf("%v", findings)
	}
}

// TestNoKeyStreamTwice: a copy that goes on, a torn group that is written again and a restart never use a
// segment's key for other content under the same number.
func TestNoKeyStreamTwice(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	add(t, j, 0, 3)
	seen := map[string][]byte{} // salt and place: what stands there
	look := func(d *journaltest.Disk) {
		names, _ := d.List()
		for _, name := range names {
			b := d.Bytes(name)
			salt := string(b[32:64])
			old := seen[salt]
			n := min(len(old), len(b))
			for i := range n {
				if old[i] != b[i] && old[i] != 0 && b[i] != 0 {
					t.Fatalf("%s: two contents under one salt at byte %d", name, i)
				}
			}
			if len(b) > len(old) {
				seen[salt] = b
			}
		}
	}
	copies := []*journaltest.Disk{disk, disk.PowerLoss(nil), disk.PowerLoss(nil)}
	for i, d := range copies {
		look(d)
		j := mustOpen(t, options(d))
		for n := range 5 {
			b := group(100*i + n)
			if err := j.Append(b); err != nil {
				t.Fatal(err)
			}
			look(d)
		}
	}
	if len(seen) < 4 {
		t.Errorf("%d salts only", len(seen))
	}
}

func TestFailureEndsWriting(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		disk := journaltest.NewDisk()
		j := mustOpen(t, options(disk))
		add(t, j, 0, 3)
		errDisk := errors.New("disk on fire")
		disk.Fail = func(o, _ string) error {
			if o == op {
				return errDisk
			}
			return nil
		}
		if err := j.Append(group(3)); !errors.Is(err, errDisk) {
			t.Fatalf("%s: %v", op, err)
		}
		disk.Fail = nil
		if err := j.Append(group(3)); !errors.Is(err, store.ErrBroken) {
			t.Errorf("%s: after a failure: %v, want ErrBroken", op, err)
		}
		j = mustOpen(t, options(disk))
		if list, findings := numbers(t, j); len(list) < 3 || len(findings) > 0 {
			t.Errorf("%s: %d groups, %v", op, len(list), findings)
		}
	}
}

// TestFullDiskEndsNothing: what can be known before a write is no failure of the journal.
func TestFullDiskEndsNothing(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	add(t, j, 0, 3)
	full := errors.New("no space left")
	disk.Fail = func(o, _ string) error {
		if o == "allocate" || o == "create" {
			return full
		}
		return nil
	}
	n := 3
	for ; n < 1000; n++ {
		if err := j.Append(group(n)); err != nil {
			if !errors.Is(err, full) {
				t.Fatal(err)
			}
			break
		}
	}
	disk.Fail = nil
	add(t, j, n, n+50)
	wantNumbers(t, j, n+50)
	wantNumbers(t, mustOpen(t, options(disk.PowerLoss(nil))), n+50)
}

func TestRebase(t *testing.T) {
	for _, archive := range []string{"", "old"} {
		disk := journaltest.NewDisk()
		o := options(disk)
		j := mustOpen(t, o)
		add(t, j, 0, 60)
		err := j.Rebase(archive, func(replay func(func(*journal.Group) error) ([]journal.Finding, error), put func(*store.Op) error) error {
			add(t, j, 60, 70) // the log goes on meanwhile
			_, err := replay(func(g *journal.Group) error { return put(&g.Ops[0]) })
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		add(t, j, 70, 80)
		names, _ := disk.List()
		if names[0] != "0000000007.base" && !strings.Contains(names[0], "base") {
			t.Errorf("names %v", names)
		}
		archived := 0
		for _, n := range names {
			if strings.HasPrefix(n, "old/") {
				archived++
			}
		}
		if (archived > 0) != (archive != "") {
			t.Errorf("%d archived: %v", archived, names)
		}
		for _, d := range []*journaltest.Disk{disk, disk.PowerLoss(nil)} {
			j := mustOpen(t, options(d))
			keys := map[string]bool{}
			findings, err := j.Replay(func(g *journal.Group) error {
				for _, op := range g.Ops {
					keys[string(op.Key)] = true
				}
				return nil
			})
			if err != nil || len(findings) > 0 || len(keys) != 81 {
				t.Fatalf("%d keys, %v, %v", len(keys), findings, err)
			}
			if j.Next() != 81 {
				t.Errorf("next %d", j.Next())
			}
		}
	}
}

// TestRebaseAndPowerLoss: a base is there as a whole or not at all.
func TestRebaseAndPowerLoss(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(3, seed))
		disk := journaltest.NewDisk()
		j := mustOpen(t, options(disk))
		add(t, j, 0, 40)
		var snapshot *journaltest.Disk
		fail := random.IntN(16)
		disk.Fail = func(string, string) error {
			if fail--; fail < 0 && snapshot == nil {
				snapshot = disk.PowerLoss(random)
			}
			return nil
		}
		err := j.Rebase("", func(replay func(func(*journal.Group) error) ([]journal.Finding, error), put func(*store.Op) error) error {
			_, err := replay(func(g *journal.Group) error { return put(&g.Ops[0]) })
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if snapshot == nil {
			snapshot = disk.PowerLoss(random)
		}
		j = mustOpen(t, options(snapshot))
		keys := map[string]bool{}
		findings, err := j.Replay(func(g *journal.Group) error {
			for _, op := range g.Ops {
				keys[string(op.Key)] = true
			}
			return nil
		})
		delete(keys, "hot")
		if err != nil || len(findings) > 0 || len(keys) != 40 || j.Next() != 41 {
			t.Fatalf("seed %d: %d keys, next %d, %v, %v", seed, len(keys), j.Next(), findings, err)
		}
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, options(file.OS(dir)))
	add(t, j, 0, 50)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(dir + "/*")
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil || bytes.Contains(b, []byte("value")) || bytes.Contains(b, []byte("k0000")) {
			t.Errorf("%s can be read, %v", n, err)
		}
	}
}

func TestWrongKey(t *testing.T) {
	disk := journaltest.NewDisk()
	add(t, mustOpen(t, options(disk)), 0, 5)
	o := options(disk)
	o.Key[0]++
	if _, err := file.Open(o); !errors.Is(err, store.ErrWrongKey) {
		t.Errorf("%v, want ErrWrongKey", err)
	}
}
