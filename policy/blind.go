package policy

import "time"

// BlockTime is the mean distance of two blocks on every network that mines by itself.
const BlockTime = 10 * time.Minute

// BlindHeight is the height that a node must assume while it can't see the chain: blocks may come twice
// as fast as they should. A clock that was set back gives no time.
func BlindHeight(last uint32, unseen time.Duration) uint32 {
	if unseen <= 0 {
		return last
	}
	const half = BlockTime / 2
	blocks := uint64(unseen / half)
	if unseen%half != 0 {
		blocks++
	}
	return uint32(min(uint64(last)+blocks, 1<<32-1))
}
