package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `package sample

func check(a, b int, ok bool) error {
	if a < 0 || a > 9 && ok {
		return errNegative
	}
	switch {
	case b == 7:
		return errSeven
	case b == 8:
		b = 9
	}
	if b == 10 {
		b++
	}
	return errors.Join(first(a), second(b))
}

func both(a, b bool) bool { return a && b }
`

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sample.go"), []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := find(dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range f.list {
		got = append(got, strings.TrimPrefix(m.Key, "sample.go "))
	}
	want := []string{
		"check check: a < 0", "check boundary: a < 0", "check check: a > 9 && ok", "check operand: a > 9", "check boundary: a > 9", "check operand: ok",
		"check check: b == 7", "check error: first(a)", "check error: second(b)", "both operand: a", "both operand: b",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	out := string(apply([]byte(sample), f.edits["sample.go"]))
	for _, want := range []string{
		"if ((a < 0 || mutantOn(1) && (a) == (0)) && !mutantOn(0)) || (((a > 9 || mutantOn(4) && (a) == (9)) || mutantOn(3)) && (ok || mutantOn(5)) && !mutantOn(2)) {",
		"case (b == 7 && !mutantOn(6)):",
		"return errors.Join(mutantErr(7, first(a)), mutantErr(8, second(b)))",
		"return (a || mutantOn(9)) && (b || mutantOn(10))",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

func TestEquivalentNeedsAReason(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	for text, ok := range map[string]bool{"# nothing\n": true, "a b: c ## why\n": true, "a b: c\n": false, "a b: c ## \n": false, "a ## b\na ## c\n": false} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readEquivalent(path); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
