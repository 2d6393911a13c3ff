package book

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

type entry struct {
	p       channel.Payment
	r       channel.RefuseReason
	pending bool
}

// side is what one of two nodes knows of a lane.
func state(id byte) channel.State {
	var st channel.State
	st.Terms.ID, st.Terms.Peer = channel.ID{id}, "peer"
	t := channel.LaneTerms{Genesis: [32]byte{9}, Payer: channel.Key{2, id}, Payee: channel.Key{3, id}, Refund: channel.Key{2, id, 1}, Expiry: 100, Deposit: 100_000}
	st.Terms.Out, st.Terms.In = t, t
	return st
}

func entries(n int) (list []entry) {
	for i := range n {
		e := entry{p: channel.Payment{ID: channel.PaymentID{byte(i), 1}, Amount: channel.Msat(i + 1), Ref: strings.Repeat("ü", i%5)}}
		if i%7 == 3 {
			e.r = channel.RefusedPolicy
		}
		list = append(list, e)
	}
	return list
}

// write makes the book of one side, out or not, with a lane of entries for each id.
func write(t testing.TB, out bool, lanes map[byte][]entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, Header{Network: "simnet", Node: "me", Time: 5})
	ids := []byte{}
	for id := range lanes {
		ids = append(ids, id)
	}
	sortByLane(ids)
	for _, id := range ids {
		st := state(id)
		lane := st.Terms.Out.ID()
		l := channel.Lane{NextSeq: uint64(len(lanes[id])) + 1}
		for i, e := range lanes[id] {
			if !e.pending {
				l.Hash = channel.LaneHash(l.Hash, lane, uint64(i+1), e.p, e.r)
				if e.r == channel.Accepted {
					l.Spent += e.p.Amount
				}
			}
			l.Total += e.p.Amount
		}
		w.Lane(NewLane(&st, out), lane, l.Hash)
		for i, e := range lanes[id] {
			w.Payment(uint64(i+1), 1000, e.p, e.r, e.pending)
		}
		w.EndLane(NewEnd(&l))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sortByLane(ids []byte) {
	for i := range ids {
		for j := i + 1; j < len(ids); j++ {
			a, b := state(ids[i]), state(ids[j])
			if a.Terms.Out.ID().String() > b.Terms.Out.ID().String() {
				ids[i], ids[j] = ids[j], ids[i]
			}
		}
	}
}

func reader(b []byte) *Reader { return NewReader(bytes.NewReader(b), nil) }

func TestWholeBook(t *testing.T) {
	b := write(t, true, map[byte][]entry{1: entries(30), 2: nil, 3: entries(1)})
	r := reader(b)
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	if c := r.Count(); c.Lanes != 3 || c.Payments != 31 || r.Header().Network != "simnet" {
		t.Errorf("%+v, %+v", c, r.Header())
	}
}

// TestEveryChangedLine: a book in which any line is changed, left out, repeated or swapped is wrong, and
// the line that is named is not behind the change.
func TestEveryChangedLine(t *testing.T) {
	b := write(t, true, map[byte][]entry{1: entries(12), 3: entries(3)})
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	check := func(what string, at int, changed [][]byte) {
		t.Helper()
		var wrong *Wrong
		if err := reader(bytes.Join(changed, nil)).Verify(); !errors.As(err, &wrong) {
			t.Errorf("%s line %d: %v", what, at+1, err)
		}
	}
	for i := range lines {
		cut := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
		check("without", i, cut)
		check("twice", i, append(append([][]byte{}, lines[:i+1]...), lines[i:]...))
		check("cut behind", i, lines[:i])
		if i > 0 {
			swapped := append([][]byte{}, lines...)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			check("swapped", i, swapped)
		}
	}
	for at, c := range b { // any digit or letter
		if c < '0' || c > '9' {
			continue
		}
		d := bytes.Clone(b)
		d[at] = '0' + (c-'0'+1)%10
		check(fmt.Sprintf("byte %d of", at), bytes.Count(b[:at], []byte("\n")), [][]byte{d})
	}
}

func TestFirstWrongRecordIsNamed(t *testing.T) {
	b := write(t, true, map[byte][]entry{1: entries(12)})
	changed := bytes.Replace(b, []byte(`"amount_msat":5,`), []byte(`"amount_msat":6,`), 1)
	var wrong *Wrong
	if err := reader(changed).Verify(); !errors.As(err, &wrong) || wrong.Seq != 5 {
		t.Errorf("%v, want payment 5", err)
	}
}

func TestVoucherIsChecked(t *testing.T) {
	b := write(t, true, map[byte][]entry{1: entries(2)})
	bad := errors.New("bad signature")
	r := NewReader(bytes.NewReader(b), func(string, channel.LaneTerms, channel.Outpoint, channel.Msat, channel.Signature) error { return bad })
	if err := r.Verify(); err == nil || !strings.Contains(err.Error(), "bad signature") {
		t.Errorf("%v", err)
	}
}

func TestCompare(t *testing.T) {
	all := entries(20)
	own := write(t, true, map[byte][]entry{1: all, 2: entries(3), 4: nil})
	a, err := Compare(reader(own), reader(write(t, false, map[byte][]entry{1: all, 3: entries(5), 4: nil})))
	if err != nil || a.Lanes != 2 || a.Payments != 20 || a.Pending != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	late := append(append([]entry{}, all...), entry{p: channel.Payment{ID: channel.PaymentID{99}, Amount: 5}, pending: true})
	a, err = Compare(reader(write(t, true, map[byte][]entry{1: late})), reader(write(t, false, map[byte][]entry{1: all})))
	if err != nil || a.Pending != 1 {
		t.Errorf("a payment without an answer: %+v, %v", a, err)
	}
	other := func(change func(e *entry)) []byte {
		list := append([]entry{}, all...)
		change(&list[9])
		return write(t, false, map[byte][]entry{1: list})
	}
	for what, b := range map[string][]byte{
		"msat":      other(func(e *entry) { e.p.Amount++ }),
		"id":        other(func(e *entry) { e.p.ID[5]++ }),
		"reference": other(func(e *entry) { e.p.Ref = "x" }),
		"accepted":  other(func(e *entry) { e.r = channel.RefusedDisk }),
	} {
		var d *Difference
		if _, err := Compare(reader(own), reader(b)); !errors.As(err, &d) || d.Seq != 10 || !strings.Contains(d.Text, what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	short := write(t, false, map[byte][]entry{1: all[:15]})
	var d *Difference
	if _, err := Compare(reader(own), reader(short)); !errors.As(err, &d) || d.Seq != 16 || !strings.Contains(d.Text, "the peer's book ends") {
		t.Errorf("%v", err)
	}
	if _, err := Compare(reader(own), reader(own)); !errors.As(err, &d) || !strings.Contains(d.Text, "same side") {
		t.Errorf("%v", err)
	}
	var side *SideError
	if _, err := Compare(reader(own), reader(own[:len(own)-5])); !errors.As(err, &side) && !errors.As(err, &d) {
		t.Errorf("%v", err)
	}
}

// FuzzReader: no input makes it fail but in its own words.
func FuzzReader(f *testing.F) {
	f.Add(write(f, true, map[byte][]entry{1: entries(3)}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var wrong *Wrong
		if err := reader(in).Verify(); err != nil && !errors.As(err, &wrong) {
			t.Errorf("%v", err)
		}
	})
}
