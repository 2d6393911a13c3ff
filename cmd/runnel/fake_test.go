package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/receipt"
)

const (
	alice = "16Uiu2HAmALiceALiceALiceALiceALiceALiceALiceALiceALice"
	bob   = "16Uiu2HAmBobBobBobBobBobBobBobBobBobBobBobBobBobBobBob"
	txid  = "4f1c0000000000000000000000000000000000000000000000000000000000aa"
)

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	chan1 = channel.ID{0x3f, 0xa9, 0xc1, 0xd2, 1}
	chan2 = channel.ID{0x3f, 0xa9, 0xc1, 0xd3, 2}
	pay1  = channel.PaymentID{0xaa, 1}
)

// fakeNode answers every request with fixed values, or with err. It remembers what it was asked.
type fakeNode struct {
	err error // of every request

	mu       sync.Mutex
	asked    []string
	open     channel.OpenRequest
	close    channel.CloseRequest
	settle   channel.SettleRequest
	pay      []channel.PayRequest
	filter   channel.PaymentFilter
	since    uint64
	rate     uint64
	all      bool
	sat      channel.Sat
	channels []channel.ChannelInfo
	polls    []channel.ChannelInfo // answers of Channel one after the other; the last one stays
	payErr   error
	payRes   channel.PayResult
	payNth   func(i int) (channel.PayResult, error)
	silent   bool // PayAsync never answers
	old      bool // events are of yesterday
	receipt  channel.ReceiptRequest
	status   channel.NodeStatus
	book     []byte
	log      channel.LogReport
	prune    channel.PruneRequest
}

func newFake() *fakeNode {
	wallet := channel.Balance{Onchain: 1_234_567, Pending: 5_000, Locked: 0, ChannelLocal: 998_877_123, ChannelRemote: 150_000_000}
	return &fakeNode{
		status: channel.NodeStatus{
			Version: "v0.1.0", Network: "signet", Backend: "btcd", PeerID: alice, Addr: "/ip4/203.0.113.7/tcp/9745/p2p/" + alice,
			Height: 150_000, Synced: true, FeeSource: "btcd", FeeRate: 1_250, Channels: 2, Wallet: wallet,
			Attention: []string{"channel 3fa9c1d3 expires in 2 days: open a new one"},
		},
		channels: []channel.ChannelInfo{
			{Channel: chan1, PeerID: bob, Connected: true, Phase: channel.PhaseOpen, Deposit: 1_000_000, PeerDeposit: 200_000,
				Sent: 122_877, Received: 49_000_000, Spendable: 998_877_123, Receivable: 150_000_000, Net: 48_877_123,
				Recoverable: 1_048_877, Expiry: 154_000, ExpiresAt: noon.Add(27 * 24 * time.Hour).Unix(), Confirmations: 12, Required: 3,
				FundingTxID: txid, PeerFundingTx: txid, FundingAddr: "tb1pfunding"},
			{Channel: chan2, PeerID: bob, Phase: channel.PhaseAgreed, Reason: "waiting for 1/3 confirmations", Deposit: 50_000,
				Expiry: 154_321, ExpiresAt: noon.Add(28 * 24 * time.Hour).Unix(), Confirmations: 1, Required: 3, FundingTxID: txid, Credit: 7},
		},
		payRes: channel.PayResult{ID: pay1, Channel: chan1, Amount: 25_000, Total: 147_877, Status: channel.PayAcknowledged},
	}
}

func (f *fakeNode) ask(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	return f.err
}

func (f *fakeNode) was(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Contains(" "+strings.Join(f.asked, " ")+" ", " "+what+" ")
}

func (f *fakeNode) Status(context.Context) (channel.NodeStatus, error) {
	return f.status, f.ask("status")
}
func (f *fakeNode) Stop(context.Context) error { return f.ask("stop") }
func (f *fakeNode) Backup(context.Context) (channel.Backup, error) {
	return channel.Backup{Data: []byte("runnel backup 1\nsecret"), Channels: 2, Made: noon.Unix()}, f.ask("backup")
}
func (f *fakeNode) NewAddress(context.Context) (string, error) {
	return "tb1qaddress", f.ask("address")
}
func (f *fakeNode) Balance(context.Context) (channel.Balance, error) {
	return f.status.Wallet, f.ask("balance")
}

func (f *fakeNode) Send(_ context.Context, _ string, amount channel.Sat, all bool, rate uint64) (channel.Sent, error) {
	f.sat, f.all, f.rate = amount, all, rate
	return channel.Sent{TxID: txid, Amount: amount, Fee: 154}, f.ask("send")
}

func (f *fakeNode) Bump(_ context.Context, _ string, rate uint64) (channel.Sent, error) {
	f.rate = rate
	return channel.Sent{TxID: txid, Fee: 900}, f.ask("bump")
}

func (f *fakeNode) Transactions(context.Context) ([]channel.WalletTx, error) {
	return []channel.WalletTx{
		{TxID: txid, Amount: -1_000_308, Fee: 308, Time: noon.Add(-3 * time.Minute).Unix(), Label: "open 3fa9c1d2"},
		{TxID: txid, Amount: 5_000_000, Confirmations: 44, Height: 149_957, Time: noon.Add(-7 * time.Hour).Unix()},
	}, f.ask("txs")
}

func (f *fakeNode) Connect(_ context.Context, addr string) (channel.PeerInfo, error) {
	return channel.PeerInfo{PeerID: bob, Addrs: []string{addr}, Connected: true}, f.ask("connect")
}
func (f *fakeNode) Disconnect(context.Context, string) error { return f.ask("disconnect") }
func (f *fakeNode) Peers(context.Context) ([]channel.PeerInfo, error) {
	return []channel.PeerInfo{
		{PeerID: bob, Addrs: []string{"/ip4/203.0.113.9/tcp/9745"}, Connected: true, Channels: 2},
		{PeerID: alice},
	}, f.ask("peers")
}

func (f *fakeNode) Open(_ context.Context, req channel.OpenRequest) (channel.OpenResult, error) {
	f.open = req
	r := channel.OpenResult{PeerID: bob, Deposit: req.Deposit, PeerDeposit: req.PeerDeposit, OpenFee: 308, CloseFee: 310,
		Expiry: 154_176, ExpiresAt: noon.Add(29 * 24 * time.Hour).Unix(), Confirmations: 3}
	if !req.DryRun {
		r.Channel, r.Phase, r.FundingTxID, r.FundingAddress = chan1, channel.PhaseAgreed, txid, "tb1pfunding"
		return r, f.ask("open")
	}
	return r, f.ask("plan")
}

func (f *fakeNode) Channels(context.Context) ([]channel.ChannelInfo, error) {
	return f.channels, f.ask("channels")
}

func (f *fakeNode) Channel(_ context.Context, _ string) (channel.ChannelInfo, error) {
	info := f.channels[0]
	if len(f.polls) > 0 {
		info = f.polls[0]
	}
	if len(f.polls) > 1 {
		f.polls = f.polls[1:]
	}
	return info, f.ask("channel")
}

func (f *fakeNode) Close(_ context.Context, req channel.CloseRequest) (channel.CloseResult, error) {
	f.close = req
	r := channel.CloseResult{Channel: chan1, Kind: "coop", TxID: txid, Local: 1_048_700, Remote: 151_123, Fee: 177}
	if req.Force {
		r = channel.CloseResult{Channel: chan1, Kind: "refund_wait", Local: 49_000, RefundHeight: 154_000}
	}
	return r, f.ask("close")
}

func (f *fakeNode) Settle(_ context.Context, req channel.SettleRequest) (channel.SettleResult, error) {
	f.settle = req
	r := channel.SettleResult{Value: 1_250_000, Fee: 445, FeeRate: 1250, Lanes: []channel.SettledLane{
		{Channel: chan1, PeerID: bob, Status: channel.SettleNow, Value: 1_200_000, Fee: 223, Deposit: 200_000, RefundHeight: 154_000},
		{Channel: chan2, PeerID: bob, Status: channel.SettleNow, Value: 50_000, Fee: 222},
		{Channel: channel.ID{9}, PeerID: alice, Status: channel.SettleUneconomic, Reason: "the fee is too much of it", Value: 400, Fee: 189},
	}}
	if req.DryRun {
		return r, f.ask("plan")
	}
	for i := range r.Lanes[:2] {
		r.Lanes[i].TxID = txid
	}
	return r, f.ask("settle")
}

func (f *fakeNode) Pay(ctx context.Context, req channel.PayRequest) (channel.PayResult, error) {
	f.pay = append(f.pay, req)
	if err := f.ask("pay"); err != nil {
		return channel.PayResult{}, err
	}
	r := f.payRes
	r.ID, r.Amount = req.ID, req.Amount
	return r, f.payErr
}

func (f *fakeNode) PayAsync(req channel.PayRequest, done func(channel.PayResult, error)) {
	f.mu.Lock()
	i, silent := len(f.pay), f.silent
	f.pay = append(f.pay, req)
	f.mu.Unlock()
	if silent {
		return
	}
	r, err := f.payRes, f.err
	if f.payNth != nil {
		r, err = f.payNth(i)
	}
	r.ID, r.Amount = req.ID, req.Amount
	go done(r, err)
}

func (f *fakeNode) Payments(_ context.Context, filter channel.PaymentFilter) ([]channel.PaymentInfo, error) {
	f.filter = filter
	return []channel.PaymentInfo{
		{Seq: 3, Time: noon.Add(-5 * time.Second).UnixMilli(), Dir: channel.Sending, Channel: chan1, PeerID: bob, ID: pay1, Amount: 25_000,
			Total: 147_877, Ref: "coffee", Status: channel.PayAcknowledged},
		{Seq: 1, Time: noon.Add(-2 * time.Hour).UnixMilli(), Dir: channel.Receiving, Channel: chan2, PeerID: bob, ID: pay1, Amount: 1,
			Total: 1, Ref: "=1+1\x1b[31m", Status: channel.PayRefused},
	}, f.ask("payments")
}

func (f *fakeNode) Receipt(_ context.Context, req channel.ReceiptRequest) (channel.Receipt, error) {
	f.receipt = req
	b, err := os.ReadFile(receiptFile)
	if err != nil {
		return channel.Receipt{}, err
	}
	r, err := receipt.Parse(b)
	return r, errors.Join(err, f.ask("receipt"))
}

func (f *fakeNode) Watch(ctx context.Context, since uint64, fn func(channel.Event) error) error {
	f.since = since
	payment := channel.PaymentInfo{Seq: 3, Channel: chan1, PeerID: bob, ID: pay1, Amount: 25_000, Total: 147_877, Ref: "coffee", Status: channel.PayAcknowledged}
	for i, e := range []channel.Event{
		{Kind: channel.EventPayment, Payment: payment, Channel: chan1, PeerID: bob},
		{Kind: channel.EventPhase, Channel: chan1, PeerID: bob, Phase: channel.PhaseClosing, TxID: txid},
		{Kind: channel.EventLane, Channel: chan1, PeerID: bob, Text: "own lane is ready"},
		{Kind: channel.EventAlert, Text: "disk is nearly full"},
	} {
		e.Seq, e.Time = since+uint64(i)+1, noon.UnixMilli()
		if f.old {
			e.Time -= 86_400_000
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return f.ask("watch")
}

// session runs command lines against a fake node.
type session struct {
	t        *testing.T
	node     *fakeNode
	env      map[string]string
	in       string
	terminal bool
	ctx      context.Context
	dialer   func(string) (api.Node, error) // nil: to node
	errs     func(text string)              // sees what is written to standard error as it comes; may be nil
}

func newSession(t *testing.T) *session {
	return &session{t: t, node: newFake(), env: map[string]string{"RUNNEL_API": "unix:/fake/runneld.sock", "HOME": "/nowhere"}, ctx: context.Background()}
}

func (s *session) getenv() func(string) string { return func(k string) string { return s.env[k] } }

func (s *session) dial() func(string) (api.Node, error) {
	if s.dialer != nil {
		return s.dialer
	}
	return func(string) (api.Node, error) { return s.node, nil }
}

type outcome struct {
	out, err string
	code     int
}

func (s *session) run(args ...string) outcome {
	s.t.Helper()
	var out, errs bytes.Buffer
	a := &app{
		in: strings.NewReader(s.in), out: &out, err: seen{&errs, s.errs}, inTTY: s.terminal, outTTY: s.terminal, errTTY: s.terminal,
		getenv: s.getenv(),
		now:    func() time.Time { return noon },
		dial:   s.dial(),
		poll:   time.Millisecond,
	}
	code := a.run(s.ctx, args)
	return outcome{out.String(), errs.String(), code}
}

// seen is a writer that somebody watches.
type seen struct {
	*bytes.Buffer
	watch func(string)
}

func (s seen) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if s.watch != nil {
		s.watch(string(b))
	}
	return n, err
}

// line is run for a command line without quotes.
func (s *session) line(line string) outcome {
	s.t.Helper()
	return s.run(strings.Fields(line)...)
}

// listenIn makes a socket in a new short directory, as a daemon would.
func listenIn(t *testing.T, home string, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{home}, parts...)...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "runneld.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path
}
