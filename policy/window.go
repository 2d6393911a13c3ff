package policy

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/runnel/runnel/channel"
)

// buckets are 24 whole hours and the one that runs: an amount counts for at least 24 hours and less
// than 25.
const buckets = 25

// Window sums amounts over the last 24 hours in bounded memory. It is a plain value; the zero value is
// empty. Its time only moves forward: a clock that is set back refills nothing.
type Window struct {
	newest uint32                // hours since 1970 of the last bucket
	sums   [buckets]channel.Msat // sums[h%buckets] is what was added in hour h
	used   channel.Msat          // sum of all sums
}

// ErrWindow is returned for a record that no Window wrote.
var ErrWindow = errors.New("policy: damaged record of the last 24 hours")

// Hour numbers the hours since 1970; times before are hour 0.
func Hour(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0)/3600, 1<<32-1))
}

// Advance moves the window to now and forgets what is older. A clock set back by more than the window
// is taken as right from then on, with all that was used counted as used now; smaller steps back, as
// clocks make them every day, wait until the time is reached again.
func (w *Window) Advance(now time.Time) { w.advance(Hour(now)) }

func (w *Window) advance(h uint32) {
	if w.newest >= buckets && h <= w.newest-buckets {
		*w = Window{newest: h, used: w.used}
		w.sums[h%buckets] = w.used
		return
	}
	if h > w.newest && h-w.newest >= buckets {
		*w = Window{newest: h}
		return
	}
	for w.newest < h {
		w.newest++
		w.used -= w.sums[w.newest%buckets]
		w.sums[w.newest%buckets] = 0
	}
}

// Used is what counts at the time of the last Advance.
func (w *Window) Used() channel.Msat { return w.used }

// Add counts an amount and returns the hour under which it was counted. It reports false and changes
// nothing when the sum would be more than all the money there is.
func (w *Window) Add(amount channel.Msat) (hour uint32, ok bool) {
	if amount > NoLimit || w.used > NoLimit-amount {
		return 0, false
	}
	w.sums[w.newest%buckets] += amount
	w.used += amount
	return w.newest, true
}

// Release takes back an amount that was counted under an hour. What is older than the window is
// forgotten already; never is more taken back than counts under that hour.
func (w *Window) Release(hour uint32, amount channel.Msat) {
	if hour > w.newest || w.newest-hour >= buckets {
		return
	}
	sum := &w.sums[hour%buckets]
	amount = min(amount, *sum)
	*sum -= amount
	w.used -= amount
}

const windowVersion = 1

// Encode writes version, newest hour and the sums from the newest hour back to the oldest that is not
// zero: 5 bytes and a few for each hour in which something was paid.
func (w *Window) Encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{windowVersion}, w.newest)
	end := len(b)
	for age := range uint32(buckets) {
		var sum channel.Msat
		if age <= w.newest {
			sum = w.sums[(w.newest-age)%buckets]
		}
		b = binary.AppendUvarint(b, uint64(sum))
		if sum != 0 {
			end = len(b)
		}
	}
	return b[:end]
}

// DecodeWindow accepts exactly what Encode writes.
func DecodeWindow(b []byte) (Window, error) {
	if len(b) < 5 || b[0] != windowVersion {
		return Window{}, ErrWindow
	}
	w := Window{newest: binary.BigEndian.Uint32(b[1:])}
	rest := b[5:]
	for age := uint32(0); len(rest) > 0; age++ {
		v, n := binary.Uvarint(rest)
		if n <= 0 || age >= buckets || age > w.newest || v > uint64(NoLimit-w.used) {
			return Window{}, ErrWindow
		}
		w.sums[(w.newest-age)%buckets] = channel.Msat(v)
		w.used += channel.Msat(v)
		rest = rest[n:]
	}
	if string(w.Encode()) != string(b) {
		return Window{}, ErrWindow // an encoding that is longer than needed
	}
	return w, nil
}
