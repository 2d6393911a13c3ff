package btcwallet

import (
	"context"
	"slices"
	"sync"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/ledger"
)

// blockFees estimates from what the last blocks were paid: all that a light client without another source
// can know. A block tells its average and not the least that got in, so this is rather too much.
type blockFees struct {
	link *link
	work errand

	mu    sync.Mutex
	tip   chainhash.Hash // that rates are for
	known map[chainhash.Hash]ledger.FeeRate
	rates []ledger.FeeRate // of the last blocks, ascending
}

// rate returns the median of the last blocks, for the next two blocks the upper quartile: few miners can't
// move it by paying themselves. It waits only where nothing is known at all.
func (f *blockFees) rate(ctx context.Context, blocks uint32) (ledger.FeeRate, bool) {
	if tip, err := ask(ctx, f.link, tipOf); err == nil && !f.isFor(tip.hash) {
		f.work.start(func(ctx context.Context) { f.refresh(ctx, tip) })
	}
	if f.empty() {
		f.work.wait(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rates) == 0 {
		return 0, false
	}
	at := len(f.rates) / 2
	if blocks <= 2 {
		at = len(f.rates) * 3 / 4
	}
	return f.rates[at], true
}

// place of a block in the chain.
type place struct {
	hash   chainhash.Hash
	height int32
}

func tipOf(cl *client) (place, error) {
	hash, height, err := cl.GetBestBlock()
	if err != nil {
		return place{}, err
	}
	return place{*hash, height}, nil
}

func (f *blockFees) isFor(tip chainhash.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tip == tip
}

func (f *blockFees) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.rates) == 0
}

// refresh reads the blocks that are not known yet. What can't be had now is tried at the next tip.
func (f *blockFees) refresh(ctx context.Context, tip place) {
	f.mu.Lock()
	before := f.known
	f.mu.Unlock()
	known := map[chainhash.Hash]ledger.FeeRate{}
	for at := tip; len(known) < feeBlocks && at.height > 0; at.height-- {
		header, err := ask(ctx, f.link, func(cl *client) (*wire.BlockHeader, error) { return cl.GetBlockHeader(&at.hash) })
		if err != nil {
			break
		}
		rate, ok := before[at.hash]
		if !ok {
			block, err := ask(ctx, f.link, func(cl *client) (*wire.MsgBlock, error) { return cl.GetBlock(&at.hash) })
			if err != nil {
				break
			}
			rate = paidRate(block, at.height, f.link.params)
		}
		known[at.hash], at.hash = rate, header.PrevBlock
	}
	f.note(tip.hash, known)
}

func (f *blockFees) note(tip chainhash.Hash, known map[chainhash.Hash]ledger.FeeRate) {
	if len(known) == 0 {
		return // the last answer stands
	}
	var rates []ledger.FeeRate
	for _, r := range known {
		rates = append(rates, r)
	}
	slices.Sort(rates)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tip, f.known, f.rates = tip, known, rates
}

// paidRate is what a block's transactions paid on average: its miner's reward less the subsidy, over its
// size without the reward.
func paidRate(b *wire.MsgBlock, height int32, params *chaincfg.Params) ledger.FeeRate {
	if len(b.Transactions) == 0 {
		return 0
	}
	reward := int64(0)
	for _, out := range b.Transactions[0].TxOut {
		reward += out.Value
	}
	weight := int64(0)
	for _, tx := range b.Transactions[1:] {
		weight += blockchain.GetTransactionWeight(btcutil.NewTx(tx))
	}
	fees := reward - blockchain.CalcBlockSubsidy(height, params)
	if fees <= 0 || weight == 0 {
		return 0 // an empty block, or a miner who left the fees
	}
	// fees/vsize in sat for a thousand virtual bytes, rounded up; fees stay far below 2^63/4000.
	return ledger.FeeRate((fees*4000 + weight - 1) / weight)
}
