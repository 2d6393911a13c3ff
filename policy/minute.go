package policy

import (
	"time"

	"github.com/runnel/runnel/channel"
)

// Minute sums amounts over the last 60 seconds, as Window does over 24 hours: an amount counts for at
// least 60 seconds and less than 62.5, and a clock that is set back refills nothing. The zero value is empty.
type Minute struct{ w Window }

const slot = time.Minute / (buckets - 1)

// Slot numbers the slots of 2.5 seconds since 1970.
func Slot(t time.Time) uint32 {
	return uint32(min(max(t.UnixMilli(), 0)/slot.Milliseconds(), 1<<32-1))
}

// Advance moves to now and forgets what is older.
func (m *Minute) Advance(now time.Time) { m.w.advance(Slot(now)) }

// Used is what counts at the time of the last Advance.
func (m *Minute) Used() channel.Msat { return m.w.used }

// Add counts an amount and returns its slot; false changes nothing.
func (m *Minute) Add(amount channel.Msat) (slot uint32, ok bool) { return m.w.Add(amount) }

// Release takes back what was counted under a slot.
func (m *Minute) Release(slot uint32, amount channel.Msat) { m.w.Release(slot, amount) }
