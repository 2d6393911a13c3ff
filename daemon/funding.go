package daemon

import (
	"context"
	"errors"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// The transaction that pays the deposit of a lane of ours.

// fund builds the own lane's funding transaction.
func (d *driver) fund() {
	d.n.spawn(func() {
		tx, o, err := d.buildFunding()
		if err != nil {
			d.n.log.Error("a channel could not be funded", "channel", d.id, "err", err)
			d.post(inspect{func(d *driver) { d.exits.fundErr = err }}, channel.FundingFailed{})
			return
		}
		d.post(channel.FundingBuilt{Outpoint: o, Tx: tx}, inspect{func(d *driver) {
			if used := d.w.st.OutFunding.Tx; used == nil || used.TxID != tx.TxID {
				d.n.unlock(tx) // the channel ended meanwhile
			}
		}})
	})
}

// unlock gives the wallet back what it locked for a funding that is not to be.
func (n *Node) unlock(tx channel.OwnTx) {
	n.spawn(func() {
		if err := n.deps.Wallet.Release(n.ctx, ledger.Tx{ID: tx.TxID, Raw: tx.Raw, Fee: tx.Fee}); err != nil {
			n.log.Error("the inputs of a funding that is not needed stay locked", "txid", channel.TxIDString(tx.TxID), "err", err)
		}
	})
}

func (d *driver) buildFunding() (tx channel.OwnTx, o channel.Outpoint, err error) {
	n := d.n
	var t channel.Terms
	var rate ledger.FeeRate
	n.read(d, func(d *driver) { t, rate = d.w.st.Terms, d.exits.fundRate })
	rate = n.rate(uint64(rate))
	script := d.scripts.of(true)
	ctx, cancel := context.WithTimeout(n.ctx, fundTimeout)
	defer cancel()
	recovery := ledger.Recovery{Payee: t.Out.Payee, Expiry: t.Out.Expiry, Index: t.OutKey}
	built, err := n.deps.Wallet.Fund(ctx, []ledger.Output{{Script: script, Value: t.Out.Deposit}}, rate, func(first channel.Outpoint) ([]byte, error) {
		return n.deps.Signer.SealRecovery(recovery, first)
	})
	if err != nil {
		return tx, o, err
	}
	_, outs, err := n.deps.Scheme.Parts(built.Raw)
	if err != nil {
		return tx, o, err
	}
	for i, out := range outs {
		if string(out.Script) == string(script) && out.Value == t.Out.Deposit {
			o = channel.Outpoint{TxID: built.ID, Index: uint32(i)}
			return n.ownTx(built, rate), o, nil
		}
	}
	return tx, o, errors.New("daemon: the wallet's transaction does not fund the lane")
}

func (n *Node) ownTx(tx ledger.Tx, rate ledger.FeeRate) channel.OwnTx {
	tip, _ := n.chain.tip()
	return channel.OwnTx{TxID: tx.ID, Raw: tx.Raw, Rate: uint64(rate), Fee: tx.Fee, Height: tip.Height}
}
