package p2p

import (
	"bytes"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// TestReplaces walks through the rule.
func TestReplaces(t *testing.T) {
	const a, b channel.PeerID = "a", "b" // a is the smaller id
	first, second := instance{1}, instance{2}
	tests := []struct {
		name     string
		old, new origin
		want     bool
	}{
		{"peer restarted, smaller dialed", origin{a, first}, origin{a, second}, true},
		{"peer restarted, larger dialed", origin{a, first}, origin{b, second}, true},
		{"same dialer again", origin{b, first}, origin{b, first}, true},
		{"both dialed, the smaller came first", origin{a, first}, origin{b, first}, false},
		{"both dialed, the larger came first", origin{b, first}, origin{a, first}, true},
	}
	for _, tt := range tests {
		if got := tt.new.replaces(tt.old, smaller(b, a)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestRestartReplaces: a node that starts again is not kept out by its former life, whoever dialed.
func TestRestartReplaces(t *testing.T) {
	for name, listen := range map[string]string{"TCP": tcpLoopback, "QUIC": quicLoopback} {
		t.Run(name, func(t *testing.T) {
			stays := newTestHost(t, testConfig(listen))
			config := testConfig(listen)
			for range 3 {
				life := newTestHost(t, config) // the one before is still there, like a process that hangs
				_, c := connectHosts(t, life, stays)
				if err := c.Send([]byte("welcome")); err != nil {
					t.Fatal(err)
				}
				mine, err := life.Accept(testContext(t))
				if err != nil {
					t.Fatal(err)
				}
				if msg, err := mine.Recv(); err != nil || string(msg) != "welcome" {
					t.Fatalf("got %q, %v", msg, err)
				}
				if n := len(stays.peers.all()); n != 1 {
					t.Errorf("%d connections to one peer", n)
				}
			}
		})
	}
}

// TestSecondStreamReplaces: a peer that lost its end and dials again is not refused for it.
func TestSecondStreamReplaces(t *testing.T) {
	h := newTestHost(t, testConfig(tcpLoopback))
	from := stranger(t, secpKey(t))
	_, first := greet(t, from, h)
	s, second := greet(t, from, h)
	mustEnd(t, first)
	if _, err := s.Write(appendFrame(nil, []byte("again"))); err != nil {
		t.Fatal(err)
	}
	if msg, err := second.Recv(); err != nil || string(msg) != "again" {
		t.Errorf("got %q, %v", msg, err)
	}
}

// TestAcceptForgetsDeadConnections: connections that came and went unseen take no memory.
func TestAcceptForgetsDeadConnections(t *testing.T) {
	p := newPeers("a")
	for range 1000 {
		c := &conn{peer: "b", origin: origin{dialer: "b"}, done: make(chan struct{})}
		if old, ok := p.offer(c); !ok {
			t.Fatal("not accepted")
		} else if old != nil {
			close(old.done)
		}
	}
	if n := len(p.fresh); n > 2 {
		t.Errorf("%d connections wait for Accept", n)
	}
}

func TestOutboxCoalesces(t *testing.T) {
	o := newOutbox(1000)
	var want []byte
	for i := range 10 {
		msg := bytes.Repeat([]byte{byte(i)}, i+1)
		if err := o.put(msg, time.Second); err != nil {
			t.Fatal(err)
		}
		want = appendFrame(want, msg)
	}
	<-o.wake
	if got := o.take(nil); !bytes.Equal(got, want) {
		t.Errorf("took %x, want %x", got, want)
	}
	if got := o.take(want); got != nil {
		t.Errorf("took %x from an empty outbox", got)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	o := newOutbox(100)
	if err := o.put(make([]byte, 300), time.Millisecond); err != nil {
		t.Errorf("a lone message must pass whatever its size: %v", err)
	}
	if err := o.put([]byte{1}, time.Millisecond); err != errFull {
		t.Errorf("got %v, want errFull", err)
	}
	result := make(chan error)
	go func() { result <- o.put([]byte{2}, time.Minute) }()
	_ = o.take(nil)
	if err := <-result; err != nil {
		t.Errorf("put did not wait for room: %v", err)
	}
	go func() { result <- o.put(make([]byte, 200), time.Minute) }()
	o.close()
	if err := <-result; err != errClosed {
		t.Errorf("got %v, want errClosed", err)
	}
}

func TestQueueMustHoldAMessage(t *testing.T) {
	config := testConfig()
	config.Limits.QueueBytes = wire.MaxMessage - 1
	if config.Validate() == nil {
		t.Error("accepted")
	}
}
