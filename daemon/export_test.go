package daemon

import "github.com/runnel/runnel/channel"

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
