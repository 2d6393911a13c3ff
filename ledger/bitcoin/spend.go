package bitcoin

import (
	"bytes"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// annexTag begins the last witness item when it is an annex (BIP 341).
const annexTag = 0x50

// ParseSpend classifies a transaction that the chain or a mempool holds. It proves the total of a
// settlement by the voucher in it; that the other signatures are valid is left to whoever accepted the
// transaction, because only the spent outputs of every input would prove it.
//
// ErrNotFound: raw does not spend the lane. ErrRejected: no valid transaction can look like this.
// ErrBadVoucher: it goes through the voucher leaf without a voucher of the fixed template; only payer
// and payee together can make such a spend.
func (s *Scheme) ParseSpend(lane ledger.Lane, raw []byte) (ledger.Spend, error) {
	l, err := s.scripts(lane.Terms)
	if err != nil {
		return ledger.Spend{}, err
	}
	tx, err := parseTx(raw)
	if err != nil {
		return ledger.Spend{}, err
	}
	index, err := findInput(tx, lane.Funding)
	if err != nil {
		return ledger.Spend{}, err
	}
	stack, annex := splitAnnex(tx.TxIn[index].Witness)
	if len(stack) == 1 && (len(stack[0]) == 64 || len(stack[0]) == 65) {
		return ledger.Spend{Kind: ledger.SpendUnknown}, nil
	}
	switch {
	case l.voucher.matches(stack, 4):
		if annex {
			return ledger.Spend{}, badVoucher("the settlement carries an annex")
		}
		return l.parseSettlement(lane, tx, index)
	case l.expired.matches(stack, 3):
		return ledger.Spend{Kind: ledger.SpendRefund}, nil
	}
	return ledger.Spend{}, rejected("the witness fits no way out of the lane")
}

func findInput(tx *wire.MsgTx, o channel.Outpoint) (int, error) {
	for i, in := range tx.TxIn {
		if in.PreviousOutPoint == wireOutpoint(o) {
			if len(in.SignatureScript) != 0 {
				return 0, rejected("a taproot input has a signature script")
			}
			return i, nil
		}
	}
	return 0, notFound("the transaction does not spend this lane")
}

func splitAnnex(witness wire.TxWitness) (stack [][]byte, annex bool) {
	if n := len(witness); n >= 2 && len(witness[n-1]) > 0 && witness[n-1][0] == annexTag {
		return witness[:n-1], true
	}
	return witness, false
}

// matches reports whether a witness of so many items spends through the leaf.
func (f *leaf) matches(stack [][]byte, items int) bool {
	n := len(stack)
	return n == items && bytes.Equal(stack[n-2], f.script) && bytes.Equal(stack[n-1], f.control)
}

// parseSettlement reads the total from nSequence and the output at the input's index, and proves it by
// the voucher. Witness: payee's signature, voucher with its hash type, leaf, control block.
func (l *laneScripts) parseSettlement(lane ledger.Lane, tx *wire.MsgTx, index int) (ledger.Spend, error) {
	in := tx.TxIn[index]
	if index >= len(tx.TxOut) || !bytes.Equal(tx.TxOut[index].PkScript, l.refund) {
		return ledger.Spend{}, badVoucher("the settlement has no refund output at its input's index")
	}
	refund := channel.Sat(tx.TxOut[index].Value)
	total, ok := join(lane.Terms.Deposit, refund, in.Sequence)
	if !ok {
		return ledger.Spend{}, badVoucher("no voucher pays %d sat back with sequence %#x", refund, in.Sequence)
	}
	voucher := in.Witness[1]
	if len(voucher) != 65 || voucher[64] != byte(sigHashVoucher) {
		return ledger.Spend{}, badVoucher("not signed as a voucher")
	}
	if err := l.verifyVoucher(lane, total, channel.Signature(voucher[:64])); err != nil {
		return ledger.Spend{}, err
	}
	return ledger.Spend{Kind: ledger.SpendSettle, Total: total, RefundIndex: uint32(index), RefundValue: refund}, nil
}
