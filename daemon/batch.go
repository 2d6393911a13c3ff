package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

// maxBatch is how many lanes one standard transaction settles: 100,000 vB at 151 vB a lane, with room.
const maxBatch = 600

// batches are the settlements of many lanes that are under way. A lane in one does not settle alone; one
// that endangers the others is let go of, and the rest goes on without it.
type batches struct {
	n   *Node
	mu  sync.Mutex // guards the fields below, and busy and height of every batch
	of  map[*driver]*batch
	all []*batch
}

// batch is one settlement of many lanes, in whatever transaction it stands now. Whoever has set busy owns
// the fields without a guard.
type batch struct {
	n       *Node
	busy    bool
	height  uint32 // tip of the last turn
	members []*driver
	freed   []*driver // left in this turn
	rec     batchRecord
	handed  handed
	mined   bool // it is in a block
}

// batchRecord is what a restart needs of a batch.
type batchRecord struct {
	Tx     channel.OwnTx // Shared is not set; the fee is that of all lanes
	Lanes  []channel.ID  // in the order of its inputs
	Totals []channel.Msat
	Asked  uint64 // rate that the owner asked for
	Script []byte // that it pays to
}

const prefixBatch = 'x'

func batchKey(txid [32]byte) []byte { return append([]byte{prefixBatch}, txid[:]...) }

// reserve takes drivers that are in no batch into one, and returns it with those that it got.
func (l *batches) reserve(ds []*driver) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &batch{n: l.n, busy: true}
	for _, d := range ds {
		if l.of[d] == nil {
			l.of[d], b.members = b, append(b.members, d)
		}
	}
	l.all = append(l.all, b)
	return b
}

// takes reports whether a driver's lane is settled by a batch.
func (l *batches) takes(d *driver) bool { return l.owner(d) != nil }

// tick gives each batch its turn, once a block.
func (l *batches) tick() {
	if l.n.chain.behind.Load() {
		return
	}
	tip, _ := l.n.chain.tip()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.all {
		if b.busy || b.height == tip.Height {
			continue
		}
		b.busy, b.height = true, tip.Height
		b.busy = l.n.spawn(func() {
			defer l.tick() // a block that came meanwhile
			defer l.done(b)
			if err := b.turn(); err != nil {
				l.n.log.Warn("a settlement of several lanes waits for the next block", "lanes", len(b.members), "err", err)
			}
		})
	}
}

// done ends a turn, and a batch that nobody is in.
func (l *batches) done(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.busy = false
	if len(b.members) == 0 {
		l.all = slices.DeleteFunc(l.all, func(o *batch) bool { return o == b })
	}
}

func (l *batches) owner(d *driver) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[d]
}

// resend hands out again what is in no block.
func (l *batches) resend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.all {
		if b.busy || b.mined || len(b.members) == 0 {
			continue
		}
		tx, id := b.rec.Tx, b.members[0].id
		l.n.spawn(func() { _ = l.n.handOut(id, tx) }) // logged; the turn of the next block deals with it
	}
}

// leave lets members go alone once this turn is over: what the others do first may make room for them.
func (b *batch) leave(ds []*driver, why string) {
	if len(ds) == 0 {
		return
	}
	b.n.batches.mu.Lock()
	for _, d := range ds {
		if b.n.batches.of[d] == b {
			delete(b.n.batches.of, d)
		}
	}
	b.n.batches.mu.Unlock()
	b.members = slices.DeleteFunc(slices.Clone(b.members), func(d *driver) bool { return slices.Contains(ds, d) })
	b.freed = append(b.freed, ds...)
	for _, d := range ds {
		b.n.log.Info("a lane left the settlement with others", "channel", d.id, "why", why)
	}
}

// release lets those that left act for themselves.
func (b *batch) release() {
	tip, _ := b.n.chain.tip()
	for _, d := range b.freed {
		d.post(channel.Height{Tip: tip.Height})
	}
	b.freed = nil
}

// member is what a turn knows of a lane in the batch.
type member struct {
	d  *driver
	st channel.State
}

func (b *batch) look() (ms []member) {
	for _, d := range b.members {
		b.n.read(d, func(d *driver) { ms = append(ms, member{d, d.w.st}) })
	}
	return ms
}

// turn brings the batch forward by one block: it is published again, replaced at a higher fee, or built
// without lanes whose payers stand in the way.
func (b *batch) turn() error {
	defer b.release()
	if len(b.members) == 0 {
		return b.forget() // a start found its lanes over
	}
	ms := b.look()
	if over, err := b.confirmed(ms); over || err != nil {
		return err
	}
	ms, dead := b.sift(ms)
	for len(ms) > 0 {
		err := b.step(ms, dead)
		if !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrRejected) {
			return err
		}
		culprits := b.culprits(ms)
		if len(culprits) == 0 {
			return err
		}
		b.leave(culprits, "its payer has spent it")
		ms = slices.DeleteFunc(ms, func(m member) bool { return slices.Contains(culprits, m.d) })
		dead = true
	}
	return b.forget()
}

// confirmed reports whether the batch's transaction is in a block, and ends the batch once it is deep.
func (b *batch) confirmed(ms []member) (bool, error) {
	for _, m := range ms {
		sp := m.st.InFunding.Spend
		if sp == nil || sp.TxID != b.rec.Tx.TxID {
			continue
		}
		if b.mined = true; m.st.Tip+1 < sp.Height+channel.DeepConfirmations {
			return true, nil
		}
		b.leave(b.members, "it is settled")
		return true, b.forget()
	}
	b.mined = false
	return false, nil
}

// sift lets go of lanes that are spent otherwise, and of those whose payers can soon spend them: they pay
// more than the others need to, and once they have expired they endanger all. dead means that nodes can not
// hold the batch's transaction any more.
func (b *batch) sift(ms []member) (left []member, dead bool) {
	var gone, short []*driver
	for _, m := range ms {
		switch {
		case !m.st.CanSettle() || m.st.Phase != channel.PhaseSettling:
			gone = append(gone, m.d)
		case blocksLeft(&m.st) <= m.st.Terms.Heights.Escalate:
			short = append(short, m.d)
		default:
			left = append(left, m)
		}
	}
	b.leave(gone, "it is spent otherwise")
	b.leave(short, "its payer can spend it soon")
	return left, len(gone) > 0
}

// step publishes the transaction that stands, or builds the next one.
func (b *batch) step(ms []member, dead bool) error {
	verdict, rate := b.fee(ms, dead)
	switch verdict {
	case policy.FeeWait:
		b.leave(b.members, "the fee would eat it")
		return b.forget()
	case policy.FeeBuild:
		if err := b.build(ms, rate); err != nil {
			return err
		}
	}
	h, err := b.n.handOver(ms[0].d.id, b.rec.Tx)
	if h.txid == b.handed.txid {
		h.height = b.handed.height
	}
	b.handed = h
	return err
}

func (b *batch) fee(ms []member, dead bool) (policy.FeeVerdict, uint64) {
	estimate, _ := b.n.chain.feeRate()
	e := policy.Exit{VBytes: b.n.deps.Scheme.SettleVSize(len(ms)), Estimate: uint64(estimate), Asked: b.rec.Asked, Left: policy.NoDeadline}
	tip := uint32(0)
	for _, m := range ms {
		e.Stake += m.st.In.Total.SatCeil()
		if x := m.st.InFunding.Exit; x != nil {
			e.Last.Rate = max(e.Last.Rate, x.Rate)
		}
		tip = max(tip, m.st.Tip)
	}
	last := b.rec.Tx
	if len(last.Raw) == 0 {
		return e.Fee()
	}
	e.Last.Rate = max(e.Last.Rate, last.Rate)
	e.Last.Age, e.Last.Refused = b.handed.since(last, tip)
	e.Last.Whole = !dead && b.same(ms)
	if !dead {
		e.Last.Fee = last.Fee
	}
	return e.Fee()
}

// same reports whether the transaction that stands settles just these lanes at their totals.
func (b *batch) same(ms []member) bool {
	if len(ms) != len(b.rec.Lanes) {
		return false
	}
	for i, m := range ms {
		if b.rec.Lanes[i] != m.d.id || b.rec.Totals[i] != m.st.In.Total {
			return false
		}
	}
	return true
}

// build makes the transaction and its record durable before anybody sees it.
func (b *batch) build(ms []member, rate uint64) error {
	n := b.n
	rec := batchRecord{Asked: b.rec.Asked, Script: b.rec.Script}
	lanes := make([]ledger.SettleLane, len(ms))
	for i, m := range ms {
		lanes[i] = settleLane(&m.st)
		rec.Lanes, rec.Totals = append(rec.Lanes, m.d.id), append(rec.Totals, m.st.In.Total)
	}
	tx, err := n.deps.Signer.Settle(lanes, rec.Script, ledger.FeeRate(rate))
	if err != nil {
		return err
	}
	rec.Tx = n.ownTx(tx, ledger.FeeRate(rate))
	if err := n.storeBatch(rec, b.rec.Tx); err != nil {
		return err
	}
	b.rec = rec
	share := tx.Fee / channel.Sat(len(ms))
	for i, m := range ms {
		own := channel.OwnTx{TxID: tx.ID, Rate: rate, Fee: share, Height: rec.Tx.Height, Shared: uint32(len(ms))}
		if i == 0 {
			own.Fee = tx.Fee - share*channel.Sat(len(ms)-1)
		}
		m.d.post(channel.ExitBuilt{Tx: own})
	}
	return nil
}

func (n *Node) storeBatch(rec batchRecord, old channel.OwnTx) error {
	record, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	change := new(store.Batch).Put(batchKey(rec.Tx.TxID), record)
	if len(old.Raw) > 0 {
		change.Delete(batchKey(old.TxID))
	}
	return n.deps.Committer.Commit(change)
}

// forget ends the batch's record; its lanes have gone.
func (b *batch) forget() error {
	if len(b.rec.Tx.Raw) == 0 {
		return nil
	}
	return b.n.deps.Committer.Commit(new(store.Batch).Delete(batchKey(b.rec.Tx.TxID)))
}

// culprits are the lanes that somebody else has spent, where the backend can tell. If all are spent, it is
// our own transaction that did it.
func (b *batch) culprits(ms []member) (list []*driver) {
	if !b.n.deps.Chain.Capabilities().Unspent {
		return nil
	}
	ctx, cancel := context.WithTimeout(b.n.ctx, time.Minute)
	defer cancel()
	for _, m := range ms {
		_, _, err := b.n.deps.Chain.Unspent(ctx, m.st.InFunding.Claimed)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil
		}
		if err != nil {
			list = append(list, m.d)
		}
	}
	if len(list) == len(ms) {
		return nil
	}
	return list
}

// loadBatches finds the settlements that were under way.
func (n *Node) loadBatches() error {
	n.batches = batches{n: n, of: map[*driver]*batch{}}
	var bad error
	err := n.deps.Store.Scan([]byte{prefixBatch}, nil, func(_, value []byte) bool {
		b := &batch{n: n}
		if bad = json.Unmarshal(value, &b.rec); bad != nil {
			bad = fmt.Errorf("daemon: the record of a settlement of several lanes is damaged: %w", bad)
			return false
		}
		for _, id := range b.rec.Lanes {
			if d := n.drivers[id]; d != nil && !d.w.st.Phase.Final() {
				b.members = append(b.members, d)
				n.batches.of[d] = b
			}
		}
		n.batches.all = append(n.batches.all, b)
		return true
	})
	return cmp.Or(err, bad)
}
