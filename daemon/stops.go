package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// A stop keeps a channel, all channels with a peer, or the whole node from paying: no voucher is signed, no
// deposit made and nothing sent. What brings money home goes on: closes, settlements, refunds, and what
// peers pay. Only the owner ends a stop.

var keyStops = []byte("z")

const (
	stopChannel = "channel"
	stopPeer    = "peer"
	stopAll     = "all"

	byOwner = "owner"
)

// stops is what is stopped; a set is never changed, only replaced.
type stops struct {
	list     []channel.Freeze
	all      bool
	peers    map[channel.PeerID]bool
	channels map[string]bool
}

func newStops(list []channel.Freeze) *stops {
	s := &stops{list: list, peers: map[channel.PeerID]bool{}, channels: map[string]bool{}}
	for _, f := range list {
		switch f.Kind {
		case stopAll:
			s.all = true
		case stopPeer:
			s.peers[channel.PeerID(f.ID)] = true
		default:
			s.channels[f.ID] = true
		}
	}
	return s
}

func (n *Node) loadStops() error {
	var list []channel.Freeze
	err := n.loadRecord(keyStops, func(b []byte) error { return json.Unmarshal(b, &list) })
	n.stops.Store(newStops(list))
	return err
}

// stopped is the fault for what must not be signed now; nil when it may.
func (n *Node) stopped(peer channel.PeerID, id channel.ID) error {
	s := n.stops.Load()
	if len(s.list) == 0 {
		return nil
	}
	switch {
	case s.all:
		return frozen("everything that pays out is frozen", stopAll)
	case s.peers[peer]:
		return frozen("payments to this peer are frozen", string(peer))
	case s.channels[id.String()]:
		return frozen("payments on this channel are frozen", id.String()[:8])
	}
	return nil
}

func frozen(text, target string) error {
	return channel.Faultf(channel.CodeFrozen, "%s; nothing was signed", text).WithHint("end it with: runnel unfreeze %s", target)
}

// Freezes lists what is stopped.
func (n *Node) Freezes(context.Context) ([]channel.Freeze, error) {
	return slices.Clone(n.stops.Load().list), nil
}

// Freeze stops what pays out: "all", a peer or a channel. It holds as soon as this is called.
func (n *Node) Freeze(_ context.Context, target, why string) (channel.Freeze, error) {
	f, err := n.freezeOf(target)
	if err != nil {
		return f, err
	}
	f.By, f.Why, f.Since = byOwner, why, n.deps.Now().UnixMilli()
	return f, n.freeze(f)
}

// freeze adds a stop. It holds even when it can't be stored, and the error says that a restart ends it.
func (n *Node) freeze(f channel.Freeze) error {
	n.stopping.take(n)
	defer n.stopping.leave()
	list := n.stops.Load().list
	if slices.ContainsFunc(list, func(o channel.Freeze) bool { return o.Kind == f.Kind && o.ID == f.ID }) {
		return nil
	}
	list = append(slices.Clone(list), f)
	n.stops.Store(newStops(list))
	n.log.Warn("frozen", "what", f.Kind, "id", f.ID, "by", f.By, "why", f.Why)
	if err := n.storeStops(list); err != nil {
		return channel.Faultf(channel.CodeFailure, "it is frozen, but that could not be stored: %v", err).WithHint("a restart would end it; freeze it again when the disk works")
	}
	return nil
}

// Unfreeze ends a stop.
func (n *Node) Unfreeze(_ context.Context, target string) (channel.Freeze, error) {
	f, err := n.freezeOf(target)
	if err != nil {
		return f, err
	}
	n.stopping.take(n)
	defer n.stopping.leave()
	list := n.stops.Load().list
	at := slices.IndexFunc(list, func(o channel.Freeze) bool { return o.Kind == f.Kind && o.ID == f.ID })
	if at < 0 {
		return f, channel.Faultf(channel.CodeNotFound, "%s is not frozen", target).WithHint("list what is with: runnel freeze")
	}
	f = list[at]
	list = slices.Delete(slices.Clone(list), at, at+1)
	if err := n.storeStops(list); err != nil {
		return f, n.fault(err)
	}
	n.stops.Store(newStops(list))
	n.log.Warn("not frozen any more", "what", f.Kind, "id", f.ID)
	return f, nil
}

// storeStops makes the list durable, with an alert in the event log.
func (n *Node) storeStops(list []channel.Freeze) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return n.deps.Committer.Commit(new(store.Batch).Put(keyStops, b))
}

// freezeOf says what a target names.
func (n *Node) freezeOf(target string) (channel.Freeze, error) {
	if target == stopAll {
		return channel.Freeze{Kind: stopAll}, nil
	}
	found := n.channelsLike(target)
	switch {
	case len(found) == 1:
		return channel.Freeze{Kind: stopChannel, ID: found[0].id.String()}, nil
	case len(found) > 1:
		return channel.Freeze{}, ambiguous(target, names(found))
	}
	peer, err := n.resolvePeer(target)
	return channel.Freeze{Kind: stopPeer, ID: string(peer)}, err
}

// stopNotes is what status says of stops and of what waits for the owner.
func (n *Node) stopNotes() (list []string) {
	for _, f := range n.stops.Load().list {
		target, by := f.ID, ""
		if f.Kind == stopAll {
			target = stopAll
		} else if f.Kind == stopChannel {
			target = f.ID[:8]
		}
		if f.By != byOwner {
			by = " by an alarm: " + f.Why
		}
		list = append(list, fmt.Sprintf("%s is frozen%s; nothing is paid there until: runnel unfreeze %s", f.Kind, by, target))
	}
	if w := n.approvals.waiting(n.deps.Now()); w == 1 {
		list = append(list, "1 request waits for your approval: runnel approvals")
	} else if w > 1 {
		list = append(list, fmt.Sprintf("%d requests wait for your approval: runnel approvals", w))
	}
	return list
}
