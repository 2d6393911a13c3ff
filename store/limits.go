package store

import "fmt"

// Limits of one record and one transaction.
const (
	// MaxKey is far above any key of ours (a prefix, two ids and a number); longer ones are a mistake.
	MaxKey = 1 << 10

	// MaxValue keeps every value inside Badger's tables: a larger one would go to its value log, where a
	// failed sync is only logged, not reported.
	MaxValue = 1 << 19

	// opOverhead is what one write costs beside key and value, rounded up over all stores.
	opOverhead = 64
)

// Limits bound what waits for a commit and what one transaction takes.
type Limits struct {
	GroupOps      int // writes in one transaction
	GroupBytes    int // their size
	MaxWaiting    int // batches that wait before Submit blocks
	MaxWaitingMem int // their size
}

// DefaultLimits suit every store of ours. A group of 4,096 writes costs hardly more than one of 10 on a
// disk that needs 130 microseconds for a sync, and still fits Badger's transaction with its 8 MB table.
// 65,536 batches are several for each of 10,000 channels; 64 MiB is what a small machine can spare.
func DefaultLimits() Limits {
	return Limits{GroupOps: 4096, GroupBytes: 768 << 10, MaxWaiting: 65_536, MaxWaitingMem: 64 << 20}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	pick := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	pick(&l.GroupOps, d.GroupOps)
	pick(&l.GroupBytes, d.GroupBytes)
	pick(&l.MaxWaiting, d.MaxWaiting)
	pick(&l.MaxWaitingMem, d.MaxWaitingMem)
	return l
}

// Size is what the batch costs of a transaction, rounded up.
func (b *Batch) Size() int {
	n := 0
	for _, op := range b.Ops {
		n += len(op.Key) + len(op.Value) + opOverhead
	}
	return n
}

// Check refuses keys and values that no store takes. Stores call it themselves.
func (b *Batch) Check() error {
	for _, op := range b.Ops {
		if err := checkKey(op.Key); err != nil {
			return err
		}
		if len(op.Value) > MaxValue {
			return fmt.Errorf("%w: value of %d bytes, at most %d", ErrTooBig, len(op.Value), MaxValue)
		}
	}
	for _, e := range b.Expects {
		if err := checkKey(e.Key); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes, 1 to %d are possible", ErrTooBig, len(key), MaxKey)
	}
	return nil
}
