package channel_test

import (
	"errors"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// What an owner is told of a channel in each phase.
func TestInfo(t *testing.T) {
	type want struct {
		reason                string
		spendable, receivable channel.Msat
		recoverable           channel.Sat
	}
	for p, want := range map[channel.Phase]want{
		channel.PhaseAgreed:     {"the channel waits for its funding to confirm", 0, 0, 0},
		channel.PhaseOpen:       {"", 96_999_500, 46_000_000, 100_000 - 2_000 + 3_000},
		channel.PhaseRecovering: {"the channel is recovering", 0, 0, 101_000},
		channel.PhaseClosing:    {"the channel is closing", 0, 0, 101_000},
		channel.PhaseSettling:   {"the settlement waits for a block", 0, 0, 101_000},
		channel.PhaseClosed:     {"the channel is closed", 0, 0, 0},
		channel.PhaseAbandoned:  {"the channel is abandoned", 0, 0, 0},
	} {
		s := lived(t, p)
		i := s.Info()
		if i.Reason != want.reason || i.Spendable != want.spendable || i.Receivable != want.receivable || i.Recoverable != want.recoverable || i.Phase != p {
			t.Errorf("%s: %+v", p, i)
		}
	}
	s := open(t)
	i := s.Info()
	if i.Sent != 2_000_000 || i.Received != 3_000_000 || i.Net != 1_000_000 || i.Credit != 500 || i.Expiry != channeltest.Expiry || i.Confirmations < 1 || i.Required != 1 {
		t.Errorf("%+v", i)
	}
}

// The payee of a channel with one lane hears of that lane.
func TestInfoOfThePayee(t *testing.T) {
	w := channeltest.New(channeltest.Options{Deposit: 100_000, Confirmations: 2})
	must(t, w.Open())
	s := w.Bob.State
	if i := s.Info(); i.Reason != "" || i.Confirmations < 2 || i.Required != 2 || i.Receivable != 99_000_000 || i.Spendable != 0 {
		t.Errorf("%+v", i)
	}
	for name, c := range map[string]struct {
		happens channel.Input
		kind    channel.Kind
	}{
		"no funding": {channel.Reorganised{Height: channeltest.Base}, channel.KindNotOpen},
		"too late":   {channel.Height{Tip: channeltest.Expiry - 24, Blind: true}, channel.KindExpiring},
	} {
		s := w.Bob.State
		step(t, &s, c.happens)
		if err := s.CanReceive(); !errors.Is(err, c.kind) || s.Info().Reason != err.Error() {
			t.Errorf("%s: %v, shown as %q", name, err, s.Info().Reason)
		}
	}
	if err := s.CanPay(); channel.KindOf(err) != channel.KindNotOpen {
		t.Errorf("bob pays on no lane: %v", err)
	}
	if err := w.Alice.State.CanReceive(); channel.KindOf(err) != channel.KindNotOpen {
		t.Errorf("alice is paid on no lane: %v", err)
	}
}

// What can still be had back, and the transaction that ended the channel, follow the spends.
func TestRecoverable(t *testing.T) {
	s := open(t)
	step(t, &s, channel.CloseAlone{})
	step(t, &s, channel.ExitBuilt{Tx: channel.OwnTx{TxID: [32]byte{31: 1}}})
	if i := s.Info(); i.CloseTxID[:2] != "01" {
		t.Errorf("shows %s", i.CloseTxID)
	}
	step(t, &s, channel.SpendSeen{Spend: channel.Spend{TxID: [32]byte{31: 2}, Height: s.Tip, Kind: channel.SpentSettled, Total: 3_000_000, RefundValue: 47_000}})
	if i := s.Info(); i.Recoverable != 98_000 || i.CloseTxID[:2] != "02" {
		t.Errorf("after the own settlement: %d sat, %s", i.Recoverable, i.CloseTxID)
	}
	step(t, &s, channel.SpendSeen{Out: true, Spend: channel.Spend{TxID: [32]byte{31: 3}, Height: s.Tip, Kind: channel.SpentSettled, Total: 2_000_500, RefundValue: 97_999}})
	if i := s.Info(); i.Recoverable != 97_999 || i.CloseTxID[:2] != "03" {
		t.Errorf("after the peer's settlement: %d sat, %s", i.Recoverable, i.CloseTxID)
	}
	step(t, &s, channel.SweepSeen{Height: s.Tip})
	if i := s.Info(); i.Recoverable != 0 {
		t.Errorf("after the sweep: %d sat", i.Recoverable)
	}
	closing := lived(t, channel.PhaseClosing)
	step(t, &closing, channel.CloseBuilt{Tx: channel.OwnTx{TxID: [32]byte{31: 4}}})
	if got := closing.Info().CloseTxID; got[:2] != "04" {
		t.Errorf("shows %s", got)
	}
}

// What an application hears of faults.
func TestFaults(t *testing.T) {
	var err error = channel.Faultf(channel.CodePending, "%d wait", 3).WithHint("try %s", "again")
	var f *channel.Fault
	if !errors.As(err, &f) || f.Error() != "3 wait" || f.Hint != "try again" || !f.Code.Retryable() || channel.CodeLimit.Retryable() {
		t.Errorf("%+v", f)
	}
	for got, want := range map[string]string{
		channel.PayRefused.String(): "refused", channel.PayPending.String(): "pending", channel.Receiving.String(): "in",
		channel.EventLane.String(): "lane", channel.EventPayment.String(): "payment", channel.Accepted.String(): "accepted",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// An owner whose channel ends hears what it waits for.
func TestReasonsOfTheEnd(t *testing.T) {
	s := open(t)
	reason := func(want string) {
		t.Helper()
		if got := s.Info().Reason; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	step(t, &s, channel.CloseAlone{})
	reason("the settlement waits for a block")
	step(t, &s, channel.SpendSeen{Spend: channel.Spend{TxID: [32]byte{2}, Height: s.Tip, Kind: channel.SpentSettled, Total: 3_000_000, RefundValue: 47_000}})
	reason("the deposit returns after block 250")
	step(t, &s, channel.Height{Tip: channeltest.Expiry})
	reason("the refund waits for a block")
	step(t, &s, channel.SpendSeen{Out: true, Spend: channel.Spend{TxID: [32]byte{3}, Height: s.Tip, Kind: channel.SpentRefunded}})
	reason("its last transaction waits to be 6 blocks deep")

	s = lived(t, channel.PhaseClosing)
	reason("the channel is closing")
	step(t, &s, channel.Received{Msg: &channel.Stop{Channel: s.Terms.ID, In: channel.LaneReport{NextSeq: 3, Total: 2_000_500, Spent: 2_000_500}, Payout: []byte("wallet bob")}})
	reason("the two agree on a closing transaction")
	step(t, &s, channel.CloseBuilt{Tx: channel.OwnTx{TxID: [32]byte{4}}})
	reason("the closing transaction waits for a block")
}
