package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// close is chapter 5: both end the channel together.
func (d *demo) close(ctx context.Context) error {
	d.say.chapter("A close, together")
	d.say.text("Alice closes the channel. Both sign one transaction that pays each side its net, and alice, who asked for it, pays the fee. " +
		"What follows is read from that transaction at btcd, and compared with what the demo sent.")
	to, err := show[addressView](ctx, d, "alice", "address")
	if err != nil {
		return err
	}
	if _, err := show[closeView](ctx, d, "alice", "close", short(d.first.id), "--to", to.Address); err != nil {
		return err
	}
	tx, err := d.spender(ctx, d.first.aliceTx, d.first.aliceOut)
	if err != nil {
		return err
	}
	fee, err := d.box.Fee(ctx, tx)
	if err != nil {
		return err
	}
	mine, theirs, err := split(tx, to.Address)
	if err != nil {
		return err
	}
	_, sent := d.sent.paid()
	sent += d.drawn
	alice := aliceLane - sent.SatCeil() + d.back.SatCeil()
	bob := bobLane - d.back.SatCeil() + sent.SatCeil()
	d.won = append(d.won, bob-bobLane)
	d.say.facts(
		[2]string{"alice paid bob", sat(sent.SatCeil())},
		[2]string{"bob paid alice", sat(d.back.SatCeil())},
		[2]string{"fee of the close, " + short(tx.ID), sat(fee)},
	)
	d.say.sums(sum{"alice gets", alice - fee, mine}, sum{"bob gets", bob, theirs})
	d.say.check("it spends both deposits, and nothing else", len(tx.TxIn) == 2 && tx.Spends(d.first.bobTx, d.first.bobOut))
	return d.box.Mine(ctx, final)
}

// split adds up what a transaction pays to an address, and what to others.
func split(tx sandbox.Tx, addr string) (to, others channel.Sat, err error) {
	a, err := address.DecodeAddress(addr, &chaincfg.SimNetParams)
	if err != nil {
		return 0, 0, err
	}
	script, err := txscript.PayToAddrScript(a)
	if err != nil {
		return 0, 0, err
	}
	for _, o := range tx.TxOut {
		if bytes.Equal(o.PkScript, script) {
			to += channel.Sat(o.Value)
		} else {
			others += channel.Sat(o.Value)
		}
	}
	return to, others, nil
}

// vanish is chapter 6: alice is gone, and bob takes what is his alone.
func (d *demo) vanish(ctx context.Context) error {
	const forth, back = channel.Msat(123_456_789), channel.Msat(4_567_890)
	d.say.chapter("A peer that never comes back")
	d.say.text("They open a second channel and pay each other. Then alice is killed for good.")
	c, err := d.openChannel(ctx)
	if err != nil {
		return err
	}
	if err := d.pay(ctx, "alice", d.bob, forth); err != nil {
		return err
	}
	if err := d.pay(ctx, "bob", d.alice, back); err != nil {
		return err
	}
	d.box.Node("alice").Kill()
	d.say.text(fmt.Sprintf("Alice is dead. Bob settles alone: her newest signature is enough to take what she paid him. "+
		"What he paid her (%s) she never collected, so his own deposit comes back whole, once it expires.", sat(back.SatCeil())))
	closed, err := show[closeView](ctx, d, "bob", "close", short(c.id), "--force")
	if err != nil {
		return err
	}
	settled, err := d.spender(ctx, c.aliceTx, c.aliceOut)
	if err != nil {
		return err
	}
	refunded, err := d.refund(ctx, c, closed.RefundHeight)
	if err != nil {
		return err
	}
	return d.account(ctx, settled, refunded, forth.SatCeil())
}

func (d *demo) pay(ctx context.Context, from, to string, m channel.Msat) error {
	p, err := show[payView](ctx, d, from, "pay", short(to), fmt.Sprintf("%dmsat", m))
	if err == nil && p.Status != channel.PayAcknowledged.String() {
		err = fmt.Errorf("a payment of %d msat is %s", m, p.Status)
	}
	return err
}

// refund mines until bob's lane has expired and returns the transaction that takes it back.
func (d *demo) refund(ctx context.Context, c lanes, height uint32) (t sandbox.Tx, err error) {
	tip, err := d.box.Chain.Height(ctx)
	if err != nil {
		return t, err
	}
	wait := int(height) - int(tip)
	if wait < 1 {
		return t, fmt.Errorf("the refund is said to be possible at block %d, and it is %d already", height, tip)
	}
	d.say.text(fmt.Sprintf("His refund has to wait %d blocks. The demo mines them now.", wait))
	if err := d.box.Mine(ctx, wait); err != nil {
		return t, err
	}
	return d.spender(ctx, c.bobTx, c.bobOut)
}

// account compares what bob's settlement and refund pay.
func (d *demo) account(ctx context.Context, settled, refunded sandbox.Tx, paid channel.Sat) error {
	settleFee, err := d.box.Fee(ctx, settled)
	if err != nil {
		return err
	}
	refundFee, err := d.box.Fee(ctx, refunded)
	if err != nil {
		return err
	}
	d.won = append(d.won, paid)
	d.fees = append(d.fees, settleFee, refundFee)
	if len(settled.TxOut) != 2 || len(refunded.TxOut) != 1 {
		return fmt.Errorf("settlement and refund have %d and %d outputs, not 2 and 1", len(settled.TxOut), len(refunded.TxOut))
	}
	d.say.facts(
		[2]string{"fee of the settlement, " + short(settled.ID), sat(settleFee)},
		[2]string{"fee of the refund, " + short(refunded.ID), sat(refundFee)},
	)
	d.say.sums(
		sum{"settlement: left for alice", aliceLane - paid, value(settled, 0)},
		sum{"settlement: bob takes", paid - settleFee, value(settled, 1)},
		sum{"refund: bob takes back", bobLane - refundFee, value(refunded, 0)},
		sum{"bob's net", paid - settleFee - refundFee, value(settled, 1) + value(refunded, 0) - bobLane},
	)
	return d.box.Mine(ctx, final)
}

// leave is chapter 7: bob takes all his money elsewhere.
func (d *demo) leave(ctx context.Context) error {
	d.say.chapter("Home")
	d.say.text("Bob sends everything that is left in his wallet to a fresh address that is not his node's.")
	to, err := freshAddress()
	if err != nil {
		return err
	}
	sent, err := show[sentView](ctx, d, "bob", "send", to, "all")
	if err != nil {
		return err
	}
	if err := d.box.Mine(ctx, 1); err != nil {
		return err
	}
	tx, err := d.box.Tx(ctx, sent.TxID)
	if err != nil {
		return err
	}
	fee, err := d.box.Fee(ctx, tx)
	if err != nil {
		return err
	}
	arrived, others, err := split(tx, to)
	if err != nil {
		return err
	}
	d.fees = append(d.fees, fee)
	won, fees := total(d.won), total(d.fees)
	d.say.facts(
		[2]string{"bob began with", sat(funds)},
		[2]string{"first channel, net", "+ " + sat(d.won[0])},
		[2]string{"second channel, net", "+ " + sat(d.won[1])},
		[2]string{fmt.Sprintf("fees of his %d transactions", len(d.fees)), "- " + sat(fees)},
	)
	d.say.sums(sum{"at the fresh address", funds + won - fees, arrived}, sum{"anywhere else", 0, others})
	d.say.check("confirmed", tx.Confirmations > 0)
	return nil
}

// freshAddress belongs to a key that nobody keeps.
func freshAddress() (string, error) {
	key, err := btcec.NewPrivateKey()
	if err != nil {
		return "", err
	}
	out := txscript.ComputeTaprootKeyNoScript(key.PubKey())
	a, err := address.NewAddressTaproot(schnorr.SerializePubKey(out), &chaincfg.SimNetParams)
	if err != nil {
		return "", err
	}
	return a.EncodeAddress(), nil
}

func total(all []channel.Sat) (sum channel.Sat) {
	for _, v := range all {
		sum += v
	}
	return sum
}
