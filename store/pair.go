package store

import "errors"

// Second is a second durable copy of what a store writes. One group at a time goes through both steps.
type Second interface {
	// Prepare takes a group before either copy writes it; left has an error for each batch that is left
	// out. It does all that can fail for a reason that is known beforehand, such as a full disk: after an
	// error neither copy has the group, and the next one may come.
	Prepare(batches []*Batch, left []error) error
	// Write makes the prepared group durable. After an error nobody knows what was written.
	Write() error
}

// Beside is a Store that can have a second copy written while it writes its own.
type Beside interface {
	Store
	// ApplyBeside is Apply, and returns only after both copies are durable. When one of them fails the
	// whole group fails, and nothing more is written until the store is opened again and the copies were
	// compared; if the second copy failed nothing is read either, for what this one alone holds was
	// promised to nobody.
	ApplyBeside(batches []*Batch, second Second) ([]error, error)
}

// Pair is a Store of two copies: it reads from the first and writes both at the same time. Closing it
// closes the first.
type Pair struct {
	Beside
	second Second
}

// NewPair joins a store and its second copy, which must agree when it is called.
func NewPair(first Beside, second Second) *Pair { return &Pair{Beside: first, second: second} }

// Apply writes both copies.
func (p *Pair) Apply(batches []*Batch) ([]error, error) { return p.ApplyBeside(batches, p.second) }

// Size is that of both copies, as far as they know it.
func (p *Pair) Size() int64 {
	var n int64
	for _, c := range []any{p.Beside, p.second} {
		if s, ok := c.(Sizer); ok {
			n += s.Size()
		}
	}
	return n
}

// Free is what the first copy says.
func (p *Pair) Free() (int64, error) {
	if s, ok := p.Beside.(Spacer); ok {
		return s.Free()
	}
	return 0, errors.ErrUnsupported
}
