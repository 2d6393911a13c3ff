package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/receipt"
	"github.com/runnel/runnel/store"
)

// checkpoint is the newest root of a lane's log that both sides signed, as it is kept. With the peaks of the
// tree below it the log can be continued, and entries after it can be proven, without the entries below it.
//
// Whoever deletes frames of a lane does so only up to the Size of its checkpoint, and in the same batch puts
// the checkpoint under baseKey, too: the log then begins after it. Sizes always end a frame.
type checkpoint struct {
	channel.Checkpoint
	peaks []receipt.Hash
}

const checkpointVersion = 1

// checkpointHead is the length of a record without its peaks, whose number follows from the size.
const checkpointHead = 1 + 3*32 + 4*8 + 2*64

func checkpointKey(lane laneKey) []byte { return append([]byte{prefixCheckpoint}, lane[:]...) }

func baseKey(lane laneKey) []byte { return append([]byte{prefixBase}, lane[:]...) }

func (c *checkpoint) encode() []byte {
	b := make([]byte, 0, checkpointHead+32*len(c.peaks))
	b = append(b, checkpointVersion)
	b = append(b, c.Lane[:]...)
	for _, n := range []uint64{c.Size, uint64(c.Total), uint64(c.Spent), c.Time} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, c.Hash[:]...)
	b = append(b, c.Root[:]...)
	b = append(b, c.Payee[:]...)
	b = append(b, c.Payer[:]...)
	for i := range c.peaks {
		b = append(b, c.peaks[i][:]...)
	}
	return b
}

var errCheckpoint = errors.New("daemon: a damaged checkpoint record")

func decodeCheckpoint(b []byte) (*checkpoint, error) {
	if len(b) < checkpointHead || b[0] != checkpointVersion {
		return nil, errCheckpoint
	}
	c := new(checkpoint)
	b = b[1:]
	b = b[copy(c.Lane[:], b):]
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	c.Size, c.Total, c.Spent, c.Time = u(0), channel.Msat(u(1)), channel.Msat(u(2)), u(3)
	b = b[4*8:]
	for _, to := range [][]byte{c.Hash[:], c.Root[:], c.Payee[:], c.Payer[:]} {
		b = b[copy(to, b):]
	}
	if len(b) != 32*receipt.PeakCount(c.Size) {
		return nil, errCheckpoint
	}
	for ; len(b) > 0; b = b[32:] {
		c.peaks = append(c.peaks, receipt.Hash(b))
	}
	if t, err := receipt.NewTree(c.Size, c.peaks); err != nil || t.Root() != c.Root {
		return nil, errCheckpoint
	}
	return c, nil
}

// checkpointSize is how far a record goes; 0 when it can't be read.
func checkpointSize(b []byte) uint64 {
	c, err := decodeCheckpoint(b)
	if err != nil {
		return 0
	}
	return c.Size
}

// loadCheckpoint reads what stands under checkpointKey or baseKey; nil when there is nothing.
func loadCheckpoint(s store.Store, key []byte) (*checkpoint, error) {
	b, err := s.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeCheckpoint(b)
}

// laneBook is how far a lane's log was read: what a root says of it, and the tree.
type laneBook struct {
	at   channel.LogRoot // Root and Time are not kept
	tree *receipt.Tree
}

// bookAt continues from a checkpoint, or from the beginning when it is nil.
func bookAt(lane channel.LaneID, c *checkpoint) (*laneBook, error) {
	if c == nil {
		tree, err := receipt.NewTree(0, nil)
		return &laneBook{channel.LogRoot{Lane: lane}, tree}, err
	}
	if c.Lane != lane {
		return nil, errCheckpoint
	}
	tree, err := receipt.NewTree(c.Size, c.peaks)
	return &laneBook{c.LogRoot, tree}, err
}

// root is what a root over all that was read says.
func (b *laneBook) root() channel.LogRoot {
	r := b.at
	r.Root, r.Time = b.tree.Root(), 0
	return r
}

// add reads one frame with its answer. The payee stored what the answer says; the payer works it out again.
func (b *laneBook) add(r *frameRecord, refused []channel.Refusal) error {
	f := r.Frame
	b.at.Size, b.at.Total = f.NextSeq()-1, f.Total
	if r.Ack != nil {
		b.at.Spent, b.at.Hash = r.Ack.Spent, r.Ack.Hash
	}
	return eachEntry(f, refused, func(seq uint64, p channel.Payment, reason channel.RefuseReason) error {
		if r.Ack == nil {
			b.at.Hash = channel.LaneHash(b.at.Hash, b.at.Lane, seq, p, reason)
			if reason == channel.Accepted {
				b.at.Spent += p.Amount
			}
		}
		return b.tree.Append(receipt.Leaf(b.at.Lane, seq, p, reason))
	})
}

// read continues the book from the store, at most up to an entry; 0 is as far as there is something.
func (b *laneBook) read(s store.Store, to uint64) error {
	return logFrames(s, keyOf(b.at.Lane), b.at.Size+1, to, b.add)
}

// logPage is how many payments are read at a time.
const logPage = 4096

// logFrames calls fn for the frames of a lane from a sequence number up to the one that holds entry to, with
// what their answers refused; to 0 is as far as there are frames. Frames that are missing between are an error.
func logFrames(s store.Store, lane laneKey, from, to uint64, fn func(*frameRecord, []channel.Refusal) error) error {
	for to == 0 || from <= to {
		page, err := framePage(s, lane, from, to)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if to > 0 {
				return fmt.Errorf("daemon: the payments from %d to %d are missing", from, to)
			}
			return nil
		}
		refused, err := refusalsOf(s, lane, from, page)
		if err != nil {
			return err
		}
		for i, r := range page {
			if r.Frame.FirstSeq != from {
				return fmt.Errorf("daemon: the payments from %d to %d are missing", from, r.Frame.FirstSeq-1)
			}
			if err := fn(r, refused[i]); err != nil {
				return err
			}
			from = r.Frame.NextSeq()
		}
	}
	return nil
}

// framePage reads the next frames from a sequence number on.
func framePage(s store.Store, lane laneKey, from, to uint64) (page []*frameRecord, err error) {
	payments := 0
	scanErr := s.Scan(lanePrefix(prefixFrame, lane), seqKey(prefixFrame, lane, from), func(_, value []byte) bool {
		var r *frameRecord
		if r, err = decodeFrame(value); err != nil || to > 0 && r.Frame.FirstSeq > to {
			return false
		}
		page = append(page, r)
		payments += len(r.Frame.Payments)
		return payments < logPage
	})
	return page, errors.Join(err, scanErr)
}

// refusalsOf finds what the answers to frames refused: beside the frame where we are the payee, in records of
// their own where we are the payer.
func refusalsOf(s store.Store, lane laneKey, from uint64, page []*frameRecord) ([][]channel.Refusal, error) {
	refused := make([][]channel.Refusal, len(page))
	if page[0].Ack != nil {
		for i, r := range page {
			refused[i] = r.Ack.Refused
		}
		return refused, nil
	}
	i := 0
	var bad error
	err := s.Scan(lanePrefix(prefixRefusal, lane), seqKey(prefixRefusal, lane, from), func(key, value []byte) bool {
		if len(key) != 17 {
			bad = errors.New("daemon: a damaged refusal record")
			return false
		}
		seq := binary.BigEndian.Uint64(key[9:])
		for i < len(page) && page[i].Frame.FirstSeq < seq {
			i++
		}
		if i == len(page) {
			return false
		}
		if page[i].Frame.FirstSeq == seq {
			refused[i], bad = decodeRefusals(value)
		}
		return bad == nil
	})
	return refused, errors.Join(err, bad)
}
