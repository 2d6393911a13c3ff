package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedCodeIsFresh compares the committed generated files with what the pinned generator makes
// of the .proto files now, for all of the module.
func TestGeneratedCodeIsFresh(t *testing.T) {
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	protos, committed := findFiles(t, root)
	if len(protos) == 0 {
		t.Fatal("no .proto file found")
	}
	fresh, err := generate(context.Background(), root, protos)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range fresh {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || string(got) != want {
			t.Errorf("%s is stale: run `go run ./wire/protogen %s`", name, strings.Join(protos, " "))
		}
		delete(committed, name)
	}
	for name := range committed {
		t.Errorf("%s has no .proto file any more: delete it", name)
	}
}

// findFiles lists the .proto files and the generated Go files below root.
func findFiles(t *testing.T, root string) (protos []string, generated map[string]bool) {
	t.Helper()
	generated = make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".proto"):
			protos = append(protos, name)
		case strings.HasSuffix(name, ".pb.go"), strings.HasSuffix(name, ".connect.go"):
			generated[name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return protos, generated
}

func TestRunWritesBelowOut(t *testing.T) {
	out := t.TempDir()
	if err := run(context.Background(), out, []string{"wire/wirepb/wire.proto"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out, "wire", "wirepb", "wire.pb.go")); err != nil {
		t.Fatal(err)
	}
}

func TestRunRefusesOutsideModule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.proto")
	if err := os.WriteFile(path, []byte(`syntax = "proto3";`), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(context.Background(), t.TempDir(), []string{path})
	if err == nil || !strings.Contains(err.Error(), "outside the module") {
		t.Fatalf("got %v", err)
	}
}

func TestRunReportsSyntaxErrors(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "x.proto"), []byte("syntax = \"proto3\";\nmessage {"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := generate(context.Background(), root, []string{"x.proto"})
	if err == nil || !strings.Contains(err.Error(), "x.proto:2") {
		t.Fatalf("got %v", err)
	}
}

func TestServicesGetConnectCode(t *testing.T) {
	root := t.TempDir()
	text := `syntax = "proto3";
package x.v1;
option go_package = "example.com/x/v1;xv1";
message M { string s = 1; }
service S { rpc Get(M) returns (stream M); }
`
	if err := os.WriteFile(filepath.Join(root, "x.proto"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := generate(context.Background(), root, []string{"x.proto"})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files["x.pb.go"] == "" || !strings.Contains(files["xv1connect/x.connect.go"], "NewSClient") {
		t.Fatalf("got %d files", len(files))
	}
}
