package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/runnel/runnel/store"
)

var testKey = [32]byte{1, 2, 3}

// segment makes one with groups of some writes each.
func segment(t testing.TB, h Header, groups ...[]store.Op) []byte {
	t.Helper()
	h.Salt = [32]byte{7}
	s, b, err := NewSealer(testKey, h)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Clone(b)
	var e Encoder
	for i, ops := range groups {
		e.Begin(int64(1000 + i))
		for k := range ops {
			e.Add(&ops[k])
		}
		if i == len(groups)-1 && h.Kind == KindBase {
			e.Last()
		}
		b = append(b, s.Seal(&e)...)
	}
	return b
}

func put(key, value string) store.Op { return store.Op{Key: []byte(key), Value: []byte(value)} }

func del(key string) store.Op { return store.Op{Key: []byte(key), Delete: true} }

var someGroups = [][]store.Op{{put("a", "1"), put("b", "")}, {del("a")}, {put("c", "a longer value of the third group"), del("b"), put("d", "4")}}

// shown is what Walk shows of a segment, as text.
func shown(b []byte) (groups []string, end End, findings []Finding, err error) {
	end, findings, err = Walk(testKey, bytes.NewReader(b), int64(len(b)), func(g *Group) error {
		s := fmt.Sprintf("%d/%d@%d", g.Segment, g.Number, g.Time)
		for _, op := range g.Ops {
			if op.Delete {
				s += fmt.Sprintf(" -%s", op.Key)
			} else {
				s += fmt.Sprintf(" %s=%s", op.Key, op.Value)
			}
		}
		groups = append(groups, s)
		return nil
	})
	return groups, end, findings, err
}

var wantShown = []string{"3/9@1000 a=1 b=", "3/10@1001 -a", "3/11@1002 c=a longer value of the third group -b d=4"}

func TestRoundTrip(t *testing.T) {
	b := segment(t, Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}, someGroups...)
	for _, zeros := range []int{0, 1, 15, 16, 100_000} {
		groups, end, findings, err := shown(append(bytes.Clone(b), make([]byte, zeros)...))
		if err != nil || len(findings) > 0 || fmt.Sprint(groups) != fmt.Sprint(wantShown) {
			t.Fatalf("%d zeros: %q, %v, %v", zeros, groups, findings, err)
		}
		if end.Offset != int64(len(b)) || end.Next != 12 || end.Torn != 0 || end.Header.First != 9 {
			t.Errorf("%d zeros: end %+v", zeros, end)
		}
	}
}

// TestGolden holds the layout: what is written today must be read for ever.
func TestGolden(t *testing.T) {
	b := segment(t, Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}, someGroups...)
	const want = "53ff8530"
	if got := sha256.Sum256(b); hex.EncodeToString(got[:4]) != want {
		t.Errorf("the layout changed: %x", got[:4])
	}
}

// TestEveryFlip: whichever bit is wrong, no group is shown that was not written, and only a last group may
// be missing without a finding: it looks like a write that was cut.
func TestEveryFlip(t *testing.T) {
	b := segment(t, Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}, someGroups...)
	last := len(b) - len(segment(t, Header{Kind: KindLog, Segment: 1, First: 1}, someGroups[2])) + HeaderSize
	b = append(b, make([]byte, 64)...)
	for bit := range 8 * len(b) {
		c := bytes.Clone(b)
		c[bit/8] ^= 1 << (bit % 8)
		groups, end, findings, err := shown(c)
		for _, g := range groups {
			if g != wantShown[0] && g != wantShown[1] && g != wantShown[2] {
				t.Fatalf("bit %d: shown %q", bit, g)
			}
		}
		at := bit / 8
		switch {
		case at < HeaderSize:
			if !errors.Is(err, ErrHeader) {
				t.Fatalf("bit %d of the header: %v", bit, err)
			}
		case err != nil:
			t.Fatalf("bit %d: %v", bit, err)
		case at < last:
			if len(findings) != 1 || len(groups) != 2 || end.Torn != 0 || end.Next != 12 {
				t.Fatalf("bit %d: %d groups, %v, %+v", bit, len(groups), findings, end)
			}
		default:
			want := 2
			if at >= len(b)-64 {
				want = 3
			}
			if len(findings) != 0 || len(groups) != want || end.Torn == 0 {
				t.Fatalf("bit %d of the last: %d groups, %v, %+v", bit, len(groups), findings, end)
			}
		}
	}
}

// TestEveryCut: a segment that ends anywhere shows the groups before and no finding.
func TestEveryCut(t *testing.T) {
	b := segment(t, Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}, someGroups...)
	for n := HeaderSize; n < len(b); n++ {
		groups, end, findings, err := shown(b[:n])
		if err != nil || len(findings) > 0 || int(end.Next) != 9+len(groups) || len(groups) == 3 {
			t.Fatalf("%d bytes: %q, %v, %v", n, groups, findings, err)
		}
	}
}

// TestGroupsStayInTheirPlace: sealed groups can't be taken to another place, number or segment.
func TestGroupsStayInTheirPlace(t *testing.T) {
	h := Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}
	b := segment(t, h, someGroups...)
	one := segment(t, h, someGroups[0])[HeaderSize:]
	two := segment(t, h, someGroups[:2]...)[HeaderSize+len(one):]
	three := b[HeaderSize+len(one)+len(two):]
	head := b[:HeaderSize]
	for name, c := range map[string][]byte{
		"repeated": bytes.Join([][]byte{head, one, one, two, three}, nil),
		"swapped":  bytes.Join([][]byte{head, two, one, three}, nil),
		"left out": bytes.Join([][]byte{head, one, three}, nil),
	} {
		if _, _, findings, err := shown(c); err != nil || len(findings) == 0 {
			t.Errorf("%s: %v, %v", name, findings, err)
		}
	}
	other := segment(t, Header{Kind: KindLog, Segment: 4, First: 9, Chain: [32]byte{5}}, someGroups...)
	groups, _, _, err := shown(append(bytes.Clone(other[:HeaderSize]), b[HeaderSize:]...))
	if err != nil || len(groups) != 0 {
		t.Errorf("groups of another segment are shown: %q, %v", groups, err)
	}
}

// TestBrokenChain: a group that is sealed rightly and follows another one than it should.
func TestBrokenChain(t *testing.T) {
	h := Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}
	b := segment(t, h, someGroups...)
	changed := segment(t, h, []store.Op{put("a", "2"), put("b", "")}, someGroups[1], someGroups[2])
	one := len(segment(t, h, someGroups[0]))
	groups, end, findings, err := shown(append(bytes.Clone(changed[:one]), b[one:]...))
	if err != nil || len(findings) != 1 || findings[0].Group != 10 || len(groups) != 3 || end.Next != 12 {
		t.Errorf("%q, %v, %+v, %v", groups, findings, end, err)
	}
}

func TestWrongKeyAndNewerFormat(t *testing.T) {
	b := segment(t, Header{Kind: KindLog, Segment: 1, First: 1}, someGroups...)
	if _, _, err := Walk([32]byte{9}, bytes.NewReader(b), int64(len(b)), nil); !errors.Is(err, store.ErrWrongKey) {
		t.Errorf("%v, want ErrWrongKey", err)
	}
	b[11] = Format + 1
	digest := sha256.Sum256(b[:checked])
	copy(b[checked:], digest[:HeaderSize-checked])
	if _, _, err := Walk(testKey, bytes.NewReader(b), int64(len(b)), nil); !errors.Is(err, store.ErrNewer) {
		t.Errorf("%v, want ErrNewer", err)
	}
}

func TestBase(t *testing.T) {
	b := segment(t, Header{Kind: KindBase, Segment: 8, First: 77, Chain: [32]byte{6}}, someGroups...)
	groups, end, findings, err := shown(b)
	if err != nil || len(findings) > 0 || len(groups) != 3 || !end.Whole || end.Next != 77 || end.Chain != [32]byte{6} {
		t.Fatalf("%q, %+v, %v, %v", groups, end, findings, err)
	}
	if _, end, _, _ = shown(b[:len(b)-1]); end.Whole {
		t.Error("half a base is whole")
	}
}

func TestSealingAllocatesLittle(t *testing.T) {
	s, _, err := NewSealer(testKey, Header{Kind: KindLog, Segment: 1, First: 1})
	if err != nil {
		t.Fatal(err)
	}
	var e Encoder
	op := put("key", string(make([]byte, 1000)))
	n := testing.AllocsPerRun(100, func() {
		e.Begin(1)
		e.Add(&op)
		s.Seal(&e)
	})
	if n > 4 {
		t.Errorf("%v allocations a group", n)
	}
}

// FuzzWalk: no input makes Walk fail but in its own words, or show a group without a seal.
func FuzzWalk(f *testing.F) {
	b := segment(f, Header{Kind: KindLog, Segment: 3, First: 9, Chain: [32]byte{5}}, someGroups...)
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add(segment(f, Header{Kind: KindBase, Segment: 3, First: 9}, someGroups...))
	f.Fuzz(func(t *testing.T, in []byte) {
		groups, _, _, err := shown(in)
		if err != nil && !errors.Is(err, ErrHeader) && !errors.Is(err, store.ErrWrongKey) && !errors.Is(err, store.ErrNewer) {
			t.Errorf("%v", err)
		}
		for _, g := range groups {
			if len(in) < HeaderSize || !bytes.Equal(in[:12], b[:12]) {
				t.Errorf("shown %q", g)
			}
		}
	})
}

// FuzzBody: what is taken as a body encodes to the same bytes again.
func FuzzBody(f *testing.F) {
	f.Add(append(make([]byte, 34), 2, 'a', 1, 'b', 3, 'c'))
	f.Fuzz(func(t *testing.T, in []byte) {
		var g Group
		before, flags, ok := g.decode(in)
		if !ok {
			return
		}
		var e Encoder
		e.Begin(g.Time)
		for i := range g.Ops {
			e.Add(&g.Ops[i])
		}
		if flags&flagLast != 0 {
			e.Last()
		}
		copy(e.buf[chainAt:], before[:])
		if !bytes.Equal(e.buf[frameSize:], in) {
			t.Errorf("%x is taken and encodes to %x", in, e.buf[frameSize:])
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{200, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, _, err := NewSealer(testKey, Header{Kind: KindLog, Segment: 1, First: 1})
			if err != nil {
				b.Fatal(err)
			}
			var e Encoder
			op := put("key", string(make([]byte, size)))
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				e.Begin(1)
				e.Add(&op)
				s.Seal(&e)
			}
		})
	}
}
