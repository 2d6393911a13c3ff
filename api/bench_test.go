package api_test

import (
	"context"
	"testing"

	"github.com/runnel/runnel/channel"
)

// The node answers at once, so these show what the API itself costs.

func instant(r channel.PayRequest) channel.PayResult {
	return channel.PayResult{ID: r.ID, Channel: channel.ID{1}, Amount: r.Amount, Total: r.Amount, Status: channel.PayAcknowledged}
}

func BenchmarkPay(b *testing.B) {
	node := &fakeNode{pay: func(_ context.Context, r channel.PayRequest) (channel.PayResult, error) { return instant(r), nil }}
	_, c, _ := serve(b, node)
	for b.Loop() {
		if _, err := c.Pay(b.Context(), channel.PayRequest{Target: "abcd", Amount: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPayStream(b *testing.B) {
	node := &fakeNode{payAsync: func(r channel.PayRequest, done func(channel.PayResult, error)) { done(instant(r), nil) }}
	_, c, _ := serve(b, node)
	stream := c.Stream(b.Context())
	bad := 0
	for b.Loop() {
		if err := stream.Pay(channel.PayRequest{Target: "abcd", Amount: 1}, func(_ channel.PayResult, err error) {
			if err != nil {
				bad++
			}
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := stream.Close(); err != nil || bad > 0 {
		b.Fatal(err, bad)
	}
}

// BenchmarkPayOnStream is one payment at a time, over the stream.
func BenchmarkPayOnStream(b *testing.B) {
	node := &fakeNode{payAsync: func(r channel.PayRequest, done func(channel.PayResult, error)) { done(instant(r), nil) }}
	_, c, _ := serve(b, node)
	stream := c.Stream(b.Context())
	answered := make(chan struct{}, 1)
	for b.Loop() {
		if err := stream.Pay(channel.PayRequest{Target: "abcd", Amount: 1}, func(channel.PayResult, error) { answered <- struct{}{} }); err != nil {
			b.Fatal(err)
		}
		<-answered
	}
	if err := stream.Close(); err != nil {
		b.Fatal(err)
	}
}
