package p2p

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// stream is what conn needs of a libp2p stream.
type stream interface {
	io.ReadWriter
	CloseWrite() error
	Close() error
	ResetWithError(network.StreamErrorCode) error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// conn is the connection to one peer. One goroutine writes; Recv reads in its caller's.
type conn struct {
	origin
	peer   channel.PeerID
	remote string
	limits Limits
	stream stream
	out    *outbox

	reading sync.Mutex // held by Recv, then by the end of a graceful close
	in      *bufio.Reader

	mu   sync.Mutex // held while done is closed and while Recv sets its deadline
	done chan struct{}

	cause error                   // why it ended; set before done is closed
	code  network.StreamErrorCode // told to the peer; StreamNoError for a graceful end; likewise
	left  func(*conn)             // called once, when the conn ended
}

var _ wire.Conn = (*conn)(nil)

func (c *conn) Peer() channel.PeerID  { return c.peer }
func (c *conn) RemoteAddr() string    { return c.remote }
func (c *conn) Done() <-chan struct{} { return c.done }

// Close ends the connection after what was sent has left, or Limits.Linger. It does not wait.
func (c *conn) Close() error {
	c.end(errors.New("closed by this node"), network.StreamNoError)
	return nil
}

// Send queues a copy of msg.
func (c *conn) Send(msg []byte) error {
	if len(msg) == 0 || len(msg) > wire.MaxMessage {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", wire.ErrTooLong, len(msg), wire.MaxMessage)
	}
	err := c.out.put(msg, c.limits.WriteTimeout)
	if err == nil {
		return nil
	}
	if errors.Is(err, errFull) {
		c.end(fmt.Errorf("%w for %v", errFull, c.limits.WriteTimeout), network.StreamGarbageCollected)
	}
	return c.closedError()
}

// Recv returns the next message.
func (c *conn) Recv() ([]byte, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		msg, err := c.next()
		if err != nil {
			c.endReading(err)
			return nil, c.closedError()
		}
		if msg != nil {
			return msg, nil
		}
	}
}

// next reads one frame; nil for a keep-alive.
func (c *conn) next() ([]byte, error) {
	if c.in.Buffered() < headerSize {
		if err := c.expect(c.limits.IdleTimeout); err != nil {
			return nil, err
		}
	}
	if c.ended() {
		return nil, errClosed
	}
	n, err := readHeader(c.in)
	if err != nil || n == 0 {
		return nil, err
	}
	if c.in.Buffered() < n {
		if err := c.expect(c.limits.MessageTimeout); err != nil {
			return nil, err
		}
	}
	return readBody(c.in, n)
}

// expect sets the time within which bytes must come. The end of the conn wins over it.
func (c *conn) expect(within time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended() {
		return errClosed
	}
	return c.stream.SetReadDeadline(time.Now().Add(within))
}

func (c *conn) endReading(err error) {
	switch {
	case errors.Is(err, io.EOF):
		c.end(errors.New("closed by the peer"), network.StreamNoError)
	case errors.Is(err, wire.ErrTooLong):
		c.end(err, network.StreamProtocolViolation)
	case timedOut(err):
		c.end(errors.New("the peer is silent or too slow"), network.StreamGarbageCollected)
	default:
		c.end(reason(err), network.StreamShutdown)
	}
}

// timedOut: yamux and QUIC have errors of their own for it.
func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// reason says in words what libp2p says in codes.
func reason(err error) error {
	var reset *network.StreamError
	if !errors.As(err, &reset) || !reset.Remote {
		return err
	}
	switch reset.ErrorCode {
	case network.StreamSupplanted:
		return errors.New("the peer keeps another connection to this node")
	case network.StreamProtocolViolation:
		return errors.New("the peer refused what this node sent")
	case network.StreamGarbageCollected:
		return errors.New("the peer found this node silent or too slow")
	case network.StreamGated:
		return errors.New("the peer refuses this node")
	}
	return errors.New("cut by the peer")
}

func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) closedError() error {
	<-c.done
	return fmt.Errorf("%w: %w", wire.ErrClosed, c.cause)
}

// end ends the connection once. With StreamNoError what was sent still leaves; every other code cuts.
func (c *conn) end(cause error, code network.StreamErrorCode) {
	if !c.finish(cause, code) {
		return
	}
	if code != network.StreamNoError {
		_ = c.stream.ResetWithError(code) // wakes the writer
	}
	c.left(c)
}

// finish marks the end; false when somebody else did. Once done is closed the deadlines belong to the
// writer, which may still read what is left.
func (c *conn) finish(cause error, code network.StreamErrorCode) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended() {
		return false
	}
	c.cause, c.code = cause, code
	c.out.close()
	_ = c.stream.SetReadDeadline(time.Unix(1, 0)) // wakes Recv
	close(c.done)
	return true
}

// write is the writer: it takes all that waits, writes it, and looks again. It returns when the
// connection has ended and its stream is closed.
func (c *conn) write() {
	half := c.limits.KeepAlive / 2 // a tick in this distance means silence of at most KeepAlive
	ticker := time.NewTicker(half)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-c.out.wake:
		case <-ticker.C:
			if time.Since(last) < half {
				continue
			}
			c.out.rest()
			_, _ = c.out.try(nil)
		case <-c.done:
			c.close()
			return
		}
		if err := c.flush(c.limits.WriteTimeout); err != nil {
			c.endWriting(err)
		}
		last = time.Now()
	}
}

func (c *conn) endWriting(err error) {
	if timedOut(err) {
		err = fmt.Errorf("%w: 64 KiB took longer than %v", errFull, c.limits.WriteTimeout)
	}
	c.end(reason(err), network.StreamGarbageCollected)
}

// flush writes until nothing waits; each write has its own deadline.
func (c *conn) flush(patience time.Duration) error {
	var taken []byte
	for {
		if taken = c.out.take(taken); len(taken) == 0 {
			return nil
		}
		for b := taken; len(b) > 0; {
			n := min(len(b), writeSize)
			if err := c.stream.SetWriteDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			if _, err := c.stream.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
	}
}

// close closes the stream. After a graceful end the peer first gets what was sent, and the time to
// take it: closing at once would throw away what it has not read.
func (c *conn) close() {
	if c.code != network.StreamNoError {
		return // end has reset it
	}
	if c.flush(c.limits.Linger) != nil || c.stream.CloseWrite() != nil {
		_ = c.stream.ResetWithError(network.StreamShutdown)
		return
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	_ = c.stream.SetReadDeadline(time.Now().Add(c.limits.Linger))
	if _, err := io.Copy(io.Discard, c.stream); err != nil {
		_ = c.stream.ResetWithError(network.StreamShutdown)
		return
	}
	_ = c.stream.Close()
}
