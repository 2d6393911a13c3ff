package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

// A payment that may be asked for twice and is made once.
func Example() {
	node, err := client.Dial("/home/me/.runnel/signet/runneld.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer node.CloseConnections()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	invoice := channel.PaymentID{15: 42} // the same order always has the same id
	paid, err := node.Pay(ctx, channel.PayRequest{
		Target: "16Uiu2HAm...", Amount: 20_000, Ref: "order 42", ID: invoice, HasID: true,
	})
	var fault *channel.Fault
	switch {
	case err == nil:
		fmt.Println("paid; vouchered on the lane:", paid.Total)
	case errors.Is(err, client.ErrUnreachable):
		fmt.Println("start runneld first:", err)
	case errors.As(err, &fault) && fault.Code == channel.CodePending:
		fmt.Println("not known yet, ask again with the same id:", paid.ID)
	default:
		fmt.Println("nothing was signed:", err)
	}
}

// Many payments: what waits travels together.
func ExampleClient_Stream() {
	node, err := client.Dial("/home/me/.runnel/signet/runneld.sock")
	if err != nil {
		log.Fatal(err)
	}
	stream := node.Stream(context.Background())
	for range 10_000 {
		err := stream.Pay(channel.PayRequest{Target: "16Uiu2HAm...", Amount: 5}, func(paid channel.PayResult, err error) {
			if err != nil {
				log.Print(paid.ID, " ", paid.Status, " ", err)
			}
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := stream.Close(); err != nil {
		log.Fatal(err)
	}
}

// Events, over restarts of the program and of the daemon.
func ExampleClient_Watch() {
	node, err := client.Dial("/home/me/.runnel/signet/runneld.sock", client.FollowRestarts())
	if err != nil {
		log.Fatal(err)
	}
	var last uint64 // load it from where the last run has left it
	err = node.Watch(context.Background(), last, func(e channel.Event) error {
		if e.Kind == channel.EventPayment && e.Payment.Dir == channel.Receiving {
			fmt.Println("received", e.Payment.Amount, "for", e.Payment.Ref)
		}
		last = e.Seq // store it together with what the event led to
		return nil
	})
	log.Fatal(err)
}
