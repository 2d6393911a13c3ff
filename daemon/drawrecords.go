package daemon

import (
	"encoding/binary"
	"errors"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// Records of draws (protocol.md 14).

// authorisedRecord is an own authorisation as it was given: enough to give it again to who asks with the same id.
type authorisedRecord struct {
	Time      int64 // unix milliseconds
	ID        channel.PaymentID
	Max       channel.Msat
	Raise     uint64
	RaiseBy   channel.Msat
	RaisedTo  channel.Msat
	Total     channel.Msat
	Signature channel.Signature
	Request   [32]byte // what was asked for (requestHash)
	Ref       string
}

// drawRecord is a draw that ended, as either side keeps it.
type drawRecord struct {
	Time   int64 // unix milliseconds
	N      uint64
	Amount channel.Msat
	Total  channel.Msat // vouchered on the lane by then
	Ref    string
	ID     channel.PaymentID // of the payer's; zero where that is not known
}

const drawRecordVersion = 1

var errDrawRecord = errors.New("daemon: a damaged record of draws")

func (a *authorisedRecord) encode() []byte {
	b := []byte{drawRecordVersion}
	for _, n := range []uint64{uint64(a.Time), uint64(a.Max), a.Raise, uint64(a.RaiseBy), uint64(a.RaisedTo), uint64(a.Total)} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, a.ID[:]...)
	b = append(b, a.Signature[:]...)
	b = append(b, a.Request[:]...)
	return append(b, a.Ref...)
}

func decodeAuthorised(b []byte) (*authorisedRecord, error) {
	nums, rest, err := drawNumbers(b, 6)
	if err != nil || len(rest) < 16+64+32 {
		return nil, errDrawRecord
	}
	a := &authorisedRecord{Time: int64(nums[0]), Max: channel.Msat(nums[1]), Raise: nums[2], RaiseBy: channel.Msat(nums[3]),
		RaisedTo: channel.Msat(nums[4]), Total: channel.Msat(nums[5])}
	rest = rest[copy(a.ID[:], rest):]
	rest = rest[copy(a.Signature[:], rest):]
	rest = rest[copy(a.Request[:], rest):]
	a.Ref = string(rest)
	return a, nil
}

func (r *drawRecord) encode() []byte {
	b := []byte{drawRecordVersion}
	for _, n := range []uint64{uint64(r.Time), r.N, uint64(r.Amount), uint64(r.Total)} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, r.ID[:]...)
	return append(b, r.Ref...)
}

func decodeDraw(b []byte) (*drawRecord, error) {
	nums, rest, err := drawNumbers(b, 4)
	if err != nil || len(rest) < 16 {
		return nil, errDrawRecord
	}
	r := &drawRecord{Time: int64(nums[0]), N: nums[1], Amount: channel.Msat(nums[2]), Total: channel.Msat(nums[3])}
	rest = rest[copy(r.ID[:], rest):]
	r.Ref = string(rest)
	return r, nil
}

func drawNumbers(b []byte, count int) (nums []uint64, rest []byte, err error) {
	if len(b) == 0 || b[0] != drawRecordVersion {
		return nil, nil, errDrawRecord
	}
	rest = b[1:]
	for range count {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, nil, errDrawRecord
		}
		nums, rest = append(nums, v), rest[n:]
	}
	return nums, rest, nil
}

// encodeDrawID says that a payment id is that of an authorisation; decodeID does not take it for a payment's.
func encodeDrawID(lane laneKey, n uint64) []byte { return append(encodeID(lane, n), prefixAuthorise) }

func decodeDrawID(b []byte) (lane laneKey, n uint64, ok bool) {
	if len(b) < 10 || b[len(b)-1] != prefixAuthorise {
		return lane, 0, false
	}
	lane, n, err := decodeID(b[:len(b)-1])
	return lane, n, err == nil
}

func (d *driver) encodeDraws(box *outbox) {
	st := &d.w.st
	if box.outDraws && st.OutDraws != nil {
		b, _ := st.OutDraws.MarshalBinary()
		box.batch.Put(drawsKey(d.id, true), b)
	}
	if box.inDraws && st.InDraws != nil {
		b, _ := st.InDraws.MarshalBinary()
		box.batch.Put(drawsKey(d.id, false), b)
	}
}

func loadAuthorised(s store.Store, lane laneKey, n uint64) (*authorisedRecord, error) {
	b, err := s.Get(seqKey(prefixAuthorise, lane, n))
	if err != nil {
		return nil, err
	}
	return decodeAuthorised(b)
}

// payment is a draw in the history.
func (r *drawRecord) payment(ref laneRef, seq uint64) channel.PaymentInfo {
	p := channel.PaymentInfo{Seq: seq, Time: r.Time, Dir: channel.Receiving, Channel: ref.d.id, PeerID: ref.d.peer, ID: r.ID,
		Amount: r.Amount, Total: r.Total, Ref: r.Ref, Status: channel.PayAcknowledged}
	if ref.out {
		p.Dir = channel.Sending
	}
	return p
}

// drawsOn reads a lane's draws from the newest back. Those that came to nothing are no payments.
func (n *Node) drawsOn(key laneKey, f channel.PaymentFilter) (list []channel.PaymentInfo, err error) {
	n.mu.Lock()
	ref, ok := n.lanes[key]
	n.mu.Unlock()
	if !ok {
		return nil, nil
	}
	var bad error
	err = n.deps.Store.ScanBack(lanePrefix(prefixDraw, key), nil, func(k, value []byte) bool {
		r, err := decodeDraw(value)
		if bad = err; err != nil || r.Time < f.Since {
			return false
		}
		if r.Amount > 0 && (!f.HasID || r.ID == f.ID) {
			list = append(list, r.payment(ref, seqOf(k[9:])))
		}
		return len(list) < f.Limit
	})
	return list, errors.Join(err, bad)
}

// expandDraws turns a log entry about draws into the events after since.
func (n *Node) expandDraws(e entry, ref laneRef, since uint64) (events []channel.Event, err error) {
	for i := range e.Count {
		seq := e.Seq + uint64(i)
		if seq <= since {
			continue
		}
		b, err := n.deps.Store.Get(seqKey(prefixDraw, e.Lane, e.First+uint64(i)))
		if err != nil {
			return nil, err
		}
		r, err := decodeDraw(b)
		if err != nil {
			return nil, err
		}
		if r.Amount > 0 {
			events = append(events, channel.Event{Seq: seq, Time: e.Time, Kind: channel.EventPayment, Channel: ref.d.id, PeerID: ref.d.peer,
				Payment: r.payment(ref, e.First+uint64(i))})
		}
	}
	return events, nil
}

// findDraw is an own authorisation as a payment: with its highest amount while nobody knows what was drawn.
func (n *Node) findDraw(key laneKey, number uint64) (info channel.PaymentInfo, ok bool, err error) {
	n.mu.Lock()
	ref, known := n.lanes[key]
	n.mu.Unlock()
	if !known {
		return info, false, errors.New("daemon: an authorisation is on an unknown lane")
	}
	a, err := loadAuthorised(n.deps.Store, key, number)
	if err != nil {
		return info, false, err
	}
	r := &drawRecord{Time: a.Time, N: number, Amount: a.Max + a.RaiseBy, Total: a.Total, Ref: a.Ref, ID: a.ID}
	info = r.payment(ref, 0)
	info.Status = channel.PayPending
	var bad error
	err = n.deps.Store.ScanBack(lanePrefix(prefixDraw, key), nil, func(k, value []byte) bool {
		r, err := decodeDraw(value)
		if bad = err; err != nil || r.Time < a.Time { // it ended after it was authorised
			return false
		}
		if r.N == number {
			info = r.payment(ref, seqOf(k[9:]))
			info.ID = a.ID
		}
		return r.N != number
	})
	if info.Status == channel.PayPending {
		n.read(ref.d, func(d *driver) { info.Status = d.w.st.DrawFate(number) })
	}
	return info, true, errors.Join(err, bad)
}
