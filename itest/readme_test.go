package itest

import (
	"context"
	"fmt"
	"os"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

var _ = payOrder

// payOrder is the README's example; TestReadmeGo holds the two equal.
func payOrder(ctx context.Context, peer string) error {
	// readme begins
	node, err := client.Dial(os.Getenv("HOME") + "/.runnel/simnet/runneld.sock")
	if err != nil {
		return err
	}
	defer node.CloseConnections()

	order := channel.PaymentID{15: 42} // the same order always has the same id, so it is paid once
	paid, err := node.Pay(ctx, channel.PayRequest{
		Target: peer, Amount: 20_000, Ref: "order 42", ID: order, HasID: true, // 20,000 msat
	})
	if err != nil {
		return err
	}
	fmt.Println(paid.Status, "total", paid.Total)
	// readme ends
	return nil
}
