package gateway

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// A flood of browsers that do not pay drives out other unpaid pages, never one that is paid or being paid.
func TestFloodOfPagesLeavesPaidOnes(t *testing.T) {
	var u unlocked
	now := time.Unix(1_000_000, 0)
	paid, paying := u.add("/a", now), u.add("/b", now)
	u.take(paid)
	u.paid(paid, true)
	u.take(paying)
	unpaid := u.add("/c", now)
	for range maxUnlocks {
		u.add("/flood", now)
	}
	if _, ok := u.get(unpaid, now); ok {
		t.Error("the oldest unpaid page is still there")
	}
	if _, ok := u.get(paying, now); !ok {
		t.Error("a page that is being paid is gone")
	}
	if len(u.pages) > maxUnlocks || len(u.order) > maxUnlocks {
		t.Errorf("%d pages, %d in order", len(u.pages), len(u.order))
	}
	page, ok := u.use(paid, "/a", now)
	if !ok {
		t.Fatal("a paid page is gone")
	}
	u.add("/flood", now)
	u.restore(paid, page)
	u.add("/flood", now.Add(unlockLife+time.Second))
	if len(u.pages) != 1 || len(u.order) != 1 {
		t.Errorf("%d pages and %d in order after all have ended", len(u.pages), len(u.order))
	}
}

// A flood of stored answers leaves the place of a request that runs: its repeat is told so and not charged.
func TestFloodOfAnswersLeavesRunningOnes(t *testing.T) {
	a := answers{maxBytes: 1 << 20, maxCount: 4}
	if _, mine := a.begin("runs", print{}); !mine {
		t.Fatal("the place is taken")
	}
	for i := range 20 {
		key := "k" + strconv.Itoa(i)
		a.begin(key, print{})
		a.end(key, &stored{key: key, status: 200})
	}
	if there, mine := a.begin("runs", print{}); mine || !there.running {
		t.Error("the place of the running request is lost")
	}
	if a.order.Len() > 4 {
		t.Errorf("%d answers are kept of 4", a.order.Len())
	}
}

// With too many addresses a new one costs another one its count, and not all of them theirs.
func TestFloodOfAddressesLeavesCounts(t *testing.T) {
	var v visitors
	begin := time.Unix(1_000_000, 0)
	addr := func(i int) netip.Prefix {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	for i := range maxVisitors + 10 {
		if _, ok := v.take(addr(i), 1, time.Hour, begin); !ok {
			t.Fatal("the first of an address is refused")
		}
	}
	kept := 0
	for i := range maxVisitors {
		kept += v.seen[addr(i)]
	}
	if len(v.seen) != maxVisitors || kept < maxVisitors-10 {
		t.Errorf("%d addresses are counted, %d of the first ones", len(v.seen), kept)
	}
	if wait, ok := v.take(addr(maxVisitors+9), 1, time.Hour, begin.Add(time.Minute)); ok || wait != 59*time.Minute {
		t.Errorf("%v, %v", wait, ok)
	}
	if _, ok := v.take(addr(maxVisitors+9), 1, time.Hour, begin.Add(time.Hour)); !ok {
		t.Error("the window does not end")
	}
}
