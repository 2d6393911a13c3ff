package gateway

import (
	"net/netip"
	"sync"
	"time"
)

// maxVisitors bounds the addresses that are counted; with more, the oldest count is forgotten early.
const maxVisitors = 16 << 10

// visitors counts what addresses do in windows of time, in bounded memory. Safe for concurrent use.
type visitors struct {
	mu    sync.Mutex
	seen  map[netip.Prefix]*visitorCount
	begin time.Time // of the window
}

type visitorCount struct{ count int }

// take counts one and reports whether it is within limit, and if not, how long the window lasts still.
func (v *visitors) take(a netip.Prefix, limit int, per time.Duration, now time.Time) (wait time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || now.Sub(v.begin) >= per || now.Before(v.begin) || len(v.seen) >= maxVisitors && v.seen[a] == nil {
		v.seen, v.begin = map[netip.Prefix]*visitorCount{}, now
	}
	one := v.seen[a]
	if one == nil {
		one = &visitorCount{}
		v.seen[a] = one
	}
	if one.count >= limit {
		return v.begin.Add(per).Sub(now), false
	}
	one.count++
	return 0, true
}
