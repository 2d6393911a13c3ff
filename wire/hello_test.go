package wire

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestNegotiate(t *testing.T) {
	local := Hello{Versions: []uint32{1, 2, 3}, Genesis: [32]byte{1}, Features: []uint32{0, 3}, Agent: "us"}
	tests := []struct {
		name   string
		remote Hello
		want   Session
		err    error
		says   []string
	}{
		{"highest common version", Hello{Versions: []uint32{2, 3, 9}, Genesis: [32]byte{1}, Features: []uint32{1, 2, 5}, Agent: "them"},
			Session{Version: 3, Features: []uint32{1, 3}, Agent: "them"}, nil, nil},
		{"unknown optional bit is ignored", Hello{Versions: []uint32{1}, Genesis: [32]byte{1}, Features: []uint32{0, 101}},
			Session{Version: 1, Features: []uint32{1}}, nil, nil},
		{"other network", Hello{Versions: []uint32{1}, Genesis: [32]byte{2}, Features: []uint32{0}},
			Session{}, ErrNetwork, []string{"--network", strings.Repeat("0", 62) + "01"}},
		{"no common version", Hello{Versions: []uint32{7}, Genesis: [32]byte{1}, Features: []uint32{0}, Agent: "runneld/9\n"},
			Session{}, ErrVersion, []string{"[1 2 3]", "[7]", "runneld/9 )", "update the older"}},
		{"peer requires what we lack", Hello{Versions: []uint32{1}, Genesis: [32]byte{1}, Features: []uint32{0, 6, 8}},
			Session{}, ErrFeature, []string{"peer requires feature bits 6, 8", "update this node"}},
		{"peer lacks what we require", Hello{Versions: []uint32{1}, Genesis: [32]byte{1}, Features: []uint32{3}},
			Session{}, ErrFeature, []string{"this node requires feature bits 0", "update the peer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Negotiate(local, tt.remote)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
			if err != nil {
				if _, err := Encode(ErrorFor(err)); err != nil {
					t.Errorf("the peer can't be told: %v", err)
				}
			}
		})
	}
}

func TestSessionHas(t *testing.T) {
	s := Session{Features: []uint32{3}}
	if !s.Has(2) || !s.Has(3) || s.Has(4) || s.Has(1) {
		t.Error("Has is about pairs of bits")
	}
}

func TestErrorFor(t *testing.T) {
	_, err := Decode([]byte{1})
	if got := ErrorFor(err); got.Code != CodeMalformed || !strings.Contains(got.Text, "envelope") {
		t.Errorf("got %+v", got)
	}
	if got := ErrorFor(errors.New("disk /secret/path failed")); got.Code != CodeInternal || strings.Contains(got.Text, "secret") {
		t.Errorf("got %+v", got)
	}
}

func TestCleanText(t *testing.T) {
	in := "a\x00b\xff" + strings.Repeat("é", 400)
	out := cleanText(in)
	if err := checkText("text", out, 512); err != nil || len(out) < 510 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}
