//go:build linux

package itest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/cmd/sandbox"
	"github.com/runnel/runnel/itest/powerloss"
)

// TestPowerLossOfDaemons cuts the power under two daemons that pay, on a disk that forgets what was not
// synced: nothing that was acknowledged is lost, nothing is there twice, and the two agree.
func TestPowerLossOfDaemons(t *testing.T) {
	t.Parallel()
	cycles := fromEnv(t, "RUNNEL_POWERLOSS", 0)
	if cycles == 0 {
		t.Skip("only in make powerloss: it takes minutes")
	}
	seed := uint64(fromEnv(t, "RUNNEL_SEED", 1))
	rng := rand.New(rand.NewPCG(seed, 2))
	w := newWorld(t)
	disks := map[string]*disk{}
	for _, name := range []string{"alice", "bob"} {
		disks[name] = newDisk(w, name, seed)
		_, err := w.Start(w.ctx, sandbox.Daemon{Name: name})
		w.check(err)
		w.check(w.Fund(w.ctx, name, 3_000_000, 2_000_000))
	}
	id := w.open("alice", "bob", 2_000_000, 0)
	l := &load{world: w, id: id}
	for round := range cycles {
		victims := [][]string{{"bob"}, {"alice"}, {"alice", "bob"}}[round%3]
		at := 1 + rng.IntN(400)
		l.round(fmt.Sprintf("seed %d, round %d, %v in the dark after %d writes", seed, round, victims, at), victims, func() {
			l.dark(disks, victims, at)
		})
	}
	l.compare()
	l.times("restart after a power cut")
	for _, d := range disks {
		d.down()
	}
}

// disk is a daemon's data directory on a disk that forgets.
type disk struct {
	w     *world
	name  string
	dir   string // where it is mounted
	seed  uint64
	disk  *powerloss.Disk
	mount *fuse.Server
}

func newDisk(w *world, name string, seed uint64) *disk {
	w.t.Helper()
	d := &disk{w: w, name: name, dir: filepath.Join(home.Home(w.Dir).DataDir("simnet"), name), seed: seed}
	w.check(os.MkdirAll(d.dir, 0o700))
	d.disk = powerloss.New(seed)
	d.up()
	w.t.Cleanup(d.down)
	return d
}

func (d *disk) up() {
	d.w.t.Helper()
	var err error
	if d.mount, err = d.disk.Mount(d.dir); err != nil {
		d.w.t.Skipf("no FUSE here: %v", err)
	}
}

// down ends the daemon and takes the disk away.
func (d *disk) down() {
	if n := d.w.Node(d.name); n != nil {
		n.Kill()
	}
	if d.mount != nil {
		d.w.check(d.mount.Unmount())
		d.mount = nil
	}
}

// again mounts what the cut left.
func (d *disk) again() {
	d.w.t.Helper()
	left := d.w.t.TempDir()
	d.w.check(d.disk.Restore(left))
	d.seed++
	d.disk = powerloss.New(d.seed)
	d.w.check(d.disk.Load(left))
	d.w.check(os.RemoveAll(left))
	d.up()
}

// dark turns the power of daemons off at once, when the first of them has changed its disk so often.
func (l *load) dark(disks map[string]*disk, victims []string, after int) {
	l.t.Helper()
	first := disks[victims[0]].disk
	first.CutAfter(after)
	select {
	case <-first.Dark():
	case <-l.ctx.Done():
		l.t.Fatal("the disk was not used")
	}
	for _, name := range victims {
		disks[name].disk.Cut()
	}
	for _, name := range victims {
		disks[name].down()
		disks[name].again()
	}
}
