package daemon

import (
	"bytes"
	"errors"

	"github.com/runnel/runnel/channel"
)

var (
	errKeys    = errors.New("a key of its lanes was used for something else")
	errAddress = errors.New("another lane has the same address")
)

// ownKeys refuses an answer to an Open with a key that the Open has, or with one key for two purposes. The
// acceptor chooses its keys last: with the opener's own ones it could make both lanes pay to one address, and
// then the opener's deposit would count as the peer's and never be asked back.
func ownKeys(o *channel.Open, a *channel.Accept) error {
	keys := []channel.Key{o.Payer, o.Refund, o.Payee, a.Payee}
	if a.PeerDeposit > 0 {
		keys = append(keys, a.Payer, a.Refund)
	}
	for i, k := range keys {
		for _, other := range keys[:i] {
			if bytes.Equal(k[1:], other[1:]) { // leaves know keys by their x coordinate
				return errKeys
			}
		}
	}
	return nil
}
