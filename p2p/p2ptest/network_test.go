package p2ptest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	net, hosts := NewNetwork(), 0
	net.SendTimeout = 200 * time.Millisecond
	TestTransport(t, func(testing.TB) wire.Transport {
		hosts++
		return net.Host(channel.PeerID(fmt.Sprintf("host%d", hosts)))
	})
}

func TestCutAndHeal(t *testing.T) {
	net := NewNetwork()
	alice, bob := net.Host("alice"), net.Host("bob")
	c, err := alice.Dial(context.Background(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	net.Cut("bob", "alice")
	if _, err := c.Recv(); !errors.Is(err, wire.ErrClosed) || !errors.Is(err, ErrCut) {
		t.Errorf("Recv over a cut link: %v", err)
	}
	if _, err := bob.Dial(context.Background(), "alice"); !errors.Is(err, ErrCut) {
		t.Errorf("Dial over a cut link: %v", err)
	}
	net.Heal("alice", "bob")
	if again, err := bob.Dial(context.Background(), "/mem/p2p/alice"); err != nil || again == c {
		t.Errorf("Dial over a healed link: %v", err)
	}
	net.Break("alice", "bob")
	if _, err := bob.Dial(context.Background(), "alice"); err != nil {
		t.Errorf("Dial over a link that broke once: %v", err)
	}
}

func TestDrop(t *testing.T) {
	net := NewNetwork()
	alice, bob := net.Host("alice"), net.Host("bob")
	a, err := alice.Dial(context.Background(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	b, err := bob.Accept(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	net.Drop(func(from, _ channel.PeerID, msg []byte) bool { return from == "alice" && msg[0] == 'x' })
	for _, text := range []string{"x1", "y1", "x2", "y2"} {
		if err := a.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"y1", "y2"} {
		if got, err := b.Recv(); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestHostStartsAgain(t *testing.T) {
	net := NewNetwork()
	alice := net.Host("alice")
	first := net.Host("bob")
	if net.Host("bob") != first {
		t.Fatal("a second host under one id")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Dial(context.Background(), "bob"); !errors.Is(err, wire.ErrUnknownPeer) {
		t.Errorf("Dial of a closed host: %v", err)
	}
	if net.Host("bob") == first {
		t.Fatal("a closed host came back")
	}
	if _, err := alice.Dial(context.Background(), "bob"); err != nil {
		t.Errorf("Dial of a host that started again: %v", err)
	}
}
