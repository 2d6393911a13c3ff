package journal

import (
	"crypto/cipher"
	"encoding/binary"
	"hash/crc32"

	"github.com/runnel/runnel/store"
)

const (
	chainAt    = frameSize + 1 // of an encoder's buffer: where the chain before the group goes
	flagLast   = 1             // the last group of a base
	knownFlags = flagLast
)

// Encoder gathers the writes of one group. Its memory is used again for the next one.
type Encoder struct {
	buf   []byte // frame, body, and room for the tag
	start int    // where the writes begin
}

// Begin starts a new group.
func (e *Encoder) Begin(unixMilli int64) {
	const head = frameSize + 1 + 32
	if cap(e.buf) < head+16 {
		e.buf = make([]byte, head, 4<<10)
	}
	e.buf = e.buf[:head]
	clear(e.buf)
	e.buf = binary.AppendUvarint(e.buf, uint64(unixMilli))
	e.start = len(e.buf)
}

// Add appends one write.
func (e *Encoder) Add(op *store.Op) {
	n := uint64(len(op.Key)) << 1
	if op.Delete {
		e.buf = append(binary.AppendUvarint(e.buf, n|1), op.Key...)
		return
	}
	e.buf = append(binary.AppendUvarint(e.buf, n), op.Key...)
	e.buf = append(binary.AppendUvarint(e.buf, uint64(len(op.Value))), op.Value...)
}

// Empty reports whether the group has no write.
func (e *Encoder) Empty() bool { return len(e.buf) == e.start }

// Size is what the group takes on the disk.
func (e *Encoder) Size() int { return len(e.buf) + tagSize }

// TooLong reports whether no group may be this long.
func (e *Encoder) TooLong() bool { return len(e.buf)-frameSize > MaxBody }

// Last marks the group as the last one of a base, which shows that the base is whole.
func (e *Encoder) Last() { e.buf[frameSize] |= flagLast }

// Sealer seals the groups of one segment, one after another.
type Sealer struct {
	aead  cipher.AEAD
	next  uint64
	chain [32]byte
}

// NewSealer begins a segment. The salt must be fresh from a random source.
func NewSealer(key [32]byte, h Header) (s *Sealer, header []byte, err error) {
	header, aead, err := h.encode(key)
	if err != nil {
		return nil, nil, err
	}
	s = &Sealer{aead: aead}
	s.next, s.chain = h.start()
	return s, header, nil
}

// Seal turns the encoder's group into what goes to the disk. The bytes are valid until the encoder
// begins the next one. A group that was sealed counts: whoever can't write it must write no other.
func (s *Sealer) Seal(e *Encoder) []byte {
	b := e.buf
	copy(b[chainAt:], s.chain[:])
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameSize+tagSize))
	binary.BigEndian.PutUint64(b[4:], s.next)
	binary.BigEndian.PutUint32(b[12:], crc32.Checksum(b[:12], castagnoli))
	nonce := nonceOf(s.next)
	b = append(b, make([]byte, tagSize)...)[:len(b)] // room, so that sealing in place does not move
	sealed := s.aead.Seal(b[frameSize:frameSize], nonce[:], b[frameSize:], b[:12])
	e.buf = b[:frameSize+len(sealed)]
	s.chain = link(s.chain, e.buf)
	s.next++
	return e.buf
}

// Next is the number of the next group, Chain the chain before it.
func (s *Sealer) Next() uint64    { return s.next }
func (s *Sealer) Chain() [32]byte { return s.chain }
