package file

import (
	"errors"
	"fmt"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// unfinished ends the name of a base that is being written.
const unfinished = ".new"

// baseGroup is about how long a group of a base becomes.
const baseGroup = 256 << 10

// Rebase writes a base in the place of all groups so far, and removes their segments, or moves them into
// archive, a directory below. emit hands over the writes that make the state; with begin it can see all
// groups that the base replaces. The base takes the place of the segments at once or not at all. New
// groups may be appended meanwhile.
func (j *Journal) Rebase(archive string, emit func(begin func(fn func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error) error {
	s, h, err := j.divide()
	if err != nil {
		return err
	}
	name := s.name() + unfinished
	f, err := j.o.FS.Create(name)
	if err != nil {
		return fmt.Errorf("journal: a base can't be written: %w", err)
	}
	b := &baseWriter{j: j, f: f}
	err = b.write(h, func(add func(*store.Op) error) error {
		return emit(func(fn func(*journal.Group) error) ([]journal.Finding, error) { return j.replay(s.number, fn) }, add)
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("journal: a base can't be written: %w", err), j.o.FS.Remove(name))
	}
	return j.replace(s, b.pos, name, archive)
}

// divide ends the current segment: the base stands for it and all before.
func (j *Journal) divide() (segment, journal.Header, error) {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.usable(); err != nil {
		return segment{}, journal.Header{}, err
	}
	if err := j.finish(); err != nil {
		j.broken = err
		return segment{}, journal.Header{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s := segment{base: true}
	if n := len(j.segments); n > 0 {
		s.number = j.segments[n-1].number
	}
	return s, journal.Header{Kind: journal.KindBase, Segment: s.number, First: j.next, Chain: j.chain, Salt: j.o.Salt()}, nil
}

// replace makes the base durable under its name and lets go of what it stands for.
func (j *Journal) replace(s segment, size int64, name, archive string) error {
	j.files.Lock()
	defer j.files.Unlock()
	if err := errors.Join(j.o.FS.Rename(name, s.name()), j.o.FS.Sync()); err != nil {
		return fmt.Errorf("journal: a base can't take its place: %w", err)
	}
	s.end, s.room = size, size
	j.mu.Lock()
	kept := []segment{s}
	var replaced []segment
	for _, o := range j.segments {
		if o.number > s.number {
			kept = append(kept, o)
		} else if o.name() != s.name() { // a base of the same number is gone already
			replaced = append(replaced, o)
		}
	}
	j.segments = kept
	j.mu.Unlock()
	return j.dispose(replaced, archive)
}

type baseWriter struct {
	j      *Journal
	f      File
	sealer *journal.Sealer
	enc    journal.Encoder
	pos    int64
}

func (b *baseWriter) write(h journal.Header, emit func(add func(*store.Op) error) error) error {
	sealer, header, err := journal.NewSealer(b.j.o.Key, h)
	if err != nil {
		return err
	}
	b.sealer = sealer
	if err := b.put(header); err != nil {
		return err
	}
	b.begin()
	if err := emit(b.add); err != nil {
		return err
	}
	b.enc.Last()
	if err := b.put(b.sealer.Seal(&b.enc)); err != nil {
		return err
	}
	return b.f.Sync()
}

func (b *baseWriter) begin() { b.enc.Begin(b.j.o.Now().UnixMilli()) }

func (b *baseWriter) add(op *store.Op) error {
	if !b.j.o.Keep(op) {
		return nil
	}
	b.enc.Add(op)
	if b.enc.Size() < baseGroup {
		return nil
	}
	err := b.put(b.sealer.Seal(&b.enc))
	b.begin()
	return err
}

func (b *baseWriter) put(p []byte) error {
	n, err := b.f.WriteAt(p, b.pos)
	b.pos += int64(n)
	return err
}
