package main

import (
	"context"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// lanes are a channel's two deposits as they stand on the chain.
type lanes struct {
	id       string
	aliceTx  sandbox.Tx // with alice's deposit
	aliceOut uint32     // its output
	bobTx    sandbox.Tx
	bobOut   uint32
}

// locate fetches both funding transactions and finds the deposits in them.
func (c *lanes) locate(ctx context.Context, d *demo, alice, bob string) (err error) {
	if c.aliceTx, c.aliceOut, err = d.funding(ctx, alice, aliceLane); err != nil {
		return err
	}
	if c.bobTx, c.bobOut, err = d.funding(ctx, bob, bobLane); err != nil {
		return err
	}
	fee, err := d.box.Fee(ctx, c.bobTx)
	d.fees = append(d.fees, fee)
	return err
}

func (d *demo) funding(ctx context.Context, txid string, deposit channel.Sat) (sandbox.Tx, uint32, error) {
	t, err := d.box.Tx(ctx, txid)
	if err != nil {
		return t, 0, err
	}
	for i, o := range t.TxOut {
		if channel.Sat(o.Value) == deposit {
			return t, uint32(i), nil
		}
	}
	return t, 0, fmt.Errorf("no output of %s has the deposit of %s", txid, sat(deposit))
}

func value(t sandbox.Tx, index uint32) channel.Sat { return channel.Sat(t.TxOut[index].Value) }

// spender waits for the transaction that spends an output, with at least one confirmation.
func (d *demo) spender(ctx context.Context, of sandbox.Tx, index uint32) (t sandbox.Tx, err error) {
	of, err = d.box.Tx(ctx, of.ID) // how deep it is by now
	if err != nil {
		return t, err
	}
	err = d.until(ctx, "output "+of.ID+" is spent", func() (ok bool, err error) {
		t, ok, err = d.box.Spender(ctx, of, index)
		return ok, err
	})
	if err != nil || t.Confirmations > 0 {
		return t, err
	}
	if err := d.box.Mine(ctx, 1); err != nil {
		return t, err
	}
	t, err = d.box.Tx(ctx, t.ID)
	if err == nil && t.Confirmations == 0 {
		err = fmt.Errorf("transaction %s was not mined", t.ID)
	}
	return t, err
}
