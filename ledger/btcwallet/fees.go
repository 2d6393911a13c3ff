package btcwallet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2"

	"github.com/runnel/runnel/ledger"
)

// EstimateFee asks the node, where that has no estimate the fee URL, and without one looks at what recent
// blocks were paid. Where nobody knows anything the floor is used. source says whose answer it is; it is
// kept between floor and cap.
func (c *Chain) EstimateFee(ctx context.Context, blocks uint32) (ledger.FeeRate, string, error) {
	if err := ctx.Err(); err != nil {
		return 0, "", err
	}
	if _, err := c.link.trusted(); err != nil {
		return 0, "", err
	}
	if c.Capabilities().FeeEstimate {
		rate, source, err := c.askNode(ctx, blocks)
		if rate > 0 || err != nil {
			return rate, source, err
		}
	}
	if c.feeURL != nil {
		if rate, ok := c.feeURL.rate(ctx, blocks); ok {
			return atLeastFloor(rate, "fee-url "+c.feeURL.host)
		}
	}
	if rate, ok := c.blockFees.rate(ctx, blocks); ok {
		return atLeastFloor(min(rate, FeeCap), "recent blocks")
	}
	return FeeFloor, "floor (no estimate)", ctx.Err()
}

func (c *Chain) stopFees() {
	c.blockFees.work.stop()
	if c.feeURL != nil {
		c.feeURL.work.stop()
	}
}

// askNode returns the node's estimate, 0 when it has none.
func (c *Chain) askNode(ctx context.Context, blocks uint32) (ledger.FeeRate, string, error) {
	name := c.Capabilities().Name
	perKB, err := ask(ctx, c.link, func(cl *client) (float64, error) { return estimate(cl, name, blocks) })
	if errors.Is(err, ledger.ErrUnreachable) || ctx.Err() != nil {
		return 0, "", err
	}
	amount, bad := btcutil.NewAmount(perKB)
	switch {
	case err != nil || bad != nil || amount <= 0:
		return 0, "", nil
	case amount > btcutil.Amount(FeeCap):
		return FeeCap, fmt.Sprintf("cap (%s estimates more)", name), nil
	}
	return atLeastFloor(ledger.FeeRate(amount), name)
}

func atLeastFloor(rate ledger.FeeRate, source string) (ledger.FeeRate, string, error) {
	if rate < FeeFloor {
		return FeeFloor, fmt.Sprintf("floor (%s: less)", source), nil
	}
	return rate, source, nil
}

// estimate is in coins for a thousand virtual bytes.
func estimate(cl *client, name string, blocks uint32) (float64, error) {
	if name == "btcd" {
		return cl.rpc.EstimateFee(int64(min(max(blocks, 1), 25))) // its estimator looks no further
	}
	res, err := cl.rpc.EstimateSmartFee(int64(min(max(blocks, 1), 1008)), nil)
	if err != nil {
		return 0, err
	}
	if res.FeeRate == nil {
		return 0, fmt.Errorf("no estimate: %v", res.Errors)
	}
	return *res.FeeRate, nil
}

// errand is work in the background of which one is under way at a time. Whoever needs its result may wait
// for it, a while.
type errand struct {
	ctx context.Context // ends it
	wg  sync.WaitGroup

	mu   sync.Mutex
	done chan struct{} // closed at the end of the one under way; nil when none is
	over bool
}

// start begins f unless one is under way.
func (e *errand) start(f func(context.Context)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done != nil || e.over {
		return
	}
	done := make(chan struct{})
	e.done = done
	e.wg.Go(func() {
		defer close(done)
		f(e.ctx)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.done = nil
	})
}

// wait returns when none is under way, or after a while.
func (e *errand) wait(ctx context.Context) {
	e.mu.Lock()
	done := e.done
	e.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(feeWait):
	}
}

// stop lets none begin any more and returns when the last one is over; its context has ended before.
func (e *errand) stop() {
	e.mu.Lock()
	e.over = true
	e.mu.Unlock()
	e.wg.Wait()
}
