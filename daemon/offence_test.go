package daemon

import (
	"fmt"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
)

func TestOffences(t *testing.T) {
	o, now := offences{}, time.Unix(1_000_000, 0)
	hold := func(friend bool) time.Duration { return o.add("mallory", friend, now) }
	for i, want := range []time.Duration{1, 2, 4, 8} {
		if got := hold(false); got != want*time.Second {
			t.Errorf("offence %d: %v", i, got)
		}
	}
	for range 100 {
		hold(false)
	}
	if got := hold(false); got != holdMost {
		t.Errorf("at most %v", got)
	}
	if got := hold(true); got != holdFriendMost {
		t.Errorf("a peer with a channel waits %v", got)
	}
	now = now.Add(holdMemory + 1)
	if got := hold(true); got != holdFriendFirst {
		t.Errorf("after a long time %v", got)
	}
	for i := range 3 * maxOffenders {
		o.add(channel.PeerID(fmt.Sprint("stranger", i)), false, now)
	}
	if len(o) > maxOffenders {
		t.Errorf("%d are remembered", len(o))
	}
}
