package p2ptest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/wire"
)

// patience is how long the suite waits for what must happen. It decides nothing: only a test that is
// going to fail waits that long.
const patience = 60 * time.Second

// TestTransport is the suite of every wire.Transport. The factory makes a transport that can dial all
// others it made in the same test; it closes with the test.
func TestTransport(t *testing.T, factory func(t testing.TB) wire.Transport) {
	tests := []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Addresses", testAddresses},
		{"BadAddresses", testBadAddresses},
		{"DialAndAccept", testDialAndAccept},
		{"DialAgainReturnsTheSame", testDialAgain},
		{"DialByID", testDialByID},
		{"MessagesInOrder", testOrder},
		{"BothWays", testBothWays},
		{"ConcurrentSenders", testConcurrentSenders},
		{"Sizes", testSizes},
		{"SendCopies", testSendCopies},
		{"CloseDeliversWhatWasSent", testCloseDelivers},
		{"CloseIsSeenByBoth", testCloseSeen},
		{"ReconnectAfterClose", testReconnect},
		{"SlowReader", testSlowReader},
		{"SimultaneousDial", testSimultaneousDial},
		{"ManyDialsOneConnection", testManyDials},
		{"AcceptEndsWithContext", testAcceptContext},
		{"DialEndsWithContext", testDialContext},
		{"CloseOfTransport", testTransportClose},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, &suite{t: t, factory: factory}) })
	}
}

type suite struct {
	t       *testing.T
	factory func(testing.TB) wire.Transport
	open    []wire.Transport
}

func (s *suite) transport() wire.Transport {
	s.t.Helper()
	tr := s.factory(s.t)
	s.open = append(s.open, tr)
	s.t.Cleanup(s.closeAll)
	return tr
}

// closeAll closes all transports at once: one that closes alone waits for its peers to read.
func (s *suite) closeAll() {
	var wg sync.WaitGroup
	for _, tr := range s.open {
		wg.Go(func() {
			if err := tr.Close(); err != nil {
				s.t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	s.open = nil
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *suite) dial(from, to wire.Transport) wire.Conn {
	s.t.Helper()
	c, err := from.Dial(s.ctx(), to.Addrs()[0])
	if err != nil {
		s.t.Fatalf("Dial: %v", err)
	}
	return c
}

func (s *suite) accept(tr wire.Transport) wire.Conn {
	s.t.Helper()
	c, err := tr.Accept(s.ctx())
	if err != nil {
		s.t.Fatalf("Accept: %v", err)
	}
	return c
}

// pair connects two new transports and returns both ends.
func (s *suite) pair() (a, b wire.Conn) {
	s.t.Helper()
	ta, tb := s.transport(), s.transport()
	a, b = s.dial(ta, tb), s.accept(tb)
	if a.Peer() != tb.Self() || b.Peer() != ta.Self() {
		s.t.Fatalf("peers are %s and %s, want %s and %s", a.Peer(), b.Peer(), tb.Self(), ta.Self())
	}
	return a, b
}

func (s *suite) send(c wire.Conn, msg []byte) {
	s.t.Helper()
	if err := c.Send(msg); err != nil {
		s.t.Fatalf("Send of %d bytes: %v", len(msg), err)
	}
}

func (s *suite) recv(c wire.Conn) []byte {
	s.t.Helper()
	msg, err := c.Recv()
	if err != nil {
		s.t.Fatalf("Recv: %v", err)
	}
	return msg
}

// talk proves that two ends are of one connection.
func (s *suite) talk(a, b wire.Conn) {
	s.t.Helper()
	for i, c := range [][2]wire.Conn{{a, b}, {b, a}} {
		msg := []byte(fmt.Sprintf("message %d", i))
		s.send(c[0], msg)
		if got := s.recv(c[1]); !bytes.Equal(got, msg) {
			s.t.Fatalf("got %q, want %q", got, msg)
		}
	}
}

func (s *suite) isClosed(c wire.Conn) {
	s.t.Helper()
	if _, err := c.Recv(); !errors.Is(err, wire.ErrClosed) {
		s.t.Errorf("Recv: %v, want ErrClosed", err)
	}
	if err := c.Send([]byte("x")); !errors.Is(err, wire.ErrClosed) {
		s.t.Errorf("Send: %v, want ErrClosed", err)
	}
	select {
	case <-c.Done():
	case <-time.After(patience):
		s.t.Error("Done stays open")
	}
}

func testAddresses(t *testing.T, s *suite) {
	tr := s.transport()
	if len(tr.Addrs()) == 0 {
		t.Fatal("no address")
	}
	for _, addr := range append(tr.Addrs(), string(tr.Self())) {
		id, err := tr.Parse(addr)
		if err != nil || id != tr.Self() {
			t.Errorf("Parse(%q) = %q, %v; want %q", addr, id, err, tr.Self())
		}
	}
}

func testBadAddresses(t *testing.T, s *suite) {
	tr := s.transport()
	for _, addr := range []string{"", "not an id", "/ip4/127.0.0.1/tcp/1", "/p2p/", "/", "\x00", "127.0.0.1:9735"} {
		if id, err := tr.Parse(addr); !errors.Is(err, wire.ErrAddress) {
			t.Errorf("Parse(%q) = %q, %v; want ErrAddress", addr, id, err)
		}
		if _, err := tr.Dial(s.ctx(), addr); !errors.Is(err, wire.ErrAddress) {
			t.Errorf("Dial(%q): %v, want ErrAddress", addr, err)
		}
	}
	for _, addr := range append(tr.Addrs(), string(tr.Self())) {
		if _, err := tr.Dial(s.ctx(), addr); !errors.Is(err, wire.ErrSelf) {
			t.Errorf("Dial of the own %s: %v, want ErrSelf", addr, err)
		}
	}
}

func testDialAndAccept(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	a, b := s.dial(ta, tb), s.accept(tb)
	s.talk(a, b)
	if own := s.accept(ta); own != a {
		t.Error("the dialer's Accept returns another connection than Dial")
	}
	if a.RemoteAddr() == "" || b.RemoteAddr() == "" {
		t.Error("no remote address")
	}
}

func testDialAgain(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	a, b := s.dial(ta, tb), s.accept(tb)
	if again := s.dial(ta, tb); again != a {
		t.Error("the second Dial returned another connection")
	}
	if back, err := tb.Dial(s.ctx(), string(ta.Self())); err != nil || back != b {
		t.Errorf("the peer's Dial did not return the connection that is there: %v", err)
	}
	s.talk(a, b)
}

func testDialByID(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	stranger := s.transport()
	id := string(stranger.Self())
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ta.Dial(s.ctx(), id); !errors.Is(err, wire.ErrUnknownPeer) {
		t.Errorf("Dial of an unknown id: %v, want ErrUnknownPeer", err)
	}
	a, b := s.dial(ta, tb), s.accept(tb)
	_ = a.Close()
	s.isClosed(b)
	if _, err := ta.Dial(s.ctx(), string(tb.Self())); err != nil {
		t.Errorf("Dial of an id that was connected before: %v", err)
	}
}

func testOrder(t *testing.T, s *suite) {
	a, b := s.pair()
	const count = 20_000
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i := range count {
			if err := a.Send(binary.BigEndian.AppendUint64(nil, uint64(i))); err != nil {
				t.Errorf("Send %d: %v", i, err)
				return
			}
		}
	})
	for i := range count {
		msg, err := b.Recv()
		if err != nil || len(msg) != 8 || binary.BigEndian.Uint64(msg) != uint64(i) {
			t.Errorf("message %d is %x, %v", i, msg, err)
			_ = b.Close()
			return
		}
	}
}

func testBothWays(t *testing.T, s *suite) {
	a, b := s.pair()
	const count = 2000
	var wg sync.WaitGroup
	for _, c := range []wire.Conn{a, b} {
		wg.Go(func() {
			for range count {
				if err := c.Send(bytes.Repeat([]byte{7}, 1000)); err != nil {
					t.Errorf("Send: %v", err)
					return
				}
			}
		})
		wg.Go(func() {
			for range count {
				if msg, err := c.Recv(); err != nil || len(msg) != 1000 {
					t.Errorf("Recv: %d bytes, %v", len(msg), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testConcurrentSenders(t *testing.T, s *suite) {
	a, b := s.pair()
	const senders, count = 8, 500
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range count {
				msg := bytes.Repeat([]byte{byte(i)}, 1+(i*count+j)%3000)
				if err := a.Send(msg); err != nil {
					t.Errorf("Send: %v", err)
					return
				}
			}
		})
	}
	got := make([]int, senders)
	for range senders * count {
		msg := s.recv(b)
		if !bytes.Equal(msg, bytes.Repeat(msg[:1], len(msg))) {
			t.Fatal("two messages were mixed")
		}
		got[msg[0]]++
	}
	wg.Wait()
	for i, n := range got {
		if n != count {
			t.Errorf("%d messages of sender %d, want %d", n, i, count)
		}
	}
}

func testSizes(t *testing.T, s *suite) {
	a, b := s.pair()
	for _, n := range []int{1, 2, 127, 128, 4095, 65_535, 65_536, 65_537, 200_000, wire.MaxMessage} {
		msg := bytes.Repeat([]byte{byte(n)}, n)
		msg[0], msg[n-1] = 1, 2
		s.send(a, msg)
		if got := s.recv(b); !bytes.Equal(got, msg) {
			t.Errorf("a message of %d bytes came with %d", n, len(got))
		}
	}
	for _, n := range []int{0, wire.MaxMessage + 1} {
		if err := a.Send(make([]byte, n)); !errors.Is(err, wire.ErrTooLong) {
			t.Errorf("Send of %d bytes: %v, want ErrTooLong", n, err)
		}
	}
	s.talk(a, b) // still good
}

func testSendCopies(t *testing.T, s *suite) {
	a, b := s.pair()
	msg := []byte("first")
	s.send(a, msg)
	copy(msg, "wrong")
	got := s.recv(b)
	s.send(a, []byte("other"))
	_ = s.recv(b)
	if string(got) != "first" {
		t.Errorf("got %q: the message changed after Send or after the next Recv", got)
	}
}

func testCloseDelivers(t *testing.T, s *suite) {
	a, b := s.pair()
	const count = 50
	for i := range count {
		s.send(a, bytes.Repeat([]byte{byte(i)}, 3000))
	}
	_ = a.Close()
	s.isClosed(a)
	for i := range count {
		if msg := s.recv(b); msg[0] != byte(i) {
			t.Fatalf("message %d is of %d", i, msg[0])
		}
	}
	s.isClosed(b)
}

func testCloseSeen(t *testing.T, s *suite) {
	a, b := s.pair()
	var wg sync.WaitGroup
	for _, c := range []wire.Conn{a, b} {
		wg.Go(func() {
			if _, err := c.Recv(); !errors.Is(err, wire.ErrClosed) {
				t.Errorf("Recv: %v, want ErrClosed", err)
			}
		})
	}
	_ = a.Close()
	_ = a.Close()
	wg.Wait()
	s.isClosed(a)
	s.isClosed(b)
}

func testReconnect(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	for i := range 5 {
		from, to := ta, tb
		if i%2 == 1 {
			from, to = tb, ta
		}
		a := s.dial(from, to)
		b := s.acceptFrom(to, a)
		_ = a.Close()
		s.isClosed(b)
	}
}

// acceptFrom accepts until the connection is the other end of c, which has not been used.
func (s *suite) acceptFrom(tr wire.Transport, c wire.Conn) wire.Conn {
	s.t.Helper()
	s.send(c, []byte("it is me"))
	for {
		got := s.accept(tr)
		if msg, err := got.Recv(); err == nil && string(msg) == "it is me" {
			return got
		}
	}
}

func testSlowReader(t *testing.T, s *suite) {
	a, b := s.pair()
	msg := make([]byte, wire.MaxMessage)
	failed := make(chan error, 1)
	go func() {
		for {
			if err := a.Send(msg); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case err := <-failed:
		if !errors.Is(err, wire.ErrClosed) {
			t.Errorf("Send: %v, want ErrClosed", err)
		}
	case <-time.After(patience):
		t.Fatal("Send to a peer that does not read never fails")
	}
	s.isClosed(a)
	for { // what came through may still be read
		if _, err := b.Recv(); err != nil {
			break
		}
	}
	s.isClosed(b)
}

func testSimultaneousDial(t *testing.T, s *suite) {
	for range 20 {
		ta, tb := s.transport(), s.transport()
		start := make(chan struct{})
		var wg sync.WaitGroup
		for _, d := range [][2]wire.Transport{{ta, tb}, {tb, ta}} {
			wg.Go(func() {
				<-start
				if _, err := d[0].Dial(s.ctx(), d[1].Addrs()[0]); err != nil {
					t.Errorf("Dial: %v", err)
				}
			})
		}
		close(start)
		wg.Wait()
		s.settle(ta, tb)
		s.closeAll()
	}
}

// settle waits until two transports agree on one connection that works, and proves that it stays.
func (s *suite) settle(ta, tb wire.Transport) {
	s.t.Helper()
	survivors := make(chan wire.Conn, 2)
	for _, tr := range []wire.Transport{ta, tb} {
		go func() { survivors <- s.survivor(tr) }()
	}
	x, y := <-survivors, <-survivors
	if x == nil || y == nil {
		s.t.Fatal("no connection survived")
	}
	s.talk(x, y)
}

// survivor is the accepted connection over which the peer's greeting comes; the losers end.
func (s *suite) survivor(tr wire.Transport) wire.Conn {
	for {
		c, err := tr.Accept(s.ctx())
		if err != nil {
			return nil
		}
		if c.Send([]byte("hello")) != nil {
			continue
		}
		if msg, err := c.Recv(); err == nil && string(msg) == "hello" {
			return c
		}
	}
}

func testManyDials(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	const dials = 32
	conns := make([]wire.Conn, dials)
	var wg sync.WaitGroup
	for i := range dials {
		wg.Go(func() {
			var err error
			if conns[i], err = ta.Dial(s.ctx(), tb.Addrs()[0]); err != nil {
				t.Errorf("Dial: %v", err)
			}
		})
	}
	wg.Wait()
	if n := len(slices.Compact(conns)); n != 1 {
		t.Errorf("%d dials gave %d connections", dials, n)
	}
	s.talk(conns[0], s.accept(tb))
}

func testAcceptContext(t *testing.T, s *suite) {
	tr := s.transport()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := tr.Accept(ctx)
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Accept: %v, want context.Canceled", err)
	}
}

func testDialContext(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ta.Dial(ctx, tb.Addrs()[0]); err == nil {
		t.Error("Dial with a cancelled context succeeded")
	}
	s.talk(s.dial(ta, tb), s.accept(tb)) // and leaves nothing behind
}

func testTransportClose(t *testing.T, s *suite) {
	ta, tb := s.transport(), s.transport()
	addr := tb.Addrs()[0]
	a, b := s.dial(ta, tb), s.accept(tb)
	waiting := make(chan error, 1)
	go func() {
		_, err := tb.Accept(context.Background())
		waiting <- err
	}()
	if err := tb.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := tb.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := <-waiting; !errors.Is(err, wire.ErrClosed) {
		t.Errorf("Accept: %v, want ErrClosed", err)
	}
	s.isClosed(b)
	s.isClosed(a)
	if _, err := tb.Dial(s.ctx(), ta.Addrs()[0]); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("Dial of a closed transport: %v, want ErrClosed", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := ta.Dial(ctx, addr); err == nil {
		t.Error("Dial to a closed transport succeeded")
	}
}
