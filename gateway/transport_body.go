package gateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
)

// bufferedBody is what is kept of a body without GetBody where nobody says more.
const bufferedBody = 1 << 20

var errBodyOnce = errors.New("the body is too long to be kept for a second try, and can be read only once: set Request.GetBody, or raise Transport.MaxBody")

// replay is a request's body that can be sent any number of times.
type replay struct {
	open func() (io.ReadCloser, error) // nil when it can be sent once only
	once io.ReadCloser
	size int64
	sum  *[32]byte
}

// replayable takes over the body of req. A long one without GetBody stays good for one try.
func replayable(req *http.Request, most int64) (*replay, error) {
	if most <= 0 {
		most = bufferedBody
	}
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return &replay{open: func() (io.ReadCloser, error) { return http.NoBody, nil }}, nil
	case req.GetBody != nil:
		req.Body.Close()
		return &replay{open: req.GetBody, size: req.ContentLength}, nil
	}
	head, err := io.ReadAll(io.LimitReader(req.Body, most+1))
	switch {
	case err != nil:
		req.Body.Close()
		return nil, err
	case int64(len(head)) > most:
		rest := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), req.Body), req.Body}
		return &replay{once: rest, size: req.ContentLength}, nil
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(head)), nil }
	return &replay{open: open, size: int64(len(head))}, req.Body.Close()
}

// next is the body for one more try.
func (b *replay) next() (io.ReadCloser, error) {
	if b.open != nil {
		return b.open()
	}
	if b.once == nil {
		return nil, errBodyOnce
	}
	body := b.once
	b.once = nil
	return body, nil
}

// hash is the SHA-256 of the whole body.
func (b *replay) hash() ([32]byte, error) {
	if b.sum != nil {
		return *b.sum, nil
	}
	if b.open == nil {
		return [32]byte{}, errBodyOnce
	}
	body, err := b.open()
	if err != nil {
		return [32]byte{}, err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		return [32]byte{}, err
	}
	sum := [32]byte(h.Sum(nil))
	b.sum = &sum
	return sum, nil
}

// close gives up what was not sent.
func (b *replay) close() {
	if b.once != nil {
		b.once.Close()
		b.once = nil
	}
}
