package client

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

const (
	// longestWait is the most that a daemon lets Pay wait.
	longestWait = time.Hour

	// grace is how long after its deadline a payment waits for the daemon to say that it is pending.
	grace = 2 * time.Second
)

// Pay makes one payment and returns when the payee's durable answer is known. A request without an id
// gets one here, so that the result names the payment whatever happens.
//
// When ctx ends, or the daemon goes away, before the answer is known, the result has status pending and
// the error is a fault with channel.CodePending: the payment may still happen, and calling Pay again with
// the same id tells, or makes it, once. Any other error means that nothing was signed.
func (c *Client) Pay(ctx context.Context, req channel.PayRequest) (channel.PayResult, error) {
	if !req.HasID {
		req.ID, req.HasID = newID(), true
	}
	unknown := channel.PayResult{ID: req.ID, Amount: req.Amount, Status: channel.PayPending}
	if ctx.Err() != nil {
		return unknown, ctx.Err()
	}
	m := runnelv1.NewPayRequest(req)
	callCtx, cancel := patient(ctx, m)
	defer cancel()
	answer, err := call(callCtx, c, c.payments.Pay, m)
	if err != nil {
		return unknown, fate(err)
	}
	result, err := answer.Value()
	if err != nil {
		return unknown, fate(&Unreachable{Socket: c.socket, Sent: true, Err: err})
	}
	if f := answer.GetError().Value(); f != nil {
		return result, f
	}
	return result, nil
}

func newID() (id channel.PaymentID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// patient hands ctx's deadline to the daemon, which answers when it has passed, and waits a little longer
// for that answer itself. A cancellation counts at once.
func patient(ctx context.Context, m *runnelv1.PayRequest) (context.Context, context.CancelFunc) {
	wait := longestWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(deadline), time.Millisecond))
	}
	m.TimeoutMs = uint64(wait.Milliseconds())
	long, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait+grace)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	return long, func() { stop(); cancel() }
}

// fate tells errors after which a payment may have happened from those that mean that it did not.
func fate(err error) error {
	var f *channel.Fault
	var gone *Unreachable
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &gone) && !gone.Sent:
		return gone
	}
	return channel.Faultf(channel.CodePending, "the payment's fate is not known: %v", err).
		WithHint("Ask again with the same payment id: it is paid once.")
}
