package file

import (
	"errors"
	"fmt"
	"slices"

	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// maxFindings bounds what is listed: the first one says where to look, hundreds say the disk is dying.
const maxFindings = 100

// Replay shows every group that was durable when it began, in order, and checks every seal and the whole
// chain. What is damaged is passed over and listed. Groups are valid only during the call; fn must not
// call Rebase. The error is fn's, or says that nothing can be said.
func (j *Journal) Replay(fn func(*journal.Group) error) ([]journal.Finding, error) {
	return j.replay(0, fn)
}

// replay stops behind the segment with a number, unless it is 0.
func (j *Journal) replay(last uint64, fn func(*journal.Group) error) ([]journal.Finding, error) {
	j.files.RLock()
	defer j.files.RUnlock()
	j.mu.Lock()
	list := slices.Clone(j.segments)
	j.mu.Unlock()
	r := replay{j: j, fn: fn, next: 1, number: 1, known: true}
	for i, s := range list {
		if last != 0 && s.number > last {
			break
		}
		if err := r.segment(s, i == len(list)-1); err != nil {
			return r.findings, err
		}
		if len(r.findings) > maxFindings {
			break
		}
	}
	return r.findings, nil
}

type replay struct {
	j        *Journal
	fn       func(*journal.Group) error
	number   uint64 // of the segment that should come
	next     uint64
	chain    [32]byte
	known    bool // next and chain are
	findings []journal.Finding
}

func (r *replay) find(s segment, offset int64, text string) {
	r.findings = append(r.findings, journal.Finding{Segment: s.number, Group: r.next, Offset: offset, Text: text})
}

func (r *replay) segment(s segment, last bool) error {
	if s.base {
		r.number = s.number
	}
	if s.number != r.number {
		r.find(segment{number: r.number}, 0, "the segment is missing")
		r.known = false
	}
	r.number = s.number + 1
	f, err := r.j.o.FS.Open(s.name())
	if err != nil {
		r.find(s, 0, fmt.Sprintf("the segment can't be opened: %v", err))
		r.known = false
		return nil
	}
	var inner error
	end, findings, err := journal.Walk(r.j.o.Key, f, s.end, func(g *journal.Group) error {
		inner = r.fn(g)
		return inner
	})
	err = errors.Join(err, f.Close())
	r.findings = append(r.findings, findings...)
	switch {
	case inner != nil, errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrWrongKey):
		return err
	case err != nil:
		r.find(s, 0, err.Error())
		r.known = false
		return nil
	}
	r.follow(s, end, last)
	return nil
}

// follow checks that a segment goes on where the one before ended.
func (r *replay) follow(s segment, end journal.End, last bool) {
	h := &end.Header
	switch {
	case h.Segment != s.number || (h.Kind == journal.KindBase) != s.base:
		r.find(s, 0, "the file holds another segment")
	case !s.base && r.known && h.First != r.next:
		r.find(s, 0, fmt.Sprintf("it begins with record %d: what belongs between is missing", h.First))
	case !s.base && r.known && h.Chain != r.chain:
		r.find(s, 0, "it does not follow the segment before it")
	}
	r.next, r.chain, r.known = end.Next, end.Chain, true
	switch {
	case s.base && !end.Whole:
		r.find(s, end.Offset, "the base is not whole")
	case end.Torn > 0 && !last:
		r.find(s, end.Offset, "the segment ends with something that is no record")
	}
}
