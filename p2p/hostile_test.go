package p2p

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/runnel/runnel/wire"
)

// stranger is a libp2p host that speaks our protocol as badly as a test wants.
func stranger(t *testing.T, key crypto.PrivKey) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New), libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func secpKey(t *testing.T) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// openRaw opens a stream of our protocol without any handshake.
func openRaw(t *testing.T, from host.Host, to *Host) (network.Stream, error) {
	t.Helper()
	info, err := peer.AddrInfoFromString(to.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	from.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return from.NewStream(ctx, info.ID, Protocol)
}

// greet opens a stream and does the handshake; the connection at the other end comes from Accept.
func greet(t *testing.T, from host.Host, to *Host) (network.Stream, wire.Conn) {
	t.Helper()
	s, err := openRaw(t, from, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(appendFrame(nil, bytes.Repeat([]byte{9}, 16))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, headerSize+16)); err != nil {
		t.Fatal(err)
	}
	c, err := to.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// letIn reports whether a host gets as far as a handshake that is answered.
func letIn(t *testing.T, from host.Host, to *Host) bool {
	t.Helper()
	s, err := openRaw(t, from, to)
	if err != nil {
		return false
	}
	if _, err := s.Write(appendFrame(nil, bytes.Repeat([]byte{9}, 16))); err != nil {
		return false
	}
	_, err = io.ReadFull(s, make([]byte, headerSize+16))
	return err == nil
}

// mustEnd waits for Recv to fail and returns why.
func mustEnd(t *testing.T, c wire.Conn) error {
	t.Helper()
	for {
		if _, err := c.Recv(); err != nil {
			if !errors.Is(err, wire.ErrClosed) {
				t.Errorf("Recv: %v, want ErrClosed", err)
			}
			return err
		}
	}
}

// stillGood proves that honest peers are served.
func stillGood(t *testing.T, h *Host) {
	t.Helper()
	honest := newTestHost(t, testConfig())
	c, err := honest.Dial(testContext(t), h.Addrs()[0])
	if err != nil {
		t.Fatalf("an honest peer can't connect: %v", err)
	}
	if err := c.Send([]byte("good")); err != nil {
		t.Fatal(err)
	}
	for {
		got, err := h.Accept(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if got.Peer() != honest.Self() {
			continue
		}
		if msg, err := got.Recv(); err != nil || string(msg) != "good" {
			t.Fatalf("got %q, %v", msg, err)
		}
		return
	}
}

func impatient() Config {
	config := testConfig(tcpLoopback)
	config.Limits = Limits{HandshakeTimeout: 300 * time.Millisecond, MessageTimeout: 300 * time.Millisecond,
		WriteTimeout: 300 * time.Millisecond, KeepAlive: 100 * time.Millisecond, IdleTimeout: 600 * time.Millisecond,
		Linger: 300 * time.Millisecond}
	return config
}

func TestGarbageInsteadOfHandshake(t *testing.T) {
	h := newTestHost(t, testConfig(tcpLoopback))
	for _, garbage := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0}, appendFrame(nil, []byte("short")),
		[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), bytes.Repeat([]byte{0, 0, 0, 17}, 10)} {
		s, err := openRaw(t, stranger(t, secpKey(t)), h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Write(garbage)
		if n, err := s.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q was answered with %d bytes", garbage, n)
		}
	}
	if n := len(h.peers.all()); n != 0 {
		t.Errorf("%d peers after garbage", n)
	}
	stillGood(t, h)
}

func TestGarbageBytesOnSocket(t *testing.T) {
	h := newTestHost(t, testConfig(tcpLoopback))
	_, port, _ := strings.Cut(h.Addrs()[0], "/tcp/")
	port, _, _ = strings.Cut(port, "/")
	var open []net.Conn
	for i := range 40 {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 { // the others say nothing: half open
			_, _ = c.Write(bytes.Repeat([]byte{byte(i), 0xff, 0}, 100))
		}
		open = append(open, c)
	}
	stillGood(t, h)
	_ = open
}

func TestOversizedMessage(t *testing.T) {
	h := newTestHost(t, testConfig(tcpLoopback))
	for _, n := range []uint32{wire.MaxMessage + 1, 1 << 31, 1<<32 - 1} {
		s, c := greet(t, stranger(t, secpKey(t)), h)
		if _, err := s.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
			t.Fatal(err)
		}
		if err := mustEnd(t, c); !errors.Is(err, wire.ErrTooLong) {
			t.Errorf("%d announced bytes: %v, want ErrTooLong", n, err)
		}
		if _, err := s.Read(make([]byte, 1)); err == nil {
			t.Error("the stream stays open")
		}
	}
	stillGood(t, h)
}

// TestSlowMessage: a peer that keeps a message half sent is cut, however steadily it trickles.
func TestSlowMessage(t *testing.T) {
	h := newTestHost(t, impatient())
	s, c := greet(t, stranger(t, secpKey(t)), h)
	stop := make(chan struct{})
	trickled := make(chan struct{})
	go func() {
		defer close(trickled)
		_, _ = s.Write(binary.BigEndian.AppendUint32(nil, 1000))
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := s.Write([]byte{1}); err != nil {
					return
				}
			}
		}
	}()
	if err := mustEnd(t, c); !strings.Contains(err.Error(), "too slow") {
		t.Errorf("got %v", err)
	}
	close(stop)
	<-trickled
	stillGood(t, h)
}

func TestSilentPeerIsDead(t *testing.T) {
	h := newTestHost(t, impatient())
	_, c := greet(t, stranger(t, secpKey(t)), h)
	if err := mustEnd(t, c); !strings.Contains(err.Error(), "silent") {
		t.Errorf("got %v", err)
	}
}

// TestQuietPeersStayConnected: keep-alives alone hold a connection over many idle timeouts.
func TestQuietPeersStayConnected(t *testing.T) {
	a, b := connectHosts(t, newTestHost(t, impatient()), newTestHost(t, impatient()))
	got := make(chan error, 2)
	for _, c := range []wire.Conn{a, b} {
		go func() {
			msg, err := c.Recv()
			if err == nil && string(msg) != "late" {
				err = errors.New("wrong message")
			}
			got <- err
		}()
	}
	time.Sleep(2 * time.Second)
	for _, c := range []wire.Conn{a, b} {
		if err := c.Send([]byte("late")); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
}

func TestNoHandshakeIsCut(t *testing.T) {
	h := newTestHost(t, impatient())
	s, err := openRaw(t, stranger(t, secpKey(t)), h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{0}); err != nil { // negotiates, then says nothing
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a stream without a handshake was answered")
	}
}

// TestConnectionWithoutStreamIsSwept: whoever only takes a place loses it.
func TestConnectionWithoutStreamIsSwept(t *testing.T) {
	h := newTestHost(t, impatient())
	from := stranger(t, secpKey(t))
	info, err := peer.AddrInfoFromString(h.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	from.Network().Notify(&network.NotifyBundle{DisconnectedF: func(network.Network, network.Conn) { close(gone) }})
	if err := from.Connect(testContext(t), *info); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-testContext(t).Done():
		t.Error("the connection stays")
	}
}

// TestPeerThatDoesNotRead: Send fails instead of blocking for ever, others are not affected.
func TestPeerThatDoesNotRead(t *testing.T) {
	h := newTestHost(t, impatient())
	_, c := greet(t, stranger(t, secpKey(t)), h)
	msg := make([]byte, wire.MaxMessage)
	var err error
	for err == nil {
		err = c.Send(msg)
	}
	if !errors.Is(err, wire.ErrClosed) || !strings.Contains(err.Error(), "does not read") {
		t.Errorf("got %v", err)
	}
	stillGood(t, h)
}

// TestManyStreamsOfOnePeer: a peer has one connection, however many streams it opens.
func TestManyStreamsOfOnePeer(t *testing.T) {
	h := newTestHost(t, testConfig(tcpLoopback))
	from := stranger(t, secpKey(t))
	opened := 0
	for range 100 {
		s, err := openRaw(t, from, h)
		if err != nil {
			continue
		}
		if _, err := s.Write(appendFrame(nil, bytes.Repeat([]byte{9}, 16))); err == nil {
			opened++
		}
	}
	if opened == 0 {
		t.Error("no stream was opened at all")
	}
	if n := len(h.peers.all()); n > 1 {
		t.Errorf("%d connections of one peer", n)
	}
	stillGood(t, h)
}

func TestOtherKeysAreRefused(t *testing.T) {
	rsa, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecdsa, _, err := crypto.GenerateECDSAKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := newTestHost(t, testConfig(tcpLoopback))
	for _, key := range []crypto.PrivKey{rsa, ecdsa} {
		from := stranger(t, key)
		if letIn(t, from, h) {
			t.Errorf("a peer with a key of type %v was let in", key.Type())
		}
		if _, err := h.Parse(from.ID().String()); !errors.Is(err, wire.ErrAddress) {
			t.Errorf("Parse of the id of a key of type %v: %v", key.Type(), err)
		}
	}
	greet(t, stranger(t, ed), h)
}

func TestStrangersAreLimited(t *testing.T) {
	config := testConfig(tcpLoopback)
	config.Limits.MaxPeers = 3
	h := newTestHost(t, config)
	var conns []wire.Conn
	for range 3 {
		_, c := greet(t, stranger(t, secpKey(t)), h)
		conns = append(conns, c)
	}
	friend := stranger(t, secpKey(t))
	if letIn(t, friend, h) {
		t.Fatal("one stranger too many was let in")
	}
	if err := h.Protect(channelID(friend.ID()), true); err != nil {
		t.Fatal(err)
	}
	greet(t, friend, h)
	_ = conns[0].Close()
	for range 100 { // the place is free when the connection has ended on both sides
		if letIn(t, stranger(t, secpKey(t)), h) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("a place that was left is not given again")
}

func TestRefusedPeer(t *testing.T) {
	h := newTestHost(t, testConfig(tcpLoopback))
	from := stranger(t, secpKey(t))
	_, c := greet(t, from, h)
	if err := h.Refuse(c.Peer(), time.Hour); err != nil {
		t.Fatal(err)
	}
	mustEnd(t, c)
	if letIn(t, from, h) {
		t.Error("a refused peer was let in")
	}
	if _, err := h.Dial(testContext(t), string(c.Peer())); err == nil {
		t.Error("a refused peer was dialed")
	}
	stillGood(t, h)
}
