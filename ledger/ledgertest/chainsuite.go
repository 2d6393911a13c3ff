package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

func sprint(a ...any) string { return fmt.Sprint(a...) }

// TestChain runs the chain's part of the suite.
func TestChain(t *testing.T, open Factory) {
	env := open(t)
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Blocks", chainBlocks},
		{"MatchesByScriptAndOutpoint", chainMatches},
		{"PublishKnown", chainPublishKnown},
		{"PublishRejected", chainRejected},
		{"Replacement", chainReplacement},
		{"Conflict", chainConflict},
		{"Unspent", chainUnspent},
		{"Reorg", chainReorg},
		{"EstimateFee", chainEstimate},
		{"CancelledContext", chainCancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSuite(t, env)
			s.settle()
			test.run(s)
		})
	}
}

func chainBlocks(s *suite) {
	if s.Chain.Capabilities().Name == "" {
		s.t.Error("the backend has no name")
	}
	before := s.tip()
	drain(s.Chain.Changed())
	s.mine(3)
	s.until("Changed", func() (bool, string) {
		select {
		case <-s.Chain.Changed():
			return true, ""
		default:
			return false, ""
		}
	})
	prev := before
	for i := uint32(1); i <= 3; i++ {
		b, err := s.Chain.BlockAt(s.ctx, before.Height+i)
		s.ok(err)
		if b.Prev != prev.Hash || b.Height != before.Height+i || b.Time < prev.Time {
			s.t.Fatalf("block %+v does not follow %+v", b, prev)
		}
		prev = b
	}
	if s.tip() != prev {
		s.t.Fatal("the tip is not the last block")
	}
	_, err := s.Chain.BlockAt(s.ctx, prev.Height+1)
	s.is(err, ledger.ErrNotFound)
	_, err = s.Chain.Matches(s.ctx, [32]byte{1, 2, 3}, &ledger.Watch{Scripts: map[string]bool{"x": true}})
	s.is(err, ledger.ErrNotFound)
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func (s *suite) matches(b ledger.Block, w *ledger.Watch) (ids [][32]byte) {
	s.t.Helper()
	found, err := s.Chain.Matches(s.ctx, b.Hash, w)
	s.ok(err)
	for _, m := range found {
		if decode(s.t, m.Raw).TxHash() != m.TxID {
			s.t.Fatal("a match's raw transaction has another id")
		}
		ids = append(ids, m.TxID)
	}
	return ids
}

func chainMatches(s *suite) {
	s.rich(200_000)
	own := s.address()
	parent := s.fund(2000, out(7, 20_000), ledger.Output{Script: own, Value: 50_000})
	s.ok(s.Chain.Publish(s.ctx, parent))
	s.ok(s.Wallet.Record(s.ctx, parent, "channel"))
	child, err := s.Wallet.Bump(s.ctx, parent.ID, 5000)
	s.ok(err)
	s.mine(1)
	block := s.tip()

	spent := s.decode(child).TxIn[0].PreviousOutPoint
	op := channel.Outpoint{TxID: spent.Hash, Index: spent.Index}
	opScript := s.decode(parent).TxOut[spent.Index].PkScript
	byScript := &ledger.Watch{Scripts: map[string]bool{string(foreign(7)): true}}
	byOutpoint := &ledger.Watch{
		Outpoints:  map[channel.Outpoint]bool{op: true},
		OutScripts: map[channel.Outpoint][]byte{op: opScript},
	}
	// An output of a watched script is itself watched for the rest of its block.
	chained := &ledger.Watch{Scripts: map[string]bool{string(opScript): true}}
	nothing := &ledger.Watch{Scripts: map[string]bool{string(foreign(99)): true}}
	for _, c := range []struct {
		name string
		w    *ledger.Watch
		want [][32]byte
	}{
		{"script", byScript, [][32]byte{parent.ID}},
		{"outpoint", byOutpoint, [][32]byte{child.ID}},
		{"created and spent in one block", chained, [][32]byte{parent.ID, child.ID}},
		{"nothing", nothing, nil},
		{"empty", &ledger.Watch{}, nil},
	} {
		if got := s.matches(block, c.w); !slices.Equal(got, c.want) {
			s.t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
	}
	s.mine(1)
	if got := s.matches(s.tip(), byScript); got != nil {
		s.t.Errorf("found again in the next block: %x", got)
	}
}

func chainPublishKnown(s *suite) {
	s.rich(100_000)
	tx := s.fund(2000, out(1, 10_000))
	s.ok(s.Chain.Publish(s.ctx, tx))
	s.ok(s.Chain.Publish(s.ctx, tx))
	s.mine(1)
	s.ok(s.Chain.Publish(s.ctx, tx))
	if s.Chain.Capabilities().MempoolAccept {
		s.ok(s.Chain.TestAccept(s.ctx, tx))
	}
	s.ok(s.Wallet.Record(s.ctx, tx, ""))

	// Mined, and all its outputs spent since.
	all, err := s.Wallet.SendAll(s.ctx, s.address(), 2000)
	s.ok(err)
	s.mine(1)
	_, err = s.Wallet.SendAll(s.ctx, foreign(1), 2000)
	s.ok(err)
	s.mine(1)
	s.ok(s.Chain.Publish(s.ctx, all))
}

func chainRejected(s *suite) {
	s.rich(100_000)
	s.is(s.Chain.Publish(s.ctx, ledger.Tx{Raw: []byte("no transaction")}), ledger.ErrRejected)

	low := s.fund(200, out(1, 10_000))
	s.ok(s.Wallet.Release(s.ctx, low))
	good := s.fund(2000, out(1, 10_000))
	bad := s.decode(good)
	bad.TxIn[0].Witness[0][5] ^= 1
	forged := ledger.Tx{ID: bad.TxHash(), Raw: serialize(bad)}
	for name, tx := range map[string]ledger.Tx{"below the relay fee": low, "bad signature": forged} {
		if err := s.Chain.Publish(s.ctx, tx); !errors.Is(err, ledger.ErrRejected) {
			s.t.Errorf("%s: %v", name, err)
		}
		err := s.Chain.TestAccept(s.ctx, tx)
		if !s.Chain.Capabilities().MempoolAccept {
			s.is(err, ledger.ErrUnsupported)
		} else if !errors.Is(err, ledger.ErrRejected) {
			s.t.Errorf("%s, tested: %v", name, err)
		}
	}
	if s.Chain.Capabilities().MempoolAccept {
		s.ok(s.Chain.TestAccept(s.ctx, good))
	}
	s.ok(s.Wallet.Release(s.ctx, good))
}

func chainReplacement(s *suite) {
	s.rich(100_000)
	first := s.fund(2000, out(1, 10_000))
	s.ok(s.Wallet.Release(s.ctx, first))
	same := s.fund(2000, out(2, 10_000))
	s.ok(s.Wallet.Release(s.ctx, same))
	better := s.fund(9000, out(3, 10_000))
	if !shareInput(s, first, same) || !shareInput(s, first, better) {
		s.t.Fatal("released coins were not used again")
	}
	s.ok(s.Chain.Publish(s.ctx, first))
	s.is(s.Chain.Publish(s.ctx, same), ledger.ErrRejected)
	s.ok(s.Chain.Publish(s.ctx, better))
	if s.Chain.Capabilities().Unspent {
		_, _, err := s.Chain.Unspent(s.ctx, s.output(first, 0))
		s.is(err, ledger.ErrNotFound)
	}
	s.ok(s.Wallet.Record(s.ctx, better, "better"))
	s.mine(1)
	s.conflicts(first)
}

func shareInput(s *suite, a, b ledger.Tx) bool {
	for _, x := range s.decode(a).TxIn {
		for _, y := range s.decode(b).TxIn {
			if x.PreviousOutPoint == y.PreviousOutPoint {
				return true
			}
		}
	}
	return false
}

func chainConflict(s *suite) {
	s.rich(100_000)
	a := s.fund(2000, out(1, 10_000))
	s.ok(s.Wallet.Release(s.ctx, a))
	b := s.fund(4000, out(2, 10_000))
	s.ok(s.Chain.Publish(s.ctx, a))
	s.mine(1)
	s.conflicts(b)
	if s.Chain.Capabilities().MempoolAccept {
		s.is(s.Chain.TestAccept(s.ctx, b), ledger.ErrConflict)
	}
	s.ok(s.Wallet.Release(s.ctx, b))
}

func chainUnspent(s *suite) {
	if !s.Chain.Capabilities().Unspent {
		_, _, err := s.Chain.Unspent(s.ctx, channel.Outpoint{})
		s.is(err, ledger.ErrUnsupported)
		return
	}
	s.rich(100_000)
	own := s.address()
	tx := s.fund(2000, ledger.Output{Script: own, Value: 60_000})
	op := s.output(tx, 0)
	_, _, err := s.Chain.Unspent(s.ctx, op)
	s.is(err, ledger.ErrNotFound)
	s.ok(s.Chain.Publish(s.ctx, tx))
	s.ok(s.Wallet.Record(s.ctx, tx, "channel"))
	for want := uint32(0); want < 3; want++ {
		o, n, err := s.Chain.Unspent(s.ctx, op)
		s.ok(err)
		if n != want || o.Value != 60_000 || string(o.Script) != string(own) {
			s.t.Fatalf("%d sat with %d confirmations, want %d", o.Value, n, want)
		}
		s.mine(1)
	}
	_, err = s.Wallet.SendAll(s.ctx, foreign(1), 2000)
	s.ok(err)
	_, _, err = s.Chain.Unspent(s.ctx, op)
	s.is(err, ledger.ErrNotFound)
	s.mine(1)
	_, _, err = s.Chain.Unspent(s.ctx, op)
	s.is(err, ledger.ErrNotFound)
}

func chainReorg(s *suite) {
	s.rich(100_000)
	s.mine(6)
	tx := s.fund(2000, out(1, 10_000))
	s.ok(s.Wallet.Release(s.ctx, tx))
	rival := s.fund(3000, out(2, 10_000))
	s.ok(s.Chain.Publish(s.ctx, tx))
	s.mine(2)
	old := s.tip()

	// The transaction moves to another block.
	s.ok(s.Net.Reorg(s.ctx, 2))
	s.settle()
	b, err := s.Chain.BlockAt(s.ctx, old.Height)
	s.ok(err)
	if b.Hash == old.Hash || s.tip().Height != old.Height+1 {
		s.t.Fatal("the chain was not reorganised")
	}
	s.mine(1)
	w := &ledger.Watch{Scripts: map[string]bool{string(foreign(1)): true}}
	if got := s.matches(s.tip(), w); !slices.Equal(got, [][32]byte{tx.ID}) {
		s.t.Fatalf("in the new branch: %x", got)
	}
	// A rival takes its place.
	s.ok(s.Net.Reorg(s.ctx, 1, rival.Raw))
	s.settle()
	s.conflicts(tx)
	b, err = s.Chain.BlockAt(s.ctx, s.tip().Height-1)
	s.ok(err)
	w.Scripts[string(foreign(2))] = true
	if got := s.matches(b, w); !slices.Equal(got, [][32]byte{rival.ID}) {
		s.t.Fatalf("after the rival: %x", got)
	}
}

func chainEstimate(s *suite) {
	for _, blocks := range []uint32{0, 1, 6, 144, 100_000} {
		rate, source, err := s.Chain.EstimateFee(s.ctx, blocks)
		s.ok(err)
		if rate < 1000 || rate > 1_000_000 || source == "" {
			s.t.Errorf("%d blocks: %d sat/kvB from %q", blocks, rate, source)
		}
	}
}

func chainCancelled(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := s.Chain.Tip(ctx)
	s.is(err, context.Canceled)
	s.is(s.Chain.Publish(ctx, ledger.Tx{}), context.Canceled)
	_, _, err = s.Wallet.NewAddress(ctx)
	s.is(err, context.Canceled)
}
