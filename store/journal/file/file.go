// Package file keeps a journal in a directory: it appends groups with one sync each, rotates segments,
// cuts what a crash left unfinished, and replays. What stands in a group is for others to know.
//
//	j, err := file.Open(file.Options{FS: file.OS(dir), Key: key, Keep: keep})
//	pair := store.NewPair(db, j)
package file

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

const (
	// DefaultSegment is small enough to be read as a whole and large enough that a rotation, which costs
	// some syncs, is rare: one in about half a million coalesced payments.
	DefaultSegment = 16 << 20

	// allocStep is how much room is taken on the disk at once, so that a sync has no new length to write.
	allocStep = 1 << 20
)

// Options say where a journal is and what it keeps.
type Options struct {
	FS       FS
	Key      [32]byte               // from the seed
	Keep     func(*store.Op) bool   // which writes; nil: all
	Segment  int64                  // length at which a new one begins; 0: DefaultSegment
	Archive  string                 // directory below, for segments that a base replaced; empty: removed
	ReadOnly bool                   // changes nothing, not even a torn tail
	Now      func() time.Time       // nil: time.Now
	Salt     func() (salt [32]byte) // fresh each time; nil: crypto/rand
}

// Journal is an open one. Prepare and Write belong to one goroutine at a time; all else is safe beside
// them.
type Journal struct {
	o   Options
	cut Cut

	writing sync.Mutex // held over I/O: one group, rotation or base at a time; guards the fields below
	enc     journal.Encoder
	waits   bool // the encoder holds a prepared group
	cur     *current
	broken  error
	closed  bool

	files sync.RWMutex // readers of segments keep them in their place

	mu       sync.Mutex // guards the fields below, never held over I/O
	segments []segment  // a base at most as the first, then log segments
	next     uint64     // number of the next group
	chain    [32]byte   // before it
}

type segment struct {
	number uint64
	base   bool
	end    int64 // what may be read of it
	room   int64 // what it takes on the disk
}

func (s segment) name() string {
	if s.base {
		return fmt.Sprintf("%010d.base", s.number)
	}
	return fmt.Sprintf("%010d.log", s.number)
}

func parseName(name string) (s segment, ok bool) {
	number, kind, _ := strings.Cut(name, ".")
	s.base = kind == "base"
	if n, err := fmt.Sscanf(number, "%d", &s.number); n != 1 || err != nil {
		return s, false
	}
	return s, (s.number > 0 || s.base) && s.name() == name
}

// current is the segment that is written.
type current struct {
	file   File
	sealer *journal.Sealer
	pos    int64
	room   int64
	fresh  bool // neither header nor name are synced
}

// Cut is what was taken away at open: a write that did not finish.
type Cut struct {
	Segment uint64
	Bytes   int64
}

// Open finds the end of a journal. A directory without segments is a journal without groups. It does not
// check what lies before the last segment: Replay does.
func Open(o Options) (*Journal, error) {
	if o.Keep == nil {
		o.Keep = func(*store.Op) bool { return true }
	}
	if o.Segment == 0 {
		o.Segment = DefaultSegment
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Salt == nil {
		o.Salt = func() (salt [32]byte) { _, _ = rand.Read(salt[:]); return salt } // never fails
	}
	j := &Journal{o: o, next: 1}
	if err := j.find(); err != nil {
		return nil, fmt.Errorf("the journal can't be opened: %w", err)
	}
	return j, nil
}

// find lists the segments and finds the end of the last one.
func (j *Journal) find() error {
	names, err := j.o.FS.List()
	if err != nil {
		return err
	}
	var all []segment
	base := 0
	for _, name := range names {
		if s, ok := parseName(name); ok {
			all = append(all, s)
			if s.base {
				base = len(all) - 1 // sorted: the newest is the last
			}
		} else if strings.HasSuffix(name, unfinished) && !j.o.ReadOnly {
			if err := j.o.FS.Remove(name); err != nil {
				return err
			}
		}
	}
	return j.begin(all, base)
}

func (j *Journal) begin(all []segment, base int) error {
	var replaced []segment
	for i, s := range all {
		if len(all) > 0 && all[base].base && (s.number < all[base].number || s.number == all[base].number && !s.base) {
			replaced = append(replaced, s)
		} else {
			j.segments = append(j.segments, all[i])
		}
	}
	if !j.o.ReadOnly {
		if err := j.dispose(replaced, j.o.Archive); err != nil {
			return err
		}
	}
	for i := range j.segments {
		if err := j.measure(&j.segments[i]); err != nil {
			return err
		}
	}
	for len(j.segments) > 0 {
		kept, err := j.last()
		if err != nil || kept {
			return err
		}
	}
	return nil
}

func (j *Journal) measure(s *segment) error {
	f, err := j.o.FS.Open(s.name())
	if err != nil {
		return err
	}
	s.end, err = f.Size()
	s.room = s.end
	return errors.Join(err, f.Close())
}

// dispose takes segments away that a base stands for.
func (j *Journal) dispose(list []segment, archive string) error {
	for _, s := range list {
		var err error
		if archive == "" {
			err = j.o.FS.Remove(s.name())
		} else {
			err = j.o.FS.Rename(s.name(), archive+"/"+s.name())
		}
		if err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	return j.o.FS.Sync()
}

// last finds where the last segment ends and cuts what is torn there. It is false when the segment itself
// was never finished and is gone; then the one before is the last.
func (j *Journal) last() (kept bool, err error) {
	s := &j.segments[len(j.segments)-1]
	f, err := j.o.FS.Open(s.name())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, findings, err := journal.Walk(j.o.Key, f, s.end, func(*journal.Group) error { return nil })
	if errors.Is(err, journal.ErrHeader) {
		return j.lastUnreadable(f, s)
	}
	if err != nil {
		return false, err
	}
	j.next, j.chain = end.Next, end.Chain
	if s.base || j.o.ReadOnly || len(findings) > 0 && end.Torn > 0 {
		return true, nil // damaged: Replay says so, and nothing is thrown away
	}
	if end.Torn > 0 {
		j.cut = Cut{s.number, end.Torn}
	}
	if end.Offset == s.end {
		return true, nil
	}
	s.end, s.room = end.Offset, end.Offset
	return true, errors.Join(f.Truncate(end.Offset), f.Sync())
}

func (j *Journal) lastUnreadable(f File, s *segment) (kept bool, err error) {
	next, chain, err := j.endBefore()
	if err != nil {
		return false, err
	}
	never, last, err := journal.Unfinished(f, s.end, next)
	if err != nil {
		return false, err
	}
	if !never || s.base || j.o.ReadOnly {
		j.next, j.chain = max(next, last+1), chain // Replay finds the damage
		return true, nil
	}
	j.cut = Cut{s.number, s.end}
	j.segments = j.segments[:len(j.segments)-1]
	return false, errors.Join(j.o.FS.Remove(s.name()), j.o.FS.Sync())
}

// endBefore is the end of the segment before the last.
func (j *Journal) endBefore() (next uint64, chain [32]byte, err error) {
	if len(j.segments) < 2 {
		return 1, chain, nil
	}
	s := j.segments[len(j.segments)-2]
	f, err := j.o.FS.Open(s.name())
	if err != nil {
		return 0, chain, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, _, err := journal.Walk(j.o.Key, f, s.end, func(*journal.Group) error { return nil })
	return end.Next, end.Chain, err
}

// Cut is what Open took away from the end.
func (j *Journal) Cut() Cut { return j.cut }

// Empty reports whether nothing was ever written.
func (j *Journal) Empty() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.segments) == 0
}

// Next is the number of the next group.
func (j *Journal) Next() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// Size is what the segments take on the disk.
func (j *Journal) Size() (n int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		n += s.room
	}
	return n
}

// Close gives back the room that was taken ahead. A second Close does nothing.
func (j *Journal) Close() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	return j.finish()
}

// finish ends the current segment; the next group begins another.
func (j *Journal) finish() error {
	c := j.cur
	if c == nil {
		return nil
	}
	j.cur = nil
	if c.fresh { // it holds no group
		name := j.drop()
		return errors.Join(c.file.Close(), j.o.FS.Remove(name))
	}
	err := c.file.Truncate(c.pos)
	if err == nil {
		err = c.file.Sync()
	}
	j.note(c, c.pos)
	return errors.Join(err, c.file.Close())
}
