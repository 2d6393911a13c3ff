package api

import (
	"context"

	"github.com/runnel/runnel/channel"
)

// Node is what the API serves. Errors are *channel.Fault where the owner can do something about them.
type Node interface {
	Status(ctx context.Context) (channel.NodeStatus, error)
	Stop(ctx context.Context) error
	// Backup copies what can't be made again from the seed, encrypted.
	Backup(ctx context.Context) (channel.Backup, error)

	NewAddress(ctx context.Context) (string, error)
	Balance(ctx context.Context) (channel.Balance, error)
	// Send pays amount, or everything when all is set. rate is in sat per 1000 vB; 0 asks the backend.
	Send(ctx context.Context, address string, amount channel.Sat, all bool, rate uint64) (channel.Sent, error)
	Bump(ctx context.Context, txid string, rate uint64) (channel.Sent, error)
	Transactions(ctx context.Context) ([]channel.WalletTx, error)

	Connect(ctx context.Context, addr string) (channel.PeerInfo, error)
	Disconnect(ctx context.Context, peer string) error
	Peers(ctx context.Context) ([]channel.PeerInfo, error)

	Open(ctx context.Context, req channel.OpenRequest) (channel.OpenResult, error)
	Channels(ctx context.Context) ([]channel.ChannelInfo, error)
	Channel(ctx context.Context, id string) (channel.ChannelInfo, error)
	Close(ctx context.Context, req channel.CloseRequest) (channel.CloseResult, error)
	Settle(ctx context.Context, req channel.SettleRequest) (channel.SettleResult, error)

	// Pay returns when the payee's durable answer is known. When ctx ends first the result has status
	// pending and the error is a Fault with CodePending: the payment may still happen.
	Pay(ctx context.Context, req channel.PayRequest) (channel.PayResult, error)
	// PayAsync queues a payment; done is called once, from another goroutine, and must not block.
	PayAsync(req channel.PayRequest, done func(channel.PayResult, error))
	Payments(ctx context.Context, f channel.PaymentFilter) ([]channel.PaymentInfo, error)
	// Receipt proves a payment. Where both sides have not signed so far yet it asks the peer and waits for
	// ctx, at most a quarter of a minute if that has no deadline.
	Receipt(ctx context.Context, req channel.ReceiptRequest) (channel.Receipt, error)
	// Watch calls fn for every event after since, first the stored ones, then live, until ctx ends or
	// fn fails. It neither loses nor repeats an event.
	Watch(ctx context.Context, since uint64, fn func(channel.Event) error) error

	LogNode
	DrawNode
	PolicyNode
}
