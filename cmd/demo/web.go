package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/gateway"
)

// What bob sells.
const (
	tokenPrice = channel.Msat(20)
	tokens     = 1_000
)

// fetchView is what the demo reads from `runnel fetch --json`.
type fetchView struct {
	Body    string `json:"body"`
	Cost    uint64 `json:"cost_msat"`
	Units   uint64 `json:"units"`
	TopUps  int    `json:"top_ups"`
	Receipt bool   `json:"receipt"`
}

// web is chapter 4: bob sells a stream over HTTP, on the channel that is there.
func (d *demo) web(ctx context.Context) error {
	d.say.chapter("A stream, sold by the token")
	d.say.text(fmt.Sprintf("Bob puts a price before a web service of his: %d msat a token, asked for with HTTP 402 and taken on the channel with alice. "+
		"She authorises a few tokens at a time; when they are used up the stream waits until she authorises more.", uint64(tokenPrice)))
	var delivered atomic.Int64
	url, stop, err := d.sell(ctx, &delivered)
	if err != nil {
		return err
	}
	defer stop()
	before, err := d.bobsBooks(ctx)
	if err != nil {
		return err
	}
	got, err := show[fetchView](ctx, d, "alice", "fetch", "--max", "30sat", url)
	if err != nil {
		return err
	}
	after, err := d.bobsBooks(ctx)
	if err != nil {
		return err
	}
	owed := channel.Msat(delivered.Load()) * tokenPrice
	d.drawn = owed
	d.say.facts(
		[2]string{"tokens that bob's service wrote", humanize.Comma(delivered.Load())},
		[2]string{"times that the stream waited for more", fmt.Sprint(got.TopUps)},
		[2]string{"they come to", amount.Msat(owed)},
	)
	d.say.check(fmt.Sprintf("alice has all %s tokens", humanize.Comma(tokens)), strings.Count(got.Body, "data: word") == tokens && delivered.Load() == tokens)
	d.say.check(fmt.Sprintf("her receipt says %s tokens, %s msat", humanize.Comma(int64(got.Units)), humanize.Comma(int64(got.Cost))),
		got.Receipt && got.Units == tokens && channel.Msat(got.Cost) == owed)
	d.say.check(fmt.Sprintf("bob's books grew by %s msat", humanize.Comma(int64(after-before))), after-before == owed)
	return nil
}

// sell starts the service, and the gateway in front of it, on bob's node.
func (d *demo) sell(ctx context.Context, delivered *atomic.Int64) (url string, stop func(), err error) {
	secret := make([]byte, gateway.MinSecret)
	rand.Read(secret) // never fails
	g, err := gateway.New(ctx, gateway.Config{
		Payee: d.box.Node("bob").API, Secret: secret,
		Routes: []gateway.Route{{Pattern: "GET /story", Price: gateway.Price{Amount: tokenPrice, Unit: gateway.UnitToken}}},
	})
	if err != nil {
		return "", nil, err
	}
	story := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range tokens {
			if _, err := fmt.Fprintf(w, "data: word%d\n\n", i); err != nil {
				return
			}
			delivered.Add(1)
			http.NewResponseController(w).Flush()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: gateway.Middleware(g)(http.HandlerFunc(story))}
	go s.Serve(l) // ends with Close
	return "http://" + l.Addr().String() + "/story", func() { s.Close() }, nil
}

// bobsBooks is what alice has spent on the first channel, by bob's account.
func (d *demo) bobsBooks(ctx context.Context) (channel.Msat, error) {
	node := d.box.Node("bob").API
	all, err := node.Channels(ctx)
	if err != nil {
		return 0, err
	}
	for _, c := range all {
		if c.Channel.String() == d.first.id {
			stand, err := node.LaneStand(ctx, c.Channel)
			return stand.Spent, err
		}
	}
	return 0, errors.New("bob does not know the channel")
}
