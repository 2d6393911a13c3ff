package daemon

import (
	"time"

	"github.com/runnel/runnel/channel"
)

// What is on its way is handed out again between blocks too: whoever replaces it in the mempools and lets
// go of that again has to do so all the time (CVE-2023-40231).

// resendEvery is the mean distance of these times: several between two blocks, and not so many that nodes
// would take it for a flood. Each is drawn anew, so that nobody can come just after it.
const resendEvery = time.Minute

// resend publishes what waits for a block again, when it is time. Nothing is built or raised by it.
func (n *Node) resend(away error) {
	now := n.deps.Now()
	if away != nil || now.Before(n.chain.resend) {
		return
	}
	first := n.chain.resend.IsZero()
	spread := time.Duration(n.random(uint32(resendEvery/time.Millisecond))) * time.Millisecond
	n.chain.resend = now.Add(resendEvery/2 + spread)
	if first {
		return // the first scan has just done it
	}
	n.resendAll()
}

func (n *Node) resendAll() {
	n.batches.resend()
	n.resendWallet()
	for _, d := range n.live() {
		if p := channel.Phase(d.phase.Load()); p == channel.PhaseClosing || p == channel.PhaseSettling {
			d.post(inspect{func(d *driver) { d.resend() }})
		}
	}
}

// resend publishes the channel's transactions that are in no block.
func (d *driver) resend() {
	st := &d.w.st
	if tx := st.Closing.Tx; tx != nil && st.Phase == channel.PhaseClosing && st.OutFunding.Spend == nil && st.InFunding.Spend == nil {
		d.post(republish{*tx})
	}
	if st.Phase != channel.PhaseSettling {
		return
	}
	if tx := st.InFunding.Exit; tx != nil && tx.Shared == 0 && st.CanSettle() {
		d.resendExit(d.planSettle(st))
	}
	if st.OutFunding.Exit != nil && st.CanRefund() {
		d.resendExit(d.planRefund(st))
	}
}

// resendExit leaves out what can't confirm any more.
func (d *driver) resendExit(p exitPlan) {
	if _, held := d.n.covers(p.last.Raw, p.inputs); held {
		d.post(republish{*p.last})
	}
}
