package daemon_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
)

// earned is a payee with lanes on which it received 20,000 sat, 40,000 sat and so on.
func (w *world) earned(lanes int) (alice, bob *member, ids []channel.ID) {
	w.t.Helper()
	many := func(c *daemon.Config) { c.Limits.MaxChannels = 50 }
	alice, bob = w.start("alice", many), w.start("bob", many)
	alice.fund(10_000_000)
	for i := range lanes {
		id := w.open(alice, bob, 300_000, 0)
		alice.pay(id.String(), channel.Msat(20_000_000*(i+1)))
		ids = append(ids, id)
	}
	return alice, bob, ids
}

func (m *member) settleAll(req channel.SettleRequest) channel.SettleResult {
	m.w.t.Helper()
	req.All = true
	r, err := m.Settle(m.w.ctx(), req)
	must(m.w.t, err)
	return r
}

// inputs of a transaction in the mempool or the chain.
func (w *world) inputs(txid [32]byte) (list []channel.Outpoint) {
	for _, in := range w.tx(txid).MsgTx().TxIn {
		list = append(list, channel.Outpoint{TxID: in.PreviousOutPoint.Hash, Index: in.PreviousOutPoint.Index})
	}
	return list
}

// Many lanes are settled in one transaction; it is published and confirmed, its members close, and each
// satoshi is where it belongs.
func TestSettleAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, ids := w.earned(3)
	plan := bob.settleAll(channel.SettleRequest{DryRun: true})
	if len(plan.Lanes) != 3 || plan.Value != 120_000 || plan.Fee != ledger.FeeRate(1250).Fee(bob.scheme.SettleVSize(3)) || len(w.chain.Mempool()) != 0 {
		t.Fatalf("%+v", plan)
	}
	for _, id := range ids {
		if p := bob.info(id).Phase; p != channel.PhaseOpen {
			t.Fatalf("a dry run made a channel %s", p)
		}
	}
	if _, err := bob.Settle(w.ctx(), channel.SettleRequest{All: true, BelowFee: 1000}); codeOf(err) != channel.CodeLimit {
		t.Errorf("settled at 1.25 sat/vB when 1 was the most: %v", err)
	}
	r := bob.settleAll(channel.SettleRequest{})
	pool := w.chain.Mempool()
	if len(pool) != 1 || len(w.inputs(pool[0])) != 3 {
		t.Fatalf("%d transactions wait", len(pool))
	}
	for i, l := range r.Lanes {
		if l.TxID != channel.TxIDString(pool[0]) || l.Status != channel.SettleNow || i > 0 && l.Value > r.Lanes[i-1].Value {
			t.Errorf("%+v", l)
		}
	}
	again := bob.settleAll(channel.SettleRequest{})
	if again.Value != 0 || len(again.Lanes) != 3 || again.Lanes[0].Status != channel.SettleUnderway {
		t.Errorf("asked again: %+v", again)
	}
	soon, cancel := context.WithTimeout(w.ctx(), time.Second) // nobody answers any more
	defer cancel()
	if _, err := alice.Pay(soon, channel.PayRequest{Target: ids[0].String(), Amount: 1}); err == nil {
		t.Error("paid on a lane that is being settled")
	}
	bob.powerLoss()
	w.synced(bob)
	w.mineUntil("settled", func() bool { return bob.State(ids[2]).InFunding.Spend != nil }, alice, bob)
	w.mineUntil("all closed", func() bool {
		for _, id := range ids {
			if bob.info(id).Phase != channel.PhaseClosed || alice.info(id).Phase != channel.PhaseClosed {
				return false
			}
		}
		return true
	}, alice, bob)
	if got := bob.onchain(); got != 120_000-r.Fee {
		t.Errorf("bob has %d sat, the fee was %d", got, r.Fee)
	}
	w.conserved(alice, bob)
	w.eventually("no record is left", func() bool { return daemon.BatchRecords(bob.disk) == 0 })
}

// The payer of one lane in a batch gets a spend of it past the payee's: the others are settled without it, at
// no lower fee, over a restart too.
func TestBatchDropsTheCulprit(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"double-spent", "in a block"} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(how, restart), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				alice, bob, ids := w.earned(4)
				alice.halt()
				w.chain.SetMinFee(4000) // no block takes it at what it pays
				w.chain.SetEstimate(4000)
				w.synced(bob)
				w.chain.MineEmpty(1)
				w.synced(bob)
				bob.settleAll(channel.SettleRequest{})
				first := bob.State(ids[0]).InFunding.Exit
				w.chain.MineEmpty(1)
				w.synced(bob)

				// The payer of the first lane gets a spend of it past bob's.
				culprit := bob.State(ids[0])
				spend := w.together(alice, bob, &culprit)
				for _, id := range w.chain.Mempool() {
					w.chain.Evict(id)
				}
				must(t, w.chain.Publish(spend))
				if how == "in a block" {
					w.chain.Mine(1)
				}
				if restart {
					bob.powerLoss()
				}
				w.synced(bob)
				w.mineUntil("the others are settled", func() bool {
					for _, id := range ids[1:] {
						if sp := bob.State(id).InFunding.Spend; sp == nil || sp.Kind != channel.SpentSettled {
							return false
						}
					}
					return true
				}, bob)
				for _, id := range ids[1:] {
					if x := bob.State(id).InFunding.Exit; x.Rate < first.Rate || x.Shared != 3 {
						t.Errorf("regrouped from %d sat/kvB to %d, with %d lanes", first.Rate, x.Rate, x.Shared)
					}
				}
				if sp := bob.State(ids[0]).InFunding.Spend; sp == nil || sp.Kind != channel.SpentTogether {
					w.mineUntil("the culprit is spent", func() bool { return bob.State(ids[0]).InFunding.Spend != nil }, bob)
				}
			})
		}
	}
}

// A batch that no block takes lets a lane go that is about to expire: its payer could evict all. That lane
// pays what it takes, alone; the others don't.
func TestBatchDropsTheExpiring(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, ids := w.earned(2)
	r, err := alice.Open(w.ctx(), channel.OpenRequest{Peer: string(w.id("bob")), Deposit: 300_000, Expiry: 50})
	must(t, err)
	short := r.Channel
	w.mineUntil("open", func() bool { return alice.info(short).Spendable > 0 }, alice, bob)
	alice.pay(short.String(), 50_000_000)
	alice.halt()
	bob.settleAll(channel.SettleRequest{})
	last := map[channel.ID]channel.OwnTx{}
	for w.chain.Height() < r.Expiry-3 {
		w.chain.MineEmpty(1)
		w.synced(bob)
		w.eventually("published", func() bool { // so that the next block is one that did not take it
			x := bob.State(short).InFunding.Exit
			return x.Shared > 0 || w.waits(channel.TxIDString(x.TxID))
		})
		for _, id := range append(ids, short) {
			x := *bob.State(id).InFunding.Exit
			if x.Rate < last[id].Rate {
				t.Fatalf("the fee fell from %d to %d sat/kvB", last[id].Rate, x.Rate)
			}
			last[id] = x
		}
	}
	a, b := bob.State(ids[0]).InFunding.Exit, bob.State(short).InFunding.Exit
	t.Logf("lanes %d, fee %d, at %d; alone %d, fee %d, at %d; %d wait at block %d of %d", a.Shared, a.Fee, a.Height, b.Shared, b.Fee, b.Height, len(w.chain.Mempool()), w.chain.Height(), r.Expiry)
	w.eventually("apart", func() bool {
		a, b := bob.State(ids[0]).InFunding.Exit, bob.State(short).InFunding.Exit
		return a.Shared == 2 && b.Shared == 0 && len(w.chain.Mempool()) == 2 && b.Fee > 40_000
	})
	if a := last[ids[0]]; a.Fee > 15_000 {
		t.Errorf("a lane with time pays %d sat", a.Fee)
	}
	w.chain.Mine(1)
	w.synced(bob)
	for _, id := range append(ids, short) {
		if sp := bob.State(id).InFunding.Spend; sp == nil || sp.Kind != channel.SpentSettled {
			t.Errorf("%+v", sp)
		}
	}
}

// together is a spend of the lane that pays bob which both signed, and which pays alice all.
func (w *world) together(alice, bob *member, st *channel.State) []byte {
	w.t.Helper()
	lane := ledger.Lane{Terms: st.Terms.In, Funding: st.InFunding.Claimed}
	_, script, err := alice.wallet.NewAddress(w.ctx())
	must(w.t, err)
	outputs := []ledger.Output{{Script: script, Value: st.Terms.In.Deposit - 20_000}}
	a, err := alice.signer().NewClose([]ledger.CloseLane{{Lane: lane, Keys: ledger.LaneKeys{Lane: w.keyOf(alice, st.Terms.In.Payer), Payer: true}}}, outputs)
	must(w.t, err)
	b, err := bob.signer().NewClose([]ledger.CloseLane{{Lane: lane, Keys: ledger.LaneKeys{Lane: st.Terms.InKey}}}, outputs)
	must(w.t, err)
	_, err = a.Sign(b.Nonces())
	must(w.t, err)
	partials, err := b.Sign(a.Nonces())
	must(w.t, err)
	tx, err := a.Combine(partials)
	must(w.t, err)
	return tx.Raw
}

// keyOf is the index of a payer key.
func (w *world) keyOf(m *member, key channel.Key) uint32 {
	for i := range uint32(100) {
		if k, err := m.signer().PayerKey(i); err == nil && k == key {
			return i
		}
	}
	w.t.Fatal("a payer key that nobody made")
	return 0
}

// What a lane earned and the fee would eat is shown and left; by name it is settled all the same if
// anything remains. What has earned nothing is refused by name.
func TestSettleUneconomic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, ids := w.earned(2)
	poor := w.open(alice, bob, 300_000, 0)
	alice.pay(poor.String(), 1_500_000)
	idle := w.open(alice, bob, 300_000, 0)
	w.chain.SetEstimate(4_000)
	w.chain.MineEmpty(1)
	w.synced(bob)
	r := bob.settleAll(channel.SettleRequest{DryRun: true})
	if len(r.Lanes) != 3 || r.Lanes[2].Channel != poor || r.Lanes[2].Status != channel.SettleUneconomic || r.Value != 60_000 {
		t.Errorf("%+v", r)
	}
	if _, err := bob.Settle(w.ctx(), channel.SettleRequest{Channels: []string{idle.String()}}); codeOf(err) != channel.CodeNotOpen {
		t.Errorf("a lane without earnings: %v", err)
	}
	one, err := bob.Settle(w.ctx(), channel.SettleRequest{Channels: []string{poor.String()[:8]}, FeeRate: 2_000})
	if err != nil || len(one.Lanes) != 1 || one.Lanes[0].Status != channel.SettleNow || one.Lanes[0].TxID == "" {
		t.Errorf("%+v, %v", one, err)
	}
	if p := bob.info(ids[0]).Phase; p != channel.PhaseOpen {
		t.Errorf("a channel that nobody named is %s", p)
	}
}
