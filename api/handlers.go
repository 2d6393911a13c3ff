package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// service is what all handlers share. Each service has a type of its own because two have a List.
type service struct {
	node     Node
	log      *slog.Logger
	stopping context.Context // its cause is the fault that ends streams
	window   int
}

type (
	nodeService    struct{ *service }
	walletService  struct{ *service }
	channelService struct{ *service }
	paymentService struct{ *service }
	eventService   struct{ *service }
)

func reply[T any](m *T, err error) (*connect.Response[T], error) {
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

// list converts every element.
func list[T, M any](values []T, convert func(T) *M) []*M {
	out := make([]*M, len(values))
	for i, v := range values {
		out[i] = convert(v)
	}
	return out
}

func (s nodeService) GetStatus(ctx context.Context, _ *connect.Request[runnelv1.GetStatusRequest]) (*connect.Response[runnelv1.GetStatusResponse], error) {
	status, err := s.node.Status(ctx)
	return reply(runnelv1.NewStatus(status), err)
}

func (s nodeService) Stop(ctx context.Context, _ *connect.Request[runnelv1.StopRequest]) (*connect.Response[runnelv1.StopResponse], error) {
	return reply(&runnelv1.StopResponse{}, s.node.Stop(ctx))
}

func (s nodeService) Backup(ctx context.Context, _ *connect.Request[runnelv1.BackupRequest]) (*connect.Response[runnelv1.BackupResponse], error) {
	b, err := s.node.Backup(ctx)
	return reply(runnelv1.NewBackup(b), err)
}

func (s nodeService) Connect(ctx context.Context, req *connect.Request[runnelv1.ConnectRequest]) (*connect.Response[runnelv1.ConnectResponse], error) {
	if err := given("addr", req.Msg.Addr); err != nil {
		return nil, err
	}
	peer, err := s.node.Connect(ctx, req.Msg.Addr)
	return reply(&runnelv1.ConnectResponse{Peer: runnelv1.NewPeer(peer)}, err)
}

func (s nodeService) Disconnect(ctx context.Context, req *connect.Request[runnelv1.DisconnectRequest]) (*connect.Response[runnelv1.DisconnectResponse], error) {
	if err := given("peer", req.Msg.Peer); err != nil {
		return nil, err
	}
	return reply(&runnelv1.DisconnectResponse{}, s.node.Disconnect(ctx, req.Msg.Peer))
}

func (s nodeService) ListPeers(ctx context.Context, _ *connect.Request[runnelv1.ListPeersRequest]) (*connect.Response[runnelv1.ListPeersResponse], error) {
	peers, err := s.node.Peers(ctx)
	return reply(&runnelv1.ListPeersResponse{Peers: list(peers, runnelv1.NewPeer)}, err)
}

func (s walletService) NewAddress(ctx context.Context, _ *connect.Request[runnelv1.NewAddressRequest]) (*connect.Response[runnelv1.NewAddressResponse], error) {
	address, err := s.node.NewAddress(ctx)
	return reply(&runnelv1.NewAddressResponse{Address: address}, err)
}

func (s walletService) GetBalance(ctx context.Context, _ *connect.Request[runnelv1.GetBalanceRequest]) (*connect.Response[runnelv1.Balance], error) {
	balance, err := s.node.Balance(ctx)
	return reply(runnelv1.NewBalance(balance), err)
}

func (s walletService) Send(ctx context.Context, req *connect.Request[runnelv1.SendRequest]) (*connect.Response[runnelv1.SentResponse], error) {
	m := req.Msg
	if err := checkSend(m); err != nil {
		return nil, err
	}
	sent, err := s.node.Send(ctx, m.Address, channel.Sat(m.AmountSat), m.All, m.FeeRateSatPerKvb)
	return reply(runnelv1.NewSent(sent), err)
}

func (s walletService) Bump(ctx context.Context, req *connect.Request[runnelv1.BumpRequest]) (*connect.Response[runnelv1.SentResponse], error) {
	if err := given("txid", req.Msg.Txid); err != nil {
		return nil, err
	}
	sent, err := s.node.Bump(ctx, req.Msg.Txid, req.Msg.FeeRateSatPerKvb)
	return reply(runnelv1.NewSent(sent), err)
}

func (s walletService) ListTransactions(ctx context.Context, _ *connect.Request[runnelv1.ListTransactionsRequest]) (*connect.Response[runnelv1.ListTransactionsResponse], error) {
	txs, err := s.node.Transactions(ctx)
	return reply(&runnelv1.ListTransactionsResponse{Transactions: list(txs, runnelv1.NewWalletTransaction)}, err)
}

func (s channelService) Open(ctx context.Context, req *connect.Request[runnelv1.OpenChannelRequest]) (*connect.Response[runnelv1.OpenChannelResponse], error) {
	if err := checkOpen(req.Msg); err != nil {
		return nil, err
	}
	result, err := s.node.Open(ctx, req.Msg.Value())
	return reply(runnelv1.NewOpenResponse(result), err)
}

func (s channelService) List(ctx context.Context, _ *connect.Request[runnelv1.ListChannelsRequest]) (*connect.Response[runnelv1.ListChannelsResponse], error) {
	channels, err := s.node.Channels(ctx)
	return reply(&runnelv1.ListChannelsResponse{Channels: list(channels, runnelv1.NewChannel)}, err)
}

func (s channelService) Get(ctx context.Context, req *connect.Request[runnelv1.GetChannelRequest]) (*connect.Response[runnelv1.Channel], error) {
	if err := given("channel_id", req.Msg.ChannelId); err != nil {
		return nil, err
	}
	info, err := s.node.Channel(ctx, req.Msg.ChannelId)
	return reply(runnelv1.NewChannel(info), err)
}

func (s channelService) Close(ctx context.Context, req *connect.Request[runnelv1.CloseChannelRequest]) (*connect.Response[runnelv1.CloseChannelResponse], error) {
	if err := given("channel_id", req.Msg.ChannelId); err != nil {
		return nil, err
	}
	result, err := s.node.Close(ctx, req.Msg.Value())
	return reply(runnelv1.NewCloseResponse(result), err)
}

func (s paymentService) Pay(ctx context.Context, req *connect.Request[runnelv1.PayRequest]) (*connect.Response[runnelv1.PayResponse], error) {
	r, err := req.Msg.Value()
	if err != nil {
		return nil, err
	}
	if err := checkPay(r); err != nil {
		return nil, err
	}
	wait, err := payWait(req.Msg.TimeoutMs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	result, err := s.node.Pay(ctx, r)
	result, told, err := outcome(r, result, err)
	return reply(runnelv1.NewPayResponse(result, told), err)
}

// outcome tells payments that were signed, whose result is the answer even if there is more to say, from
// those that were not, which are errors.
func outcome(r channel.PayRequest, result channel.PayResult, err error) (channel.PayResult, *channel.Fault, error) {
	if err == nil {
		return result, nil, nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = channel.Faultf(channel.CodePending, "the payee has not answered yet").WithHint("Ask again with the same payment id.")
	}
	f := faultOf(err)
	if f.Code != channel.CodePending && f.Code != channel.CodeRefused {
		return channel.PayResult{}, nil, err
	}
	if f.Code == channel.CodePending {
		result.Status = channel.PayPending
	}
	if result.Amount == 0 {
		result.ID, result.Amount = r.ID, r.Amount
	}
	return result, f, nil
}

func (s paymentService) List(ctx context.Context, req *connect.Request[runnelv1.ListPaymentsRequest]) (*connect.Response[runnelv1.ListPaymentsResponse], error) {
	filter, err := req.Msg.Value()
	if err != nil {
		return nil, err
	}
	if filter.Limit > maxListed {
		return nil, channel.Faultf(channel.CodeBadRequest, "limit is %d, and %d is the most", filter.Limit, maxListed)
	}
	payments, err := s.node.Payments(ctx, filter)
	return reply(&runnelv1.ListPaymentsResponse{Payments: list(payments, runnelv1.NewPayment)}, err)
}

func (s paymentService) GetReceipt(ctx context.Context, req *connect.Request[runnelv1.GetReceiptRequest]) (*connect.Response[runnelv1.Receipt], error) {
	if err := given("payment_id", req.Msg.PaymentId); err != nil {
		return nil, err
	}
	r, err := req.Msg.Value()
	if err != nil {
		return nil, err
	}
	receipt, err := s.node.Receipt(ctx, r)
	return reply(runnelv1.NewReceipt(receipt), err)
}

const (
	// maxListed bounds one answer to about 30 MB.
	maxListed = 100_000

	// defaultPayWait is how long Pay waits when the request does not say; maxPayWait is the longest:
	// whoever wants to wait longer asks again with the same id.
	defaultPayWait = 30 * time.Second
	maxPayWait     = time.Hour
)

func payWait(ms uint64) (time.Duration, error) {
	if ms == 0 {
		return defaultPayWait, nil
	}
	if ms > uint64(maxPayWait.Milliseconds()) {
		return 0, channel.Faultf(channel.CodeBadRequest, "timeout_ms is %d, and %d is the most", ms, maxPayWait.Milliseconds())
	}
	return time.Duration(ms) * time.Millisecond, nil
}
