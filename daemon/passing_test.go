package daemon_test

import (
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

// A settlement of many lanes is replaced, and the power goes when only one of the copies has it: the record of
// the old one is not brought back, and nobody is told that something was lost.
func TestReplacedSettlementStaysReplaced(t *testing.T) {
	old, next := []byte("x"+string(make([]byte, 32))), []byte("x"+string(append(make([]byte, 31), 1)))
	h := &history{groups: [][]*store.Batch{
		{new(store.Batch).Put(old, []byte("{}"))},
		{new(store.Batch).Put([]byte("k"), []byte{0, 0, 0, 1})},
		{new(store.Batch).Put(next, []byte("{}")).Delete(old)},
	}}
	for _, late := range [][2]int{{3, 2}, {2, 3}} {
		b := written(t, h, late[0], late[1])
		if r := b.reconcile(t); r.Repaired() {
			t.Errorf("the store has %d groups and the journal %d: %s", late[0], late[1], r)
		}
		b.wantAgreed(t, full(t, h))
	}
}

// A record of such a settlement that the store lost, and nothing else, comes back.
func TestLostSettlementComesBack(t *testing.T) {
	key := []byte("x" + string(make([]byte, 32)))
	h := &history{groups: [][]*store.Batch{
		{new(store.Batch).Put(key, []byte("{}"))},
		{new(store.Batch).Put([]byte("k"), []byte{0, 0, 0, 1})},
	}}
	b := written(t, h, 2, 2)
	must(t, apply(b.store, new(store.Batch).Delete(key)))
	if r := b.reconcile(t); !r.Repaired() {
		t.Error("nobody is told of a lost record")
	}
	b.wantAgreed(t, full(t, h))
}

// The last group gives back some of the budget, for a payment was refused, and only the store has it.
func TestBudgetThatWasGivenBack(t *testing.T) {
	budget := func(used channel.Msat) *store.Batch {
		w := policy.Window{}
		w.Advance(time.Unix(1_700_000_000, 0))
		w.Add(used)
		return new(store.Batch).Put([]byte("b"), w.Encode())
	}
	h := &history{groups: [][]*store.Batch{
		{budget(5_000)},
		{new(store.Batch).Put([]byte("k"), []byte{0, 0, 0, 1})},
		{budget(2_000).Put([]byte("x"+string(make([]byte, 32))), []byte("{}"))},
	}}
	b := written(t, h, 3, 2)
	if r := b.reconcile(t); r.Repaired() {
		t.Error(r)
	}
	b.wantAgreed(t, full(t, h))
}
