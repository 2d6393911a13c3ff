// Package home knows where Runnel keeps its things on this machine and which daemons it has, by name.
//
// Everything stands below one folder, ~/.runnel or RUNNEL_HOME:
//
//	NETWORK/            data of the network's daemon, named like the network
//	NETWORK/NAME/       data of one more daemon of that network, named NAME
//	nodes/NAME          a daemon that lives elsewhere: a file with the path of its socket
//
// A daemon is there when its socket is. The package opens no data and speaks no protocol; it only finds
// the socket to talk to.
//
//	node, err := h.Find(home.Selection{Node: "alice"})
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SocketName is the API socket's name in a data directory.
const SocketName = "runneld.sock"

// MaxSocketPath is the longest path that every system takes for a unix socket.
const MaxSocketPath = 103

// Networks lists the networks that a daemon can run on, most harmless first.
func Networks() []string {
	return []string{"simnet", "regtest", "signet", "testnet3", "testnet4", "mainnet"}
}

// Home is the folder below which everything stands.
type Home string

// Locate takes RUNNEL_HOME, else ~/.runnel.
func Locate(getenv func(string) string) (Home, error) {
	if dir := getenv("RUNNEL_HOME"); dir != "" {
		abs, err := filepath.Abs(dir)
		return Home(abs), err
	}
	user := getenv("HOME")
	if user == "" {
		var err error
		if user, err = os.UserHomeDir(); err != nil {
			return "", fmt.Errorf("no home directory: set RUNNEL_HOME: %w", err)
		}
	}
	return Home(filepath.Join(user, ".runnel")), nil
}

// DataDir is where the network's daemon keeps its data unless it is told otherwise.
func (h Home) DataDir(network string) string { return filepath.Join(string(h), network) }

// Socket is the API socket of the daemon that uses a data directory.
func Socket(dataDir string) string { return filepath.Join(dataDir, SocketName) }

// Node is a daemon on this machine.
type Node struct {
	Name    string
	Network string // empty when it is registered, or was picked by its socket
	Socket  string
}

// Selection says which daemon is meant, most exact field first. The zero Selection means the only one.
type Selection struct {
	API     string // unix:PATH
	DataDir string
	Node    string
	Network string
}

// Kind tells what went wrong.
type Kind uint8

const (
	KindUsage   Kind = iota + 1 // the selection makes no sense
	KindNone                    // no such daemon
	KindSeveral                 // more than one
)

// Error is a selection that does not lead to one daemon.
type Error struct {
	Kind Kind
	Text string
	Hint string
}

func (e *Error) Error() string { return e.Text }

func fail(k Kind, hint, format string, args ...any) error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// Find returns the one daemon that s selects. It may be that nothing answers at its socket.
func (h Home) Find(s Selection) (Node, error) {
	if s.Network != "" && !slices.Contains(Networks(), s.Network) {
		return Node{}, fail(KindUsage, "networks: "+strings.Join(Networks(), ", "), "unknown network %q", s.Network)
	}
	switch {
	case s.API != "":
		path, err := ParseAPI(s.API)
		return Node{Socket: path}, err
	case s.DataDir != "":
		return Node{Socket: Socket(s.DataDir)}, nil
	case s.Node != "" && !ValidName(s.Node):
		return Node{}, fail(KindUsage, nameHint, "%q is not a node's name", s.Node)
	}
	return h.only(s)
}

// only finds the one daemon with the selected name and network.
func (h Home) only(s Selection) (Node, error) {
	all := h.List()
	match := slices.DeleteFunc(slices.Clone(all), func(n Node) bool {
		return s.Node != "" && n.Name != s.Node || s.Network != "" && n.Network != s.Network
	})
	if s.Node == "" && s.Network != "" {
		match = prefer(match, func(n Node) bool { return n.Name == s.Network })
	}
	if len(match) > 1 {
		match = prefer(match, func(n Node) bool { return Answers(n.Socket) })
	}
	switch len(match) {
	case 1:
		return match[0], nil
	case 0:
		return Node{}, h.none(s, all)
	}
	return Node{}, fail(KindSeveral, "pick one with --node NAME, --network NETWORK or RUNNEL_NODE",
		"several daemons are here: %s", names(match))
}

// prefer returns the nodes that are good, or all when none is.
func prefer(nodes []Node, good func(Node) bool) []Node {
	some := slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return !good(n) })
	if len(some) == 0 {
		return nodes
	}
	return some
}

func (h Home) none(s Selection, all []Node) error {
	what := "no daemon is running"
	switch {
	case s.Node != "" && s.Network != "":
		what = fmt.Sprintf("no daemon named %s is running on %s", s.Node, s.Network)
	case s.Node != "":
		what = fmt.Sprintf("no daemon named %s is running", s.Node)
	case s.Network != "":
		what = fmt.Sprintf("no daemon is running on %s", s.Network)
	}
	hint := "start one with `runneld --network NETWORK`, or a sandbox with `runnel dev`"
	if len(all) > 0 {
		hint = "these are here: " + names(all)
	}
	return fail(KindNone, hint, "%s (looked in %s)", what, h)
}

func names(nodes []Node) string {
	var out []string
	for _, n := range nodes {
		if n.Network == "" || n.Network == n.Name {
			out = append(out, n.Name)
		} else {
			out = append(out, n.Name+" ("+n.Network+")")
		}
	}
	return strings.Join(out, ", ")
}

// List returns the daemons whose sockets exist, registered ones first, in a fixed order.
func (h Home) List() []Node {
	var nodes []Node
	for _, name := range readDir(h.registry()) {
		if n, err := h.registered(name); err == nil && exists(n.Socket) {
			nodes = append(nodes, n)
		}
	}
	for _, network := range Networks() {
		dir := h.DataDir(network)
		if exists(Socket(dir)) {
			nodes = append(nodes, Node{Name: network, Network: network, Socket: Socket(dir)})
		}
		for _, name := range readDir(dir) {
			if socket := Socket(filepath.Join(dir, name)); ValidName(name) && exists(socket) {
				nodes = append(nodes, Node{Name: name, Network: network, Socket: socket})
			}
		}
	}
	return nodes
}

func readDir(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// Answers reports whether somebody listens on a socket: a daemon that was killed leaves its own behind.
func Answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// ParseAPI reads unix:PATH and returns an absolute path.
func ParseAPI(s string) (string, error) {
	path, ok := strings.CutPrefix(s, "unix:")
	switch {
	case strings.HasPrefix(s, "tcp:"):
		return "", fail(KindUsage, "use unix:PATH; for another machine forward the socket: ssh -L ./runnel.sock:PATH HOST",
			"%s: the API is not served over TCP, since that needs tokens and TLS", s)
	case !ok || path == "":
		return "", fail(KindUsage, "write unix:PATH, such as unix:/run/runnel/api.sock", "%q is not an API address", s)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if len(abs) > MaxSocketPath {
		return "", fail(KindUsage, "choose a shorter path, such as unix:/run/runnel/api.sock",
			"socket path has %d bytes, but systems take %d at most: %s", len(abs), MaxSocketPath, abs)
	}
	return abs, nil
}

const nameHint = "a name has up to 32 lower-case letters, digits, - and _, and starts with a letter"

// ValidName reports whether name can name a daemon.
func ValidName(name string) bool {
	return regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`).MatchString(name)
}

func (h Home) registry() string { return filepath.Join(string(h), "nodes") }

func (h Home) registered(name string) (Node, error) {
	if !ValidName(name) {
		return Node{}, fs.ErrNotExist
	}
	b, err := os.ReadFile(filepath.Join(h.registry(), name))
	return Node{Name: name, Socket: strings.TrimSpace(string(b))}, err
}

// Register makes a daemon that lives elsewhere known by name. It replaces one of the same name that no
// longer answers, and refuses when that one does.
func (h Home) Register(name, socket string) error {
	if !ValidName(name) || slices.Contains(Networks(), name) {
		return fail(KindUsage, nameHint+"; names of networks are taken", "%q can't name a node", name)
	}
	if old, err := h.registered(name); err == nil && old.Socket != socket && Answers(old.Socket) {
		return fail(KindSeveral, "stop it first, or choose another name", "a daemon named %s is running already, at %s", name, old.Socket)
	}
	if err := os.MkdirAll(h.registry(), 0o700); err != nil {
		return fmt.Errorf("register node %s: %w", name, err)
	}
	path := filepath.Join(h.registry(), name)
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	if err := os.WriteFile(tmp, []byte(socket+"\n"), 0o600); err != nil {
		return fmt.Errorf("register node %s: %w", name, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("register node %s: %w", name, err), os.Remove(tmp))
	}
	return nil
}

// Unregister forgets a name, if it still stands for this socket.
func (h Home) Unregister(name, socket string) error {
	if n, err := h.registered(name); err != nil || n.Socket != socket {
		return nil
	}
	if err := os.Remove(filepath.Join(h.registry(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unregister node %s: %w", name, err)
	}
	return nil
}
