//go:build planted

package daemon

import "github.com/runnel/runnel/channel"

// Bugs on purpose, at most one at a time, to see whether the simulation finds them.

func planted(bug string) bool { return bug == channel.Planted }

// early lets out of the box, before it is stored, what should wait.
func (d *driver) early(box *outbox) {
	sends := box.sends
	box.sends = nil
	for _, m := range sends {
		_, ack := m.(*channel.Ack)
		if planted("sent before stored") || ack && planted("answered before stored") {
			d.n.send(d.peer, m)
		} else {
			box.sends = append(box.sends, m)
		}
	}
	if planted("published before stored") {
		for _, tx := range box.publish {
			d.n.publish(d, tx)
		}
		box.publish = nil
	}
}

// first are the first vouchers of lanes that pay this node.
var first = map[channel.LaneID]channel.Lane{}

func (d *driver) remember() {
	if id := d.w.st.Terms.In.ID(); d.w.st.In.Total > 0 && first[id].Total == 0 && planted("old voucher settled") {
		first[id] = d.w.st.In
	}
}

// newest is the voucher to settle with.
func (d *driver) newest(in channel.Lane) channel.Lane {
	if old := first[d.w.st.Terms.In.ID()]; old.Total > 0 && planted("old voucher settled") {
		return old
	}
	return in
}
