package daemon

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// entry is one record of the event log. Payments of a frame share one entry that spans as many sequence
// numbers as the frame has payments; the payments themselves are read from the frame.
type entry struct {
	Seq     uint64 `json:"-"`
	Time    int64
	Kind    channel.EventKind
	Channel channel.ID
	Phase   channel.Phase `json:",omitempty"`
	Text    string        `json:",omitempty"`
	TxID    string        `json:",omitempty"`

	Dir   channel.Direction `json:"-"`
	Lane  laneKey           `json:"-"`
	First uint64            `json:"-"`
	Count int               `json:"-"`
	Draws bool              `json:"-"` // they are draws, not pushed payments
}

const (
	entryPayments = 'P'
	entryDraws    = 'D'
	entryOther    = 'J'
)

// width is how many event numbers the entry takes.
func (e *entry) width() uint64 {
	if e.Kind == channel.EventPayment {
		return uint64(e.Count)
	}
	return 1
}

func (e *entry) encode() []byte {
	if e.Kind != channel.EventPayment {
		b, _ := json.Marshal(e) // plain fields only
		return append([]byte{entryOther}, b...)
	}
	kind := byte(entryPayments)
	if e.Draws {
		kind = entryDraws
	}
	b := append(make([]byte, 0, 32), kind, byte(e.Dir))
	b = append(b, e.Lane[:]...)
	b = binary.AppendUvarint(b, uint64(e.Time))
	b = binary.AppendUvarint(b, e.First)
	return binary.AppendUvarint(b, uint64(e.Count))
}

var errEntry = errors.New("daemon: a damaged record in the event log")

func decodeEntry(key, value []byte) (entry, error) {
	if len(key) != 9 || len(value) < 2 {
		return entry{}, errEntry
	}
	e := entry{Seq: binary.BigEndian.Uint64(key[1:])}
	if value[0] == entryOther {
		seq := e.Seq
		if err := json.Unmarshal(value[1:], &e); err != nil {
			return entry{}, fmt.Errorf("%w: %w", errEntry, err)
		}
		e.Seq = seq
		return e, nil
	}
	if value[0] != entryPayments && value[0] != entryDraws || len(value) < 10 {
		return entry{}, errEntry
	}
	e.Draws = value[0] == entryDraws
	e.Kind, e.Dir = channel.EventPayment, channel.Direction(value[1])
	copy(e.Lane[:], value[2:])
	rest := value[10:]
	var nums [3]uint64
	for i := range nums {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return entry{}, errEntry
		}
		nums[i], rest = v, rest[n:]
	}
	e.Time, e.First, e.Count = int64(nums[0]), nums[1], int(nums[2])
	return e, nil
}

func (n *Node) loadEvents() error {
	n.nextSeq = 1
	var bad error
	err := n.deps.Store.ScanBack([]byte{prefixEvent}, nil, func(key, value []byte) bool {
		e, err := decodeEntry(key, value)
		if bad = err; err == nil {
			n.nextSeq = e.Seq + e.width()
		}
		return false
	})
	n.hub.latest = n.nextSeq - 1
	return errors.Join(err, bad)
}

// hub wakes watchers when the log has grown.
type hub struct {
	mu     sync.Mutex // guards all fields
	latest uint64
	wake   chan struct{}
	ended  bool
}

func (h *hub) advance(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latest = max(h.latest, seq)
	h.broadcast()
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.broadcast()
}

func (h *hub) broadcast() {
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

// wait returns the newest durable number, and a channel that closes when there is a newer one.
func (h *hub) wait() (latest uint64, more <-chan struct{}, ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.latest, h.wake, h.ended
}

// Watch calls fn for every event after since, in order, from the log and then as they come.
func (n *Node) Watch(ctx context.Context, since uint64, fn func(channel.Event) error) error {
	for {
		latest, more, ended := n.hub.wait()
		for since < latest {
			events, err := n.eventsAfter(since, latest)
			if err != nil {
				return err
			}
			if len(events) == 0 {
				since = latest
				break
			}
			for _, e := range events {
				if err := fn(e); err != nil {
					return err
				}
				since = e.Seq
			}
		}
		if ended {
			return channel.Faultf(channel.CodeStopping, "the daemon is stopping")
		}
		select {
		case <-more:
			n.woke()
		case <-ctx.Done():
			n.woke()
			return ctx.Err()
		}
	}
}

const watchPage = 64 // log entries read at a time, at most 1,024 payments each

// eventsAfter reads some of the events in (since, latest]; none means that there are none. Entries whose
// payments were pruned have no events.
func (n *Node) eventsAfter(since, latest uint64) ([]channel.Event, error) {
	for {
		events, last, err := n.eventPage(since, latest)
		if err != nil || len(events) > 0 || last <= since {
			return events, err
		}
		since = last
	}
}

// eventPage reads a page of entries, and returns the last number that they span.
func (n *Node) eventPage(since, latest uint64) (events []channel.Event, last uint64, err error) {
	start := eventKey(since + 1)
	// The entry that spans since+1 may begin before it.
	err = n.deps.Store.ScanBack([]byte{prefixEvent}, eventKey(since+1), func(key, _ []byte) bool {
		start = append([]byte(nil), key...)
		return false
	})
	if err != nil {
		return nil, 0, err
	}
	var entries []entry
	var bad error
	err = n.deps.Store.Scan([]byte{prefixEvent}, start, func(key, value []byte) bool {
		e, err := decodeEntry(key, value)
		if err != nil {
			bad = err
			return false
		}
		if e.Seq > latest {
			return false
		}
		entries = append(entries, e)
		return len(entries) < watchPage
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		last = e.Seq + e.width() - 1
		more, err := n.expand(e, since)
		if err != nil {
			return nil, 0, err
		}
		events = append(events, more...)
	}
	return events, last, nil
}

// expand turns a log entry into the events after since.
func (n *Node) expand(e entry, since uint64) ([]channel.Event, error) {
	if e.Kind != channel.EventPayment {
		if e.Seq <= since {
			return nil, nil
		}
		return []channel.Event{{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Channel: e.Channel, PeerID: n.peerOf(e.Channel),
			Phase: e.Phase, TxID: e.TxID, Text: e.Text}}, nil
	}
	n.mu.Lock()
	ref, ok := n.lanes[e.Lane]
	n.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: event %d is about an unknown lane", errEntry, e.Seq)
	}
	if e.Draws {
		return n.expandDraws(e, ref, since)
	}
	r, refused, err := loadFrame(n.deps.Store, e.Lane, e.First)
	if errors.Is(err, store.ErrNotFound) {
		if base, _ := loadCheckpoint(n.deps.Store, baseKey(e.Lane)); base != nil && e.First <= base.Size {
			return nil, nil // pruned
		}
		return nil, fmt.Errorf("%w: the payments of event %d are missing", errEntry, e.Seq)
	}
	if err != nil {
		return nil, err
	}
	var events []channel.Event
	for i, p := range paymentsOf(ref, r, refused, r.Frame.NextSeq()) {
		if seq := e.Seq + uint64(i); seq > since {
			events = append(events, channel.Event{Seq: seq, Time: e.Time, Kind: channel.EventPayment, Channel: ref.d.id, PeerID: ref.d.peer, Payment: p})
		}
	}
	return events, nil
}

func (n *Node) peerOf(id channel.ID) channel.PeerID {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.drivers[id]; d != nil {
		return d.peer
	}
	return ""
}

// paymentsOf lists a frame's payments; those from acked on have no answer yet.
func paymentsOf(ref laneRef, r *frameRecord, refused []channel.Refusal, acked uint64) []channel.PaymentInfo {
	list := make([]channel.PaymentInfo, 0, len(r.Frame.Payments))
	for i, p := range r.Frame.Payments {
		info := channel.PaymentInfo{Seq: r.Frame.FirstSeq + uint64(i), Time: r.Time, Dir: channel.Receiving, Channel: ref.d.id, PeerID: ref.d.peer,
			ID: p.ID, Amount: p.Amount, Total: r.Frame.Total, Ref: p.Ref, Status: channel.PayAcknowledged}
		if ref.out {
			info.Dir = channel.Sending
		}
		if len(refused) > 0 && refused[0].Seq == info.Seq {
			info.Status, info.Reason, refused = channel.PayRefused, refused[0].Reason, refused[1:]
		} else if info.Seq >= acked {
			info.Status = channel.PayPending
		}
		list = append(list, info)
	}
	return list
}
