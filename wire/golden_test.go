package wire

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

// TestGolden holds the bytes of every message: a change of the encoding breaks nodes that run.
func TestGolden(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got, err := Encode(s.msg)
			if err != nil {
				t.Fatal(err)
			}
			want := golden(t, s.name, got)
			if string(got) != string(want) {
				t.Errorf("encoded\n%x\nwant\n%x", got, want)
			}
			back, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, s.msg) {
				t.Errorf("decoded\n%+v\nwant\n%+v", back, s.msg)
			}
		})
	}
}

// golden reads a file of hex digits in lines; with -update it writes it first.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".hex")
	if *update {
		var lines strings.Builder
		for rest := hex.EncodeToString(got); rest != ""; {
			n := min(96, len(rest))
			lines.WriteString(rest[:n] + "\n")
			rest = rest[n:]
		}
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return want
}
