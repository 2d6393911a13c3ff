package file

import (
	"errors"
	"fmt"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// Append makes a group durable. It is Prepare and Write.
func (j *Journal) Append(batches []*store.Batch) error {
	if err := j.Prepare(batches, make([]error, len(batches))); err != nil {
		return err
	}
	return j.Write()
}

// Prepare encodes what is kept of the batches that have no error and takes room for it on the disk.
func (j *Journal) Prepare(batches []*store.Batch, left []error) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.usable(); err != nil {
		return err
	}
	j.waits = false
	j.enc.Begin(j.o.Now().UnixMilli())
	for i, b := range batches {
		if left[i] != nil {
			continue
		}
		for k := range b.Ops {
			if op := &b.Ops[k]; j.o.Keep(op) {
				j.enc.Add(op)
			}
		}
	}
	if j.enc.Empty() {
		return nil
	}
	if j.enc.TooLong() {
		return store.ErrTooBig
	}
	if err := j.takeRoom(int64(j.enc.Size())); err != nil {
		return fmt.Errorf("journal: no room for the next record: %w", err)
	}
	j.waits = true
	return nil
}

func (j *Journal) usable() error {
	switch {
	case j.closed:
		return store.ErrClosed
	case j.o.ReadOnly:
		return errors.New("journal: opened to be read only")
	case j.broken != nil:
		return fmt.Errorf("%w: %w", store.ErrBroken, j.broken)
	}
	return nil
}

// Write seals the prepared group and makes it durable. After an error nothing more is written: the group
// may be on the disk in part, and another one in its place would stand under the same number.
func (j *Journal) Write() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.usable(); err != nil || !j.waits {
		return err
	}
	j.waits = false
	c := j.cur
	b := c.sealer.Seal(&j.enc)
	if err := j.put(c, b); err != nil {
		j.broken = err
		return fmt.Errorf("journal: writing: %w", err)
	}
	c.pos += int64(len(b))
	j.note(c, c.room)
	return nil
}

func (j *Journal) put(c *current, b []byte) error {
	if _, err := c.file.WriteAt(b, c.pos); err != nil {
		return err
	}
	if !c.fresh {
		return c.file.SyncData()
	}
	if err := c.file.Sync(); err != nil {
		return err
	}
	if err := j.o.FS.Sync(); err != nil {
		return err
	}
	c.fresh = false
	return nil
}

// takeRoom finds place for n bytes in the current segment or in a new one.
func (j *Journal) takeRoom(n int64) error {
	if c := j.cur; c != nil && c.pos > journal.HeaderSize && c.pos+n > j.o.Segment {
		if err := j.finish(); err != nil {
			return err
		}
	}
	if j.cur == nil {
		if err := j.create(); err != nil {
			return err
		}
	}
	c := j.cur
	if c.pos+n <= c.room {
		return nil
	}
	room := (c.pos + n + allocStep - 1) / allocStep * allocStep
	if room > j.o.Segment {
		room = max(c.pos+n, j.o.Segment)
	}
	if err := c.file.Allocate(room); err != nil {
		return err
	}
	// The new length must be durable before data is synced without it.
	if !c.fresh {
		if err := c.file.Sync(); err != nil {
			j.broken = err
			return err
		}
	}
	c.room = room
	j.note(c, room)
	return nil
}

// create begins a segment. Its header becomes durable with the first group.
func (j *Journal) create() (err error) {
	j.mu.Lock()
	s := segment{number: 1, end: journal.HeaderSize}
	if n := len(j.segments); n > 0 {
		s.number = j.segments[n-1].number + 1
	}
	h := journal.Header{Kind: journal.KindLog, Segment: s.number, First: j.next, Chain: j.chain}
	j.mu.Unlock()
	h.Salt = j.o.Salt()
	sealer, header, err := journal.NewSealer(j.o.Key, h)
	if err != nil {
		return err
	}
	f, err := j.o.FS.Create(s.name())
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return errors.Join(err, f.Close(), j.o.FS.Remove(s.name()))
	}
	j.cur = &current{file: f, sealer: sealer, pos: journal.HeaderSize, room: journal.HeaderSize, fresh: true}
	j.mu.Lock()
	j.segments = append(j.segments, s)
	j.mu.Unlock()
	return nil
}

// note makes what was written visible to readers.
func (j *Journal) note(c *current, room int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.segments[len(j.segments)-1]
	s.end, s.room = c.pos, room
	j.next, j.chain = c.sealer.Next(), c.sealer.Chain()
}

// drop takes a segment from the list that was never used.
func (j *Journal) drop() (name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := len(j.segments) - 1
	name = j.segments[last].name()
	j.segments = j.segments[:last]
	return name
}
