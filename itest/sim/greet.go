package sim

import (
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// A resync opens every connection, before anything is signed: protocol.md 4.

// greeted notes a resync that a connection carried, to or from this end.
func greeted(seen map[channel.ID]bool, msg []byte) {
	if m, err := wire.Decode(msg); err == nil {
		if r, ok := m.(*channel.Resync); ok {
			seen[r.Channel] = true
		}
	}
}

// unheard reports whether a peer has told its books on its newest connection to the payee of a lane, and has
// not read that one's yet.
func (l *life) unheard(b *book) bool {
	if b.payee == nil {
		return false
	}
	c := l.host.current[b.payee.id]
	return c != nil && !c.ended && c.told[b.id] && !c.heard[b.id]
}
