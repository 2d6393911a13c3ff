// Command protogen turns .proto files into Go without an installed protoc: it compiles them with
// protocompile and hands the result to the plugins that go.mod pins as tools, protoc-gen-go and, for
// files with services, protoc-gen-connect-go. It knows nothing of what the files mean.
//
// Output goes beside each .proto (paths=source_relative). Names are relative to the module's root,
// wherever the command runs:
//
//	go run ./wire/protogen wire/wirepb/wire.proto api/v1/*.proto
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", "", "write below this directory instead of the module's root")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: protogen [-out DIR] FILE.proto...\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(context.Background(), *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, args []string) error {
	root, err := moduleRoot(".")
	if err != nil {
		return err
	}
	names, err := relativeTo(root, args)
	if err != nil {
		return err
	}
	files, err := generate(ctx, root, names)
	if err != nil {
		return err
	}
	if out == "" {
		out = root
	}
	return writeAll(out, files)
}

// relativeTo names files as their imports do: from the module's root, with slashes. A name that does
// not exist from here is tried from the root, so that the command works from anywhere.
func relativeTo(root string, args []string) ([]string, error) {
	names := make([]string, 0, len(args))
	for _, arg := range args {
		if _, err := os.Stat(arg); err != nil {
			arg = filepath.Join(root, arg)
		}
		abs, err := filepath.Abs(arg)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, abs)
		if err != nil || !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%s is outside the module at %s", arg, root)
		}
		names = append(names, filepath.ToSlash(name))
	}
	return names, nil
}

// moduleRoot is the nearest directory at or above dir that has a go.mod.
func moduleRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod here or above: run protogen inside the source tree")
		}
		dir = parent
	}
}

func writeAll(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
