package runnelv1

import (
	"encoding/hex"
	"slices"

	"github.com/runnel/runnel/channel"
)

// NewGetReceipt makes a request for a receipt.
func NewGetReceipt(r channel.ReceiptRequest) *GetReceiptRequest {
	return &GetReceiptRequest{PaymentId: r.ID.String(), ChannelId: r.Channel}
}

// Value is NewGetReceipt backwards.
func (m *GetReceiptRequest) Value() (channel.ReceiptRequest, error) {
	var p parser
	r := channel.ReceiptRequest{ID: p.payment(m.GetPaymentId()), Channel: m.GetChannelId()}
	return r, p.err
}

// NewReceipt makes a Receipt; its JSON is the receipt's file.
func NewReceipt(r channel.Receipt) *Receipt {
	t, c := &r.Terms, &r.Checkpoint
	genesis := t.Genesis
	slices.Reverse(genesis[:])
	m := &Receipt{
		Format: channel.ReceiptFormat, Version: channel.ReceiptVersion, Network: r.Network, Path: make([]string, len(r.Path)),
		Payment: &ReceiptPayment{Seq: r.Seq, Id: r.Payment.ID.String(), AmountMsat: uint64(r.Payment.Amount), Ref: r.Payment.Ref,
			Result: uint32(r.Result), Means: r.Result.String()},
		Lane: &ReceiptLane{Id: c.Lane.String(), Genesis: hex.EncodeToString(genesis[:]), PayerKey: hex.EncodeToString(t.Payer[:]),
			PayeeKey: hex.EncodeToString(t.Payee[:]), RefundKey: hex.EncodeToString(t.Refund[:]), ExpiryHeight: t.Expiry, DepositSat: uint64(t.Deposit)},
		Root: &ReceiptRoot{Size: c.Size, TotalMsat: uint64(c.Total), SpentMsat: uint64(c.Spent), LaneHash: hex.EncodeToString(c.Hash[:]),
			RootHash: hex.EncodeToString(c.Root[:]), Time: c.Time, PayeeSignature: hex.EncodeToString(c.Payee[:]), PayerSignature: hex.EncodeToString(c.Payer[:])},
	}
	for i := range r.Path {
		m.Path[i] = hex.EncodeToString(r.Path[i][:])
	}
	return m
}

// Value is NewReceipt backwards. It does not check that the receipt proves anything.
func (m *Receipt) Value() (channel.Receipt, error) {
	var p parser
	if m.GetFormat() != channel.ReceiptFormat || m.GetVersion() != channel.ReceiptVersion {
		p.fail("a receipt of the format %q, version %d: this program knows %q, version %d",
			m.GetFormat(), m.GetVersion(), channel.ReceiptFormat, channel.ReceiptVersion)
	}
	pay, lane, root := m.GetPayment(), m.GetLane(), m.GetRoot()
	r := channel.Receipt{Network: m.GetNetwork(), Seq: pay.GetSeq(), Result: channel.RefuseReason(pay.GetResult())}
	if pay.GetResult() > 255 {
		p.fail("payment.result is %d", pay.GetResult())
	}
	r.Payment = channel.Payment{ID: p.payment(pay.GetId()), Amount: channel.Msat(pay.GetAmountMsat()), Ref: pay.GetRef()}
	t, c := &r.Terms, &r.Checkpoint
	t.Expiry, t.Deposit = lane.GetExpiryHeight(), channel.Sat(lane.GetDepositSat())
	c.Size, c.Total, c.Spent, c.Time = root.GetSize(), channel.Msat(root.GetTotalMsat()), channel.Msat(root.GetSpentMsat()), root.GetTime()
	p.hex("lane.id", lane.GetId(), c.Lane[:])
	p.hex("lane.genesis", lane.GetGenesis(), t.Genesis[:])
	slices.Reverse(t.Genesis[:])
	p.hex("lane.payer_key", lane.GetPayerKey(), t.Payer[:])
	p.hex("lane.payee_key", lane.GetPayeeKey(), t.Payee[:])
	p.hex("lane.refund_key", lane.GetRefundKey(), t.Refund[:])
	p.hex("root.lane_hash", root.GetLaneHash(), c.Hash[:])
	p.hex("root.root_hash", root.GetRootHash(), c.Root[:])
	p.hex("root.payee_signature", root.GetPayeeSignature(), c.Payee[:])
	p.hex("root.payer_signature", root.GetPayerSignature(), c.Payer[:])
	for _, s := range m.GetPath() {
		var h [32]byte
		p.hex("path", s, h[:])
		r.Path = append(r.Path, h)
	}
	return r, p.err
}
