// Package itest holds what needs the whole house: real processes end to end, and the test of its walls.
package itest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/runnel/runnel/"

// arrows says which rooms a room may import, and why not more. A room is a top-level folder, or one
// that has an entry of its own. docs/architecture.md draws the same.
var arrows = map[string]struct {
	may []string
	why string
}{
	"channel":                       {nil, "the core decides and knows nothing else"},
	"policy":                        {[]string{"channel"}, "decisions are pure"},
	"wire":                          {[]string{"channel"}, "messages are converted to the core's types and to nothing else"},
	"wire/protogen":                 {nil, "a tool"},
	"ledger":                        {[]string{"channel"}, "an interface in types of its own"},
	"ledger/bitcoin":                {[]string{"channel", "ledger", "ledger/bitcoin/hotkey"}, "the construction has no network"},
	"ledger/btcwallet":              {[]string{"channel", "ledger"}, "a backend knows only its interface"},
	"ledger/simnet":                 {nil, "a private chain knows nothing of channels"},
	"ledger/btcwallet/bitcoindtest": {[]string{"channel", "ledger", "ledger/ledgertest"}, "a server that answers as bitcoind does needs only a chain"},
	"ledger/ledgertest":             {[]string{"channel", "ledger", "ledger/btcwallet/coins"}, "the suite tests the interface; its wallet picks coins like the real one"},
	"store":                         {nil, "a store holds bytes"},
	"store/badger":                  {[]string{"store"}, "a store holds bytes"},
	"store/journal":                 {[]string{"store"}, "the format is pure: it knows writes, not files or channels"},
	"store/journal/file":            {[]string{"store", "store/journal"}, "the journal's files know only their format"},
	"store/journal/journaltest":     {[]string{"store/journal/file"}, "a disk that loses power knows only files"},
	"store/storetest":               {[]string{"store"}, "the suite tests the interface"},
	"p2p":                           {[]string{"channel", "wire"}, "a transport carries messages"},
	"p2p/p2ptest":                   {[]string{"channel", "wire"}, "a transport carries messages"},
	"channel/channeltest":           {[]string{"channel"}, "the model tests the core"},
	"gateway":                       {[]string{"channel", "policy"}, "HTTP in front of an interface: usable in other people's programs"},
	"gateway/gatewaytest":           {[]string{"channel", "gateway"}, "a node in memory and the suite that a real one passes too"},
	"daemon":                        {[]string{"channel", "policy", "wire", "ledger", "store", "store/journal"}, "everything concrete comes in through Deps"},
	"api":                           {[]string{"channel", "policy", "api/v1"}, "the API serves an interface"},
	"api/v1":                        {[]string{"channel", "api/v1"}, "messages and their conversion"},
	"api/client":                    {[]string{"channel", "api/v1"}, "a client is for other people's programs"},
	"cmd":                           {[]string{"*"}, "the only place where concrete parts meet"},
	"itest":                         {[]string{"*"}, "tests see everything"},
}

// never lists what a room must not reach even through others.
var never = map[string]struct {
	deps []string
	why  string
}{
	"channel":       {[]string{"net", "os", "time", "math/rand", "crypto/rand", "github.com/btcsuite"}, "the core has no clock, chance, disk, network or keys"},
	"policy":        {[]string{"net", "os", "math/rand", "crypto/rand"}, "decisions depend on what they are given"},
	"store/journal": {[]string{"net", "os", "crypto/rand", "math/rand", "github.com/runnel/runnel/store/journal/file"}, "what encodes and verifies touches no file and draws no chance"},
	"daemon": {[]string{"github.com/runnel/runnel/store/journal/file", "github.com/dgraph-io/badger", "github.com/btcsuite", "github.com/lightninglabs", "github.com/libp2p"},
		"the shell must run on any store, ledger and transport, the simulated ones too"},
	"gateway":    {[]string{"github.com/dgraph-io/badger", "github.com/btcsuite", "github.com/libp2p"}, "an app that sells or pays over HTTP does not carry a node"},
	"api/client": {[]string{"github.com/dgraph-io/badger", "github.com/btcsuite", "github.com/libp2p"}, "an app that pays does not carry a node"},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Doc        string
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Doc,GoFiles", "./...")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// roomOf is the room with the longest name that holds a package.
func roomOf(importPath string) string {
	dir := strings.TrimPrefix(importPath, module)
	for r := dir; r != "."; r = path.Dir(r) {
		if _, ok := arrows[r]; ok {
			return r
		}
	}
	return ""
}

func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		dir := strings.TrimPrefix(p.ImportPath, module)
		room := roomOf(p.ImportPath)
		if room == "" {
			t.Errorf("%s belongs to no room: a new top-level folder needs a reason and an entry in arrows", dir)
			continue
		}
		rule := arrows[room]
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			to := roomOf(imp)
			if to != room && !slices.Contains(rule.may, "*") && !slices.Contains(rule.may, to) && !slices.Contains(rule.may, strings.TrimPrefix(imp, module)) {
				t.Errorf("%s imports %s: %s", dir, strings.TrimPrefix(imp, module), rule.why)
			}
			if strings.HasSuffix(imp, "test") && !strings.HasSuffix(dir, "test") && room != "itest" {
				t.Errorf("%s imports %s: what is built for tests stays out of programs", dir, imp)
			}
		}
	}
}

func TestNever(t *testing.T) {
	for _, p := range packages(t) {
		dir := strings.TrimPrefix(p.ImportPath, module)
		rule, ok := never[roomOf(p.ImportPath)]
		if !ok || strings.HasSuffix(dir, "test") {
			continue
		}
		for _, dep := range p.Deps {
			for _, bad := range rule.deps {
				direct := !strings.Contains(bad, ".") // of the standard library only the import itself says anything
				if direct && !slices.Contains(p.Imports, bad) {
					continue
				}
				if dep == bad || strings.HasPrefix(dep, bad+"/") || strings.HasPrefix(dep, bad+".") {
					t.Errorf("%s reaches %s: %s", dir, dep, rule.why)
				}
			}
		}
	}
}

// TestPackageComments: every package says what it does. Commands and generated code do it elsewhere.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" && !strings.Contains(p.ImportPath, "/v1") && !strings.HasSuffix(p.ImportPath, "pb") {
			t.Errorf("%s has no package comment", strings.TrimPrefix(p.ImportPath, module))
		}
	}
}

// TestTopLevel: the folder names are the design.
func TestTopLevel(t *testing.T) {
	entries, err := filepath.Glob("../[^.]*")
	if err != nil {
		t.Fatal(err)
	}
	rooms := []string{"api", "bin", "channel", "cmd", "contrib", "daemon", "docs", "gateway", "itest", "ledger", "p2p", "policy", "store", "wire"}
	for _, e := range entries {
		if info, err := os.Stat(e); err == nil && info.IsDir() && !slices.Contains(rooms, filepath.Base(e)) {
			t.Errorf("%s is not a room of docs/architecture.md", filepath.Base(e))
		}
	}
}
