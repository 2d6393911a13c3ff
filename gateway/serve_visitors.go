package gateway

import (
	"net/netip"
	"sync"
	"time"
)

// maxVisitors bounds the addresses that are counted; with more, each new one has one of the others forgotten.
const maxVisitors = 16 << 10

// visitors counts what addresses do in windows of time, in bounded memory. Safe for concurrent use.
type visitors struct {
	mu    sync.Mutex
	seen  map[netip.Prefix]int
	begin time.Time // of the window
}

// take counts one and reports whether it is within limit, and if not, how long the window lasts still.
func (v *visitors) take(a netip.Prefix, limit int, per time.Duration, now time.Time) (wait time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || now.Sub(v.begin) >= per || now.Before(v.begin) {
		v.seen, v.begin = map[netip.Prefix]int{}, now
	}
	count := v.seen[a]
	switch {
	case count >= limit:
		return v.begin.Add(per).Sub(now), false
	case count == 0:
		evict(v.seen, maxVisitors)
	}
	v.seen[a] = count + 1
	return 0, true
}
