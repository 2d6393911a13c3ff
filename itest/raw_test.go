package itest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/p2p"
	"github.com/runnel/runnel/wire"
)

// raw is a libp2p peer without any manners.
type raw struct {
	host host.Host
	to   peer.AddrInfo
}

func newRaw(t testing.TB, addr string) *raw {
	t.Helper()
	r, err := makeRaw(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.host.Close() })
	return r
}

func makeRaw(addr string) (*raw, error) {
	to, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return nil, err
	}
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableRelay())
	if err != nil {
		return nil, err
	}
	return &raw{h, *to}, nil
}

// stream opens one and says what a Runnel peer says first: its instance, then other frames.
func (r *raw) stream(ctx context.Context, frames ...[]byte) (network.Stream, error) {
	if s, ok := r.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(r.to.ID) // who was kept away for a moment may try again at once
	}
	if err := r.host.Connect(ctx, r.to); err != nil {
		return nil, err
	}
	s, err := r.host.NewStream(ctx, r.to.ID, p2p.Protocol)
	if err != nil {
		return nil, err
	}
	_, err = s.Write(bytes.Join(append([][]byte{framed(noise(instanceBytes))}, frames...), nil))
	return s, err
}

// instanceBytes is the length of the first frame of each side. No message is as short.
const instanceBytes = 16

func framed(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

// rawConn is a stream as a connection that takes part in nothing but framing.
type rawConn struct {
	network.Stream
	in   *bufio.Reader
	done chan struct{}
	once sync.Once
}

var _ wire.Conn = (*rawConn)(nil)

func newRawConn(s network.Stream) *rawConn {
	return &rawConn{Stream: s, in: bufio.NewReader(s), done: make(chan struct{})}
}

func (c *rawConn) Peer() channel.PeerID  { return channel.PeerID(c.Conn().RemotePeer().String()) }
func (c *rawConn) RemoteAddr() string    { return c.Conn().RemoteMultiaddr().String() }
func (c *rawConn) Done() <-chan struct{} { return c.done }

func (c *rawConn) Send(b []byte) error {
	_, err := c.Write(framed(b))
	return err
}

// Recv skips keep-alives and the instance.
func (c *rawConn) Recv() ([]byte, error) {
	for {
		var size [4]byte
		_, err := io.ReadFull(c.in, size[:])
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if err == nil {
			_, err = io.ReadFull(c.in, b)
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		if len(b) > 0 && len(b) != instanceBytes {
			return b, nil
		}
	}
}

func (c *rawConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Reset()
}

// ended waits until the other side ends a stream.
func ended(s network.Stream) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, s)
		done <- err
	}()
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		return errors.New("the stream was not ended")
	}
}

// endedWriting writes until the other side ends a stream. It does not read.
func endedWriting(s network.Stream, b []byte, pause time.Duration) error {
	for start := time.Now(); time.Since(start) < patience; time.Sleep(pause) {
		if _, err := s.Write(b); err != nil {
			return nil
		}
	}
	return errors.New("the stream was not ended")
}
