package daemon

import "github.com/runnel/runnel/channel"

// giveNotice makes alerts of what the start had to tell.
func (n *Node) giveNotice() {
	if len(n.deps.Notices) == 0 {
		return
	}
	box := &outbox{}
	for _, text := range n.deps.Notices {
		n.log.Warn(text)
		box.entries = append(box.entries, entry{Kind: channel.EventAlert, Text: text})
	}
	n.submit(box, func(err error) {
		if err != nil {
			n.log.Error("an alert could not be stored", "err", err)
		}
	})
}
