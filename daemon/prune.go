package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// Pruning drops payments below a checkpoint that both sides signed. First the point from which a lane's
// book begins is durable (baseKey), in both copies; from then on neither counts what lies below it. Then it
// is deleted, and the journal's segments are replaced by a base without it. A crash between leaves waste
// that the next pruning takes along.

// idWindow is how many blocks ids of own payments are kept after the lane's spend: 6 and 30 days.
const idWindow = channel.DeepConfirmations + 30*144

// PruneLog drops payments that are older than a time and below a checkpoint. Own payments stay until their
// ids are not needed any more.
func (n *Node) PruneLog(ctx context.Context, req channel.PruneRequest) (r channel.PruneResult, err error) {
	if n.deps.Journal == nil {
		return r, channel.Faultf(channel.CodeUnsupported, "this node keeps no journal")
	}
	before := req.Before
	if req.Height > 0 {
		tip, _ := n.chain.tip()
		before = n.deps.Now().Add(-time.Duration(int64(tip.Height)-int64(req.Height)) * blockTime).UnixMilli()
	}
	n.pruneMu.Lock()
	defer n.pruneMu.Unlock()
	r.BytesBefore = n.deps.Journal.Size()
	ids, err := channelIDs(n.deps.Store)
	if err != nil {
		return r, err
	}
	for _, id := range ids {
		if err := n.pruneChannel(ctx, id, before, req.DryRun, &r); err != nil {
			return r, err
		}
	}
	if !req.DryRun {
		err = n.dropPruned(req.Archive)
	}
	r.BytesAfter = n.deps.Journal.Size()
	return r, err
}

func (n *Node) pruneChannel(ctx context.Context, id channel.ID, before int64, dry bool, r *channel.PruneResult) error {
	lanes, err := lanesOfRecord(n.deps.Store, id)
	if err != nil {
		return err
	}
	for _, l := range lanes {
		if l.out && !n.idsOver(&l) {
			continue
		}
		base, from, err := n.newBase(ctx, l.id, before)
		if err != nil || base == nil {
			if err != nil {
				return err
			}
			continue
		}
		r.Lanes++
		r.Payments += base.Size - from
		if !dry {
			if err := n.deps.Committer.Commit(new(store.Batch).Put(baseKey(keyOf(l.id)), base.encode())); err != nil {
				return err
			}
		}
	}
	return nil
}

// idsOver reports whether no id of an own lane can be asked for any more.
func (n *Node) idsOver(l *exported) bool {
	tip, ok := n.chain.tip()
	return ok && l.final && l.spent > 0 && tip.Height >= l.spent+idWindow
}

// newBase is where a lane's book could begin: behind its last payment from before a time that the newest
// checkpoint covers. It is nil when that is where it begins already.
func (n *Node) newBase(ctx context.Context, lane channel.LaneID, before int64) (base *checkpoint, from uint64, err error) {
	key := keyOf(lane)
	newest, err := loadCheckpoint(n.deps.Store, checkpointKey(key))
	if err != nil || newest == nil {
		return nil, 0, err
	}
	old, err := loadCheckpoint(n.deps.Store, baseKey(key))
	if err != nil {
		return nil, 0, err
	}
	b, err := bookAt(lane, old)
	if err != nil {
		return nil, 0, err
	}
	from = b.at.Size
	for older := true; older && b.at.Size < newest.Size; {
		next := b.at.Size
		if older, err = n.addOlder(b, newest.Size, before); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, 0, err
		}
		older = older && b.at.Size > next
	}
	switch {
	case b.at.Size == from:
		return nil, from, nil
	case b.at.Size == newest.Size:
		return newest, from, nil
	}
	c := &checkpoint{peaks: b.tree.Peaks()}
	c.LogRoot = b.root()
	return c, from, nil
}

// addOlder reads a page of frames from before a time; false when a newer one came.
func (n *Node) addOlder(b *laneBook, to uint64, before int64) (bool, error) {
	key, from := keyOf(b.at.Lane), b.at.Size+1
	page, err := framePage(n.deps.Store, key, from, to)
	if err != nil || len(page) == 0 {
		return false, err
	}
	refused, err := refusalsOf(n.deps.Store, key, from, page)
	if err != nil {
		return false, err
	}
	for i, f := range page {
		if f.Time >= before || f.Frame.NextSeq()-1 > to || f.Frame.FirstSeq != b.at.Size+1 {
			return false, nil
		}
		if err := b.add(f, refused[i]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// bases says for each lane up to which payment its book was pruned.
type bases map[laneKey]uint64

func loadBases(s store.Store) (bases, error) {
	list := bases{}
	err := s.Scan([]byte{prefixBase}, nil, func(key, value []byte) bool {
		list.add(key, value)
		return true
	})
	return list, err
}

func (b bases) add(key, value []byte) {
	if c, err := decodeCheckpoint(value); err == nil && len(key) == 9 {
		b[laneKey(key[1:])] = max(b[laneKey(key[1:])], c.Size)
	}
}

// cover reports whether a record was pruned: a frame, its refusals, or an id of a payment in it. Events stay,
// for their numbers go on.
func (b bases) cover(key, value []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch key[0] {
	case prefixFrame, prefixRefusal:
		return len(key) == 17 && seqOf(key[9:]) <= b[laneKey(key[1:9])]
	case prefixID:
		lane, first, err := decodeID(value)
		return err == nil && first <= b[lane]
	}
	return false
}

// dropPruned deletes what lies below the bases and rewrites the journal without it.
func (n *Node) dropPruned(archive bool) error {
	list, err := loadBases(n.deps.Store)
	if err != nil || len(list) == 0 {
		return err
	}
	w := writer{apply: n.deps.Committer.Commit}
	for _, kind := range []byte{prefixID, prefixRefusal, prefixFrame} {
		var bad error
		err := n.deps.Store.Scan([]byte{kind}, nil, func(key, value []byte) bool {
			if list.cover(key, value) {
				bad = w.add(store.Op{Key: append([]byte(nil), key...), Delete: true})
			}
			return bad == nil
		})
		if err := errors.Join(err, bad, w.flush()); err != nil {
			return err
		}
	}
	to := ""
	if archive {
		to = "archive-" + n.deps.Now().UTC().Format("20060102-150405")
	}
	return n.deps.Journal.Rebase(to, func(replay func(func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error {
		return rewriteWithout(list, replay, add)
	})
}

// rewriteWithout copies a journal but for what was pruned and what was overwritten.
func rewriteWithout(list bases, replay func(func(*journal.Group) error) ([]journal.Finding, error), add func(*store.Op) error) error {
	newest := map[string][]byte{}
	findings, err := replay(func(g *journal.Group) error {
		for i := range g.Ops {
			op := &g.Ops[i]
			switch {
			case op.Delete:
				delete(newest, string(op.Key))
			case !once(op.Key[0]):
				newest[string(op.Key)] = append([]byte(nil), op.Value...)
			case !list.cover(op.Key, op.Value):
				if err := add(op); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(findings) > 0 { // a damaged journal is repaired at a start, not made to look whole
		return findings[0]
	}
	for key, value := range newest {
		if err := add(&store.Op{Key: []byte(key), Value: value}); err != nil {
			return err
		}
	}
	return nil
}
