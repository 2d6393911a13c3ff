package btcwallet

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcutil/v2"

	"github.com/runnel/runnel/ledger"
)

// EstimateFee asks the node. Where it has no answer the floor is used and source says so; what it
// answers is kept between floor and cap.
func (c *Chain) EstimateFee(ctx context.Context, blocks uint32) (ledger.FeeRate, string, error) {
	name := c.Capabilities().Name
	if _, err := c.link.trusted(); err != nil {
		return 0, "", err
	}
	if !c.Capabilities().FeeEstimate {
		return FeeFloor, fmt.Sprintf("floor (%s has no estimates)", name), ctx.Err()
	}
	perKB, err := ask(ctx, c.link, func(cl *client) (float64, error) { return estimate(cl, name, blocks) })
	switch {
	case errors.Is(err, ledger.ErrUnreachable) || ctx.Err() != nil:
		return 0, "", err
	case err != nil:
		return FeeFloor, "floor (no estimate)", nil
	}
	rate, source := clamp(perKB, name)
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

func clamp(perKB float64, name string) (ledger.FeeRate, string) {
	amount, err := btcutil.NewAmount(perKB)
	switch {
	case err != nil || amount <= 0:
		return FeeFloor, "floor (no estimate)"
	case amount < btcutil.Amount(FeeFloor):
		return FeeFloor, fmt.Sprintf("floor (%s estimates less)", name)
	case amount > btcutil.Amount(FeeCap):
		return FeeCap, fmt.Sprintf("cap (%s estimates more)", name)
	}
	return ledger.FeeRate(amount), name
}
