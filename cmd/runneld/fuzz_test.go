package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzIdentity: whatever node.json holds, it is an identity that says what it belongs to, or refused with what to
// do, and it stays as it is.
func FuzzIdentity(f *testing.F) {
	for _, s := range []string{`{"Format":2,"Network":"simnet","PeerID":"a","Database":"` + strings.Repeat("0", 32) + `"}`,
		`{"Format":1,"Network":"simnet","PeerID":"a"}`, `{"Format":9}`, `{"Format":2,"Network":"simnet","PeerID":"a","Database":"zz"}`, `{`, ``, `null`, `[]`} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "node.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d := &dataDir{path: dir}
		if err := d.check("simnet"); err != nil {
			mustRefuse(t, err)
		} else if d.id == nil || d.id.PeerID == "" || d.id.Network != "simnet" {
			t.Errorf("%q belongs to %+v", b, d.id)
		}
		_, _, _ = d.database()
		if after, err := os.ReadFile(path); err != nil || string(after) != string(b) {
			t.Error("it was changed")
		}
	})
}

// FuzzReplicaIdentity: the same for replica.json.
func FuzzReplicaIdentity(f *testing.F) {
	for _, s := range []string{`{"format":1,"network":"simnet","node":"00"}`, `{"format":0}`, `{`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := parseReplicaIdentity(b); err == nil && (id.Format < 1 || id.Network == "" || id.Node == "") {
			t.Errorf("%q belongs to %+v", b, id)
		}
	})
}
