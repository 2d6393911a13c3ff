// Package coins builds the wallet's transactions: which coins pay, what the fee is, where the change
// goes, and how a waiting transaction is replaced or pulled along by a child. It is arithmetic over
// taproot key spends; it knows no keys, no database and no network.
//
//	plan, err := coins.Fund(available, outputs, 2_000, changeScript)
package coins

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

const (
	// Sequence of every input: signals replacement (BIP 125) and no relative lock.
	Sequence = wire.MaxTxInSequenceNum - 2
	// Dust is the smallest change that is worth an output of its own: nodes relay nothing below it.
	Dust = int64(channel.DustSat)
	// IncrementalRate is what a replacement pays for its own relay on top of what it replaces
	// (BIP 125 rule 4, the default of every node).
	IncrementalRate = ledger.FeeRate(1000)
	// MaxInputs keeps a transaction below the 100,000 vB that nodes relay (58 vB each).
	MaxInputs = 1500
	// MaxRate stops a typing error, and sums from overflowing: nobody ever paid 10,000 sat/vB.
	MaxRate = ledger.FeeRate(10_000_000)
	// txVersion is what carries a relative lock; nodes relay up to this one everywhere.
	txVersion = 2
)

// Coin is an output that we can spend with a taproot key.
type Coin struct {
	wire.OutPoint
	Value  int64
	Script []byte
}

// Plan is an unsigned transaction with the coins that it spends, in the order of its inputs.
type Plan struct {
	Tx     *wire.MsgTx
	Coins  []Coin
	Fee    int64
	Change int // index of the change output, -1 without one
}

// VSize of a transaction with so many key spends and these outputs, signed.
func VSize(inputs int, outputs []*wire.TxOut) int {
	base := 4 + wire.VarIntSerializeSize(uint64(inputs)) + inputs*41 +
		wire.VarIntSerializeSize(uint64(len(outputs))) + 4
	for _, o := range outputs {
		base += o.SerializeSize()
	}
	witness := 2 + inputs*66 // a count, a length and a 64-byte signature each
	return (base*4 + witness + 3) / 4
}

// Fund spends as few coins as will do on outputs, which keep their order; change, if any, comes last.
func Fund(available []Coin, outputs []*wire.TxOut, rate ledger.FeeRate, change []byte) (Plan, error) {
	if err := sane(rate); err != nil {
		return Plan{}, err
	}
	return gather(nil, available, outputs, rate, 0, change)
}

func sane(rate ledger.FeeRate) error {
	if rate == 0 || rate > MaxRate {
		return fmt.Errorf("%w: a fee rate of %s; use one from 1 to %d sat/vB", ledger.ErrUneconomic, text(rate), MaxRate/1000)
	}
	return nil
}

// Sweep spends all coins (the largest MaxInputs of them) to one output without change.
func Sweep(available []Coin, script []byte, rate ledger.FeeRate) (Plan, error) {
	if err := sane(rate); err != nil {
		return Plan{}, err
	}
	spent := slices.Clone(available)
	slices.SortFunc(spent, larger)
	spent = spent[:min(len(spent), MaxInputs)]
	// A coin that costs more than it brings stays.
	for len(spent) > 1 && spent[len(spent)-1].Value <= inputFee(rate) {
		spent = spent[:len(spent)-1]
	}
	return sweepAll(spent, script, rate)
}

func sweepAll(spent []Coin, script []byte, rate ledger.FeeRate) (Plan, error) {
	out := wire.NewTxOut(0, script)
	fee := int64(rate.Fee(VSize(len(spent), []*wire.TxOut{out})))
	out.Value = sum(spent) - fee
	if len(spent) == 0 || out.Value < Dust {
		return Plan{}, insufficient(fee+Dust, sum(spent))
	}
	return assemble(spent, []*wire.TxOut{out}, -1), nil
}

// gather adds coins to the fixed ones until they pay for outputs and fee. oldFee is what the fixed
// coins paid already in the transaction that this one replaces.
func gather(fixed, available []Coin, outputs []*wire.TxOut, rate ledger.FeeRate, oldFee int64, change []byte) (Plan, error) {
	spent := slices.Clone(fixed)
	rest := slices.Clone(available)
	slices.SortFunc(rest, larger)
	withChange := append(slices.Clone(outputs), wire.NewTxOut(0, change))
	feeOf := func(outs []*wire.TxOut) int64 {
		size := VSize(len(spent), outs)
		fee := int64(rate.Fee(size))
		if oldFee > 0 {
			fee = max(fee, minReplacement(oldFee, size))
		}
		return fee
	}
	for {
		left := sum(spent) - total(outputs)
		if c := left - feeOf(withChange); c >= Dust && len(spent) > 0 {
			withChange[len(outputs)].Value = c
			return assemble(spent, withChange, len(outputs)), nil
		}
		if left >= feeOf(outputs) && len(spent) > 0 {
			return assemble(spent, outputs, -1), nil
		}
		if len(rest) == 0 || rest[0].Value <= inputFee(rate) || len(spent) == MaxInputs {
			return Plan{}, insufficient(total(outputs)+feeOf(outputs), sum(spent))
		}
		spent, rest = append(spent, rest[0]), rest[1:]
	}
}

// assemble sorts the inputs as BIP 69 does and leaves the outputs as they are.
func assemble(spent []Coin, outputs []*wire.TxOut, change int) Plan {
	slices.SortFunc(spent, func(a, b Coin) int { return before(a.OutPoint, b.OutPoint) })
	tx := wire.NewMsgTx(txVersion)
	for _, c := range spent {
		in := wire.NewTxIn(&c.OutPoint, nil, nil)
		in.Sequence = Sequence
		tx.AddTxIn(in)
	}
	for _, o := range outputs {
		tx.AddTxOut(wire.NewTxOut(o.Value, o.PkScript))
	}
	return Plan{Tx: tx, Coins: spent, Fee: sum(spent) - total(outputs), Change: change}
}

// Packet is the plan as a PSBT without signatures.
func (p Plan) Packet() (*psbt.Packet, error) {
	packet, err := psbt.NewFromUnsignedTx(p.Tx)
	if err != nil {
		return nil, fmt.Errorf("coins: %w", err)
	}
	return packet, nil
}

func insufficient(needed, available int64) error {
	return fmt.Errorf("%w: %d sat needed (fee included), %d sat can be spent now", ledger.ErrInsufficientFunds, needed, available)
}

func minReplacement(oldFee int64, size int) int64 {
	return oldFee + int64(IncrementalRate.Fee(size))
}

func rateOf(fee int64, size int) ledger.FeeRate {
	return ledger.FeeRate(uint64(max(fee, 0)) * 1000 / uint64(size))
}

// inputFee is what spending one more coin costs.
func inputFee(rate ledger.FeeRate) int64 { return int64(rate.Fee(58)) }

func sum(cs []Coin) (v int64) {
	for _, c := range cs {
		v += c.Value
	}
	return v
}

func total(outs []*wire.TxOut) (v int64) {
	for _, o := range outs {
		v += o.Value
	}
	return v
}

func larger(a, b Coin) int {
	if a.Value != b.Value {
		if a.Value > b.Value {
			return -1
		}
		return 1
	}
	return before(a.OutPoint, b.OutPoint)
}

// before orders outpoints as BIP 69 does: by the id as shown to people, then by index.
func before(a, b wire.OutPoint) int {
	ra, rb := a.Hash, b.Hash
	slices.Reverse(ra[:])
	slices.Reverse(rb[:])
	if c := bytes.Compare(ra[:], rb[:]); c != 0 {
		return c
	}
	return int(a.Index) - int(b.Index)
}

// FundSealed is Fund with one more output behind the given ones, of value 0, whose script seal makes
// from the first input. seal is asked twice: first with no outpoint, for the length alone.
func FundSealed(available []Coin, outputs []ledger.Output, rate ledger.FeeRate, change []byte,
	seal func(channel.Outpoint) ([]byte, error)) (Plan, error) {

	outs, err := Outputs(outputs, seal)
	if err != nil {
		return Plan{}, err
	}
	plan, err := Fund(available, outs, rate, change)
	if err != nil || seal == nil {
		return plan, err
	}
	return plan, plan.Seal(len(outputs), seal)
}

// Outputs converts and checks outputs. With seal a place-holder of the right length comes last.
func Outputs(outputs []ledger.Output, seal func(channel.Outpoint) ([]byte, error)) ([]*wire.TxOut, error) {
	var outs []*wire.TxOut
	var all channel.Sat
	for i, o := range outputs {
		if o.Value < channel.DustSat {
			return nil, fmt.Errorf("%w: output %d has %d sat, %d is the least", ledger.ErrTooSmall, i, o.Value, channel.DustSat)
		}
		if all += o.Value; o.Value > channel.MaxMoney || all > channel.MaxMoney {
			return nil, fmt.Errorf("%w: the outputs are more than all money", ledger.ErrInsufficientFunds)
		}
		outs = append(outs, wire.NewTxOut(int64(o.Value), o.Script))
	}
	if seal == nil {
		return outs, nil
	}
	script, err := seal(channel.Outpoint{})
	if err != nil {
		return nil, fmt.Errorf("coins: seal: %w", err)
	}
	blank := make([]byte, len(script))
	copy(blank, script[:min(2, len(script))]) // the opcode and the length of the data
	return append(outs, wire.NewTxOut(0, blank)), nil
}

// Seal puts the real script into the place-holder at index.
func (p Plan) Seal(index int, seal func(channel.Outpoint) ([]byte, error)) error {
	first := p.Tx.TxIn[0].PreviousOutPoint
	script, err := seal(channel.Outpoint{TxID: first.Hash, Index: first.Index})
	if err != nil {
		return fmt.Errorf("coins: seal: %w", err)
	}
	if len(script) != len(p.Tx.TxOut[index].PkScript) {
		return fmt.Errorf("coins: the sealed script has %d bytes, not the %d that the fee was made for", len(script), len(p.Tx.TxOut[index].PkScript))
	}
	p.Tx.TxOut[index].PkScript = script
	return nil
}
