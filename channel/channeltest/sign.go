package channeltest

import (
	"crypto/sha512"
	"encoding/binary"

	"github.com/runnel/runnel/channel"
)

// Sign is a stand-in for a payer's signature: whoever has this package can make it, the messages of a
// test that plays the payee's part must not.
func Sign(lane channel.LaneID, total channel.Msat) channel.Signature {
	return channel.Signature(sha512.Sum512(binary.BigEndian.AppendUint64(append([]byte("voucher"), lane[:]...), uint64(total))))
}

// Valid verifies Sign.
func Valid(lane channel.LaneID, total channel.Msat, s channel.Signature) bool {
	return s == Sign(lane, total)
}
