package p2p

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

func TestValidate(t *testing.T) {
	good := testConfig(tcpLoopback, quicLoopback, "/ip6/::/tcp/9735")
	good.ExternalAddrs = []string{"/ip4/203.0.113.7/tcp/9735", "/dns4/node.example/tcp/9735"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no key", func(c *Config) { c.PrivateKey = [32]byte{} }, "private key is missing"},
		{"websocket", func(c *Config) { c.Listen = []string{"/ip4/127.0.0.1/tcp/1/ws"} }, "use /ip4/"},
		{"udp without quic", func(c *Config) { c.Listen = []string{"/ip4/127.0.0.1/udp/1"} }, "use /ip4/"},
		{"host and port", func(c *Config) { c.Listen = []string{"127.0.0.1:9735"} }, "no multiaddr"},
		{"dns listen", func(c *Config) { c.Listen = []string{"/dns4/localhost/tcp/1"} }, "use /ip4/"},
		{"external of another node", func(c *Config) {
			c.ExternalAddrs = []string{"/ip4/203.0.113.7/tcp/1/p2p/16Uiu2HAm7qy5PqmoWpTxeGjGsgaHWXjjtBvgFNjxSEBdBaXxhbFV"}
		}, "external address"},
		{"bad external", func(c *Config) { c.ExternalAddrs = []string{"node.example"} }, "external address"},
		{"relay without NAT", func(c *Config) { c.Relays = []string{"/ip4/203.0.113.7/tcp/1/p2p/" + peerOf(t)} }, "NAT"},
		{"negative deadline", func(c *Config) { c.Limits.Linger = -time.Second }, "deadline"},
		{"idle before keep-alive", func(c *Config) { c.Limits.IdleTimeout = time.Second }, "IdleTimeout"},
		{"no peers", func(c *Config) { c.Limits.MaxPeers = -1 }, "MaxPeers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := good
			tt.change(&config)
			err := config.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func peerOf(t *testing.T) string {
	s, err := testConfig().parse()
	if err != nil {
		t.Fatal(err)
	}
	return s.self.String()
}

// TestBadKeyIsNotShown: an error about the secret must not hold it.
func TestBadKeyIsNotShown(t *testing.T) {
	config := testConfig()
	for i := range config.PrivateKey {
		config.PrivateKey[i] = 0xff // above the group's order
	}
	err := config.Validate()
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "ffff") {
		t.Errorf("the error shows the key: %v", err)
	}
}

func TestListenFailureIsSeen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	h, err := New(testConfig(quicLoopback, "/ip4/127.0.0.1/tcp/"+port))
	if err == nil {
		_ = h.Close()
		t.Fatal("a port that is taken was listened at")
	}
	if !strings.Contains(err.Error(), port) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q", err)
	}
}

// TestPortOfAnotherNode: two nodes can't share a port and steal each other's peers.
func TestPortOfAnotherNode(t *testing.T) {
	for _, listen := range []string{tcpLoopback, quicLoopback} {
		first := newTestHost(t, testConfig(listen))
		addr, _, _ := strings.Cut(first.Addrs()[0], "/p2p/")
		if h, err := New(testConfig(addr)); err == nil {
			_ = h.Close()
			t.Errorf("two nodes listen at %s", addr)
		}
	}
}

func TestAddrsBestFirst(t *testing.T) {
	config := testConfig(tcpLoopback, quicLoopback)
	config.ExternalAddrs = []string{"/ip4/203.0.113.7/tcp/9735"}
	h := newTestHost(t, config)
	addrs := h.Addrs()
	if len(addrs) != 3 || addrs[0] != "/ip4/203.0.113.7/tcp/9735/p2p/"+string(h.Self()) {
		t.Errorf("got %q", addrs)
	}
	var all []ma.Multiaddr
	for _, s := range []string{"/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.1/tcp/2"} {
		all = append(all, ma.StringCast(s))
	}
	got := fullAddrs(h.settings.self, all[3:], all)
	var order []string
	for _, a := range got {
		order = append(order, strings.Split(a, "/")[2])
	}
	if want := []string{"10.0.0.1", "8.8.8.8", "192.168.1.2", "127.0.0.1"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestDialErrorIsOneLine(t *testing.T) {
	h := newTestHost(t, testConfig())
	_, err := h.Dial(testContext(t), "/ip4/127.0.0.1/tcp/1/p2p/"+peerOf(t))
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %q", err)
	}
}
