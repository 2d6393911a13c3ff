package daemon

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/book"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// The node's own book for others to check (channel/book), and the check of both copies while it runs.

// ExportLog writes the book of one channel, or of all, as it is durable now.
func (n *Node) ExportLog(ctx context.Context, filter string, w io.Writer) error {
	var only *channel.ID
	if filter != "" {
		d, err := n.resolveChannel(filter)
		if err != nil {
			return err
		}
		only = &d.id
	}
	return exportBook(ctx, n.deps.Store, only, book.Header{Network: n.cfg.Network, Node: string(n.deps.Transport.Self()), Time: n.deps.Now().UnixMilli()}, w)
}

// exported is a lane of the book, as it was durable at one moment.
type exported struct {
	id    channel.LaneID
	out   bool
	lane  channel.Lane
	about book.Lane
	final bool   // the channel is over
	spent uint32 // height of the lane's spend; 0: none
}

func exportBook(ctx context.Context, s store.Store, only *channel.ID, h book.Header, w io.Writer) error {
	ids, err := channelIDs(s)
	if err != nil {
		return err
	}
	var lanes []exported
	for _, id := range ids {
		if only != nil && *only != id {
			continue
		}
		more, err := lanesOfRecord(s, id)
		if err != nil {
			return err
		}
		lanes = append(lanes, more...)
	}
	slices.SortFunc(lanes, func(a, b exported) int { return bytes.Compare(a.id[:], b.id[:]) })
	b := book.NewWriter(w, h)
	for _, l := range lanes {
		if err := exportLane(ctx, s, b, l); err != nil {
			return err
		}
	}
	return b.Close()
}

// lanesOfRecord reads a channel's lanes without its frames, so that one with a gap can be told of too.
func lanesOfRecord(s store.Store, id channel.ID) (lanes []exported, err error) {
	t, err := readTriple(s, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil // dropped meanwhile
	}
	if err != nil {
		return nil, err
	}
	st, _, ok := t.state()
	if !ok {
		return nil, fmt.Errorf("channel %s can't be read", id)
	}
	if st.Terms.Out.Exists() {
		lanes = append(lanes, exported{st.Terms.Out.ID(), true, st.Out, book.NewLane(&st, true), st.Phase.Final(), spentAt(&st.OutFunding)})
	}
	if st.Terms.In.Exists() {
		lanes = append(lanes, exported{st.Terms.In.ID(), false, st.In, book.NewLane(&st, false), st.Phase.Final(), spentAt(&st.InFunding)})
	}
	return lanes, nil
}

func spentAt(f *channel.Funding) uint32 {
	if f.Spend == nil {
		return 0
	}
	return f.Spend.Height
}

func exportLane(ctx context.Context, s store.Store, w *book.Writer, l exported) error {
	base, err := loadCheckpoint(s, baseKey(keyOf(l.id)))
	if err != nil {
		return err
	}
	if base != nil {
		l.about.FirstSeq, l.about.StartHash, l.about.StartSpent = base.Size+1, hex.EncodeToString(base.Hash[:]), uint64(base.Spent)
	}
	w.Lane(l.about, l.id, l.lane.Hash)
	var bad error
	err = s.Scan(lanePrefix(prefixFrame, keyOf(l.id)), seqKey(prefixFrame, keyOf(l.id), l.about.FirstSeq), func(_, value []byte) bool {
		r, err := decodeFrame(value)
		if err != nil {
			bad = err
			return false
		}
		if r.Frame.FirstSeq >= l.lane.NextSeq {
			return false // newer than the lane's record that was read
		}
		bad = errors.Join(exportFrame(s, w, l, r), ctx.Err())
		return bad == nil
	})
	w.EndLane(book.NewEnd(&l.lane))
	return errors.Join(err, bad)
}

func exportFrame(s store.Store, w *book.Writer, l exported, r *frameRecord) error {
	var refused []channel.Refusal
	if r.Ack != nil {
		refused = r.Ack.Refused
	} else {
		b, err := s.Get(seqKey(prefixRefusal, keyOf(l.id), r.Frame.FirstSeq))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if refused, err = decodeRefusals(b); err != nil {
			return err
		}
	}
	for i, p := range r.Frame.Payments {
		seq, reason := r.Frame.FirstSeq+uint64(i), channel.Accepted
		if len(refused) > 0 && refused[0].Seq == seq {
			reason, refused = refused[0].Reason, refused[1:]
		}
		w.Payment(seq, r.Time, p, reason, l.out && seq >= l.lane.Acked)
	}
	return nil
}

// VerifyLog checks the journal's seals and chain, that every payment in it stands in the database as it
// was written, and that the payments of every lane come to its hash.
func (n *Node) VerifyLog(ctx context.Context, filter string) (r channel.LogReport, err error) {
	if n.deps.Journal != nil {
		if err := n.verifyJournal(ctx, &r); err != nil {
			return r, err
		}
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(n.ExportLog(ctx, filter, pw)) }()
	b := book.NewReader(pr, func(_ string, t channel.LaneTerms, f channel.Outpoint, total channel.Msat, sig channel.Signature) error {
		return n.deps.Scheme.VerifyVoucher(ledger.Lane{Terms: t, Funding: f}, total, sig)
	})
	err = b.Verify()
	_ = pr.Close()
	count := b.Count()
	r.Lanes, r.Payments = count.Lanes, count.Payments
	var wrong *book.Wrong
	if errors.As(err, &wrong) {
		r.Problems = append(r.Problems, "the database: "+wrong.Error())
		err = nil
	}
	return r, err
}

// maxProblems bounds what is listed.
const maxProblems = 20

func (n *Node) verifyJournal(ctx context.Context, r *channel.LogReport) error {
	// What is below this number when an empty batch has come through is in both copies.
	below := n.deps.Journal.Next()
	if err := n.deps.Committer.Commit(new(store.Batch)); err != nil {
		return err
	}
	pruned, err := loadBases(n.deps.Store)
	if err != nil {
		return err
	}
	r.Bytes = n.deps.Journal.Size()
	findings, err := n.deps.Journal.Replay(func(g *journal.Group) error {
		r.Records++
		if !g.Base && g.Number >= below {
			return nil
		}
		for i := range g.Ops {
			if op := &g.Ops[i]; once(op.Key[0]) && !op.Delete && len(r.Problems) < maxProblems && !pruned.cover(op.Key, op.Value) {
				if err := n.sameInStore(r, g, op); err != nil {
					return err
				}
			}
		}
		return ctx.Err()
	})
	for _, f := range findings {
		r.Problems = append(r.Problems, f.Error())
	}
	return err
}

func (n *Node) sameInStore(r *channel.LogReport, g *journal.Group, op *store.Op) error {
	have, err := n.deps.Store.Get(op.Key)
	if err == nil && bytes.Equal(have, op.Value) {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	what := "is not in the database as it was written"
	if err != nil {
		what = "is missing in the database"
	}
	r.Problems = append(r.Problems, fmt.Sprintf("journal segment %d, record %d: what it says %s (%c %x); restart the daemon to repair it",
		g.Segment, g.Number, what, op.Key[0], op.Key[1:]))
	return nil
}
