package receipt

import (
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// ErrInvalid is what Verify returns for a receipt that proves nothing.
var ErrInvalid = errors.New("the receipt is not valid")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Verify checks a receipt: the lane's terms give the lane id and with it both keys, the entry and the path give
// the root, and both keys signed it. The scheme must be that of the receipt's network.
func Verify(scheme ledger.Scheme, r channel.Receipt) error {
	if r.Network != scheme.Network() {
		return invalid("it is for the network %q", r.Network)
	}
	if err := scheme.CheckTerms(r.Terms); err != nil {
		return invalid("%v", err)
	}
	c := &r.Checkpoint
	if c.Lane != r.Terms.ID() {
		return invalid("the lane's id does not follow from its terms")
	}
	if err := channel.CheckPayment(r.Payment); err != nil {
		return invalid("%v", err)
	}
	if err := plausible(&r); err != nil {
		return err
	}
	root, err := rootOf(&r)
	if err != nil {
		return err
	}
	if root != c.Root {
		return invalid("the payment is not in the log that was signed")
	}
	if err := scheme.VerifyRoot(r.Terms, false, c.LogRoot, c.Payee); err != nil {
		return invalid("the payee did not sign this root")
	}
	if err := scheme.VerifyRoot(r.Terms, true, c.LogRoot, c.Payer); err != nil {
		return invalid("the payer did not sign this root")
	}
	return nil
}

// plausible checks sums that no honest log has otherwise.
func plausible(r *channel.Receipt) error {
	c := &r.Checkpoint
	switch {
	case r.Seq == 0 || r.Seq > c.Size:
		return invalid("payment %d is not in a log of %d", r.Seq, c.Size)
	case c.Spent > c.Total || c.Total > r.Terms.Capacity():
		return invalid("spent %d msat of %d, which is more than the lane can pay", c.Spent, c.Total)
	case r.Result == channel.Accepted && r.Payment.Amount > c.Spent:
		return invalid("the payment is larger than all that was spent")
	}
	return nil
}

func rootOf(r *channel.Receipt) (Hash, error) {
	leaf := Leaf(r.Checkpoint.Lane, r.Seq, r.Payment, r.Result)
	path := make([][]byte, len(r.Path))
	for i := range r.Path {
		path[i] = r.Path[i][:]
	}
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, r.Seq-1, r.Checkpoint.Size, leaf[:], path)
	if err != nil {
		return Hash{}, invalid("the path does not fit a log of %d payments", r.Checkpoint.Size)
	}
	return Hash(root), nil
}
