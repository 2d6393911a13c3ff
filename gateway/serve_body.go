package gateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
)

// spoolMemory of a body is kept in memory; what is longer goes to a file that has no name.
const spoolMemory = 64 << 10

var errBodyTooLarge = errors.New("the body is too large")

// spooled is a request's body that was read to its end.
type spooled struct {
	sum  [32]byte
	size int64
	head []byte
	file *os.File // nil for short ones
}

// spool reads the body of a request to its end, at most limit bytes of it.
func spool(r *http.Request, limit int64) (*spooled, error) {
	s := &spooled{sum: sha256.Sum256(nil)}
	if r.Body == nil || r.Body == http.NoBody {
		return s, nil
	}
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	h, src := sha256.New(), io.LimitReader(r.Body, limit+1)
	head, err := io.ReadAll(io.LimitReader(src, spoolMemory))
	if err != nil {
		return nil, err
	}
	h.Write(head)
	s.head, s.size = head, int64(len(head))
	if len(head) == spoolMemory {
		if err := s.toFile(src, h); err != nil {
			return nil, err
		}
	}
	if s.size > limit {
		s.close()
		return nil, errBodyTooLarge
	}
	h.Sum(s.sum[:0])
	return s, nil
}

func (s *spooled) toFile(src io.Reader, h hash.Hash) error {
	f, err := os.CreateTemp("", "runnel-body-")
	if err != nil {
		return err
	}
	s.file = f
	_ = os.Remove(f.Name()) // where that is not possible it is removed with the directory
	n, err := io.Copy(io.MultiWriter(f, h), src)
	s.size += n
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.close()
	}
	return err
}

// attach makes the body readable again.
func (s *spooled) attach(r *http.Request) {
	switch {
	case s.size == 0:
		r.Body, r.ContentLength = http.NoBody, 0
	case s.file == nil:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(s.head)), s.size
	default:
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(bytes.NewReader(s.head), s.file)), s.size
	}
	r.TransferEncoding = nil
}

func (s *spooled) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
