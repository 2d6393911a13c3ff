package gateway_test

import (
	"context"
	"crypto/rand"
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

// A server that charges: what it serves stays as it is.
func ExampleMiddleware() {
	node, err := client.Dial("/home/me/.runnel/signet/runneld.sock")
	if err != nil {
		log.Fatal(err)
	}
	secret := make([]byte, gateway.MinSecret) // keep it: challenges of before a restart are good with it
	rand.Read(secret)
	gw, err := gateway.New(context.Background(), gateway.Config{Payee: node, Secret: secret, BehindTLS: true, Routes: []gateway.Route{
		{Pattern: "GET /forecast", Price: gateway.Price{Amount: 20}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	forecast := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "rain") })
	log.Fatal(http.ListenAndServe("127.0.0.1:8402", gateway.Middleware(gw)(forecast)))
}
