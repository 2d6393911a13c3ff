package channel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// What both sides keep of the draws on a lane (protocol.md 14). It stands beside the lane's record and is
// written only when draws happen; a lane without such a record never had a draw. Both records are values that
// are never changed in place: whoever changes one changes a copy.

// Draw is one draw that ended: an entry of the lane's chain of draws.
type Draw struct {
	N      uint64
	Amount Msat
}

// DrawHash continues a lane's chain of draws by the draw with a sequence number, from 1:
// TaggedHash("runnel/draw", h || lane || u64 seq || u64 n || u64 amount).
func DrawHash(h [32]byte, lane LaneID, seq uint64, d Draw) [32]byte {
	var b [64 + 32 + 32 + 3*8]byte
	n := copy(b[:], drawTag[:])
	n += copy(b[n:], drawTag[:])
	n += copy(b[n:], h[:])
	n += copy(b[n:], lane[:])
	binary.BigEndian.PutUint64(b[n:], seq)
	binary.BigEndian.PutUint64(b[n+8:], d.N)
	binary.BigEndian.PutUint64(b[n+16:], uint64(d.Amount))
	return sha256.Sum256(b[:])
}

var drawTag = sha256.Sum256([]byte("runnel/draw"))

// OutDraws is the payer's record: what it authorised and which draws it accepted.
type OutDraws struct {
	Next  uint64     // n of the next authorisation, from 1
	Count uint64     // draws that ended and were accepted
	Drawn Msat       // their sum
	Hash  [32]byte   // chain after them
	Open  []OpenDraw // authorised and not reported, ascending
}

// OpenDraw is an authorisation of which the payee has not told what became of it.
type OpenDraw struct {
	N      uint64
	Max    Msat // the most that may be drawn
	Before Msat // Max before it was raised last: that much was used by then
}

// InDraws is the payee's record.
type InDraws struct {
	High     uint64           // the highest n that was used
	Used     [DrawWindow]Msat // of n at n%DrawWindow: 0 was not used; else it ended with one less, or runs
	Count    uint64           // draws that ended
	Drawn    Msat             // their sum
	Hash     [32]byte         // chain after them
	Told     uint64           // as many of them the payer has accepted
	ToldHash [32]byte         // chain after those
	Untold   []Draw           // the others
	Running  []RunningDraw    // in the order in which they began
}

// RunningDraw is a draw that holds an amount and has not ended.
type RunningDraw struct {
	N    uint64
	Max  Msat // the most that the payer authorised
	Held Msat
	Keep Msat // of Held: stays charged whatever happens
}

// The nil records are those of a lane without draws.

func (d *OutDraws) drawn() Msat {
	if d == nil {
		return 0
	}
	return d.Drawn
}

func (d *OutDraws) count() uint64 {
	if d == nil {
		return 0
	}
	return d.Count
}

func (d *OutDraws) hash() (h [32]byte) {
	if d != nil {
		h = d.Hash
	}
	return h
}

// open is how many authorisations the payee has not told of.
func (d *OutDraws) open() uint64 {
	if d == nil {
		return 0
	}
	return uint64(len(d.Open))
}

// taken is what no other payment may use: drawn, or authorised and perhaps drawn.
func (d *OutDraws) taken() (sum Msat) {
	if d == nil {
		return 0
	}
	sum = d.Drawn
	for i := range d.Open {
		sum += d.Open[i].Max
	}
	return sum
}

// risk is what a payee can still take without serving: of a draw that was raised, what came last.
func (d *OutDraws) risk() (sum Msat) {
	if d == nil {
		return 0
	}
	for i := range d.Open {
		sum += d.Open[i].Max - d.Open[i].Before
	}
	return sum
}

func (d *OutDraws) find(n uint64) int {
	if d == nil {
		return -1
	}
	i, ok := slices.BinarySearchFunc(d.Open, n, func(o OpenDraw, n uint64) int {
		switch {
		case o.N < n:
			return -1
		case o.N > n:
			return 1
		}
		return 0
	})
	if !ok {
		return -1
	}
	return i
}

func (d *OutDraws) clone() *OutDraws {
	if d == nil {
		return &OutDraws{Next: 1}
	}
	c := *d
	c.Open = slices.Clone(d.Open)
	return &c
}

func (d *InDraws) drawn() Msat {
	if d == nil {
		return 0
	}
	return d.Drawn
}

func (d *InDraws) count() uint64 {
	if d == nil {
		return 0
	}
	return d.Count
}

func (d *InDraws) held() (sum Msat) {
	if d == nil {
		return 0
	}
	for i := range d.Running {
		sum += d.Running[i].Held
	}
	return sum
}

func (d *InDraws) running(n uint64) int {
	if d == nil {
		return -1
	}
	return slices.IndexFunc(d.Running, func(r RunningDraw) bool { return r.N == n })
}

func (d *InDraws) clone() *InDraws {
	if d == nil {
		return &InDraws{}
	}
	c := *d
	c.Untold, c.Running = slices.Clone(d.Untold), slices.Clone(d.Running)
	return &c
}

// past reports whether n lies below the window: nobody can say any more whether it was used.
func (d *InDraws) past(n uint64) bool {
	return d != nil && d.High >= DrawWindow && n <= d.High-DrawWindow
}

// used reports whether n is in the window and was used, and with what it ended if it did.
func (d *InDraws) used(n uint64) (Msat, bool) {
	if d == nil || n == 0 || n > d.High || d.past(n) {
		return 0, false
	}
	u := d.Used[n%DrawWindow]
	return u - min(u, 1), u > 0
}

// use marks n, which moves the window if it is the highest so far.
func (d *InDraws) use(n uint64) {
	if n > d.High && n-d.High >= DrawWindow {
		d.Used = [DrawWindow]Msat{}
	} else {
		for i := d.High + 1; i <= n && i != 0; i++ {
			d.Used[i%DrawWindow] = 0
		}
	}
	d.High = max(d.High, n)
	d.mark(n, 0)
}

func (d *InDraws) mark(n uint64, ended Msat) {
	if !d.past(n) {
		d.Used[n%DrawWindow] = ended + 1
	}
}

// end adds an entry to the chain.
func (d *InDraws) end(lane LaneID, e Draw) {
	d.Count++
	d.Drawn += e.Amount
	d.Hash = DrawHash(d.Hash, lane, d.Count, e)
	d.Untold = append(d.Untold, e)
	d.mark(e.N, e.Amount)
}

// SpentOut is what was paid on the own lane, pushed and drawn; SpentIn what was paid to us. What draws that run
// hold is in neither.
func (s *State) SpentOut() Msat { return s.Out.Spent + s.OutDraws.drawn() }
func (s *State) SpentIn() Msat  { return s.In.Spent + s.InDraws.drawn() }

// Stand is where the lane that pays us, or the own one, stands for those who charge on it.
func (s *State) Stand(out bool) LaneStand {
	l := LaneStand{Channel: s.Terms.ID, Peer: s.Terms.Peer, Capacity: s.Terms.In.Capacity(), Total: s.In.Total,
		Spent: s.In.Spent + s.InDraws.drawn() + s.InDraws.held(), Signature: s.In.Voucher, Closing: s.CanCharge() != nil}
	if out {
		l.Capacity, l.Total, l.Signature = s.Terms.Out.Capacity(), s.Out.Total, s.Out.Voucher
		l.Spent, l.Closing = s.Out.Spent+s.UnackedSum()+s.OutDraws.taken(), s.CanPay() != nil
	}
	return l
}

const drawsVersion = 1

// MarshalBinary encodes the payer's record: a version and integers as uvarints, the hash between.
func (d *OutDraws) MarshalBinary() ([]byte, error) {
	b := []byte{drawsVersion}
	b = appendUints(b, d.Next, d.Count, uint64(d.Drawn))
	b = append(b, d.Hash[:]...)
	b = appendUints(b, uint64(len(d.Open)))
	last := uint64(0)
	for _, o := range d.Open {
		b = appendUints(b, o.N-last, uint64(o.Max), uint64(o.Before))
		last = o.N
	}
	return b, nil
}

// UnmarshalBinary decodes the payer's record and checks what must always hold.
func (d *OutDraws) UnmarshalBinary(b []byte) error {
	r := uintReader{b: b}
	*d = OutDraws{}
	r.version()
	d.Next, d.Count, d.Drawn = r.uint(), r.uint(), Msat(r.uint())
	r.fixed(d.Hash[:])
	n, last := uint64(0), r.length()
	for range last {
		o := OpenDraw{N: n + r.uint(), Max: Msat(r.uint()), Before: Msat(r.uint())}
		if o.N <= n || o.N >= d.Next || o.Before > o.Max || o.Max > maxMsat {
			return errDrawRecord
		}
		n = o.N
		d.Open = append(d.Open, o)
	}
	return r.same(d.MarshalBinary())
}

// MarshalBinary encodes the payee's record, the window from its lowest n to the highest.
func (d *InDraws) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 256+min(d.High, DrawWindow)*2)
	b = append(b, drawsVersion)
	b = appendUints(b, d.Count, uint64(d.Drawn))
	b = append(b, d.Hash[:]...)
	b = appendUints(b, d.Told)
	b = append(b, d.ToldHash[:]...)
	b = appendUints(b, d.High)
	for i := min(d.High, DrawWindow); i > 0; i-- {
		b = appendUints(b, uint64(d.Used[(d.High-i+1)%DrawWindow]))
	}
	b = appendUints(b, uint64(len(d.Untold)))
	for _, e := range d.Untold {
		b = appendUints(b, e.N, uint64(e.Amount))
	}
	b = appendUints(b, uint64(len(d.Running)))
	for _, r := range d.Running {
		b = appendUints(b, r.N, uint64(r.Max), uint64(r.Held), uint64(r.Keep))
	}
	return b, nil
}

// UnmarshalBinary decodes the payee's record and checks what must always hold.
func (d *InDraws) UnmarshalBinary(b []byte) error {
	r := uintReader{b: b}
	*d = InDraws{}
	r.version()
	d.Count, d.Drawn = r.uint(), Msat(r.uint())
	r.fixed(d.Hash[:])
	d.Told = r.uint()
	r.fixed(d.ToldHash[:])
	d.High = r.uint()
	for i := min(d.High, DrawWindow); i > 0 && !r.bad; i-- {
		d.Used[(d.High-i+1)%DrawWindow] = Msat(r.uint())
	}
	for range r.length() {
		d.Untold = append(d.Untold, Draw{r.uint(), Msat(r.uint())})
	}
	for range r.length() {
		run := RunningDraw{r.uint(), Msat(r.uint()), Msat(r.uint()), Msat(r.uint())}
		if run.Held > maxMsat || run.Keep > run.Held {
			return errDrawRecord
		}
		d.Running = append(d.Running, run)
	}
	if d.Told+uint64(len(d.Untold)) != d.Count || d.Drawn > maxMsat {
		return errDrawRecord
	}
	return r.same(d.MarshalBinary())
}

// WithDraws adds the stored records of draws to a state that was loaded; nil is none.
func (s State) WithDraws(out, in []byte) (State, error) {
	if out != nil {
		s.OutDraws = new(OutDraws)
		if err := s.OutDraws.UnmarshalBinary(out); err != nil {
			return State{}, err
		}
	}
	if in != nil {
		s.InDraws = new(InDraws)
		if err := s.InDraws.UnmarshalBinary(in); err != nil {
			return State{}, err
		}
	}
	return s, nil
}

var errDrawRecord = errors.New("channel: a record of draws that can't be")

const maxMsat = Msat(MaxMoney) * 1000

func appendUints(b []byte, list ...uint64) []byte {
	for _, n := range list {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// uintReader reads what appendUints wrote. Its last word, same, finds whatever was wrong.
type uintReader struct {
	b   []byte
	at  int
	bad bool
}

func (r *uintReader) version() {
	if len(r.b) == 0 || r.b[0] != drawsVersion {
		r.bad = true
	}
	r.at = 1
}

func (r *uintReader) uint() uint64 {
	if r.bad || r.at >= len(r.b) {
		r.bad = true
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.at += n
	return v
}

// length is a number of things that still follow, each of at least two bytes.
func (r *uintReader) length() uint64 {
	n := r.uint()
	if r.bad || n > uint64(len(r.b)-r.at)/2 {
		r.bad = true
		return 0
	}
	return n
}

func (r *uintReader) fixed(to []byte) {
	if r.bad || len(r.b)-r.at < len(to) {
		r.bad = true
		return
	}
	r.at += copy(to, r.b[r.at:])
}

func (r *uintReader) same(again []byte, err error) error {
	if r.bad || err != nil || !bytes.Equal(again, r.b) {
		return errDrawRecord
	}
	return nil
}
