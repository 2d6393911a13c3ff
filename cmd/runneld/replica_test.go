package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/runnel/runnel/store"
)

// withReplica is a home whose replica lies beside it.
func withReplica(t *testing.T) *testHome {
	h := newHome(t)
	h.c.Replica = filepath.Join(t.TempDir(), "replica")
	return h
}

func (h *testHome) current(p *parts) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !p.deps.Replica.Health().OK; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%+v", p.deps.Replica.Health())
		}
	}
}

// TestReplicaDirectory: it belongs to one node, shows nothing, and is followed from start to start.
func TestReplicaDirectory(t *testing.T) {
	h := withReplica(t)
	secret := []byte("12D3KooWthepeer")
	h.records(func(p *parts) {
		h.current(p)
		if err := p.deps.Committer.Commit(new(store.Batch).Put(append([]byte("p"), secret...), []byte("/ip4/192.0.2.77/tcp/1"))); err != nil {
			t.Fatal(err)
		}
		d, err := newReplicaDir(h.c.Replica, "simnet", p.self, seed{bytes: make([]byte, 64)})
		if err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, d.claim(), "another runneld writes the replica", "of its own")
	})
	files, _ := filepath.Glob(filepath.Join(h.c.Replica, "*"))
	if len(files) < 3 {
		t.Fatalf("%v", files)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range [][]byte{secret, []byte("192.0.2.77"), []byte(`"peer"`)} {
			if bytes.Contains(b, word) {
				t.Errorf("%s shows %q", f, word)
			}
		}
	}
	h.records(h.current)
	for _, c := range []struct {
		network string
		self    string
		says    string
	}{{"regtest", "peer", "belongs to a node on simnet, not on regtest"}, {"simnet", "somebody", "belongs to another node"}} {
		d := &replicaDir{path: h.c.Replica, network: c.network, self: "peer"}
		if c.self != "peer" {
			d.self = "somebody"
		}
		mustRefuse(t, d.claim(), c.says, "choose another directory with --replica")
	}
}

// TestReplicaIdentity: what is no replica of this node is not touched.
func TestReplicaIdentity(t *testing.T) {
	for text, says := range map[string]string{
		`{"format":2,"network":"simnet","node":"00"}`: "written by a newer version",
		`{"format":1,"network":"simnet"}`:             "does not say whose replica it is",
		`{}`:                                          "does not say whose replica it is",
		`{"format":`:                                  "is damaged",
	} {
		h := withReplica(t)
		if err := os.Mkdir(h.c.Replica, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.c.Replica, replicaFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, h.try(func(*parts) {}), says)
	}
	h := withReplica(t)
	if err := os.Mkdir(h.c.Replica, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.c.Replica, "photos"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, h.try(func(*parts) {}), "holds photos", "choose an empty directory")
}

// TestReplicaAway: a disk that is not there stops no start, is told, and is taken when it comes.
func TestReplicaAway(t *testing.T) {
	h := withReplica(t)
	h.c.Replica = filepath.Join(h.c.Replica, "below", "nothing")
	h.records(func(p *parts) {
		if err := p.deps.Committer.Commit(new(store.Batch).Put([]byte("k"), []byte{0, 0, 0, 9})); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); p.deps.Replica.Health().Err == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing is told")
			}
		}
		if err := os.MkdirAll(filepath.Dir(h.c.Replica), 0o700); err != nil {
			t.Fatal(err)
		}
		h.current(p)
	})
}

// TestDamagedReplica: it is made again; the node starts.
func TestDamagedReplica(t *testing.T) {
	h := withReplica(t)
	h.records(h.current)
	files, _ := filepath.Glob(filepath.Join(h.c.Replica, "*.base"))
	if len(files) != 1 {
		t.Fatalf("%v", files)
	}
	for _, at := range []int{3, 40, 100, 150} {
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		b[at%len(b)] ^= 4
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		h.records(h.current)
		h.records(h.current)
		if files, _ = filepath.Glob(filepath.Join(h.c.Replica, "*.base")); len(files) != 1 {
			t.Fatalf("%v", files)
		}
	}
}
