package ledgertest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// TestWallet runs the wallet's part of the suite.
func TestWallet(t *testing.T, open Factory) {
	env := open(t)
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Receive", walletReceive},
		{"FundWithSeal", walletFund},
		{"FundTwice", walletFundTwice},
		{"FundRefused", walletRefused},
		{"SendAndBump", walletSend},
		{"BumpByChild", walletChild},
		{"BumpRefused", walletBumpRefused},
		{"SendAll", walletSendAll},
		{"ReorgOfEveryDepth", walletReorg},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSuite(t, env)
			s.settle()
			test.run(s)
			s.empty()
		})
	}
}

// empty leaves the wallet without money for the next test.
func (s *suite) empty() {
	s.t.Helper()
	s.mine(1)
	if s.balance().Confirmed > 0 {
		_, err := s.Wallet.SendAll(s.ctx, foreign(255), 1500)
		s.ok(err)
		s.mine(1)
	}
	s.balanceBecomes(ledger.Balance{})
}

func walletReceive(s *suite) {
	a, b := s.address(), s.address()
	if bytes.Equal(a, b) {
		s.t.Fatal("the same address twice")
	}
	txid, err := s.Net.Pay(s.ctx, a, 70_000)
	s.ok(err)
	if s.sees() {
		s.balanceBecomes(ledger.Balance{Pending: 70_000})
	}
	s.mine(1)
	s.balanceBecomes(ledger.Balance{Confirmed: 70_000})
	s.mine(2)
	l, ok := s.history(txid)
	if !ok || l.Amount != 70_000 || l.Confirmations != 3 || l.Height != s.tip().Height-2 || l.Time == 0 {
		s.t.Fatalf("history: %+v", l)
	}
}

func walletFund(s *suite) {
	s.rich(100_000, 30_000)
	var first channel.Outpoint
	seal := func(op channel.Outpoint) ([]byte, error) {
		first = op
		return append([]byte{0x6a, 36}, append(op.TxID[:], 1, 2, 3, byte(op.Index))...), nil
	}
	tx, err := s.Wallet.Fund(s.ctx, []ledger.Output{out(9, 40_000), out(1, 25_000)}, 3000, seal)
	s.ok(err)
	s.paid(tx, 3000)
	msg := s.decode(tx)
	in := msg.TxIn[0].PreviousOutPoint
	if first.TxID != in.Hash || first.Index != in.Index {
		s.t.Fatal("the seal was not made from the first input")
	}
	sealed, _ := seal(first)
	for i, want := range []ledger.Output{out(9, 40_000), out(1, 25_000), {Script: sealed}} {
		if got := msg.TxOut[i]; !bytes.Equal(got.PkScript, want.Script) || got.Value != int64(want.Value) {
			s.t.Fatalf("output %d is not as asked", i)
		}
	}
	s.balanceBecomes(ledger.Balance{Confirmed: 30_000, Locked: 100_000})
	s.ok(s.Wallet.Release(s.ctx, tx))
	s.balanceBecomes(ledger.Balance{Confirmed: 130_000})
	s.ok(s.Wallet.Release(s.ctx, tx))

	tx, err = s.Wallet.Fund(s.ctx, []ledger.Output{out(9, 40_000)}, 3000, seal)
	s.ok(err)
	s.ok(s.Wallet.Record(s.ctx, tx, "channel 1"))
	s.balanceBecomes(ledger.Balance{Confirmed: 30_000, Pending: 60_000 - tx.Fee})
	s.ok(s.Chain.Publish(s.ctx, tx))
	s.ok(s.Wallet.Record(s.ctx, tx, "channel 1"))
	s.mine(1)
	s.balanceBecomes(ledger.Balance{Confirmed: 90_000 - tx.Fee})
	l, ok := s.history(tx.ID)
	if !ok || l.Amount != -40_000-int64(tx.Fee) || l.Fee != tx.Fee || l.Label != "channel 1" || l.Confirmations != 1 {
		s.t.Fatalf("history: %+v", l)
	}
	s.ok(s.Wallet.History(s.ctx, func(raw []byte, height uint32) error {
		if bytes.Equal(raw, tx.Raw) && height == l.Height {
			sealed = nil
		}
		return nil
	}))
	if sealed != nil {
		s.t.Fatal("the funding is not in the history as it was signed")
	}
	stop := errors.New("enough")
	s.is(s.Wallet.History(s.ctx, func([]byte, uint32) error { return stop }), stop)
}

func walletFundTwice(s *suite) {
	s.rich(50_000, 50_000)
	a := s.fund(2000, out(1, 20_000))
	b := s.fund(2000, out(2, 20_000))
	if shareInput(s, a, b) {
		s.t.Fatal("two transactions spend the same coin")
	}
	_, err := s.Wallet.Fund(s.ctx, []ledger.Output{out(3, 20_000)}, 2000, nil)
	s.is(err, ledger.ErrInsufficientFunds)
	s.ok(s.Wallet.Release(s.ctx, a))
	c := s.fund(2000, out(3, 20_000))
	if !shareInput(s, a, c) || shareInput(s, b, c) {
		s.t.Fatal("Release did not unlock just its own coins")
	}
	for _, tx := range []ledger.Tx{b, c} {
		s.ok(s.Chain.Publish(s.ctx, tx))
		s.ok(s.Wallet.Record(s.ctx, tx, "channel"))
	}
}

func walletRefused(s *suite) {
	s.rich(20_000)
	_, err := s.Wallet.Fund(s.ctx, []ledger.Output{out(1, 19_950)}, 2000, nil)
	s.is(err, ledger.ErrInsufficientFunds)
	if text := err.Error(); !strings.Contains(text, "20000") || !strings.Contains(text, "needed") {
		s.t.Errorf("the error does not tell the amounts: %v", err)
	}
	_, err = s.Wallet.Fund(s.ctx, []ledger.Output{out(1, 100)}, 2000, nil)
	s.is(err, ledger.ErrTooSmall)
	_, err = s.Wallet.Send(s.ctx, foreign(1), 5_000_000, 2000)
	s.is(err, ledger.ErrInsufficientFunds)
	_, err = s.Wallet.Send(s.ctx, foreign(1), channel.MaxMoney+1, 2000)
	s.is(err, ledger.ErrInsufficientFunds)
	_, err = s.Wallet.Send(s.ctx, foreign(1), 100, 2000)
	s.is(err, ledger.ErrTooSmall)
	s.balanceBecomes(ledger.Balance{Confirmed: 20_000})
}

func walletSend(s *suite) {
	s.rich(100_000, 100_000)
	tx, err := s.Wallet.Send(s.ctx, foreign(1), 60_000, 2000)
	s.ok(err)
	s.paid(tx, 2000)
	s.balanceBecomes(ledger.Balance{Confirmed: 100_000, Pending: 40_000 - tx.Fee})
	_, err = s.Wallet.Bump(s.ctx, tx.ID, 2000)
	s.is(err, ledger.ErrNoBump)
	bumped, err := s.Wallet.Bump(s.ctx, tx.ID, 8000)
	s.ok(err)
	s.paid(bumped, 8000)
	if !shareInput(s, tx, bumped) || s.decode(bumped).TxOut[0].Value != 60_000 {
		s.t.Fatal("the bump is not a replacement of the same payment")
	}
	s.balanceBecomes(ledger.Balance{Confirmed: 100_000, Pending: 40_000 - bumped.Fee})
	if _, ok := s.history(tx.ID); ok {
		s.t.Error("the replaced transaction is still in the history")
	}
	// Again, so high that the change no longer pays for it.
	again, err := s.Wallet.Bump(s.ctx, bumped.ID, 300_000)
	s.ok(err)
	s.paid(again, 300_000)
	s.mine(1)
	s.balanceBecomes(ledger.Balance{Confirmed: 140_000 - again.Fee})
	l, ok := s.history(again.ID)
	if !ok || l.Amount != -60_000-int64(again.Fee) || l.Fee != again.Fee {
		s.t.Fatalf("history: %+v", l)
	}
}

func walletChild(s *suite) {
	s.rich(100_000)
	tx := s.fund(1500, out(1, 40_000))
	s.ok(s.Chain.Publish(s.ctx, tx))
	s.ok(s.Wallet.Record(s.ctx, tx, "channel"))
	child, err := s.Wallet.Bump(s.ctx, tx.ID, 10_000)
	s.ok(err)
	if s.decode(child).TxIn[0].PreviousOutPoint.Hash != tx.ID {
		s.t.Fatal("a channel's funding was not bumped by a child")
	}
	s.balanceBecomes(ledger.Balance{Pending: 60_000 - tx.Fee - child.Fee})
	child2, err := s.Wallet.Bump(s.ctx, child.ID, 90_000)
	s.ok(err)
	if !shareInput(s, child, child2) {
		s.t.Fatal("the child was not replaced")
	}
	s.mine(1)
	s.balanceBecomes(ledger.Balance{Confirmed: 60_000 - tx.Fee - child2.Fee})
	if !s.sees() {
		return
	}
	// An incoming payment of somebody else can be pulled along too.
	txid, err := s.Net.Pay(s.ctx, s.address(), 50_000)
	s.ok(err)
	s.until("the payment in the wallet", func() (bool, string) { _, ok := s.history(txid); return ok, "" })
	_, err = s.Wallet.Bump(s.ctx, txid, 20_000)
	s.ok(err)
}

func walletBumpRefused(s *suite) {
	s.rich(100_000)
	_, err := s.Wallet.Bump(s.ctx, [32]byte{1}, 5000)
	s.is(err, ledger.ErrNotFound)
	tx, err := s.Wallet.Send(s.ctx, foreign(1), 99_000, 2000)
	s.ok(err)
	_, err = s.Wallet.Bump(s.ctx, tx.ID, 500_000)
	s.is(err, ledger.ErrInsufficientFunds)
	s.mine(1)
	_, err = s.Wallet.Bump(s.ctx, tx.ID, 5000)
	s.is(err, ledger.ErrNoBump)
}

func walletSendAll(s *suite) {
	_, err := s.Wallet.SendAll(s.ctx, foreign(1), 2000)
	s.is(err, ledger.ErrInsufficientFunds)
	s.rich(30_000, 40_000, 50_000)
	tx, err := s.Wallet.SendAll(s.ctx, foreign(1), 2000)
	s.ok(err)
	s.paid(tx, 2000)
	msg := s.decode(tx)
	if len(msg.TxIn) != 3 || len(msg.TxOut) != 1 || msg.TxOut[0].Value != 120_000-int64(tx.Fee) {
		s.t.Fatalf("%d inputs, %d outputs, %d sat", len(msg.TxIn), len(msg.TxOut), msg.TxOut[0].Value)
	}
	bumped, err := s.Wallet.Bump(s.ctx, tx.ID, 6000)
	s.ok(err)
	s.paid(bumped, 6000)
	if got := s.decode(bumped).TxOut[0].Value; got != 120_000-int64(bumped.Fee) {
		s.t.Fatalf("the bumped sweep pays %d sat", got)
	}
	s.balanceBecomes(ledger.Balance{})
}

// walletReorg takes back one to six blocks, with a payment in the lowest of them that comes again in the
// new branch's next block. Chain and wallet must follow, also where one branch quickly replaces another.
func walletReorg(s *suite) {
	s.mine(7)
	var sum channel.Sat
	for depth := range 6 {
		depth++
		value := channel.Sat(10_000 * depth)
		script := s.address()
		txid, err := s.Net.Pay(s.ctx, script, value)
		s.ok(err)
		s.mine(depth)
		s.balanceBecomes(ledger.Balance{Confirmed: sum + value})
		lowest, err := s.Chain.BlockAt(s.ctx, s.tip().Height-uint32(depth)+1)
		s.ok(err)
		s.ok(s.Net.Reorg(s.ctx, depth))
		s.settle()
		s.balanceBecomes(ledger.Balance{Confirmed: sum, Pending: value})
		if again, err := s.Chain.BlockAt(s.ctx, lowest.Height); err != nil || again.Hash == lowest.Hash || again.Prev != lowest.Prev {
			s.t.Fatalf("depth %d: block %d is still the old one, or not on the same parent (%v)", depth, lowest.Height, err)
		}
		s.mine(1)
		sum += value
		s.balanceBecomes(ledger.Balance{Confirmed: sum})
		found := s.matches(s.tip(), &ledger.Watch{Scripts: map[string]bool{string(script): true}})
		if l, ok := s.history(txid); !ok || l.Confirmations != 1 || len(found) != 1 || found[0] != txid {
			s.t.Fatalf("depth %d: the payment did not move: %+v, %x", depth, l, found)
		}
	}
}
