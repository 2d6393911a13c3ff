package daemon_test

import (
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

// While the chain can't be seen, draws take no more than frames may: neither new ones nor those that run, and what was
// refused or came again counts for nothing.
func TestDrawsWhileBlind(t *testing.T) {
	t.Parallel()
	w, alice, bob, id := drawers(t, nil)
	bob.charge(alice.authorise(id, 100_000).Authorisation, 1_000)
	again := alice.authorise(id, 1_000).Authorisation
	small := alice.authorise(id, 10).Authorisation
	bob.limit(5_000)
	bob.chain.SetAway(true)
	w.eventually("bob is blind", func() bool {
		s, err := bob.Status(w.ctx())
		return err == nil && strings.Contains(strings.Join(s.Attention, "\n"), "chain backend")
	})
	hold := func(more channel.Msat) error {
		_, err := bob.HoldMore(w.ctx(), id, 1, more, 0)
		return err
	}
	must(t, hold(2_000))
	for range 3 { // fails, or is no charge
		wantFault(t, "more than authorised", call(bob.Charge(w.ctx(), channel.ChargeRequest{Authorisation: small, Amount: 2_000})), channel.CodeNoCredit)
		bob.charge(again, 1_000)
	}
	must(t, hold(2_000))
	wantFault(t, "more than may be taken blind", hold(1), channel.CodeChainUnreachable)
	wantFault(t, "a new one", call(bob.Charge(w.ctx(), channel.ChargeRequest{Authorisation: small, Amount: 1})), channel.CodeChainUnreachable)
	bob.chain.SetAway(false)
	w.synced(bob)
	must(t, hold(1))
	bob.endDraw(id, 1, 5_001)
	bob.endDraw(id, 2, 1_000)
	bob.charge(small, 0)
	w.told(alice, bob, id)
}
