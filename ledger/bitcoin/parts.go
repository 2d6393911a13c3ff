package bitcoin

import (
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Parts lists what a transaction spends and what it pays.
func (s *Scheme) Parts(raw []byte) ([]channel.Outpoint, []ledger.Output, error) {
	tx, err := parseTx(raw)
	if err != nil {
		return nil, nil, err
	}
	ins := make([]channel.Outpoint, len(tx.TxIn))
	for i, in := range tx.TxIn {
		ins[i] = channel.Outpoint{TxID: in.PreviousOutPoint.Hash, Index: in.PreviousOutPoint.Index}
	}
	outs := make([]ledger.Output, len(tx.TxOut))
	for i, out := range tx.TxOut {
		outs[i] = ledger.Output{Script: out.PkScript, Value: channel.Sat(max(out.Value, 0))}
	}
	return ins, outs, nil
}
