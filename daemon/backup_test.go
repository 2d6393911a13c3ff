package daemon_test

import (
	"testing"

	"github.com/runnel/runnel/channel"
)

// An old backup of the payer: the payee's proof is adopted, counted in the budget, and the channel only
// closes, with what was really paid.
func TestOldBackupOfThePayer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 5_000_000)
	w.books(alice, bob, id, 5_000_000)
	old := alice.disk.Snapshot()
	alice.pay(id.String(), 7_000_000)
	alice.halt()
	alice.disk.Restore(old)
	alice.boot()
	w.synced(alice)
	w.eventually("alice knows", func() bool { return alice.State(id).Phase == channel.PhaseRecovering })
	if st := alice.State(id); st.Out.Total != 12_000_000 || alice.BudgetUsed() != 12_000_000 {
		t.Errorf("total %d, the budget counts %d", st.Out.Total, alice.BudgetUsed())
	}
	if _, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); codeOf(err) != channel.CodeNotOpen {
		t.Errorf("a payment from an old backup: %v", err)
	}
	_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.finish(alice, bob, id, 12_000)
	if k := alice.State(id).OutFunding.Spend.Kind; k != channel.SpentTogether {
		t.Errorf("it ended by a spend of kind %d", k)
	}
}

// An old backup of the payee: an honest payer hands back its newest voucher, and the payee takes no more.
func TestOldBackupOfThePayee(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 5_000_000)
	w.books(alice, bob, id, 5_000_000)
	old := bob.disk.Snapshot()
	alice.pay(id.String(), 7_000_000)
	bob.halt()
	bob.disk.Restore(old)
	bob.boot()
	w.synced(bob)
	w.eventually("both know", func() bool {
		return bob.State(id).Phase == channel.PhaseRecovering && alice.State(id).Out.Frozen != channel.NotFrozen
	})
	if _, err := alice.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); codeOf(err) != channel.CodeNotOpen {
		t.Errorf("a payment to an old backup: %v", err)
	}
	_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.finish(alice, bob, id, 12_000)
}
