package daemon

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// Promised reports what a message of a node says that its store does not hold.
func Promised(s store.Store, self, peer channel.PeerID, m wire.Message) error {
	ids, err := channelIDs(s)
	if err != nil {
		return err
	}
	for _, id := range ids {
		st, err := stored(s, id)
		if errors.Is(err, store.ErrNotFound) {
			continue // discarded meanwhile
		}
		if err != nil {
			return err
		}
		if st.Terms.Peer != peer {
			continue
		}
		if err := promised(&st, m); err != nil {
			return err
		}
		if r, ok := m.(*channel.RootAck); ok && r.Log.Lane == st.Terms.Out.ID() {
			if c, err := StoredCheckpoint(s, r.Log.Lane); err != nil || c == nil || c.Size < r.Log.Size {
				return fmt.Errorf("signed a root over %d payments, and %+v is stored: %w", r.Log.Size, c, err)
			}
		}
	}
	if a, ok := m.(*channel.Accept); ok {
		if _, _, err := loadChannel(s, a.Channel); err != nil {
			return fmt.Errorf("accepted, not stored: %w", err)
		}
	}
	return nil
}

// stored reads a channel without its frames.
func stored(s store.Store, id channel.ID) (st channel.State, err error) {
	for _, r := range []struct {
		key  []byte
		read func([]byte) error
	}{
		{channelKey(id), func(b []byte) error { return json.Unmarshal(b, &st) }},
		{laneRecordKey(id, true), func(b []byte) error { return st.Out.UnmarshalBinary(b[:len(b)-8]) }},
		{laneRecordKey(id, false), func(b []byte) error { return st.In.UnmarshalBinary(b) }},
	} {
		b, err := s.Get(r.key)
		if err == nil {
			err = r.read(b)
		}
		if err != nil {
			return st, err
		}
	}
	return st, nil
}

func promised(st *channel.State, m wire.Message) error {
	broken := false
	switch m := m.(type) {
	case *channel.Frame:
		broken = m.Lane == st.Terms.Out.ID() && (m.NextSeq() > st.Out.NextSeq || m.Total > st.Out.Total)
	case *channel.Ack:
		broken = m.Lane == st.Terms.In.ID() && (m.NextSeq > st.In.NextSeq || m.Total > st.In.Total || m.Spent > st.In.Spent)
	case *channel.Root:
		broken = m.Log.Lane == st.Terms.In.ID() && (m.Log.Size >= st.In.NextSeq || m.Log.Total > st.In.Total || m.Log.Spent > st.In.Spent)
	case *channel.Funded:
		broken = m.Lane == st.Terms.Out.ID() && st.OutFunding.Claimed != m.Funding
	case *channel.Resync:
		broken = m.Channel == st.Terms.ID && (m.In.NextSeq > st.In.NextSeq || m.In.Total > st.In.Total || m.Phase > st.Phase && st.Phase != channel.PhaseRecovering)
	case *channel.Stop:
		broken = m.Channel == st.Terms.ID && (st.Closing.Mine == nil || m.In.Spent != st.Closing.Mine.In.Spent || st.Phase < channel.PhaseClosing)
	case *channel.CloseOffer:
		broken = m.Channel == st.Terms.ID && (st.Phase < channel.PhaseClosing || st.Closing.Peers == nil)
	case *channel.CloseSign:
		broken = m.Channel == st.Terms.ID && (st.Phase < channel.PhaseClosing || st.Closing.Peers == nil)
	case *channel.ReturnSign:
		broken = m.Channel == st.Terms.ID && len(st.InFunding.Away) == 0
	case *channel.CloseDone:
		broken = m.Channel == st.Terms.ID && st.Closing.Tx == nil
	}
	if broken {
		return fmt.Errorf("sent %T %+v, which is not stored: %s, out %+v, in %+v", m, m, st.Phase, st.Out, st.In)
	}
	return nil
}

// Waiting is the number of own payments without a durable answer.
func (n *Node) Waiting() int { return n.jobs.len() }

// State is a channel's state between two of its events.
func (n *Node) State(id channel.ID) (st channel.State) {
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	n.read(d, func(d *driver) { st = d.w.st })
	return st
}

// BudgetUsed is what counts against the node's budget.
func (n *Node) BudgetUsed() channel.Msat { return n.budget.Used(n.deps.Now()) }

// LoadChannel reads a channel as it is stored.
func LoadChannel(s store.Store, id channel.ID) (channel.State, error) {
	st, _, err := loadChannel(s, id)
	return st, err
}

// Records are a channel's records in the store, keys and values.
func Records(scheme ledger.Scheme, st *channel.State) (list [][2][]byte, err error) {
	scripts, err := deriveScripts(scheme, &st.Terms)
	if err != nil {
		return nil, err
	}
	cold, err := st.MarshalCold()
	if err != nil {
		return nil, err
	}
	out, _ := st.Out.MarshalBinary()
	in, _ := st.In.MarshalBinary()
	return [][2][]byte{{channelKey(st.Terms.ID), cold}, {laneRecordKey(st.Terms.ID, true), append(out, make([]byte, 8)...)},
		{laneRecordKey(st.Terms.ID, false), in}, {scriptsKey(st.Terms.ID), scripts.encode(&st.Terms)}}, nil
}

// FreeDisk is what the node last saw of its disk.
func (n *Node) FreeDisk() int64 { return n.guard.free.Load() }

// Breaches is how often peers broke the protocol.
func (n *Node) Breaches() int {
	families, _ := n.metrics.registry.Gather()
	for _, f := range families {
		if f.GetName() == "runnel_peer_breaches_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return -1
}

// Unsent is how many messages wait for a peer.
func (n *Node) Unsent(peer channel.PeerID) int {
	s := n.session(peer)
	if s == nil {
		return 0
	}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return len(s.out.list)
}

// FrameBatch is what a frame of payments writes, without its lane.
func FrameBatch(n, payments int, own bool) (*store.Batch, error) {
	f := &channel.Frame{Lane: channel.LaneID{byte(n % 7)}, FirstSeq: uint64(n*payments + 1), Total: channel.Msat(n*payments*1000 + 1)}
	for i := range payments {
		f.Payments = append(f.Payments, channel.Payment{ID: channel.PaymentID{byte(n >> 8), byte(n), byte(i >> 8), byte(i)}, Amount: channel.Msat(i + 1)})
	}
	r := &frameRecord{Time: 1_700_000_000_000, Frame: f}
	if !own {
		r.Ack = &channel.Ack{Lane: f.Lane, NextSeq: f.NextSeq(), Total: f.Total, Spent: f.Total}
	}
	value, err := r.encode()
	if err != nil {
		return nil, err
	}
	b := new(store.Batch).Put(seqKey(prefixFrame, keyOf(f.Lane), f.FirstSeq), value)
	return b, idsOf(seqKey(prefixFrame, keyOf(f.Lane), f.FirstSeq), value, func(key, value []byte) error { b.Put(key, value); return nil })
}

// ScanOnce brings the node to the tip, as its follower does.
func (n *Node) ScanOnce() error { return n.scan() }

// ResendNow publishes what waits for a block again, as happens between blocks.
func (n *Node) ResendNow() { n.resendAll() }

// BatchRecords counts the settlements of several lanes that are stored.
func BatchRecords(s store.Store) (n int) {
	_ = s.Scan([]byte{prefixBatch}, nil, func(_, _ []byte) bool { n++; return true })
	return n
}

// NextKey is the next key index of a store.
func NextKey(s store.Store) (uint32, error) {
	b, err := s.Get(keyNextIndex)
	if err != nil || len(b) != 4 {
		return 0, fmt.Errorf("%x, %w", b, err)
	}
	return binary.BigEndian.Uint32(b), nil
}

// Feed gives a channel an event and waits until it was handled.
func (n *Node) Feed(id channel.ID, event channel.Input) {
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	d.post(event)
	n.read(d, func(*driver) {})
}

// Hold keeps a channel from handling its mail until release is called. waiting is how much mail there is.
func (n *Node) Hold(id channel.ID) (waiting func() int, release func()) {
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	held, free := make(chan struct{}), make(chan struct{})
	d.post(inspect{func(*driver) { close(held); <-free }})
	<-held
	return func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.mail)
	}, func() { close(free) }
}

// Post gives a channel an event and does not wait.
func (n *Node) Post(id channel.ID, event channel.Input) {
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	d.post(event)
}

// Describe says where each channel stands, for a test that fails.
func (n *Node) Describe() (list []string) {
	n.mu.Lock()
	drivers := slices.Collect(maps.Values(n.drivers))
	n.mu.Unlock()
	for _, d := range drivers {
		said := make(chan string, 1)
		d.post(inspect{func(d *driver) {
			st, w := d.w.st, d.w
			said <- fmt.Sprintf("%v: %v, connected %v, synced %v, checking %v, %d frames wait, %d boxes under way, %d unacked, out %+v, in %+v",
				d.id, st.Phase, w.connected, st.Synced, w.checking, len(w.frames), len(d.boxes), len(st.Unacked), st.Out, st.In)
		}})
		select {
		case s := <-said:
			list = append(list, s)
		case <-time.After(time.Second):
			list = append(list, fmt.Sprintf("%v: does not answer", d.id))
		}
	}
	return list
}

// Greet has a channel greet its peer on the connection that is there, as at the end of a scan.
func (n *Node) Greet(id channel.ID) {
	n.mu.Lock()
	d := n.drivers[id]
	n.mu.Unlock()
	d.post(met{n.session(d.peer)})
}
