package daemon

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
)

// The disk guard stops what is new long before the disk is full, so that what must still be written can
// be: closes, settlements, refunds. From MinFreeDisk (policy) down: no new payments and channels in either
// direction; at half of it not even refusals are written for peers; at a quarter the ballast is let go.

// Ballast is disk space that is kept occupied, to be let go when the disk is full.
type Ballast interface {
	Size() int64 // of all of it
	Held() bool
	Release() error
	Refill() error
}

const (
	// diskEvery bounds how long a disk that others fill goes unnoticed.
	diskEvery = 500 * time.Millisecond
	// diskBytes is what this node writes itself before it looks again.
	diskBytes = 4 << 20
	// releaseLeast is above what the store itself refuses to write below.
	releaseLeast = 48 << 20
	// refillMargin keeps ballast from coming and going.
	refillMargin = 64 << 20
)

type diskGuard struct {
	free    atomic.Int64 // bytes for everything but ballast that is missing; -1 unknown
	written atomic.Int64 // since free was read
	low     atomic.Bool  // the owner was told that payments are refused

	mu sync.Mutex // one look at a time
}

// watchDisk looks at the disk again and again until the node stops.
func (n *Node) watchDisk() {
	if n.cfg.FreeDisk == nil {
		return
	}
	n.deps.After(diskEvery, func() {
		if n.ctx.Err() == nil && n.spawn(n.checkDisk) {
			n.watchDisk()
		}
	})
}

// wrote counts what goes to the disk: a fast writer must not outrun the clock.
func (n *Node) wrote(bytes int) {
	if n.cfg.FreeDisk != nil && n.guard.written.Add(int64(bytes)) >= diskBytes {
		n.guard.written.Store(0)
		n.spawn(n.checkDisk)
	}
}

// checkDisk reads the free space and acts on it.
func (n *Node) checkDisk() {
	if !n.guard.mu.TryLock() {
		return
	}
	defer n.guard.mu.Unlock()
	if n.cfg.FreeDisk == nil {
		n.guard.free.Store(-1)
		return
	}
	free := n.cfg.FreeDisk()
	if b := n.cfg.Ballast; b != nil && free >= 0 {
		free = n.trim(b, free)
	}
	n.guard.free.Store(free)
	n.tellDisk(free)
	n.askForLost()
}

// askForLost has the frames sent again that came while the disk was full. The payers do not do it by themselves:
// they see a living connection on which an answer takes its time.
func (n *Node) askForLost() {
	if n.diskFull() {
		return
	}
	for _, d := range n.all() {
		if d.lost.Swap(false) {
			d.post(channel.FramesLost{})
		}
	}
}

// trim lets the ballast go or takes it back, and returns what is free beside it.
func (n *Node) trim(b Ballast, free int64) int64 {
	least := n.limits.Load().MinFreeDisk
	switch {
	case b.Held() && free < max(least/4, releaseLeast):
		if err := b.Release(); err != nil {
			n.log.Error("the ballast could not be let go", "err", err)
			break
		}
		n.log.Warn("the disk is nearly full: the ballast was let go, so that channels can still be closed", "free_mb", free>>20, "ballast_mb", b.Size()>>20)
		free = n.cfg.FreeDisk()
	case !b.Held() && free >= least+b.Size()+refillMargin:
		if err := b.Refill(); err != nil {
			n.log.Warn("the ballast could not be made again", "err", err)
			break
		}
		n.log.Info("the ballast is back", "ballast_mb", b.Size()>>20)
		free = n.cfg.FreeDisk()
	}
	if !b.Held() {
		free = max(free-b.Size(), 0) // the ballast's place is not for payments
	}
	return free
}

// tellDisk tells the owner when payments begin and cease to be refused.
func (n *Node) tellDisk(free int64) {
	least := n.limits.Load().MinFreeDisk
	low := free >= 0 && free < least
	if !low && n.guard.low.Load() && free >= 0 && free < least+least/16 {
		return // not for good yet
	}
	if n.guard.low.Swap(low) == low {
		return
	}
	text := "there is disk space again: payments are taken and made"
	if low {
		text = n.diskText(free)
		n.log.Error(text)
	} else {
		n.log.Info(text)
	}
	n.submit(&outbox{entries: []entry{{Kind: channel.EventAlert, Text: text}}}, func(err error) {
		if err != nil {
			n.log.Error("an alert about the disk could not be stored", "err", err)
		}
	})
}

func (n *Node) diskText(free int64) string {
	least := n.limits.Load().MinFreeDisk
	return fmt.Sprintf("only %d MB of disk are free: new payments and channels are refused below %d MB; closing works. Free at least %d MB",
		free>>20, least>>20, (least-free+1<<20-1)>>20)
}

// diskLow is the fault for what must not begin on a nearly full disk, or nil.
func (n *Node) diskLow() error {
	if free := n.guard.free.Load(); free >= 0 && free < n.limits.Load().MinFreeDisk {
		return channel.Faultf(channel.CodeDiskFull, "%s", n.diskText(free))
	}
	return nil
}

// diskFull reports whether so little is free that nothing may be written for a peer any more, refusals
// included: a peer can cause as many of them as it likes.
func (n *Node) diskFull() bool {
	free := n.guard.free.Load()
	return free >= 0 && free < n.limits.Load().MinFreeDisk/2
}
