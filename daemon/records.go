package daemon

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// Keys of the store. One letter says the kind; integers are big-endian so that order is order.
//
//	c <channel id>              everything of a channel but its lanes (channel.State.MarshalCold)
//	l <channel id> o|i          a lane: own (o) or the peer's (i)
//	d <channel id> o|i          the draws on a lane, once there was one
//	v <lane key> <n>            what was authorised on an own lane
//	g <lane key> <draw seq>     a draw that ended
//	s <channel id>              the funding scripts of its lanes
//	f <lane key> <first seq>    a frame of payments: time, answer, frame
//	r <lane key> <first seq>    refusals in the answer to an own frame
//	i <payment id>              where an own payment is: lane key, first seq of its frame
//	e <seq>                     event log
//	k                           next key index
//	h                           last scanned blocks
//	b                           budget
//	b <peer id>                 the same for one peer, while a limit asks for it
//	o                           own deposits and on-chain sends of the last 24 hours
//	y                           limits that the owner set
//	z                           what is frozen
//	a <payment id>              a request that waits or waited for the owner's approval
//	p <peer id>                 addresses of a peer
//	m <lane key>                newest checkpoint of a lane's log: a root that both sides signed
//	n <lane key>                checkpoint below which the lane's frames were deleted
//	w <transaction id>          a payment or fee bump of the own wallet that is not deep yet: fee, transaction
//	x <transaction id>          a settlement of several lanes that is not deep yet
//	u                           the search for deposits that this store does not know is not done
//
// A lane key is the first eight bytes of the lane id; no two lanes of a node share one.
const (
	prefixChannel = 'c'
	prefixLane    = 'l'
	prefixScripts = 's'
	prefixFrame   = 'f'
	prefixRefusal = 'r'
	prefixID      = 'i'
	prefixEvent   = 'e'
	prefixPeer    = 'p'

	prefixDraws     = 'd'
	prefixAuthorise = 'v'
	prefixDraw      = 'g'

	prefixCheckpoint = 'm'
	prefixBase       = 'n'
)

var (
	keyNextIndex = []byte("k")
	keyScanned   = []byte("h")
	keySearch    = []byte("u")
)

type laneKey [8]byte

func keyOf(l channel.LaneID) laneKey { return laneKey(l[:8]) }

func channelKey(id channel.ID) []byte { return append([]byte{prefixChannel}, id[:]...) }

func scriptsKey(id channel.ID) []byte { return append([]byte{prefixScripts}, id[:]...) }

func laneRecordKey(id channel.ID, out bool) []byte {
	side := byte('i')
	if out {
		side = 'o'
	}
	return append(append([]byte{prefixLane}, id[:]...), side)
}

func drawsKey(id channel.ID, out bool) []byte {
	b := laneRecordKey(id, out)
	b[0] = prefixDraws
	return b
}

func seqKey(prefix byte, lane laneKey, seq uint64) []byte {
	b := make([]byte, 0, 17)
	b = append(append(b, prefix), lane[:]...)
	return binary.BigEndian.AppendUint64(b, seq)
}

// seqOf reads the number at the end of such a key.
func seqOf(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func lanePrefix(prefix byte, lane laneKey) []byte { return append([]byte{prefix}, lane[:]...) }

func idKey(id channel.PaymentID) []byte { return append([]byte{prefixID}, id[:]...) }

func eventKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixEvent}, seq)
}

func peerKey(id channel.PeerID) []byte { return append([]byte{prefixPeer}, id...) }

// frameRecord is a frame as it is kept: when it was made or taken, and the payee's answer, which an own
// frame does not have.
type frameRecord struct {
	Time  int64 // unix milliseconds
	Frame *channel.Frame
	Ack   *channel.Ack
}

func (r *frameRecord) encode() ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(r.Time))
	var ack []byte
	if r.Ack != nil {
		var err error
		if ack, err = wire.Encode(r.Ack); err != nil {
			return nil, err
		}
	}
	b = binary.AppendUvarint(b, uint64(len(ack)))
	b = append(b, ack...)
	return wire.Append(b, r.Frame)
}

var errFrameRecord = errors.New("daemon: a damaged frame record")

func decodeFrame(b []byte) (*frameRecord, error) {
	t, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errFrameRecord
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, errFrameRecord
	}
	ackBytes, frameBytes := b[n:n+int(size)], b[n+int(size):]
	r := &frameRecord{Time: int64(t)}
	m, err := wire.Decode(frameBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrameRecord, err)
	}
	var ok bool
	if r.Frame, ok = m.(*channel.Frame); !ok {
		return nil, errFrameRecord
	}
	if size > 0 {
		if m, err = wire.Decode(ackBytes); err != nil {
			return nil, fmt.Errorf("%w: %w", errFrameRecord, err)
		}
		if r.Ack, ok = m.(*channel.Ack); !ok {
			return nil, errFrameRecord
		}
	}
	return r, nil
}

// idRecord says where an own payment is.
func encodeID(lane laneKey, firstSeq uint64) []byte {
	return binary.AppendUvarint(append(make([]byte, 0, 18), lane[:]...), firstSeq)
}

func decodeID(b []byte) (lane laneKey, firstSeq uint64, err error) {
	if len(b) < 9 {
		return lane, 0, errors.New("daemon: a damaged payment id record")
	}
	copy(lane[:], b)
	seq, n := binary.Uvarint(b[8:])
	if n <= 0 || 8+n != len(b) {
		return lane, 0, errors.New("daemon: a damaged payment id record")
	}
	return lane, seq, nil
}

func encodeRefusals(refused []channel.Refusal) []byte {
	var b []byte
	for _, r := range refused {
		b = binary.AppendUvarint(b, r.Seq)
		b = append(b, byte(r.Reason))
	}
	return b
}

func decodeRefusals(b []byte) (refused []channel.Refusal, err error) {
	for len(b) > 0 {
		seq, n := binary.Uvarint(b)
		if n <= 0 || len(b) < n+1 {
			return nil, errors.New("daemon: a damaged refusal record")
		}
		refused = append(refused, channel.Refusal{Seq: seq, Reason: channel.RefuseReason(b[n])})
		b = b[n+1:]
	}
	return refused, nil
}

// loadChannel reads one channel as it was last durable.
// The second result is the own lane's record, whose last eight bytes number the commits.
func loadChannel(s store.Store, id channel.ID) (st channel.State, record []byte, err error) {
	cold, err := s.Get(channelKey(id))
	if err != nil {
		return st, nil, err
	}
	if record, err = s.Get(laneRecordKey(id, true)); err != nil {
		return st, nil, err
	}
	if len(record) < 8 {
		return st, nil, errors.New("daemon: a damaged lane record")
	}
	out := record[:len(record)-8]
	in, err := s.Get(laneRecordKey(id, false))
	if err != nil {
		return st, nil, err
	}
	var lane channel.Lane
	if err := lane.UnmarshalBinary(out); err != nil {
		return st, nil, err
	}
	var unacked []*channel.Frame
	if lane.Acked < lane.NextSeq {
		var c struct{ Terms channel.Terms }
		if err := json.Unmarshal(cold, &c); err != nil {
			return st, nil, err
		}
		if unacked, err = loadFrames(s, keyOf(c.Terms.Out.ID()), lane.Acked, lane.NextSeq); err != nil {
			return st, nil, err
		}
	}
	if st, err = channel.Load(cold, out, in, unacked); err != nil {
		return st, record, err
	}
	var draws [2][]byte
	for i, own := range []bool{true, false} {
		if draws[i], err = s.Get(drawsKey(id, own)); err != nil && !errors.Is(err, store.ErrNotFound) {
			return st, record, err
		}
	}
	st, err = st.WithDraws(draws[0], draws[1])
	return st, record, err
}

// loadFrames reads the frames of a lane from one sequence number up to another.
func loadFrames(s store.Store, lane laneKey, from, to uint64) (frames []*channel.Frame, err error) {
	if from >= to {
		return nil, nil
	}
	scanErr := s.Scan(lanePrefix(prefixFrame, lane), seqKey(prefixFrame, lane, from), func(_, value []byte) bool {
		var r *frameRecord
		if r, err = decodeFrame(value); err != nil {
			return false
		}
		frames = append(frames, r.Frame)
		return r.Frame.NextSeq() < to
	})
	return frames, errors.Join(err, scanErr)
}

// loadFrame reads the frame that begins with a sequence number, and its answer as far as it is stored.
func loadFrame(s store.Store, lane laneKey, firstSeq uint64) (*frameRecord, []channel.Refusal, error) {
	b, err := s.Get(seqKey(prefixFrame, lane, firstSeq))
	if err != nil {
		return nil, nil, err
	}
	r, err := decodeFrame(b)
	if err != nil {
		return nil, nil, err
	}
	if r.Ack != nil {
		return r, r.Ack.Refused, nil
	}
	b, err = s.Get(seqKey(prefixRefusal, lane, firstSeq))
	if errors.Is(err, store.ErrNotFound) {
		return r, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	refused, err := decodeRefusals(b)
	return r, refused, err
}

// channelIDs lists all channels that the store knows.
func channelIDs(s store.Store) (ids []channel.ID, err error) {
	err = s.Scan([]byte{prefixChannel}, nil, func(key, _ []byte) bool {
		if len(key) == 33 {
			ids = append(ids, channel.ID(key[1:]))
		}
		return true
	})
	return ids, err
}
