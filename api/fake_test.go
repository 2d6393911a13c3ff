package api_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

var _ api.Node = (*client.Client)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode answers every call with what it was told to, and remembers what it was asked.
type fakeNode struct {
	ruled
	mu    sync.Mutex
	calls []any // arguments of the last call

	err    error
	status channel.NodeStatus
	text   string
	backup channel.Backup
	bal    channel.Balance
	sent   channel.Sent
	txs    []channel.WalletTx
	peer   channel.PeerInfo
	peers  []channel.PeerInfo
	opened channel.OpenResult
	chans  []channel.ChannelInfo
	closed channel.CloseResult
	taken  channel.SettleResult

	granted channel.AuthoriseResult
	charged channel.Charge
	paid    channel.PayResult
	hist    []channel.PaymentInfo

	receipt channel.Receipt

	pay      func(context.Context, channel.PayRequest) (channel.PayResult, error)
	payAsync func(channel.PayRequest, func(channel.PayResult, error))
	watch    func(context.Context, uint64, func(channel.Event) error) error
}

func (n *fakeNode) asked(args ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = args
	return n.err
}

func (n *fakeNode) last() []any {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

func (n *fakeNode) Status(context.Context) (channel.NodeStatus, error) { return n.status, n.asked() }
func (n *fakeNode) Stop(context.Context) error                         { return n.asked("stop") }
func (n *fakeNode) Backup(context.Context) (channel.Backup, error)     { return n.backup, n.asked() }
func (n *fakeNode) NewAddress(context.Context) (string, error)         { return n.text, n.asked() }
func (n *fakeNode) Balance(context.Context) (channel.Balance, error)   { return n.bal, n.asked() }
func (n *fakeNode) Send(_ context.Context, a string, s channel.Sat, all bool, rate uint64) (channel.Sent, error) {
	return n.sent, n.asked(a, s, all, rate)
}
func (n *fakeNode) Bump(_ context.Context, txid string, rate uint64) (channel.Sent, error) {
	return n.sent, n.asked(txid, rate)
}
func (n *fakeNode) Transactions(context.Context) ([]channel.WalletTx, error) { return n.txs, n.asked() }
func (n *fakeNode) Connect(_ context.Context, addr string) (channel.PeerInfo, error) {
	return n.peer, n.asked(addr)
}
func (n *fakeNode) Disconnect(_ context.Context, peer string) error   { return n.asked(peer) }
func (n *fakeNode) Peers(context.Context) ([]channel.PeerInfo, error) { return n.peers, n.asked() }
func (n *fakeNode) Channels(context.Context) ([]channel.ChannelInfo, error) {
	return n.chans, n.asked()
}
func (n *fakeNode) Open(_ context.Context, r channel.OpenRequest) (channel.OpenResult, error) {
	return n.opened, n.asked(r)
}
func (n *fakeNode) Channel(_ context.Context, id string) (channel.ChannelInfo, error) {
	err := n.asked(id)
	if len(n.chans) == 0 {
		return channel.ChannelInfo{}, err
	}
	return n.chans[0], err
}
func (n *fakeNode) Close(_ context.Context, r channel.CloseRequest) (channel.CloseResult, error) {
	return n.closed, n.asked(r)
}
func (n *fakeNode) Settle(_ context.Context, r channel.SettleRequest) (channel.SettleResult, error) {
	return n.taken, n.asked(r)
}
func (n *fakeNode) Pay(ctx context.Context, r channel.PayRequest) (channel.PayResult, error) {
	if n.pay != nil {
		return n.pay(ctx, r)
	}
	return n.paid, n.asked(r)
}
func (n *fakeNode) PayAsync(r channel.PayRequest, done func(channel.PayResult, error)) {
	if n.payAsync != nil {
		n.payAsync(r, done)
		return
	}
	err := n.asked(r)
	go done(n.paid, err)
}
func (n *fakeNode) Payments(_ context.Context, f channel.PaymentFilter) ([]channel.PaymentInfo, error) {
	return n.hist, n.asked(f)
}
func (n *fakeNode) Receipt(_ context.Context, r channel.ReceiptRequest) (channel.Receipt, error) {
	return n.receipt, n.asked(r)
}
func (n *fakeNode) Watch(ctx context.Context, since uint64, fn func(channel.Event) error) error {
	return n.watch(ctx, since, fn)
}

// quiet is a log for tests whose errors are meant.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// socketDir is short, because socket paths must be.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve starts a server that ends with the test, and a client for it.
func serve(t testing.TB, node api.Node) (*api.Server, *client.Client, string) {
	t.Helper()
	socket := filepath.Join(socketDir(t), "api.sock")
	server := serveAt(t, api.Config{Socket: socket, Log: quiet()}, node)
	return server, dial(t, socket), socket
}

func serveAt(t testing.TB, cfg api.Config, node api.Node) *api.Server {
	t.Helper()
	server, err := api.Listen(cfg, node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, server) })
	return server
}

func shutdown(t testing.TB, server *api.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("server: %v", err)
	}
}

func dial(t testing.TB, socket string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(socket, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseConnections)
	return c
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}
