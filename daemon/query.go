package daemon

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/store"
)

// minPrefix is the shortest part of an id that is looked up.
const minPrefix = 4

func sortBy[T any](list []T, less func(a, b T) bool) {
	slices.SortFunc(list, func(a, b T) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
}

// resolveChannel finds a channel by its id or a unique prefix.
func (n *Node) resolveChannel(s string) (*driver, error) {
	found := n.channelsLike(s)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, ambiguous(s, names(found))
	case len(s) < minPrefix:
		return nil, channel.Faultf(channel.CodeBadRequest, "%q is too short for a channel: give at least %d characters", s, minPrefix)
	}
	return nil, channel.Faultf(channel.CodeNotFound, "no channel %s", s).WithHint("list them with: runnel channels")
}

func (n *Node) channelsLike(s string) (found []*driver) {
	s = strings.ToLower(s)
	if len(s) < minPrefix {
		return nil
	}
	if b, err := hex.DecodeString(s); err == nil && len(b) == 32 {
		n.mu.Lock()
		defer n.mu.Unlock()
		if d := n.drivers[channel.ID(b)]; d != nil {
			return []*driver{d}
		}
		return nil
	}
	for _, d := range n.all() {
		if strings.HasPrefix(d.id.String(), s) {
			found = append(found, d)
		}
	}
	return found
}

func names(list []*driver) (ids []string) {
	for _, d := range list {
		ids = append(ids, d.id.String())
	}
	slices.Sort(ids)
	return ids
}

func ambiguous(s string, matches []string) error {
	return channel.Faultf(channel.CodeAmbiguous, "%s could be any of: %s", s, strings.Join(matches, ", ")).WithHint("give more characters")
}

// resolvePeer finds a peer by id, multiaddr or a unique prefix among those that are known.
func (n *Node) resolvePeer(s string) (channel.PeerID, error) {
	if id, err := n.deps.Transport.Parse(s); err == nil {
		return id, nil
	} else if strings.Contains(s, "/") {
		return "", channel.Faultf(channel.CodeBadRequest, "%s", words(err)).WithHint("a peer is a peer id or a multiaddr that ends in /p2p/PEER_ID")
	}
	if len(s) < minPrefix {
		return "", channel.Faultf(channel.CodeBadRequest, "%q is too short for a peer: give at least %d characters", s, minPrefix)
	}
	n.mu.Lock()
	known := map[channel.PeerID]bool{}
	for p := range n.byPeer {
		known[p] = true
	}
	for p := range n.sessions {
		known[p] = true
	}
	n.mu.Unlock()
	var found []string
	for p := range known {
		if strings.HasPrefix(string(p), s) {
			found = append(found, string(p))
		}
	}
	switch len(found) {
	case 1:
		return channel.PeerID(found[0]), nil
	case 0:
		return "", channel.Faultf(channel.CodeUnknownPeer, "no peer %s is known", s).
			WithHint("give its full multiaddr, which it shows with: runnel status")
	}
	slices.Sort(found)
	return "", ambiguous(s, found)
}

// resolveTarget is what to dial: a multiaddr as it is, else the full peer id.
func (n *Node) resolveTarget(s string) (string, error) {
	id, err := n.resolvePeer(s)
	if err != nil || strings.Contains(s, "/") {
		return s, err
	}
	return string(id), nil
}

// Channels lists all channels, those that are over last.
func (n *Node) Channels(context.Context) ([]channel.ChannelInfo, error) {
	all := n.all()
	list := make([]channel.ChannelInfo, 0, len(all))
	for _, d := range all {
		list = append(list, n.info(d))
	}
	sortBy(list, func(a, b channel.ChannelInfo) bool {
		if a.Phase.Final() != b.Phase.Final() {
			return b.Phase.Final()
		}
		if a.Expiry != b.Expiry {
			return a.Expiry < b.Expiry
		}
		return a.Channel.String() < b.Channel.String()
	})
	return list, nil
}

// Channel is one channel by id or prefix.
func (n *Node) Channel(_ context.Context, id string) (channel.ChannelInfo, error) {
	d, err := n.resolveChannel(id)
	if err != nil {
		return channel.ChannelInfo{}, err
	}
	return n.info(d), nil
}

func (n *Node) info(d *driver) (i channel.ChannelInfo) {
	var terms channel.Terms
	n.read(d, func(d *driver) { i, terms = d.w.st.Info(), d.w.st.Terms })
	i.Connected = n.session(d.peer) != nil
	if !i.Connected && i.Phase == channel.PhaseOpen && i.Reason == "" {
		i.Reason = "the peer is not connected"
	}
	if tip, ok := n.chain.tip(); ok {
		i.ExpiresAt = n.about(int64(i.Expiry) - int64(tip.Height))
	}
	if terms.Out.Exists() {
		i.FundingAddr, _ = n.deps.Scheme.Address(d.scripts.of(true))
	}
	return i
}

// about is when so many blocks from now come, in unix seconds; 0 on networks where that says nothing.
func (n *Node) about(blocks int64) int64 {
	if n.cfg.Heights == channel.TestHeights {
		return 0
	}
	return n.deps.Now().Add(time.Duration(blocks) * blockTime).Unix()
}

// Payments lists history, newest first.
func (n *Node) Payments(_ context.Context, f channel.PaymentFilter) ([]channel.PaymentInfo, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	lanes, err := n.lanesOf(f)
	if err != nil {
		return nil, err
	}
	var list []channel.PaymentInfo
	for _, l := range lanes {
		more, err := n.paymentsOn(l, f)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
		if more, err = n.drawsOn(l, f); err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	sortBy(list, func(a, b channel.PaymentInfo) bool {
		if a.Time != b.Time {
			return a.Time > b.Time
		}
		if a.Total != b.Total { // pushed and drawn are numbered apart
			return a.Total > b.Total
		}
		return a.Seq > b.Seq
	})
	return list[:min(len(list), f.Limit)], nil
}

// lanesOf lists the lanes that a filter selects.
func (n *Node) lanesOf(f channel.PaymentFilter) (keys []laneKey, err error) {
	var only *driver
	var peer channel.PeerID
	if f.Channel != "" {
		if only, err = n.resolveChannel(f.Channel); err != nil {
			return nil, err
		}
	}
	if f.Peer != "" {
		if peer, err = n.resolvePeer(f.Peer); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for k, ref := range n.lanes {
		if (only == nil || ref.d == only) && (peer == "" || ref.d.peer == peer) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b laneKey) int { return bytes.Compare(a[:], b[:]) })
	return keys, nil
}

// paymentsOn reads a lane's payments from the newest back, at most as many as the filter wants.
func (n *Node) paymentsOn(key laneKey, f channel.PaymentFilter) ([]channel.PaymentInfo, error) {
	n.mu.Lock()
	ref, ok := n.lanes[key]
	n.mu.Unlock()
	if !ok {
		return nil, nil // its channel was given up meanwhile
	}
	var acked uint64
	var unwritten map[uint64][]channel.Refusal
	n.read(ref.d, func(d *driver) {
		acked = d.w.st.In.NextSeq
		if ref.out {
			acked, unwritten = d.w.st.Out.Acked, d.unwrittenRefusals()
		}
	})
	var list []channel.PaymentInfo
	var bad error
	err := n.deps.Store.ScanBack(lanePrefix(prefixFrame, key), nil, func(k, value []byte) bool {
		r, err := decodeFrame(value)
		if err != nil {
			bad = err
			return false
		}
		if r.Time < f.Since {
			return false
		}
		var refused []channel.Refusal
		if r.Ack != nil {
			refused = r.Ack.Refused
		} else if _, refused, bad = loadFrame(n.deps.Store, key, r.Frame.FirstSeq); bad != nil {
			return false
		} else if len(refused) == 0 && ref.out {
			refused = unwritten[r.Frame.FirstSeq]
		}
		infos := paymentsOf(ref, r, refused, acked)
		for _, p := range slices.Backward(infos) {
			if !f.HasID || p.ID == f.ID {
				list = append(list, p)
			}
		}
		return len(list) < f.Limit
	})
	return list, errors.Join(err, bad)
}

// findPayment looks an own payment up by its id.
func (n *Node) findPayment(id channel.PaymentID) (info channel.PaymentInfo, ok bool, err error) {
	b, err := n.deps.Store.Get(idKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return info, false, nil
	}
	if err != nil {
		return info, false, err
	}
	if lane, n2, ok := decodeDrawID(b); ok {
		return n.findDraw(lane, n2)
	}
	key, first, err := decodeID(b)
	if err != nil {
		return info, false, err
	}
	n.mu.Lock()
	ref, known := n.lanes[key]
	n.mu.Unlock()
	if !known {
		return info, false, fmt.Errorf("daemon: payment %s is on an unknown lane", id)
	}
	var acked uint64
	var unwritten map[uint64][]channel.Refusal
	n.read(ref.d, func(d *driver) { acked, unwritten = d.w.st.Out.Acked, d.unwrittenRefusals() })
	r, refused, err := loadFrame(n.deps.Store, key, first)
	if err != nil {
		return info, false, err
	}
	if len(refused) == 0 {
		refused = unwritten[first]
	}
	for _, p := range paymentsOf(ref, r, refused, acked) {
		if p.ID == id {
			return p, true, nil
		}
	}
	return info, false, fmt.Errorf("daemon: payment %s is not where its record says", id)
}

// unwrittenRefusals are those in answers that the channel has and the store does not have yet, by the first
// sequence number of their frames: without them a refused payment would look accepted for a moment.
func (d *driver) unwrittenRefusals() map[uint64][]channel.Refusal {
	found := map[uint64][]channel.Refusal{}
	note := func(b *outbox) {
		for _, op := range b.batch.Ops {
			if len(op.Key) == 17 && op.Key[0] == prefixRefusal {
				found[seqOf(op.Key[9:])], _ = decodeRefusals(op.Value) // our own encoding
			}
		}
	}
	for _, b := range d.boxes {
		note(b)
	}
	for _, b := range []*outbox{d.lazy, d.turning} {
		if b != nil {
			note(b)
		}
	}
	return found
}
