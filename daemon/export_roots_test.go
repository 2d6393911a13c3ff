package daemon

import (
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// StoredCheckpoint is the newest root of a lane's log that both sides signed, as it is stored; nil for none.
func StoredCheckpoint(s store.Store, lane channel.LaneID) (*channel.Checkpoint, error) {
	c, err := loadCheckpoint(s, checkpointKey(keyOf(lane)))
	if c == nil || err != nil {
		return nil, err
	}
	return &c.Checkpoint, nil
}

// Prune deletes the frames of a lane up to its checkpoint.
func Prune(s store.Store, lane channel.LaneID) error {
	key := keyOf(lane)
	c, err := loadCheckpoint(s, checkpointKey(key))
	if err != nil {
		return err
	}
	b := new(store.Batch).Put(baseKey(key), c.encode())
	err = logFrames(s, key, 1, c.Size, func(r *frameRecord, _ []channel.Refusal) error {
		f := r.Frame
		b.Delete(seqKey(prefixFrame, key, f.FirstSeq)).Delete(seqKey(prefixRefusal, key, f.FirstSeq))
		return nil
	})
	if err == nil {
		_, err = s.Apply([]*store.Batch{b})
	}
	return err
}

// DecodeCheckpoint reads a checkpoint record.
func DecodeCheckpoint(b []byte) (again []byte, err error) {
	c, err := decodeCheckpoint(b)
	if err != nil {
		return nil, err
	}
	return c.encode(), nil
}
