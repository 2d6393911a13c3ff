package coins

import (
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/ledger"
)

// Labels by which a wallet knows its own payments again: these it may replace.
const (
	LabelSend    = "send"
	LabelSendAll = "send all"
	LabelChild   = "fee for another transaction"
)

// Waiting is an unconfirmed transaction that concerns the wallet.
type Waiting struct {
	Tx    *wire.MsgTx
	Label string
	Size  int // virtual
	// Inputs are those that are ours; Own are its outputs that are ours and unspent.
	Inputs []Coin
	Own    []Coin
}

// Bump plans a higher fee for w. A payment that the wallet made itself is replaced (replaced is true).
// Any other transaction, a channel's funding above all, must keep its id: others rely on it. So a child
// pays for it. script is a fresh one of the wallet.
func Bump(w Waiting, available []Coin, script []byte, rate ledger.FeeRate) (plan Plan, replaced bool, err error) {
	if err := sane(rate); err != nil {
		return Plan{}, false, err
	}
	ours := len(w.Inputs) == len(w.Tx.TxIn)
	if ours && (w.Label == LabelSend || w.Label == LabelSendAll || w.Label == LabelChild) {
		old, err := w.replaceable()
		if err != nil {
			return Plan{}, false, err
		}
		plan, err = Replace(old, available, rate, script)
		return plan, true, err
	}
	if len(w.Own) == 0 {
		return Plan{}, false, fmt.Errorf("%w: it was not sent by this wallet and has no unspent output here", ledger.ErrNoBump)
	}
	fee := int64(0)
	if ours {
		fee = sum(w.Inputs) - total(w.Tx.TxOut)
	}
	own := slices.Clone(w.Own)
	slices.SortFunc(own, larger)
	plan, err = Child(own[0], w.Size, fee, available, script, rate)
	return plan, false, err
}

// replaceable relies on how Send builds: the payment first, then the change.
func (w Waiting) replaceable() (Replaceable, error) {
	r := Replaceable{Coins: w.Inputs, Outputs: w.Tx.TxOut, Change: -1, Sweep: w.Label != LabelSend}
	if r.Sweep || len(w.Tx.TxOut) < 2 {
		return r, nil
	}
	r.Change = len(w.Tx.TxOut) - 1
	for _, c := range w.Own {
		if int(c.Index) == r.Change {
			return r, nil
		}
	}
	return r, fmt.Errorf("%w: its change is spent by a later transaction; raise the fee of that one", ledger.ErrNoBump)
}

// Replaceable is a waiting transaction of ours as Replace needs it.
type Replaceable struct {
	Coins   []Coin // all its inputs
	Outputs []*wire.TxOut
	Change  int // index of the change output, -1 without one
	// Sweep says that its only output takes everything, so that a higher fee comes out of it.
	Sweep bool
}

// Replace raises the fee of old at the cost of its change, or of further confirmed coins where that is
// not enough. It never pays less than old did, in all or by size.
func Replace(old Replaceable, available []Coin, rate ledger.FeeRate, change []byte) (Plan, error) {
	oldFee := sum(old.Coins) - total(old.Outputs)
	oldRate := rateOf(oldFee, VSize(len(old.Coins), old.Outputs))
	if rate <= oldRate {
		return Plan{}, tooLow(oldRate)
	}
	var plan Plan
	var err error
	if old.Sweep && len(old.Outputs) == 1 {
		plan, err = sweepAll(slices.Clone(old.Coins), old.Outputs[0].PkScript, rate)
	} else {
		var kept []*wire.TxOut
		for i, o := range old.Outputs {
			if i != old.Change {
				kept = append(kept, o)
			}
		}
		plan, err = gather(old.Coins, available, kept, rate, oldFee, change)
	}
	if err != nil {
		return Plan{}, err
	}
	if plan.Fee < minReplacement(oldFee, VSize(len(plan.Coins), plan.Tx.TxOut)) {
		return Plan{}, tooLow(oldRate)
	}
	return plan, nil
}

// Child spends coin, an output of a waiting transaction of parentSize that paid parentFee (0 when
// unknown), so that both together reach rate. Further confirmed coins help where it is too small.
func Child(coin Coin, parentSize int, parentFee int64, available []Coin, script []byte, rate ledger.FeeRate) (Plan, error) {
	if parentRate := rateOf(parentFee, parentSize); rate <= parentRate {
		return Plan{}, tooLow(parentRate)
	}
	spent := []Coin{coin}
	rest := slices.Clone(available)
	slices.SortFunc(rest, larger)
	for {
		out := wire.NewTxOut(0, script)
		size := VSize(len(spent), []*wire.TxOut{out})
		// The child alone pays at least the asked rate, as a node may see it alone.
		fee := max(int64(rate.Fee(parentSize+size))-parentFee, int64(rate.Fee(size)))
		if out.Value = sum(spent) - fee; out.Value >= Dust {
			return assemble(spent, []*wire.TxOut{out}, -1), nil
		}
		if len(rest) == 0 || len(spent) == MaxInputs {
			return Plan{}, insufficient(fee+Dust, sum(spent))
		}
		spent, rest = append(spent, rest[0]), rest[1:]
	}
}

// ErrTooLow refuses a fee rate that does not raise what is paid already.
var ErrTooLow = fmt.Errorf("%w: the fee rate is too low", ledger.ErrNoBump)

func tooLow(old ledger.FeeRate) error {
	return fmt.Errorf("%w: it pays %s already; ask for %s or more", ErrTooLow, text(old), text(old+IncrementalRate))
}

// text shows a rate in sat/vB with three digits at most.
func text(r ledger.FeeRate) string {
	if r%1000 == 0 {
		return fmt.Sprintf("%d sat/vB", r/1000)
	}
	return fmt.Sprintf("%d.%03d sat/vB", r/1000, r%1000)
}

// Confirmed and Unknown are the two simple reasons not to bump.
func Confirmed(txid [32]byte) error {
	return fmt.Errorf("%w: %s is confirmed already", ledger.ErrNoBump, chainhash.Hash(txid))
}

// Unknown says that the wallet has no such transaction.
func Unknown(txid [32]byte) error {
	return fmt.Errorf("%w: the wallet knows no transaction %s", ledger.ErrNotFound, chainhash.Hash(txid))
}
