package daemon

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal"
)

// A replica is a third copy in another place, of what ends every channel with all that it is worth: phases
// and newest vouchers. It has no payments. What is made again from it is as from a backup, but for its age.

// ErrReplicaAhead says that a replica proves more than the store: the store is an old copy.
var ErrReplicaAhead = errors.New("daemon: the replica knows more than the database")

// ErrReplicaEmpty says that there is nothing to restore.
var ErrReplicaEmpty = errors.New("daemon: the replica holds nothing")

// Replicated says which writes a replica keeps.
func Replicated(op *store.Op) bool {
	switch op.Key[0] {
	case prefixChannel, prefixLane, prefixDraws, prefixPeer:
		return true
	}
	switch string(op.Key) {
	case string(keyNextIndex), string(keyScanned), string(budget.Key), string(keySearch), string(keyOwnLimits), string(keyStops), string(keyOnchain):
		return true
	}
	return false
}

// ReplicaState is all of a store that a replica keeps.
func ReplicaState(s store.Store) (state []store.Op, err error) {
	for _, prefix := range append(ruleKeys(), []byte{prefixChannel}, []byte{prefixLane}, []byte{prefixDraws}, []byte{prefixPeer}, keyNextIndex, keyScanned, budget.Key, keySearch) {
		err := s.Scan(prefix, nil, func(key, value []byte) bool {
			if op := (store.Op{Key: bytes.Clone(key), Value: bytes.Clone(value)}); Replicated(&op) {
				state = append(state, op)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return state, nil
}

// Replayer shows what a journal holds; store/journal/file is one.
type Replayer interface {
	Replay(fn func(*journal.Group) error) ([]journal.Finding, error)
}

// replica is what one holds. The last group may never have been durable in the store.
type replica struct {
	state    map[string][]byte
	last     []store.Op
	made     int64 // unix milliseconds of the last group
	findings []journal.Finding
}

func readReplica(j Replayer) (r replica, err error) {
	r.state = map[string][]byte{}
	r.findings, err = j.Replay(func(g *journal.Group) error {
		r.settle()
		r.made = max(r.made, g.Time)
		for _, op := range g.Ops {
			r.last = append(r.last, store.Op{Key: bytes.Clone(op.Key), Value: bytes.Clone(op.Value), Delete: op.Delete})
		}
		if g.Base {
			r.settle()
		}
		return nil
	})
	return r, err
}

// settle counts the last group.
func (r *replica) settle() {
	for _, op := range r.last {
		if op.Delete {
			delete(r.state, string(op.Key))
		} else {
			r.state[string(op.Key)] = op.Value
		}
	}
	r.last = nil
}

func (r *replica) triple(id channel.ID) triple {
	var t triple
	for i, key := range keysOf(id) {
		*t.part(i) = r.state[string(key)]
	}
	return t
}

// channels are the ids of all, in order.
func (r *replica) channels() (ids []channel.ID) {
	for _, key := range slices.Sorted(maps.Keys(r.state)) {
		if id, ok := channelOf(key); ok && key[0] == prefixChannel {
			ids = append(ids, id)
		}
	}
	return ids
}

// CheckReplica compares a replica with the store that it follows, before it follows it again. The store
// must know all that the replica does: else somebody put an old copy in its place, and the replica is the
// only one that has the rest. Its last group is left out: it may have been on its way when the node went
// down. It returns what is damaged in the replica, which is about to be made again.
func CheckReplica(s store.Store, j Replayer) ([]journal.Finding, error) {
	r, err := readReplica(j)
	if err != nil {
		return nil, err
	}
	for _, id := range r.channels() {
		t := r.triple(id)
		have, _, ok := t.state()
		if !ok {
			continue // damaged, or half of it was in the last group
		}
		if err := knows(s, id, &have); err != nil {
			return r.findings, err
		}
	}
	return r.findings, nil
}

// knows reports whether the store proves all that a state does.
func knows(s store.Store, id channel.ID, have *channel.State) error {
	t, err := readTriple(s, id)
	if errors.Is(err, store.ErrNotFound) {
		if have.Out.Total == 0 && have.In.Total == 0 && have.Phase == channel.PhaseAgreed {
			return nil // dropped before anything was at stake
		}
		return fmt.Errorf("%w: there is no channel %s in it", ErrReplicaAhead, id)
	}
	if err != nil {
		return err
	}
	st, _, ok := t.state()
	if !ok {
		return fmt.Errorf("daemon: channel %s can't be read", id)
	}
	if !advances(&st, have) {
		return fmt.Errorf("%w: of channel %s it has %s, paid %d and received %d msat, the database %s, %d and %d",
			ErrReplicaAhead, id, have.Phase, have.Out.Total, have.In.Total, st.Phase, st.Out.Total, st.In.Total)
	}
	return nil
}

// RestoreReplica fills an empty store from a replica, as Restore does from a backup. What is damaged in it
// is passed over and returned.
func RestoreReplica(j Replayer, s store.Store, scheme ledger.Scheme, random func([]byte)) (Restoration, []journal.Finding, error) {
	r, err := readReplica(j)
	if err != nil {
		return Restoration{}, nil, err
	}
	r.settle()
	if len(r.state) == 0 {
		return Restoration{}, r.findings, ErrReplicaEmpty
	}
	b := r.backup()
	b.source = "a replica, last written"
	res, err := b.restore(s, scheme, random)
	return res, r.findings, err
}

// backup is a replica in the form of a backup. Frames without an answer are not in it: their vouchers are,
// and the peer tells what became of them.
func (r *replica) backup() (b backup) {
	// No event of the lost store had a number above its time in milliseconds, and none of this one will
	// have one of an earlier restore.
	b = backup{Made: r.made / 1000, NextEvent: uint64(r.made), Scanned: r.state[string(keyScanned)], Budget: r.state[string(budget.Key)],
		Rules: map[string][]byte{}, Peers: map[string][]byte{}}
	for _, key := range ruleKeys() {
		if value, ok := r.state[string(key)]; ok {
			b.Rules[string(key)] = value
		}
	}
	if key := r.state[string(keyNextIndex)]; len(key) == 4 {
		b.NextKey = binary.BigEndian.Uint32(key)
	}
	if raw, ok := r.state[string(keySearch)]; ok {
		b.earlier = new(search)
		if err := json.Unmarshal(raw, b.earlier); err != nil {
			*b.earlier = search{} // everything is looked for
		}
	}
	for key, value := range r.state {
		if key[0] == prefixPeer {
			b.Peers[key[1:]] = value
		}
	}
	for _, id := range r.channels() {
		t := r.triple(id)
		st, _, ok := t.state()
		if !ok {
			r.findings = append(r.findings, journal.Finding{Text: fmt.Sprintf("channel %s is not whole; with the seed its own deposit is found on the chain", id)})
			continue
		}
		if st.Phase.Final() {
			continue
		}
		st.Out.NextSeq = st.Out.Acked
		out, _ := st.Out.MarshalBinary()
		b.Channels = append(b.Channels, backupChannel{Cold: t.cold, Out: out, In: t.in, OutDraws: t.outDraws, InDraws: t.inDraws})
	}
	return b
}

// Replica is the third copy of a node that has one; store.Replicated is it.
type Replica interface{ Health() store.ReplicaHealth }

const (
	// replicaEvery is how often somebody looks.
	replicaEvery = time.Second
	// replicaLate is how long a replica may lag behind before its owner is told: a slow moment is none.
	replicaLate = 10 * time.Second
)

// watchReplica tells the owner when the replica falls behind and when it has caught up.
func (n *Node) watchReplica() {
	if n.deps.Replica == nil {
		return
	}
	n.deps.After(replicaEvery, func() {
		if n.ctx.Err() == nil && n.spawn(n.checkReplica) {
			n.watchReplica()
		}
	})
}

func (n *Node) checkReplica() {
	text := n.replicaText()
	if (text != "") == n.replicaBad.Swap(text != "") {
		return
	}
	if text == "" {
		text = "the replica has all again"
		n.log.Info(text)
	} else {
		n.log.Error(text)
	}
	n.submit(&outbox{entries: []entry{{Kind: channel.EventAlert, Text: text}}}, func(err error) {
		if err != nil {
			n.log.Error("an alert about the replica could not be stored", "err", err)
		}
	})
}

// replicaText is what is wrong with the replica, or empty.
func (n *Node) replicaText() string {
	if n.deps.Replica == nil {
		return ""
	}
	h := n.deps.Replica.Health()
	late := n.deps.Now().Sub(h.Since)
	switch {
	case h.OK, h.Err == nil && late < replicaLate:
		return ""
	case h.Err != nil:
		return fmt.Sprintf("the replica can't be written since %s: %v; payments go on without it, and it is made again as soon as it can be",
			h.Since.UTC().Format(time.RFC3339), h.Err)
	}
	return fmt.Sprintf("the replica's disk is too slow: it lags behind since %s; payments go on without it", h.Since.UTC().Format(time.RFC3339))
}
