package bitcoin

import (
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// NewReturn begins an attempt at returning an output at a lane's address to its payer: one input, which is worth
// value, one output. The signatures commit to both, so what is signed is worth nothing for any other output.
func (s *Signer) NewReturn(lane ledger.CloseLane, value channel.Sat, to ledger.Output) (ledger.CloseSession, error) {
	l, err := s.scheme.scripts(lane.Terms)
	if err != nil {
		return nil, err
	}
	if lane.Funding.TxID == [32]byte{} || value > channel.MaxMoney || to.Value < channel.DustSat {
		return nil, badTerms("a return needs an output that is worth it")
	}
	o := wireOutpoint(lane.Funding)
	tx, prev := wire.NewMsgTx(txVersion), spent{o: l.fundingOut(value)}
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: o, Sequence: sequenceRBF})
	if err := addPayouts(tx, value, []ledger.Output{to}); err != nil {
		return nil, err
	}
	return s.newSession(tx, prev, map[wire.OutPoint]ledger.CloseLane{o: lane})
}
