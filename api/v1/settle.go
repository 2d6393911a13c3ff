package runnelv1

import "github.com/runnel/runnel/channel"

// NewSettleRequest makes the request of Settle.
func NewSettleRequest(r channel.SettleRequest) *SettleRequest {
	return &SettleRequest{ChannelIds: r.Channels, All: r.All, BelowFeeSatPerKvb: r.BelowFee, FeeRateSatPerKvb: r.FeeRate, DryRun: r.DryRun}
}

// Value is NewSettleRequest backwards.
func (m *SettleRequest) Value() channel.SettleRequest {
	return channel.SettleRequest{
		Channels: m.GetChannelIds(), All: m.GetAll(), BelowFee: m.GetBelowFeeSatPerKvb(), FeeRate: m.GetFeeRateSatPerKvb(), DryRun: m.GetDryRun(),
	}
}

// NewSettleResponse makes the answer to Settle.
func NewSettleResponse(r channel.SettleResult) *SettleResponse {
	m := &SettleResponse{ValueSat: uint64(r.Value), FeeSat: uint64(r.Fee), FeeRateSatPerKvb: r.FeeRate}
	for _, l := range r.Lanes {
		m.Lanes = append(m.Lanes, &SettledLane{
			ChannelId: channelText(l.Channel), PeerId: string(l.PeerID), Status: l.Status, Reason: l.Reason, ValueSat: uint64(l.Value),
			FeeSat: uint64(l.Fee), Txid: l.TxID, DepositSat: uint64(l.Deposit), RefundHeight: l.RefundHeight,
		})
	}
	return m
}

// Value is NewSettleResponse backwards.
func (m *SettleResponse) Value() (channel.SettleResult, error) {
	var p parser
	r := channel.SettleResult{Value: channel.Sat(m.GetValueSat()), Fee: channel.Sat(m.GetFeeSat()), FeeRate: m.GetFeeRateSatPerKvb()}
	for _, l := range m.GetLanes() {
		r.Lanes = append(r.Lanes, channel.SettledLane{
			Channel: p.channel(l.GetChannelId()), PeerID: channel.PeerID(l.GetPeerId()), Status: l.GetStatus(), Reason: l.GetReason(),
			Value: channel.Sat(l.GetValueSat()), Fee: channel.Sat(l.GetFeeSat()), TxID: l.GetTxid(),
			Deposit: channel.Sat(l.GetDepositSat()), RefundHeight: l.GetRefundHeight(),
		})
	}
	return r, p.err
}
