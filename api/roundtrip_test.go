package api_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
)

// word is text that protobuf can carry.
var word = rapid.StringMatching(`[a-z0-9 <>"&ä€]{0,12}`)

func fill[T any](t *rapid.T, label string) T {
	var v T
	fillValue(t, reflect.ValueOf(&v).Elem(), label)
	return v
}

// fillValue draws every field, so that a field which a conversion forgets is found.
func fillValue(t *rapid.T, v reflect.Value, label string) {
	switch v.Interface().(type) {
	case channel.Phase:
		v.SetUint(uint64(rapid.Uint8Max(uint8(channel.PhaseAbandoned)).Draw(t, label)))
		return
	case channel.PayStatus:
		v.SetUint(uint64(rapid.Uint8Max(2).Draw(t, label)))
		return
	case channel.DrawStatus:
		v.SetUint(uint64(rapid.Uint8Max(1).Draw(t, label)))
		return
	case channel.Direction:
		v.SetUint(uint64(rapid.Uint8Max(1).Draw(t, label)))
		return
	case channel.RefuseReason:
		v.SetUint(uint64(rapid.Uint8().Draw(t, label)))
		return
	case channel.EventKind:
		v.SetUint(uint64(rapid.Uint8Range(1, 4).Draw(t, label)))
		return
	}
	fillKind(t, v, label)
}

func fillKind(t *rapid.T, v reflect.Value, label string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(t, v.Field(i), label+"."+v.Type().Field(i).Name)
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(rapid.Uint8().Draw(t, label)))
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, label)
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fillValue(t, v.Index(i), label)
		}
	case reflect.String:
		v.SetString(word.Draw(t, label))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, label))
	case reflect.Int:
		v.SetInt(int64(rapid.IntRange(0, 1<<30).Draw(t, label)))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, label))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Uint8().Draw(t, label)))
	case reflect.Uint32:
		v.SetUint(uint64(rapid.Uint32().Draw(t, label)))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, label))
	default:
		t.Fatalf("%s: no generator for %s", label, v.Type())
	}
}

func same(t *rapid.T, what string, got, want any, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// orEmpty makes a list comparable: a client gives an empty list, never nil.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func TestAnswersArriveWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	rapid.Check(t, func(t *rapid.T) {
		node.status = fill[channel.NodeStatus](t, "status")
		got, err := c.Status(ctx)
		same(t, "Status", got, node.status, err)

		node.text = word.Draw(t, "address")
		address, err := c.NewAddress(ctx)
		same(t, "NewAddress", address, node.text, err)

		node.bal = fill[channel.Balance](t, "balance")
		balance, err := c.Balance(ctx)
		same(t, "Balance", balance, node.bal, err)

		node.txs = fill[[]channel.WalletTx](t, "txs")
		txs, err := c.Transactions(ctx)
		same(t, "Transactions", txs, orEmpty(node.txs), err)

		node.peers = fill[[]channel.PeerInfo](t, "peers")
		peers, err := c.Peers(ctx)
		same(t, "Peers", peers, orEmpty(node.peers), err)

		node.chans = fill[[]channel.ChannelInfo](t, "channels")
		channels, err := c.Channels(ctx)
		same(t, "Channels", channels, orEmpty(node.chans), err)

		node.hist = fill[[]channel.PaymentInfo](t, "payments")
		payments, err := c.Payments(ctx, channel.PaymentFilter{})
		same(t, "Payments", payments, orEmpty(node.hist), err)
	})
}

func TestRequestsAndAnswersArriveWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	rapid.Check(t, func(t *rapid.T) {
		name := "x" + word.Draw(t, "name")
		rate := rapid.Uint64().Draw(t, "rate")
		amount := channel.Sat(rapid.Uint64Range(1, uint64(channel.MaxMoney)).Draw(t, "amount"))

		node.sent = fill[channel.Sent](t, "sent")
		sent, err := c.Send(ctx, name, amount, false, rate)
		same(t, "Send", sent, node.sent, err)
		same(t, "Send", node.last(), []any{name, amount, false, rate}, nil)
		sent, err = c.Send(ctx, name, 0, true, rate)
		same(t, "Send all", sent, node.sent, err)
		same(t, "Send all", node.last(), []any{name, channel.Sat(0), true, rate}, nil)

		sent, err = c.Bump(ctx, name, rate)
		same(t, "Bump", sent, node.sent, err)
		same(t, "Bump", node.last(), []any{name, rate}, nil)

		node.peer = fill[channel.PeerInfo](t, "peer")
		peer, err := c.Connect(ctx, name)
		same(t, "Connect", peer, node.peer, err)
		same(t, "Connect", node.last(), []any{name}, nil)
		same(t, "Disconnect", nil, nil, c.Disconnect(ctx, name))
		same(t, "Disconnect", node.last(), []any{name}, nil)
		same(t, "Stop", nil, nil, c.Stop(ctx))
		same(t, "Stop", node.last(), []any{"stop"}, nil)
	})
}

func TestChannelCallsArriveWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	rapid.Check(t, func(t *rapid.T) {
		open := fill[channel.OpenRequest](t, "open")
		open.Peer, open.Deposit, open.PeerDeposit = "x"+open.Peer, open.Deposit%channel.MaxMoney, open.PeerDeposit%channel.MaxMoney
		node.opened = fill[channel.OpenResult](t, "opened")
		opened, err := c.Open(ctx, open)
		same(t, "Open", opened, node.opened, err)
		same(t, "Open", node.last(), []any{open}, nil)

		node.chans = []channel.ChannelInfo{fill[channel.ChannelInfo](t, "channel")}
		info, err := c.Channel(ctx, "abcd")
		same(t, "Channel", info, node.chans[0], err)
		same(t, "Channel", node.last(), []any{"abcd"}, nil)

		ending := fill[channel.CloseRequest](t, "close")
		ending.Channel = "x" + ending.Channel
		node.closed = fill[channel.CloseResult](t, "closed")
		closed, err := c.Close(ctx, ending)
		same(t, "Close", closed, node.closed, err)
		same(t, "Close", node.last(), []any{ending}, nil)

		drawRoundTrip(ctx, t, node, c)
		settle := fill[channel.SettleRequest](t, "settle")
		if settle.All = len(settle.Channels) == 0; settle.All {
			settle.Channels = nil
		}
		for i := range settle.Channels {
			settle.Channels[i] = "x" + settle.Channels[i]
		}
		node.taken = fill[channel.SettleResult](t, "settled")
		taken, err := c.Settle(ctx, settle)
		same(t, "Settle", taken, node.taken, err)
		same(t, "Settle", node.last(), []any{settle}, nil)
	})
}

// payment draws a request that makes sense.
func payment(t *rapid.T) channel.PayRequest {
	r := fill[channel.PayRequest](t, "pay")
	r.Target = "x" + r.Target
	r.Amount = 1 + r.Amount%(channel.Msat(channel.MaxMoney)*1000)
	r.HasID = true
	return r
}

func TestPaymentCallsArriveWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	rapid.Check(t, func(t *rapid.T) {
		r := payment(t)
		node.paid = fill[channel.PayResult](t, "paid")
		paid, err := c.Pay(ctx, r)
		same(t, "Pay", paid, node.paid, err)
		same(t, "Pay", node.last(), []any{r}, nil)

		paid, err = payAsync(ctx, c.PayAsync, r)
		same(t, "PayAsync", paid, node.paid, err)
		same(t, "PayAsync", node.last(), []any{r}, nil)

		ask := fill[channel.ReceiptRequest](t, "receipt request")
		node.receipt = fill[channel.Receipt](t, "receipt")
		receipt, err := c.Receipt(ctx, ask)
		same(t, "Receipt", node.last(), []any{ask}, err)
		same(t, "Receipt", receipt, node.receipt, err)

		filter := fill[channel.PaymentFilter](t, "filter")
		filter.Limit %= 100_000
		if !filter.HasID {
			filter.ID = channel.PaymentID{}
		}
		_, err = c.Payments(ctx, filter)
		same(t, "Payments", node.last(), []any{filter}, err)
	})
}

func payAsync(ctx context.Context, f func(channel.PayRequest, func(channel.PayResult, error)), r channel.PayRequest) (result channel.PayResult, err error) {
	done := make(chan struct{})
	f(r, func(res channel.PayResult, e error) {
		result, err = res, e
		close(done)
	})
	select {
	case <-done:
		return result, err
	case <-ctx.Done():
		return result, ctx.Err()
	}
}

func TestEventsArriveWhole(t *testing.T) {
	node := &fakeNode{}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	stop := errors.New("enough")
	rapid.Check(t, func(t *rapid.T) {
		want := fill[channel.Event](t, "event")
		want.Seq = max(want.Seq, 1)
		since := rapid.Uint64Range(0, want.Seq-1).Draw(t, "since")
		node.watch = func(ctx context.Context, got uint64, fn func(channel.Event) error) error {
			if got != since {
				return channel.Faultf(channel.CodeFailure, "since is %d, not %d", got, since)
			}
			if err := fn(want); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		var got channel.Event
		err := c.Watch(ctx, since, func(e channel.Event) error { got = e; return stop })
		if !errors.Is(err, stop) {
			t.Fatalf("Watch: %v", err)
		}
		same(t, "Watch", got, want, nil)
	})
}

// TestFaultsArriveWhole tries every code in every kind of call.
func TestFaultsArriveWhole(t *testing.T) {
	node := &fakeNode{watch: nil}
	_, c, _ := serve(t, node)
	ctx := deadline(t)
	pay := channel.PayRequest{Target: "abcd", Amount: 7}
	for _, code := range []channel.Code{
		channel.CodeBadRequest, channel.CodeNotFound, channel.CodeAmbiguous, channel.CodeUnknownPeer,
		channel.CodePeerUnreachable, channel.CodePeerRefused, channel.CodeIncompatible, channel.CodeNotOpen,
		channel.CodeExpiring, channel.CodeInsufficient, channel.CodeNoCredit, channel.CodeBadProof, channel.CodeBadSignature, channel.CodeInsufficientFunds, channel.CodeIDConflict,
		channel.CodeLimit, channel.CodeApproval, channel.CodeFrozen, channel.CodeRefused, channel.CodeChainUnreachable, channel.CodeNotReady,
		channel.CodePending, channel.CodeDiskFull, channel.CodeRejected, channel.CodeUnsupported,
		channel.CodeStopping, channel.CodeFailure,
	} {
		want := channel.Faultf(code, "text of %s", code).WithHint("hint of %s", code)
		node.err = want
		node.watch = func(context.Context, uint64, func(channel.Event) error) error { return want }
		_, err := c.Status(ctx)
		sameFault(t, "Status", err, want)
		_, err = c.Pay(ctx, pay)
		sameFault(t, "Pay", err, want)
		_, err = payAsync(ctx, c.PayAsync, pay)
		sameFault(t, "PayAsync", err, want)
		sameFault(t, "Watch", c.Watch(ctx, 0, nil), want)
	}
}

func sameFault(t *testing.T, what string, err error, want *channel.Fault) {
	t.Helper()
	var got *channel.Fault
	if !errors.As(err, &got) || *got != *want {
		t.Errorf("%s: got %#v, want %#v", what, err, want)
	}
}
