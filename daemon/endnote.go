package daemon

import (
	"fmt"

	"github.com/runnel/runnel/channel"
)

// endNote is what an owner should know of a channel whose time runs out, or whose money does not come home.
func (d *driver) endNote(tip uint32) string {
	st := &d.w.st
	h, expiry := st.Terms.Heights, d.expiry()
	left := int64(expiry) - int64(tip)
	switch {
	case st.Phase == channel.PhaseOpen && left <= int64(h.CloseStop):
		return fmt.Sprintf("expires in %d blocks and can't be closed together any more: it is settled alone from block %d on", max(left, 0), expiry-min(expiry, h.Stop))
	case st.Phase == channel.PhaseOpen && left <= 2*int64(h.CloseStop):
		return fmt.Sprintf("expires at block %d, in %d blocks: open its successor, and close it before block %d", expiry, left, expiry-min(expiry, h.CloseStop))
	case st.Phase != channel.PhaseSettling:
		return ""
	case st.CanSettle() && d.exits.waiting[exitSettle] != "":
		return "waits for lower fees: " + d.exits.waiting[exitSettle]
	case st.CanSettle() && blocksLeft(st) == 0:
		return fmt.Sprintf("expired before its settlement was in a block: the payer can take %d sat of yours", st.In.Total.SatCeil())
	case st.CanSettle() && blocksLeft(st) <= h.Escalate:
		return fmt.Sprintf("is not settled, %d blocks before the payer can take %d sat of yours: the fee rises with every block", blocksLeft(st), st.In.Total.SatCeil())
	case st.CanRefund() && d.exits.waiting[exitRefund] != "":
		return "waits for lower fees: " + d.exits.waiting[exitRefund]
	}
	return ""
}

// expiry is the earlier one of the channel's lanes.
func (d *driver) expiry() uint32 { return d.w.st.Info().Expiry }
