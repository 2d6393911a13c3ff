package daemon

import (
	"time"

	"github.com/runnel/runnel/channel"
)

// offences remembers which peers broke the protocol, so that they are kept away for some time: each time twice
// as long as the last. Node.mu guards it.
type offences map[channel.PeerID]offence

type offence struct {
	times int
	last  time.Time
}

const (
	// A stranger that breaks the protocol costs a handshake and a line in the log each time.
	holdFirst = time.Second
	holdMost  = 10 * time.Minute

	// With a peer that there is a channel with money in, there is something to lose by silence: its close, or
	// its settlement.
	holdFriendFirst = 250 * time.Millisecond
	holdFriendMost  = 2 * time.Second

	holdMemory   = 10 * time.Minute // after which an offence is forgotten
	maxOffenders = 4096             // who are remembered; identities are free, so more would only cost memory
)

// add notes an offence and says for how long the peer is to be kept away.
func (o offences) add(peer channel.PeerID, friend bool, now time.Time) time.Duration {
	one, known := o[peer]
	if now.Sub(one.last) > holdMemory {
		one.times = 0
	}
	if !known && len(o) >= maxOffenders {
		clear(o)
	}
	hold, most := holdFirst, holdMost
	if friend {
		hold, most = holdFriendFirst, holdFriendMost
	}
	for range min(one.times, 16) {
		hold = min(2*hold, most)
	}
	o[peer] = offence{one.times + 1, now}
	return hold
}

// punish ends the connection to a peer that broke the protocol, and keeps it away for some time if the
// transport can do that.
func (n *Node) punish(peer channel.PeerID, why string) {
	n.mu.Lock()
	hold := n.offences.add(peer, n.watch.bound[peer] > 0, n.deps.Now())
	n.mu.Unlock()
	t, ok := n.deps.Transport.(interface {
		Refuse(peer channel.PeerID, d time.Duration) error
	})
	if !ok {
		n.drop(peer, why)
		return
	}
	n.log.Info("disconnecting", "peer", peer, "why", why, "held_off", hold)
	if err := t.Refuse(peer, hold); err != nil {
		n.log.Warn("a peer is not kept away", "peer", peer, "err", err)
		n.drop(peer, why)
	}
}
