package runnelv1

import (
	"encoding/hex"
	"fmt"

	"github.com/runnel/runnel/channel"
)

// This file turns channel's values into messages (New...) and back (Value). The way back fails on ids and
// names that make no sense; its errors are faults that name the field.

// NewStatus makes the answer to GetStatus.
func NewStatus(s channel.NodeStatus) *GetStatusResponse {
	return &GetStatusResponse{
		Version: s.Version, Network: s.Network, Backend: s.Backend, PeerId: string(s.PeerID), Addr: s.Addr,
		Height: s.Height, Synced: s.Synced, FeeSource: s.FeeSource, FeeRateSatPerKvb: s.FeeRate,
		Channels: count(s.Channels), Wallet: NewBalance(s.Wallet), Attention: s.Attention,
	}
}

// Value is NewStatus backwards.
func (m *GetStatusResponse) Value() (channel.NodeStatus, error) {
	return channel.NodeStatus{
		Version: m.GetVersion(), Network: m.GetNetwork(), Backend: m.GetBackend(), PeerID: channel.PeerID(m.GetPeerId()),
		Addr: m.GetAddr(), Height: m.GetHeight(), Synced: m.GetSynced(), FeeSource: m.GetFeeSource(),
		FeeRate: m.GetFeeRateSatPerKvb(), Channels: int(m.GetChannels()), Wallet: m.GetWallet().Value(),
		Attention: m.GetAttention(),
	}, nil
}

// NewBackup makes the answer to Backup.
func NewBackup(b channel.Backup) *BackupResponse {
	return &BackupResponse{Data: b.Data, Channels: count(b.Channels), Made: b.Made}
}

// Value is NewBackup backwards.
func (m *BackupResponse) Value() channel.Backup {
	return channel.Backup{Data: m.GetData(), Channels: int(m.GetChannels()), Made: m.GetMade()}
}

// NewBalance makes a Balance.
func NewBalance(b channel.Balance) *Balance {
	return &Balance{
		OnchainSat: uint64(b.Onchain), PendingSat: uint64(b.Pending), LockedSat: uint64(b.Locked),
		ChannelLocalMsat: uint64(b.ChannelLocal), ChannelRemoteMsat: uint64(b.ChannelRemote),
	}
}

// Value is NewBalance backwards.
func (m *Balance) Value() channel.Balance {
	return channel.Balance{
		Onchain: channel.Sat(m.GetOnchainSat()), Pending: channel.Sat(m.GetPendingSat()), Locked: channel.Sat(m.GetLockedSat()),
		ChannelLocal: channel.Msat(m.GetChannelLocalMsat()), ChannelRemote: channel.Msat(m.GetChannelRemoteMsat()),
	}
}

// NewSent makes the answer to Send and Bump.
func NewSent(s channel.Sent) *SentResponse {
	return &SentResponse{Txid: s.TxID, AmountSat: uint64(s.Amount), FeeSat: uint64(s.Fee)}
}

// Value is NewSent backwards.
func (m *SentResponse) Value() channel.Sent {
	return channel.Sent{TxID: m.GetTxid(), Amount: channel.Sat(m.GetAmountSat()), Fee: channel.Sat(m.GetFeeSat())}
}

// NewWalletTransaction makes one line of on-chain history.
func NewWalletTransaction(t channel.WalletTx) *WalletTransaction {
	return &WalletTransaction{
		Txid: t.TxID, AmountSat: t.Amount, FeeSat: uint64(t.Fee), Confirmations: t.Confirmations,
		Height: t.Height, Time: t.Time, Label: t.Label,
	}
}

// Value is NewWalletTransaction backwards.
func (m *WalletTransaction) Value() channel.WalletTx {
	return channel.WalletTx{
		TxID: m.GetTxid(), Amount: m.GetAmountSat(), Fee: channel.Sat(m.GetFeeSat()), Confirmations: m.GetConfirmations(),
		Height: m.GetHeight(), Time: m.GetTime(), Label: m.GetLabel(),
	}
}

// NewPeer makes a Peer.
func NewPeer(p channel.PeerInfo) *Peer {
	return &Peer{
		PeerId: string(p.PeerID), Addrs: p.Addrs, Connected: p.Connected, Agent: p.Agent, Channels: count(p.Channels),
	}
}

// Value is NewPeer backwards.
func (m *Peer) Value() channel.PeerInfo {
	return channel.PeerInfo{
		PeerID: channel.PeerID(m.GetPeerId()), Addrs: m.GetAddrs(), Connected: m.GetConnected(), Agent: m.GetAgent(),
		Channels: int(m.GetChannels()),
	}
}

// NewOpenRequest makes the request of Open.
func NewOpenRequest(r channel.OpenRequest) *OpenChannelRequest {
	return &OpenChannelRequest{
		Peer: r.Peer, DepositSat: uint64(r.Deposit), PeerDepositSat: uint64(r.PeerDeposit), ExpiryBlocks: r.Expiry,
		FeeRateSatPerKvb: r.FeeRate, DryRun: r.DryRun, External: r.External,
	}
}

// Value is NewOpenRequest backwards.
func (m *OpenChannelRequest) Value() channel.OpenRequest {
	return channel.OpenRequest{
		Peer: m.GetPeer(), Deposit: channel.Sat(m.GetDepositSat()), PeerDeposit: channel.Sat(m.GetPeerDepositSat()),
		Expiry: m.GetExpiryBlocks(), FeeRate: m.GetFeeRateSatPerKvb(), DryRun: m.GetDryRun(), External: m.GetExternal(),
	}
}

// NewOpenResponse makes the answer to Open.
func NewOpenResponse(r channel.OpenResult) *OpenChannelResponse {
	return &OpenChannelResponse{
		ChannelId: channelText(r.Channel), PeerId: string(r.PeerID), Phase: phaseText(r.Phase),
		DepositSat: uint64(r.Deposit), PeerDepositSat: uint64(r.PeerDeposit), FundingTxid: r.FundingTxID,
		FundingAddress: r.FundingAddress, OpenFeeSat: uint64(r.OpenFee), CloseFeeSat: uint64(r.CloseFee),
		ExpiryHeight: r.Expiry, ExpiresAt: r.ExpiresAt, Confirmations: r.Confirmations,
	}
}

// Value is NewOpenResponse backwards.
func (m *OpenChannelResponse) Value() (channel.OpenResult, error) {
	var p parser
	r := channel.OpenResult{
		Channel: p.channel(m.GetChannelId()), PeerID: channel.PeerID(m.GetPeerId()), Phase: p.phase(m.GetPhase()),
		Deposit: channel.Sat(m.GetDepositSat()), PeerDeposit: channel.Sat(m.GetPeerDepositSat()),
		FundingTxID: m.GetFundingTxid(), FundingAddress: m.GetFundingAddress(), OpenFee: channel.Sat(m.GetOpenFeeSat()),
		CloseFee: channel.Sat(m.GetCloseFeeSat()), Expiry: m.GetExpiryHeight(), ExpiresAt: m.GetExpiresAt(),
		Confirmations: m.GetConfirmations(),
	}
	return r, p.err
}

// NewChannel makes a Channel.
func NewChannel(c channel.ChannelInfo) *Channel {
	return &Channel{
		ChannelId: channelText(c.Channel), PeerId: string(c.PeerID), Connected: c.Connected, Phase: phaseText(c.Phase),
		Reason: c.Reason, DepositSat: uint64(c.Deposit), PeerDepositSat: uint64(c.PeerDeposit),
		SentMsat: uint64(c.Sent), ReceivedMsat: uint64(c.Received), SpendableMsat: uint64(c.Spendable),
		ReceivableMsat: uint64(c.Receivable), CreditMsat: uint64(c.Credit), NetMsat: c.Net,
		RecoverableSat: uint64(c.Recoverable), ExpiryHeight: c.Expiry, ExpiresAt: c.ExpiresAt,
		Confirmations: c.Confirmations, RequiredConfirmations: c.Required, FundingTxid: c.FundingTxID,
		PeerFundingTxid: c.PeerFundingTx, FundingAddress: c.FundingAddr, CloseTxid: c.CloseTxID,
	}
}

// Value is NewChannel backwards.
func (m *Channel) Value() (channel.ChannelInfo, error) {
	var p parser
	c := channel.ChannelInfo{
		Channel: p.channel(m.GetChannelId()), PeerID: channel.PeerID(m.GetPeerId()), Connected: m.GetConnected(),
		Phase: p.phase(m.GetPhase()), Reason: m.GetReason(), Deposit: channel.Sat(m.GetDepositSat()),
		PeerDeposit: channel.Sat(m.GetPeerDepositSat()), Sent: channel.Msat(m.GetSentMsat()),
		Received: channel.Msat(m.GetReceivedMsat()), Spendable: channel.Msat(m.GetSpendableMsat()),
		Receivable: channel.Msat(m.GetReceivableMsat()), Credit: channel.Msat(m.GetCreditMsat()), Net: m.GetNetMsat(),
		Recoverable: channel.Sat(m.GetRecoverableSat()), Expiry: m.GetExpiryHeight(), ExpiresAt: m.GetExpiresAt(),
		Confirmations: m.GetConfirmations(), Required: m.GetRequiredConfirmations(), FundingTxID: m.GetFundingTxid(),
		PeerFundingTx: m.GetPeerFundingTxid(), FundingAddr: m.GetFundingAddress(), CloseTxID: m.GetCloseTxid(),
	}
	return c, p.err
}

// NewCloseRequest makes the request of Close.
func NewCloseRequest(r channel.CloseRequest) *CloseChannelRequest {
	return &CloseChannelRequest{ChannelId: r.Channel, Force: r.Force, FeeRateSatPerKvb: r.FeeRate, To: r.To}
}

// Value is NewCloseRequest backwards.
func (m *CloseChannelRequest) Value() channel.CloseRequest {
	return channel.CloseRequest{Channel: m.GetChannelId(), Force: m.GetForce(), FeeRate: m.GetFeeRateSatPerKvb(), To: m.GetTo()}
}

// NewCloseResponse makes the answer to Close.
func NewCloseResponse(r channel.CloseResult) *CloseChannelResponse {
	return &CloseChannelResponse{
		ChannelId: channelText(r.Channel), Kind: r.Kind, Txid: r.TxID, LocalSat: uint64(r.Local),
		RemoteSat: uint64(r.Remote), FeeSat: uint64(r.Fee), RefundHeight: r.RefundHeight,
	}
}

// Value is NewCloseResponse backwards.
func (m *CloseChannelResponse) Value() (channel.CloseResult, error) {
	var p parser
	r := channel.CloseResult{
		Channel: p.channel(m.GetChannelId()), Kind: m.GetKind(), TxID: m.GetTxid(), Local: channel.Sat(m.GetLocalSat()),
		Remote: channel.Sat(m.GetRemoteSat()), Fee: channel.Sat(m.GetFeeSat()), RefundHeight: m.GetRefundHeight(),
	}
	return r, p.err
}

// NewPayRequest makes the request of Pay, without a timeout.
func NewPayRequest(r channel.PayRequest) *PayRequest {
	return &PayRequest{Target: r.Target, AmountMsat: uint64(r.Amount), Ref: r.Ref, PaymentId: givenID(r.ID, r.HasID)}
}

// Value is NewPayRequest backwards.
func (m *PayRequest) Value() (channel.PayRequest, error) {
	var p parser
	id, has := p.givenID(m.GetPaymentId())
	r := channel.PayRequest{
		Target: m.GetTarget(), Amount: channel.Msat(m.GetAmountMsat()), Ref: m.GetRef(), ID: id, HasID: has,
	}
	return r, p.err
}

// NewPayResponse makes the answer to Pay. err is what the node said about a payment that is pending or
// refused, or nil.
func NewPayResponse(r channel.PayResult, err *channel.Fault) *PayResponse {
	return &PayResponse{
		PaymentId: paymentText(r.ID), ChannelId: channelText(r.Channel), AmountMsat: uint64(r.Amount),
		TotalMsat: uint64(r.Total), Status: NewPaymentStatus(r.Status), Reason: reasonText(r.Reason), Error: NewPayError(err),
	}
}

// Value is NewPayResponse backwards.
func (m *PayResponse) Value() (channel.PayResult, error) {
	var p parser
	r := channel.PayResult{
		ID: p.payment(m.GetPaymentId()), Channel: p.channel(m.GetChannelId()), Amount: channel.Msat(m.GetAmountMsat()),
		Total: channel.Msat(m.GetTotalMsat()), Status: p.status(m.GetStatus()), Reason: p.reason(m.GetReason()),
	}
	return r, p.err
}

// NewStreamPayment makes one payment of a stream.
func NewStreamPayment(tag uint64, r channel.PayRequest) *StreamPayment {
	return &StreamPayment{
		Tag: tag, Target: r.Target, AmountMsat: uint64(r.Amount), Ref: r.Ref, PaymentId: givenID(r.ID, r.HasID),
	}
}

// Value is NewStreamPayment backwards. target stands in where the payment names none.
func (m *StreamPayment) Value(target string) (channel.PayRequest, error) {
	if own := m.GetTarget(); own != "" {
		target = own
	}
	var p parser
	id, has := p.givenID(m.GetPaymentId())
	r := channel.PayRequest{
		Target: target, Amount: channel.Msat(m.GetAmountMsat()), Ref: m.GetRef(), ID: id, HasID: has,
	}
	return r, p.err
}

// NewStreamResult makes one result of a stream.
func NewStreamResult(tag uint64, r channel.PayResult, err *channel.Fault) *StreamResult {
	return &StreamResult{
		Tag: tag, PaymentId: paymentText(r.ID), ChannelId: channelText(r.Channel), AmountMsat: uint64(r.Amount),
		TotalMsat: uint64(r.Total), Status: NewPaymentStatus(r.Status), Reason: reasonText(r.Reason), Error: NewPayError(err),
	}
}

// Value is NewStreamResult backwards. channelID stands in where the result names none.
func (m *StreamResult) Value(channelID string) (channel.PayResult, error) {
	if own := m.GetChannelId(); own != "" {
		channelID = own
	}
	var p parser
	r := channel.PayResult{
		ID: p.payment(m.GetPaymentId()), Channel: p.channel(channelID), Amount: channel.Msat(m.GetAmountMsat()),
		Total: channel.Msat(m.GetTotalMsat()), Status: p.status(m.GetStatus()), Reason: p.reason(m.GetReason()),
	}
	return r, p.err
}

// NewPayError makes a PayError; nil of nil.
func NewPayError(f *channel.Fault) *PayError {
	if f == nil {
		return nil
	}
	return &PayError{Code: string(f.Code), Message: f.Text, Hint: f.Hint, Retryable: f.Code.Retryable()}
}

// Value is NewPayError backwards.
func (m *PayError) Value() *channel.Fault {
	if m == nil {
		return nil
	}
	return &channel.Fault{Code: channel.Code(m.GetCode()), Text: m.GetMessage(), Hint: m.GetHint()}
}

// NewListPayments makes the request for history.
func NewListPayments(f channel.PaymentFilter) *ListPaymentsRequest {
	return &ListPaymentsRequest{
		ChannelId: f.Channel, PeerId: f.Peer, PaymentId: givenID(f.ID, f.HasID), Since: f.Since, Limit: count(f.Limit),
	}
}

// Value is NewListPayments backwards.
func (m *ListPaymentsRequest) Value() (channel.PaymentFilter, error) {
	var p parser
	id, has := p.givenID(m.GetPaymentId())
	f := channel.PaymentFilter{
		Channel: m.GetChannelId(), Peer: m.GetPeerId(), ID: id, HasID: has, Since: m.GetSince(), Limit: int(m.GetLimit()),
	}
	return f, p.err
}

// NewPayment makes one payment of the history.
func NewPayment(i channel.PaymentInfo) *Payment {
	return &Payment{
		Seq: i.Seq, Time: i.Time, Direction: i.Dir.String(), ChannelId: channelText(i.Channel), PeerId: string(i.PeerID),
		PaymentId: paymentText(i.ID), AmountMsat: uint64(i.Amount), TotalMsat: uint64(i.Total), Ref: i.Ref,
		Status: NewPaymentStatus(i.Status), Reason: reasonText(i.Reason),
	}
}

// Value is NewPayment backwards.
func (m *Payment) Value() (channel.PaymentInfo, error) {
	var p parser
	i := channel.PaymentInfo{
		Seq: m.GetSeq(), Time: m.GetTime(), Dir: p.direction(m.GetDirection()), Channel: p.channel(m.GetChannelId()),
		PeerID: channel.PeerID(m.GetPeerId()), ID: p.payment(m.GetPaymentId()), Amount: channel.Msat(m.GetAmountMsat()),
		Total: channel.Msat(m.GetTotalMsat()), Ref: m.GetRef(), Status: p.status(m.GetStatus()), Reason: p.reason(m.GetReason()),
	}
	return i, p.err
}

// NewEvent makes an Event.
func NewEvent(e channel.Event) *Event {
	m := &Event{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind.String(), ChannelId: channelText(e.Channel), PeerId: string(e.PeerID),
		Phase: phaseText(e.Phase), Txid: e.TxID, Text: e.Text,
	}
	if e.Payment != (channel.PaymentInfo{}) {
		m.Payment = NewPayment(e.Payment)
	}
	return m
}

// Value is NewEvent backwards.
func (m *Event) Value() (channel.Event, error) {
	var p parser
	e := channel.Event{
		Seq: m.GetSeq(), Time: m.GetTime(), Kind: p.kind(m.GetKind()), Channel: p.channel(m.GetChannelId()),
		PeerID: channel.PeerID(m.GetPeerId()), Phase: p.phase(m.GetPhase()), TxID: m.GetTxid(), Text: m.GetText(),
	}
	if m.GetPayment() != nil {
		payment, err := m.GetPayment().Value()
		e.Payment = payment
		p.keep(err)
	}
	return e, p.err
}

// NewErrorInfo makes the detail of an error.
func NewErrorInfo(f *channel.Fault) *ErrorInfo {
	return &ErrorInfo{Code: string(f.Code), Hint: f.Hint, Retryable: f.Code.Retryable()}
}

// NewPaymentStatus makes a status.
func NewPaymentStatus(s channel.PayStatus) PaymentStatus_Value { return PaymentStatus_Value(s) }

func count(n int) uint32 { return uint32(min(max(n, 0), 1<<31-1)) }

func channelText(id channel.ID) string {
	if id == (channel.ID{}) {
		return ""
	}
	return id.String()
}

func paymentText(id channel.PaymentID) string {
	if id == (channel.PaymentID{}) {
		return ""
	}
	return id.String()
}

func givenID(id channel.PaymentID, has bool) string {
	if !has {
		return ""
	}
	return id.String()
}

func phaseText(p channel.Phase) string {
	if p == channel.PhaseNone {
		return ""
	}
	return p.String()
}

func reasonText(r channel.RefuseReason) string {
	if r == channel.Accepted {
		return ""
	}
	return r.String()
}

// parser reads fields and keeps the first error, so that a message is one literal.
type parser struct{ err error }

func (p *parser) keep(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) fail(format string, args ...any) {
	p.keep(channel.Faultf(channel.CodeBadRequest, format, args...))
}

func (p *parser) hex(field, s string, into []byte) {
	if s == "" {
		return
	}
	if len(s) != 2*len(into) {
		p.fail("%s has %d characters: it needs %d hexadecimal ones", field, len(s), 2*len(into))
		return
	}
	if _, err := hex.Decode(into, []byte(s)); err != nil {
		p.fail("%s is not hexadecimal", field)
	}
}

func (p *parser) channel(s string) (id channel.ID)        { p.hex("channel_id", s, id[:]); return id }
func (p *parser) payment(s string) (id channel.PaymentID) { p.hex("payment_id", s, id[:]); return id }

func (p *parser) givenID(s string) (channel.PaymentID, bool) { return p.payment(s), s != "" }

func (p *parser) status(v PaymentStatus_Value) channel.PayStatus {
	if _, known := PaymentStatus_Value_name[int32(v)]; !known {
		p.fail("unknown payment status %d", v)
		return channel.PayPending
	}
	return channel.PayStatus(v)
}

func (p *parser) direction(s string) channel.Direction {
	switch s {
	case channel.Sending.String():
		return channel.Sending
	case channel.Receiving.String():
		return channel.Receiving
	}
	p.fail("unknown direction %q", s)
	return channel.Sending
}

func (p *parser) phase(s string) channel.Phase { return named[channel.Phase](p, "phase", s) }
func (p *parser) reason(s string) channel.RefuseReason {
	return named[channel.RefuseReason](p, "reason", s)
}
func (p *parser) kind(s string) channel.EventKind { return named[channel.EventKind](p, "kind", s) }

// named finds the value whose String is s; empty is the zero value. Values that have no name of their own
// print as their number and are found by it.
func named[E interface {
	~uint8
	fmt.Stringer
}](p *parser, field, s string) E {
	if s == "" {
		return 0
	}
	for i := range 256 {
		if E(i).String() == s {
			return E(i)
		}
	}
	p.fail("unknown %s %q", field, s)
	return 0
}
