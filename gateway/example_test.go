package gateway_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/gateway"
)

// A client that pays: its transport is all that changes.
func ExampleTransport() {
	node, err := client.Dial("/home/me/.runnel/signet/runneld.sock")
	if err != nil {
		log.Fatal(err)
	}
	web := &http.Client{Transport: &gateway.Transport{Payer: node, Max: 1_000, Budget: gateway.NewBudget(50_000)}}
	res, err := web.Get("https://api.example/forecast")
	if errors.Is(err, gateway.WhyBudget) {
		log.Fatal("that is enough for today")
	} else if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	payment, _ := gateway.PaymentOf(res)
	fmt.Println("it cost", payment.Cost, "msat")
}
