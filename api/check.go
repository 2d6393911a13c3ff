package api

import (
	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// What makes no sense whatever the node's state is refused here, so that no caller has to find it out
// from a half-done request. All else is the node's to judge.

func given(field, value string) error {
	if value == "" {
		return channel.Faultf(channel.CodeBadRequest, "%s is empty", field)
	}
	return nil
}

func checkPay(r channel.PayRequest) error {
	switch {
	case r.Target == "":
		return channel.Faultf(channel.CodeBadRequest, "target is empty").WithHint("Give a channel id or a peer id.")
	case r.Amount == 0:
		return channel.Faultf(channel.CodeBadRequest, "amount_msat is 0: the smallest payment is 1")
	case r.Amount > channel.Msat(channel.MaxMoney)*1000:
		return channel.Faultf(channel.CodeBadRequest, "amount_msat is %d, which is more than all bitcoin there can be", r.Amount)
	case len(r.Ref) > channel.MaxRefBytes:
		return channel.Faultf(channel.CodeBadRequest, "ref has %d bytes, and %d is the most", len(r.Ref), channel.MaxRefBytes)
	}
	return nil
}

func checkSend(m *runnelv1.SendRequest) error {
	switch {
	case m.Address == "":
		return given("address", "")
	case m.All && m.AmountSat != 0:
		return channel.Faultf(channel.CodeBadRequest, "all is set and amount_sat is %d: give one of them", m.AmountSat)
	case !m.All && m.AmountSat == 0:
		return channel.Faultf(channel.CodeBadRequest, "amount_sat is 0").WithHint("Give an amount, or set all.")
	case m.AmountSat > uint64(channel.MaxMoney):
		return channel.Faultf(channel.CodeBadRequest, "amount_sat is %d, which is more than all bitcoin there can be", m.AmountSat)
	}
	return nil
}

func checkOpen(m *runnelv1.OpenChannelRequest) error {
	if err := given("peer", m.Peer); err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		value uint64
	}{{"deposit_sat", m.DepositSat}, {"peer_deposit_sat", m.PeerDepositSat}} {
		if f.value > uint64(channel.MaxMoney) {
			return channel.Faultf(channel.CodeBadRequest, "%s is %d, which is more than all bitcoin there can be", f.name, f.value)
		}
	}
	return nil
}
