package bitcoin

import (
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// refundAge is the relative lock of a refund output, in blocks.
const refundAge = 1

// leafInput is an input that one of our keys spends through a leaf.
type leafInput struct {
	outpoint channel.Outpoint
	prev     *wire.TxOut
	sequence uint32
	paired   *wire.TxOut // output that must stand at the input's index, or nil
	leaf     *leaf
	key      *keyPair
	voucher  []byte // witness item after our signature, or nil
}

// Settle takes the totals of lanes that pay us, minus the fee. Inputs stand in the given order, each
// with its refund output at the same index; our own output is the last.
func (s *Signer) Settle(lanes []ledger.SettleLane, script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
	inputs := make([]leafInput, 0, len(lanes))
	for _, lane := range lanes {
		in, err := s.settleInput(lane)
		if err != nil {
			return ledger.Tx{}, err
		}
		inputs = append(inputs, in)
	}
	return s.sweep(inputs, 0, script, rate)
}

func (s *Signer) settleInput(lane ledger.SettleLane) (leafInput, error) {
	l, err := s.scheme.scripts(lane.Terms)
	if err != nil {
		return leafInput{}, err
	}
	if err := l.verifyVoucher(lane.Lane, lane.Total, lane.Signature); err != nil {
		return leafInput{}, err
	}
	key, err := s.keyFor(purposePayee, lane.Index, lane.Terms.Payee)
	if err != nil {
		return leafInput{}, err
	}
	refund, sequence := split(lane.Terms.Deposit, lane.Total)
	return leafInput{
		outpoint: lane.Funding,
		prev:     l.fundingOut(lane.Terms.Deposit),
		sequence: sequence,
		paired:   wire.NewTxOut(int64(refund), l.refund),
		leaf:     &l.voucher,
		key:      key,
		voucher:  append(lane.Signature[:], byte(sigHashVoucher)),
	}, nil
}

// Refund sweeps outputs that returned to us: funding outputs at or after the expiry of every one of them,
// refund outputs of settlements one block after the settlement. Both kinds may be mixed.
func (s *Signer) Refund(outputs []ledger.RefundInput, script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
	inputs := make([]leafInput, 0, len(outputs))
	var locktime uint32
	for _, out := range outputs {
		in, err := s.refundInput(out)
		if err != nil {
			return ledger.Tx{}, err
		}
		if !out.Settled {
			locktime = max(locktime, out.Terms.Expiry)
		}
		inputs = append(inputs, in)
	}
	return s.sweep(inputs, locktime, script, rate)
}

func (s *Signer) refundInput(out ledger.RefundInput) (leafInput, error) {
	l, err := s.scheme.scripts(out.Terms)
	if err != nil {
		return leafInput{}, err
	}
	if out.Value > channel.MaxMoney { // also keeps sums from wrapping
		return leafInput{}, fmt.Errorf("bitcoin: an output of %d sat can't be swept", out.Value)
	}
	if out.Settled {
		key, err := s.keyFor(purposeRefund, out.Index, out.Terms.Refund)
		return leafInput{
			outpoint: out.Outpoint,
			prev:     wire.NewTxOut(int64(out.Value), l.refund),
			sequence: refundAge,
			leaf:     &l.settled,
			key:      key,
		}, err
	}
	key, err := s.keyFor(purposePayer, out.Index, out.Terms.Payer)
	return leafInput{
		outpoint: out.Outpoint,
		prev:     l.fundingOut(out.Value),
		sequence: sequenceRBF,
		leaf:     &l.expired,
		key:      key,
	}, err
}

// sweep sends all that inputs have above their paired outputs to script, minus the fee.
func (s *Signer) sweep(inputs []leafInput, locktime uint32, script []byte, rate ledger.FeeRate) (ledger.Tx, error) {
	if len(inputs) == 0 {
		return ledger.Tx{}, errors.New("bitcoin: nothing to sweep")
	}
	if err := checkPayable(script); err != nil {
		return ledger.Tx{}, err
	}
	tx, prev, value, err := assemble(inputs, locktime, script)
	if err != nil {
		return ledger.Tx{}, err
	}
	if w := weightOf(tx); w > maxStandardWeight {
		return ledger.Tx{}, rejected("%d inputs are too many for one transaction (weight %d of %d)", len(inputs), w, maxStandardWeight)
	}
	rest, err := afterFee(value, rate, vsizeOf(tx), script)
	if err != nil {
		return ledger.Tx{}, err
	}
	tx.TxOut[len(tx.TxOut)-1].Value = int64(rest)
	if err := s.signLeaves(tx, prev, inputs); err != nil {
		return ledger.Tx{}, err
	}
	return finish(tx, prev)
}

// assemble builds the unsigned transaction with witnesses of their final size. The value of the last
// output, which pays script, is still without the fee.
func assemble(inputs []leafInput, locktime uint32, script []byte) (*wire.MsgTx, spent, channel.Sat, error) {
	tx := wire.NewMsgTx(txVersion)
	tx.LockTime = locktime
	prev := make(spent, len(inputs))
	var value channel.Sat
	for i := range inputs {
		in := &inputs[i]
		o := wireOutpoint(in.outpoint)
		if prev[o] != nil {
			return nil, nil, 0, fmt.Errorf("bitcoin: output %v is spent twice", o)
		}
		prev[o] = in.prev
		tx.AddTxIn(&wire.TxIn{PreviousOutPoint: o, Sequence: in.sequence, Witness: in.witness(channel.Signature{})})
		value += channel.Sat(in.prev.Value)
		if in.paired != nil {
			tx.AddTxOut(in.paired)
			value -= channel.Sat(in.paired.Value)
		}
	}
	if value > channel.MaxMoney {
		return nil, nil, 0, errors.New("bitcoin: the inputs are worth more than can exist")
	}
	tx.AddTxOut(wire.NewTxOut(int64(value), script))
	return tx, prev, value, nil
}

// afterFee is what is left of value for script.
func afterFee(value channel.Sat, rate ledger.FeeRate, vbytes int, script []byte) (channel.Sat, error) {
	if rate > maxFeeRate {
		return 0, fmt.Errorf("%w: a fee rate of %d sat/kvB is a mistake", ledger.ErrUneconomic, rate)
	}
	fee := rate.Fee(vbytes)
	if fee >= value {
		return 0, fmt.Errorf("%w: fee %d sat, value %d sat", ledger.ErrUneconomic, fee, value)
	}
	if value-fee < dust(script) {
		return 0, fmt.Errorf("%w: %d sat are left after the fee", ledger.ErrTooSmall, value-fee)
	}
	return value - fee, nil
}

func (s *Signer) signLeaves(tx *wire.MsgTx, prev spent, inputs []leafInput) error {
	fetcher := prev.fetcher()
	hashes := txscript.NewTxSigHashes(tx, fetcher)
	for i := range inputs {
		tapLeaf := txscript.NewBaseTapLeaf(inputs[i].leaf.script)
		digest, err := txscript.CalcTapscriptSignaturehash(hashes, txscript.SigHashDefault, tx, i, fetcher, tapLeaf)
		if err != nil {
			return fmt.Errorf("bitcoin: digest of input %d: %w", i, err)
		}
		sig, err := s.sign(inputs[i].key, [32]byte(digest))
		if err != nil {
			return err
		}
		tx.TxIn[i].Witness = inputs[i].witness(sig)
	}
	return nil
}

func (in *leafInput) witness(sig channel.Signature) wire.TxWitness {
	w := wire.TxWitness{sig[:]}
	if in.voucher != nil {
		w = append(w, in.voucher)
	}
	return append(w, in.leaf.script, in.leaf.control)
}
