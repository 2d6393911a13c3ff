package daemon

import "github.com/runnel/runnel/channel"

// Rebind gives an authorisation of this node's the code that it would have as it is now.
func (n *Node) Rebind(a channel.Authorisation) (channel.Authorisation, error) {
	n.mu.Lock()
	d := n.drivers[a.Channel]
	n.mu.Unlock()
	key, err := d.secret(true)
	if err == nil {
		a.MAC = bindingCode(key, &a.Binding, d.agreed.Out.ID(), a.Total)
	}
	return a, err
}
