package main

import "github.com/runnel/runnel/channel"

// Views are what --json prints: names and types are an interface, held by testdata/json.golden. Names
// carry the unit. Times are unix milliseconds for payments and events, unix seconds elsewhere.

type balanceView struct {
	Onchain       uint64 `json:"onchain_sat"`
	Pending       uint64 `json:"pending_sat"`
	Locked        uint64 `json:"locked_sat"`
	ChannelLocal  uint64 `json:"channel_local_msat"`
	ChannelRemote uint64 `json:"channel_remote_msat"`
}

func viewBalance(b channel.Balance) balanceView {
	return balanceView{uint64(b.Onchain), uint64(b.Pending), uint64(b.Locked), uint64(b.ChannelLocal), uint64(b.ChannelRemote)}
}

type statusView struct {
	Version   string      `json:"version"`
	Network   string      `json:"network"`
	Backend   string      `json:"backend"`
	PeerID    string      `json:"peer_id"`
	Addr      string      `json:"addr"`
	Height    uint32      `json:"height"`
	Synced    bool        `json:"synced"`
	FeeSource string      `json:"fee_source"`
	Channels  int         `json:"channels"`
	Wallet    balanceView `json:"wallet"`
	Attention []string    `json:"attention"`
}

func viewStatus(s channel.NodeStatus) statusView {
	return statusView{s.Version, s.Network, s.Backend, string(s.PeerID), s.Addr, s.Height, s.Synced, s.FeeSource,
		s.Channels, viewBalance(s.Wallet), list(s.Attention)}
}

// list is never null in JSON.
func list(s []string) []string { return append([]string{}, s...) }

type addressView struct {
	Address string `json:"address"`
}

type sentView struct {
	TxID string `json:"txid"`
	Fee  uint64 `json:"fee_sat"`
}

type txView struct {
	TxID          string `json:"txid"`
	Fee           uint64 `json:"fee_sat"`
	Amount        int64  `json:"amount_sat"`
	Confirmations uint32 `json:"confirmations"`
	Height        uint32 `json:"height"`
	Time          int64  `json:"time"`
	Label         string `json:"label"`
}

func viewTx(t channel.WalletTx) txView {
	return txView{t.TxID, uint64(t.Fee), t.Amount, t.Confirmations, t.Height, t.Time, t.Label}
}

type peerView struct {
	PeerID    string   `json:"peer_id"`
	Addrs     []string `json:"addrs"`
	Connected bool     `json:"connected"`
}

func viewPeer(p channel.PeerInfo) peerView {
	return peerView{string(p.PeerID), list(p.Addrs), p.Connected}
}

type openView struct {
	Channel        string `json:"channel_id"`
	Phase          string `json:"phase"`
	FundingTxID    string `json:"funding_txid"`
	FundingAddress string `json:"funding_address"`
}

func viewOpen(r channel.OpenResult) openView {
	return openView{id(r.Channel), r.Phase.String(), r.FundingTxID, r.FundingAddress}
}

// planView is what --dry-run prints: the same and what it would cost.
type planView struct {
	openView
	Deposit       uint64 `json:"deposit_sat"`
	PeerDeposit   uint64 `json:"peer_deposit_sat"`
	OpenFee       uint64 `json:"open_fee_sat"`
	CloseFee      uint64 `json:"close_fee_sat"`
	Expiry        uint32 `json:"expiry_height"`
	ExpiresAt     int64  `json:"expires_at"`
	Confirmations uint32 `json:"confirmations"`
}

func viewPlan(r channel.OpenResult) planView {
	return planView{viewOpen(r), uint64(r.Deposit), uint64(r.PeerDeposit), uint64(r.OpenFee), uint64(r.CloseFee),
		r.Expiry, r.ExpiresAt, r.Confirmations}
}

type channelView struct {
	Channel       string `json:"channel_id"`
	PeerID        string `json:"peer_id"`
	Phase         string `json:"phase"`
	Reason        string `json:"reason"`
	Deposit       uint64 `json:"deposit_sat"`
	PeerDeposit   uint64 `json:"peer_deposit_sat"`
	Sent          uint64 `json:"sent_msat"`
	Received      uint64 `json:"received_msat"`
	Spendable     uint64 `json:"spendable_msat"`
	Receivable    uint64 `json:"receivable_msat"`
	Credit        uint64 `json:"credit_msat"`
	Net           int64  `json:"net_msat"`
	Recoverable   uint64 `json:"recoverable_sat"`
	Expiry        uint32 `json:"expiry_height"`
	ExpiresAt     int64  `json:"expires_at"`
	Confirmations uint32 `json:"confirmations"`
	FundingTxID   string `json:"funding_txid"`
	CloseTxID     string `json:"close_txid"`
}

func viewChannel(c channel.ChannelInfo) channelView {
	return channelView{
		Channel: id(c.Channel), PeerID: string(c.PeerID), Phase: c.Phase.String(), Reason: c.Reason,
		Deposit: uint64(c.Deposit), PeerDeposit: uint64(c.PeerDeposit), Sent: uint64(c.Sent), Received: uint64(c.Received),
		Spendable: uint64(c.Spendable), Receivable: uint64(c.Receivable), Credit: uint64(c.Credit), Net: c.Net,
		Recoverable: uint64(c.Recoverable), Expiry: c.Expiry, ExpiresAt: c.ExpiresAt, Confirmations: c.Confirmations,
		FundingTxID: c.FundingTxID, CloseTxID: c.CloseTxID,
	}
}

type payView struct {
	Payment string `json:"payment_id"`
	Channel string `json:"channel_id"`
	Amount  uint64 `json:"amount_msat"`
	Total   uint64 `json:"total_msat"`
	Status  string `json:"status"`
	Latency int64  `json:"latency_us"`
}

type streamView struct {
	Count  int     `json:"count"`
	Sent   uint64  `json:"sent_msat"`
	Rate   float64 `json:"rate"`
	P50    int64   `json:"p50_us"`
	P99    int64   `json:"p99_us"`
	Failed int     `json:"failed"`
}

type paymentView struct {
	Seq       uint64 `json:"seq"`
	Time      int64  `json:"time"`
	Direction string `json:"direction"`
	Channel   string `json:"channel_id"`
	PeerID    string `json:"peer_id"`
	Payment   string `json:"payment_id"`
	Amount    uint64 `json:"amount_msat"`
	Total     uint64 `json:"total_msat"`
	Ref       string `json:"ref"`
	Status    string `json:"status"`
}

func viewPayment(p channel.PaymentInfo) paymentView {
	return paymentView{p.Seq, p.Time, p.Dir.String(), id(p.Channel), string(p.PeerID), p.ID.String(),
		uint64(p.Amount), uint64(p.Total), p.Ref, p.Status.String()}
}

// eventView is a payment as above, or what else happened: kind says which. Here seq is the event's, not
// the payment's on its lane: it is what --since takes.
type eventView struct {
	Kind string `json:"kind"`
	paymentView
	Phase string `json:"phase"`
	TxID  string `json:"txid"`
	Text  string `json:"text"`
}

func viewEvent(e channel.Event) eventView {
	v := eventView{Kind: e.Kind.String(), TxID: e.TxID, Text: e.Text}
	if e.Kind == channel.EventPayment {
		v.paymentView = viewPayment(e.Payment)
	}
	if e.Kind == channel.EventPhase {
		v.Phase = e.Phase.String()
	}
	v.Seq, v.Time = e.Seq, e.Time
	if e.Kind != channel.EventPayment {
		v.Channel, v.PeerID = id(e.Channel), string(e.PeerID)
	}
	return v
}

type closeView struct {
	Kind         string `json:"kind"`
	TxID         string `json:"txid"`
	Local        uint64 `json:"local_sat"`
	Remote       uint64 `json:"remote_sat"`
	Fee          uint64 `json:"fee_sat"`
	RefundHeight uint32 `json:"refund_height"`
}

func viewClose(r channel.CloseResult) closeView {
	return closeView{r.Kind, r.TxID, uint64(r.Local), uint64(r.Remote), uint64(r.Fee), r.RefundHeight}
}

type stopView struct {
	Stopping bool `json:"stopping"`
}

type versionView struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

// id shows a channel id, and nothing for none.
func id(c channel.ID) string {
	if c == (channel.ID{}) {
		return ""
	}
	return c.String()
}
