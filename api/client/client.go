// Package client is the Go client of a node's local API, in channel's types: a *Client is an api.Node. It
// refuses to know how a node works and what a person should read: errors are *channel.Fault with the
// node's own words and advice, an *Unreachable when no daemon answers, or the context's error.
//
//	node, err := client.Dial("/home/me/.runnel/signet/runneld.sock")
package client

import (
	"context"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/api/v1/runnelv1connect"
	"github.com/runnel/runnel/channel"
)

// baseURL has a name that servers know for their own; the connection goes to the socket anyway.
const baseURL = "http://runnel"

// maxAnswer bounds one answer: a long history is the largest.
const maxAnswer = 64 << 20

// Client calls one node. It is safe for concurrent use, keeps its connections, and finds a daemon that
// was restarted.
type Client struct {
	socket   string
	restarts bool

	node     runnelv1connect.NodeServiceClient
	wallet   runnelv1connect.WalletServiceClient
	channels runnelv1connect.ChannelServiceClient
	payments runnelv1connect.PaymentServiceClient
	streams  runnelv1connect.PaymentServiceClient // HTTP/2
	events   runnelv1connect.EventServiceClient
	log      runnelv1connect.LogServiceClient
	draws    runnelv1connect.DrawServiceClient
	policy   runnelv1connect.PolicyServiceClient

	transports []*http.Transport
	shared     sharedStream
}

// Option changes how a client behaves.
type Option func(*Client)

// FollowRestarts makes Watch wait for a daemon that is not there, and go on where it was after a restart.
func FollowRestarts() Option { return func(c *Client) { c.restarts = true } }

// Dial makes a client for the node at unix:PATH or PATH. It connects when the first call is made, so it
// also works before the daemon has started. The error is a fault about the address.
func Dial(socket string, options ...Option) (*Client, error) {
	path, err := runnelv1.SocketPath(socket)
	if err != nil {
		return nil, err
	}
	c := &Client{socket: path}
	for _, option := range options {
		option(c)
	}
	// One request at a time is quicker over HTTP/1.1; a stream of both directions needs HTTP/2.
	one, many := c.transport(false), c.transport(true)
	c.transports = []*http.Transport{one, many}
	calls, streams := &http.Client{Transport: one}, &http.Client{Transport: many}
	set := connect.WithClientOptions(connect.WithAcceptCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxAnswer))
	c.node = runnelv1connect.NewNodeServiceClient(calls, baseURL, set)
	c.wallet = runnelv1connect.NewWalletServiceClient(calls, baseURL, set)
	c.channels = runnelv1connect.NewChannelServiceClient(calls, baseURL, set)
	c.payments = runnelv1connect.NewPaymentServiceClient(calls, baseURL, set)
	c.streams = runnelv1connect.NewPaymentServiceClient(streams, baseURL, set)
	c.events = runnelv1connect.NewEventServiceClient(streams, baseURL, set)
	c.draws = runnelv1connect.NewDrawServiceClient(calls, baseURL, set)
	c.policy = runnelv1connect.NewPolicyServiceClient(calls, baseURL, set)
	c.log = runnelv1connect.NewLogServiceClient(streams, baseURL, set)
	return c, nil
}

func (c *Client) transport(http2 bool) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &http.Transport{
		DialContext:         c.dial,
		Protocols:           &protocols,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     time.Minute,
	}
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil && ctx.Err() == nil {
		return nil, &Unreachable{Socket: c.socket, Err: err}
	}
	return conn, err
}

// CloseConnections ends the client: payments of PayAsync that have no answer yet are reported as pending.
// (Close ends a channel.)
func (c *Client) CloseConnections() {
	c.shared.close()
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// call makes one call without a result of its own type and gives its error the client's form.
func call[Req, Res any](ctx context.Context, c *Client, f func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), m *Req) (*Res, error) {
	res, err := f(ctx, connect.NewRequest(m))
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	return res.Msg, nil
}

// values converts every message of an answer.
func values[M, T any](c *Client, messages []M, convert func(M) (T, error)) ([]T, error) {
	out := make([]T, 0, len(messages))
	for _, m := range messages {
		v, err := convert(m)
		if err != nil {
			return nil, c.strange(err)
		}
		out = append(out, v)
	}
	return out, nil
}

// Status tells how the node does.
func (c *Client) Status(ctx context.Context) (channel.NodeStatus, error) {
	m, err := call(ctx, c, c.node.GetStatus, &runnelv1.GetStatusRequest{})
	if err != nil {
		return channel.NodeStatus{}, err
	}
	return m.Value()
}

// Stop asks the node to end and returns before it is gone.
func (c *Client) Stop(ctx context.Context) error {
	_, err := call(ctx, c, c.node.Stop, &runnelv1.StopRequest{})
	return err
}

// Backup copies what the node can't make again from its seed, encrypted under a key from the seed.
func (c *Client) Backup(ctx context.Context) (channel.Backup, error) {
	m, err := call(ctx, c, c.node.Backup, &runnelv1.BackupRequest{})
	return m.Value(), err
}

// Connect connects the node to a peer.
func (c *Client) Connect(ctx context.Context, addr string) (channel.PeerInfo, error) {
	m, err := call(ctx, c, c.node.Connect, &runnelv1.ConnectRequest{Addr: addr})
	return m.GetPeer().Value(), err
}

// Disconnect cuts the connection to a peer.
func (c *Client) Disconnect(ctx context.Context, peer string) error {
	_, err := call(ctx, c, c.node.Disconnect, &runnelv1.DisconnectRequest{Peer: peer})
	return err
}

// Peers lists the peers that are or were connected.
func (c *Client) Peers(ctx context.Context) ([]channel.PeerInfo, error) {
	m, err := call(ctx, c, c.node.ListPeers, &runnelv1.ListPeersRequest{})
	if err != nil {
		return nil, err
	}
	return values(c, m.GetPeers(), sure((*runnelv1.Peer).Value))
}

// sure is a conversion that can't fail.
func sure[M, T any](f func(M) T) func(M) (T, error) {
	return func(m M) (T, error) { return f(m), nil }
}

// NewAddress gives an on-chain address that was not given before.
func (c *Client) NewAddress(ctx context.Context) (string, error) {
	m, err := call(ctx, c, c.wallet.NewAddress, &runnelv1.NewAddressRequest{})
	return m.GetAddress(), err
}

// Balance adds up all money of the node.
func (c *Client) Balance(ctx context.Context) (channel.Balance, error) {
	m, err := call(ctx, c, c.wallet.GetBalance, &runnelv1.GetBalanceRequest{})
	return m.Value(), err
}

// Send pays on the chain: amount, or everything when all is set. rate is in sat per 1000 vB; 0 lets the
// chain backend estimate.
func (c *Client) Send(ctx context.Context, address string, amount channel.Sat, all bool, rate uint64) (channel.Sent, error) {
	m, err := call(ctx, c, c.wallet.Send, &runnelv1.SendRequest{
		Address: address, AmountSat: uint64(amount), All: all, FeeRateSatPerKvb: rate,
	})
	return m.Value(), err
}

// Bump raises the fee of a transaction that is not confirmed.
func (c *Client) Bump(ctx context.Context, txid string, rate uint64) (channel.Sent, error) {
	m, err := call(ctx, c, c.wallet.Bump, &runnelv1.BumpRequest{Txid: txid, FeeRateSatPerKvb: rate})
	return m.Value(), err
}

// Transactions lists on-chain history, newest first.
func (c *Client) Transactions(ctx context.Context) ([]channel.WalletTx, error) {
	m, err := call(ctx, c, c.wallet.ListTransactions, &runnelv1.ListTransactionsRequest{})
	if err != nil {
		return nil, err
	}
	return values(c, m.GetTransactions(), sure((*runnelv1.WalletTransaction).Value))
}

// Open opens a channel and returns when its funding was published.
func (c *Client) Open(ctx context.Context, req channel.OpenRequest) (channel.OpenResult, error) {
	m, err := call(ctx, c, c.channels.Open, runnelv1.NewOpenRequest(req))
	if err != nil {
		return channel.OpenResult{}, err
	}
	result, err := m.Value()
	return result, c.strange(err)
}

// Channels lists all channels.
func (c *Client) Channels(ctx context.Context) ([]channel.ChannelInfo, error) {
	m, err := call(ctx, c, c.channels.List, &runnelv1.ListChannelsRequest{})
	if err != nil {
		return nil, err
	}
	return values(c, m.GetChannels(), (*runnelv1.Channel).Value)
}

// Channel shows one channel, by its id or a unique prefix.
func (c *Client) Channel(ctx context.Context, id string) (channel.ChannelInfo, error) {
	m, err := call(ctx, c, c.channels.Get, &runnelv1.GetChannelRequest{ChannelId: id})
	if err != nil {
		return channel.ChannelInfo{}, err
	}
	info, err := m.Value()
	return info, c.strange(err)
}

// Close ends a channel.
func (c *Client) Close(ctx context.Context, req channel.CloseRequest) (channel.CloseResult, error) {
	m, err := call(ctx, c, c.channels.Close, runnelv1.NewCloseRequest(req))
	if err != nil {
		return channel.CloseResult{}, err
	}
	result, err := m.Value()
	return result, c.strange(err)
}

// Payments lists history, newest first.
func (c *Client) Payments(ctx context.Context, f channel.PaymentFilter) ([]channel.PaymentInfo, error) {
	m, err := call(ctx, c, c.payments.List, runnelv1.NewListPayments(f))
	if err != nil {
		return nil, err
	}
	return values(c, m.GetPayments(), (*runnelv1.Payment).Value)
}

// Receipt proves a payment; package ledger/receipt makes a file of it. ctx bounds how long the node asks its
// peer for signatures that are missing.
func (c *Client) Receipt(ctx context.Context, req channel.ReceiptRequest) (channel.Receipt, error) {
	m, err := call(ctx, c, c.payments.GetReceipt, runnelv1.NewGetReceipt(req))
	if err != nil {
		return channel.Receipt{}, err
	}
	r, err := m.Value()
	return r, c.strange(err)
}
