package home

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listen makes a socket that answers until the test ends.
func listen(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// stale makes what a killed daemon leaves behind.
func stale(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

// shortHome is a home whose sockets fit into a socket address.
func shortHome(t *testing.T) Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "rh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Home(dir)
}

func mustFind(t *testing.T, h Home, s Selection, socket string) {
	t.Helper()
	n, err := h.Find(s)
	if err != nil || n.Socket != socket {
		t.Errorf("Find(%+v) = %q, %v; want %q", s, n.Socket, err, socket)
	}
}

func mustFail(t *testing.T, h Home, s Selection, k Kind, say string) {
	t.Helper()
	n, err := h.Find(s)
	var e *Error
	if !errors.As(err, &e) || e.Kind != k || !strings.Contains(e.Text+" | "+e.Hint, say) {
		t.Errorf("Find(%+v) = %q, %#v; want kind %d saying %q", s, n.Socket, err, k, say)
	}
}

func TestFindNone(t *testing.T) {
	h := shortHome(t)
	mustFail(t, h, Selection{}, KindNone, "runneld --network")
	mustFail(t, h, Selection{Node: "alice"}, KindNone, "named alice")
	mustFail(t, h, Selection{Network: "signet"}, KindNone, "on signet")
	mustFail(t, h, Selection{Network: "testnet"}, KindUsage, "testnet3")
	mustFail(t, h, Selection{Node: "../alice"}, KindUsage, "lower-case")
}

func TestFindTheOnlyOne(t *testing.T) {
	h := shortHome(t)
	listen(t, Socket(h.DataDir("signet")))
	mustFind(t, h, Selection{}, Socket(h.DataDir("signet")))
	mustFind(t, h, Selection{Node: "signet"}, Socket(h.DataDir("signet")))
	mustFind(t, h, Selection{Network: "signet"}, Socket(h.DataDir("signet")))
	mustFail(t, h, Selection{Node: "alice"}, KindNone, "these are here: signet")
}

func TestFindSeveral(t *testing.T) {
	h := shortHome(t)
	signet, alice := Socket(h.DataDir("signet")), Socket(filepath.Join(h.DataDir("signet"), "alice"))
	listen(t, signet)
	listen(t, alice)
	mustFail(t, h, Selection{}, KindSeveral, "signet, alice (signet)")
	mustFind(t, h, Selection{Node: "alice"}, alice)
	mustFind(t, h, Selection{Node: "alice", Network: "signet"}, alice)
	mustFind(t, h, Selection{Network: "signet"}, signet)
	mustFind(t, h, Selection{API: "unix:" + alice}, alice)
	mustFind(t, h, Selection{DataDir: filepath.Dir(alice)}, alice)
}

func TestFindSkipsTheDead(t *testing.T) {
	h := shortHome(t)
	listen(t, Socket(h.DataDir("signet")))
	stale(t, Socket(h.DataDir("regtest")))
	mustFind(t, h, Selection{}, Socket(h.DataDir("signet")))
	mustFind(t, h, Selection{Node: "regtest"}, Socket(h.DataDir("regtest")))
}

func TestRegister(t *testing.T) {
	h := shortHome(t)
	a, b := filepath.Join(string(h), "x", "a.sock"), filepath.Join(string(h), "x", "b.sock")
	listen(t, a)
	if err := h.Register("alice", a); err != nil {
		t.Fatal(err)
	}
	mustFind(t, h, Selection{Node: "alice"}, a)
	mustFind(t, h, Selection{}, a)
	if err := h.Register("alice", b); err == nil {
		t.Error("a running daemon's name was taken over")
	}
	if err := h.Register("signet", a); err == nil {
		t.Error("a network's name was accepted")
	}
	if err := h.Unregister("alice", b); err != nil {
		t.Fatal(err)
	}
	mustFind(t, h, Selection{Node: "alice"}, a)
	if err := h.Unregister("alice", a); err != nil {
		t.Fatal(err)
	}
	mustFail(t, h, Selection{Node: "alice"}, KindNone, "named alice")
	if err := h.Unregister("alice", a); err != nil {
		t.Error("forgetting twice:", err)
	}
}

func TestRegisterReplacesTheDead(t *testing.T) {
	h := shortHome(t)
	a, b := filepath.Join(string(h), "x", "a.sock"), filepath.Join(string(h), "x", "b.sock")
	stale(t, a)
	listen(t, b)
	if err := h.Register("alice", a); err != nil {
		t.Fatal(err)
	}
	if err := h.Register("alice", b); err != nil {
		t.Fatal(err)
	}
	mustFind(t, h, Selection{Node: "alice"}, b)
}

func TestParseAPI(t *testing.T) {
	h := Home("/nowhere")
	mustFail(t, h, Selection{API: "tcp:127.0.0.1:80"}, KindUsage, "tokens and TLS")
	mustFail(t, h, Selection{API: "/run/x.sock"}, KindUsage, "unix:PATH")
	mustFail(t, h, Selection{API: "unix:"}, KindUsage, "unix:PATH")
	mustFail(t, h, Selection{API: "unix:/" + strings.Repeat("x", 120)}, KindUsage, "103")
	mustFind(t, h, Selection{API: "unix:/run/x.sock"}, "/run/x.sock")
}

func TestLocate(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	if h, err := Locate(env(map[string]string{"RUNNEL_HOME": "/srv/r", "HOME": "/home/a"})); err != nil || h != "/srv/r" {
		t.Error(h, err)
	}
	if h, err := Locate(env(map[string]string{"HOME": "/home/a"})); err != nil || h != "/home/a/.runnel" {
		t.Error(h, err)
	}
}
