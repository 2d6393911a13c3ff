package daemon

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

// Which of two records of one thing is right when store and journal differ.

// channelOf is the channel of which a key holds a part, cold record or lane.
func channelOf(key string) (id channel.ID, ok bool) {
	switch {
	case key[0] == prefixChannel && len(key) == 33, (key[0] == prefixLane || key[0] == prefixDraws) && len(key) == 34:
		copy(id[:], key[1:])
		return id, true
	}
	return id, false
}

// triple is all of a channel that changes together, as one book has it. The records of draws are nil where
// there was none.
type triple struct {
	cold, out, in     []byte
	outDraws, inDraws []byte
	number            uint64 // newest group of the journal that wrote a part
	gone              bool   // the channel was dropped before anything was at stake
}

// whole is how many parts every channel has.
const whole = 3

func keysOf(id channel.ID) [5][]byte {
	return [5][]byte{channelKey(id), laneRecordKey(id, true), laneRecordKey(id, false), drawsKey(id, true), drawsKey(id, false)}
}

func (t *triple) parts() [5][]byte { return [5][]byte{t.cold, t.out, t.in, t.outDraws, t.inDraws} }

func (t *triple) part(i int) *[]byte {
	return [5]*[]byte{&t.cold, &t.out, &t.in, &t.outDraws, &t.inDraws}[i]
}

func (t *triple) equal(u *triple) bool {
	a, b := t.parts(), u.parts()
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// readTriple reads a channel of a store.
func readTriple(s store.Store, id channel.ID) (t triple, err error) {
	for i, key := range keysOf(id) {
		b, err := s.Get(key)
		if i >= whole && errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return t, err
		}
		*t.part(i) = b
	}
	return t, nil
}

// state reads the records without the frames; false if they are not whole.
func (t *triple) state() (st channel.State, commits uint64, ok bool) {
	if len(t.out) < 8 || json.Unmarshal(t.cold, &st) != nil {
		return st, 0, false
	}
	out := t.out[:len(t.out)-8]
	if st.Out.UnmarshalBinary(out) != nil || st.In.UnmarshalBinary(t.in) != nil {
		return st, 0, false
	}
	st, err := st.WithDraws(t.outDraws, t.inDraws)
	return st, binary.BigEndian.Uint64(t.out[len(out):]), err == nil
}

func (r *reconciler) journalTriple(id channel.ID) (t triple) {
	for i, key := range keysOf(id) {
		v, ok := r.hot[string(key)]
		if !ok {
			continue
		}
		*t.part(i) = v.bytes
		t.number = max(t.number, v.number)
		t.gone = t.gone || v.bytes == nil && i < whole
	}
	return t
}

func (r *reconciler) storeTriple(id channel.ID) (t triple) {
	k := keysOf(id)
	for i := range k {
		*t.part(i) = r.stored[string(k[i])]
	}
	return t
}

func (r *reconciler) decideChannel(id channel.ID) error {
	j, s := r.journalTriple(id), r.storeTriple(id)
	if j.equal(&s) {
		return nil
	}
	if j.gone {
		r.correctStore(id, triple{}, j.number)
		return nil
	}
	jst, jn, jok := j.state()
	sst, sn, sok := s.state()
	switch {
	case jok && !sok:
		r.correctStore(id, j, j.number)
	case sok && !jok:
		r.correctJournal(id, s)
	case !jok && !sok:
		return fmt.Errorf("%w: neither has channel %s whole; restore the newest backup of the whole data directory", ErrBooks, id)
	// With equal numbers one of them holds a part that is older than the rest. That is the journal if it is
	// damaged, else the store: the journal's records carry a seal.
	case jn == sn && len(r.out.Findings) > 0 && advances(&sst, &jst) && r.proven(&sst):
		r.correctJournal(id, s)
	case jn >= sn && advances(&jst, &sst):
		r.correctStore(id, j, j.number)
	case sn > jn && advances(&sst, &jst) && r.proven(&sst):
		r.correctJournal(id, s)
	default:
		return r.join(id, &jst, &sst, max(jn, sn))
	}
	return nil
}

// advances reports whether a proves all that b does.
func advances(a, b *channel.State) bool {
	return a.Out.Total >= b.Out.Total && a.In.Total >= b.In.Total && a.In.Spent >= b.In.Spent &&
		a.Out.NextSeq >= b.Out.NextSeq && a.In.NextSeq >= b.In.NextSeq && a.Phase >= b.Phase && drawsAdvance(a, b)
}

// drawsAdvance reports whether a knows all draws that b does.
func drawsAdvance(a, b *channel.State) bool {
	if o := b.OutDraws; o != nil && (a.OutDraws == nil || a.OutDraws.Count < o.Count || a.OutDraws.Next < o.Next) {
		return false
	}
	i := b.InDraws
	return i == nil || a.InDraws != nil && a.InDraws.Count >= i.Count && a.InDraws.High >= i.High && a.InDraws.Told >= i.Told
}

// proven checks the newest vouchers, which the store's cipher does not protect.
func (r *reconciler) proven(st *channel.State) bool {
	return r.valid(&st.Terms.In, &st.InFunding, &st.In) && r.valid(&st.Terms.Out, &st.OutFunding, &st.Out)
}

func (r *reconciler) valid(t *channel.LaneTerms, f *channel.Funding, l *channel.Lane) bool {
	if !t.Exists() || l.Total == 0 {
		return true
	}
	return r.scheme.VerifyVoucher(ledger.Lane{Terms: *t, Funding: f.Claimed}, l.Total, l.Voucher) == nil
}

// join makes one state of two of which neither proves all: the higher valid voucher of each lane, the more
// advanced phase, and no trust from then on.
func (r *reconciler) join(id channel.ID, j, s *channel.State, commits uint64) error {
	st := *j
	if s.Phase > st.Phase && !(s.Phase == channel.PhaseRecovering && st.Phase > channel.PhaseRecovering) {
		st.Phase, st.Closing, st.OutFunding, st.InFunding = s.Phase, s.Closing, s.OutFunding, s.InFunding
	}
	if s.In.Total > st.In.Total && r.valid(&st.Terms.In, &s.InFunding, &s.In) {
		st.In = s.In
	}
	if s.Out.Total > st.Out.Total && r.valid(&st.Terms.Out, &s.OutFunding, &s.Out) {
		st.Out = s.Out
	}
	if d := s.OutDraws; d != nil && (st.OutDraws == nil || d.Count > st.OutDraws.Count) {
		st.OutDraws = d
	}
	if d := s.InDraws; d != nil && (st.InDraws == nil || d.Count > st.InDraws.Count) {
		st.InDraws = d
	}
	if !r.proven(&st) {
		return fmt.Errorf("%w: neither has a valid voucher of channel %s; restore the newest backup of the whole data directory", ErrBooks, id)
	}
	t, err := encodeTriple(new(channel.Restored(st)), commits+1)
	if err != nil {
		return err
	}
	r.out.Recovering = append(r.out.Recovering, id)
	r.lostStore = true
	r.correctStore(id, t, 0)
	r.correctJournal(id, t)
	return nil
}

func encodeTriple(st *channel.State, commits uint64) (t triple, err error) {
	if t.cold, err = st.MarshalCold(); err != nil {
		return t, err
	}
	out, _ := st.Out.MarshalBinary()
	t.out = binary.BigEndian.AppendUint64(out, commits)
	t.in, _ = st.In.MarshalBinary()
	t.outDraws, t.inDraws = encodeDraws(st)
	return t, nil
}

// encodeDraws encodes both records of draws, nil for those that are not there.
func encodeDraws(st *channel.State) (out, in []byte) {
	if st.OutDraws != nil {
		out, _ = st.OutDraws.MarshalBinary()
	}
	if st.InDraws != nil {
		in, _ = st.InDraws.MarshalBinary()
	}
	return out, in
}

func (r *reconciler) correctStore(id channel.ID, t triple, number uint64) {
	r.lostStore = r.lostStore || number < r.last
	for i, key := range keysOf(id) {
		correct(&r.toStore, key, t.parts()[i], r.stored[string(key)])
	}
}

func (r *reconciler) correctJournal(id channel.ID, t triple) {
	r.storeAhead = true
	for i, key := range keysOf(id) {
		correct(&r.toJournal, key, t.parts()[i], r.hot[string(key)].bytes)
	}
}

// correct makes a record what it should be; nil is none.
func correct(b *store.Batch, key, want, have []byte) {
	switch {
	case want == nil && have != nil:
		b.Delete(key)
	case want != nil && (have == nil || !bytes.Equal(want, have)):
		b.Put(key, want)
	}
}

// decideOther decides a record that is no part of a channel.
func (r *reconciler) decideOther(key string) {
	j, known := r.hot[key]
	s, stored := r.stored[key]
	if known && stored && bytes.Equal(j.bytes, s) || !stored && j.bytes == nil {
		return
	}
	if known && !stored && r.newer && passing(key[0]) { // done with in a group that the journal lacks
		r.storeAhead = true
		correct(&r.toJournal, []byte(key), nil, j.bytes)
		return
	}
	if !known || stored && j.bytes != nil && r.storeProves(key, j.bytes, s) {
		r.storeAhead = true
		correct(&r.toJournal, []byte(key), s, j.bytes)
		return
	}
	r.lostStore = r.lostStore || j.number < r.last
	correct(&r.toStore, []byte(key), j.bytes, s)
}

// passing reports whether records of a kind go away in the ordinary course, so that one which the newer store
// lacks was not lost: transactions that are published until they are deep or replaced. The lanes that one of
// many settles have records of their own.
func passing(kind byte) bool { return kind == prefixBatch || kind == prefixSent }

// storeProves decides between two values that are both there.
func (r *reconciler) storeProves(key string, j, s []byte) bool {
	switch {
	case key == string(keyNextIndex):
		return len(s) == len(j) && bytes.Compare(s, j) > 0 // a key is never used twice
	case key[0] == budget.Key[0]: // of a peer, too
		return budgetUsed(s) > budgetUsed(j) || r.newer && len(r.out.Findings) == 0 // refusals give back what was used
	case key == string(keyOnchain): // the same for what was locked and sent
		return onchainUsed(s) > onchainUsed(j) || r.newer && len(r.out.Findings) == 0
	case key[0] == prefixCheckpoint, key[0] == prefixBase:
		return checkpointSize(s) > checkpointSize(j)
	}
	return r.newer
}

func budgetUsed(b []byte) channel.Msat {
	w, err := policy.DecodeWindow(b)
	if err != nil {
		return 0
	}
	return w.Used()
}

func onchainUsed(b []byte) channel.Msat {
	var o onchain
	if o.decode(b) != nil {
		return 0
	}
	return o.opens.Used() + o.sends.Used()
}

// recoverChannel makes a channel one that is not proven any more. It reports whether that changed it.
func recoverChannel(s store.Store, write func(*store.Batch) error, id channel.ID) (bool, error) {
	t, err := readTriple(s, id)
	if err != nil {
		return false, err
	}
	st, commits, ok := t.state()
	if !ok {
		return false, fmt.Errorf("channel %s can't be read", id)
	}
	if !st.Phase.CanMove(channel.PhaseRecovering) {
		return false, nil
	}
	if t, err = encodeTriple(new(channel.Restored(st)), commits+1); err != nil {
		return false, err
	}
	b := new(store.Batch)
	for i, key := range keysOf(id) {
		if part := t.parts()[i]; part != nil {
			b.Put(key, part)
		}
	}
	return true, write(b)
}

// Distrust makes every channel that is in use recovering: after a copy was restored of which nobody can
// say how old it is. Only close, settlement and refund are left to them.
func Distrust(s store.Store) (recovering []channel.ID, err error) {
	ids, err := channelIDs(s)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		moved, err := recoverChannel(s, func(b *store.Batch) error { return applyAll(s, b) }, id)
		if err != nil {
			return recovering, errors.Join(err)
		}
		if moved {
			recovering = append(recovering, id)
		}
	}
	return slices.Clip(recovering), nil
}
